"""Arithmetic on numbers: integers, floating point, and conversions between them."""

from __future__ import annotations

from ptx.context import Context
from ptx.registry import handles
from ptx.syntax import SIZES
from ptx.types import c_type, is_float, signed

ROUNDING = {"rn": "FE_TONEAREST", "rz": "FE_TOWARDZERO", "rm": "FE_DOWNWARD", "rp": "FE_UPWARD"}
SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
APPROXIMATE = {
    "ex2": "exp2f({})", "lg2": "log2f({})", "sin": "sinf({})", "cos": "cosf({})", "tanh": "tanhf({})",
    "rcp": "(1.0f / {})", "rsqrt": "((f32)(1.0 / sqrt((f64){})))", "sqrt": "sqrtf({})",
}  # fmt: skip


def flushed(c: Context, values: list[str], ftz: bool) -> list[str]:
    """Return values with subnormal numbers flushed, if that is wanted."""
    return [f"ftz({value})" for value in values] if ftz else values


def put_float(c: Context, value: str, ftz: bool, saturate: bool) -> None:
    """Write a result of floating point."""
    if ftz:
        value = f"ftz({value})"
    if saturate:
        value = f"saturate_{c.kind}({value})"
    c.do(c.write(0, value))


def rounded(mode: str, kind: str, values: list[str], expression: str) -> str:
    """Return an expression of x, y and z under a rounding mode."""
    if mode in ("", "rn"):
        for name, value in zip("xyz", values, strict=False):
            expression = expression.replace(f"${name}", value)
        return f"({expression})"
    plain = expression.replace("$", "")
    types = f"{kind}, {kind}" if len(values) == 1 else kind
    return f"ROUNDED{len(values)}({ROUNDING[mode]}, {types}, {', '.join(values)}, {plain})"


@handles("add", "sub", "mul", "div")
def binary(c: Context) -> None:
    if is_float(c.kind):
        mode = c.one_of(tuple(ROUNDING))
        c.has("full", "approx")
        ftz, saturate = c.has("ftz"), c.has("sat")
        values = flushed(c, [c.read(1), c.read(2)], ftz)
        put_float(c, rounded(mode, c.kind, values, f"$x {SYMBOLS[c.base]} $y"), ftz, saturate)
        return
    a, b = c.read(1), c.read(2)
    if c.base == "div":
        c.do(c.write(0, f"div_{c_type(c.kind)}({a}, {b})"))
    elif c.base == "mul":
        c.do(product(c, a, b))
    elif c.has("cc"):
        carry(c, a, b)
    elif c.has("sat"):
        if c.kind != "s32":
            raise c.unsupported()
        wide = f"(s64){a} {SYMBOLS[c.base]} (s64){b}"
        c.do(c.write(0, f"MIN(MAX({wide}, (s64)INT32_MIN), (s64)INT32_MAX)"))
    else:
        c.do(c.write(0, f"{a} {SYMBOLS[c.base]} {b}"))


def double_width(c: Context) -> tuple[str, int]:
    """Return a type of C twice as wide as the instruction's, and the instruction's width."""
    width = 8 * SIZES[c.kind]
    return f"{'s' if c.kind[0] == 's' else 'u'}{2 * width}", width


def product(c: Context, a: str, b: str, *, adds: bool = False) -> str:
    """Return the statement for a product of integers, to which the third source may be added."""
    wide, width = double_width(c)
    whole = f"({wide}){a} * ({wide}){b}"
    if c.has("wide"):
        kind = f"{c.kind[0]}{2 * width}"
        return c.write(0, whole + (f" + {c.read(3, kind)}" if adds else ""), kind)
    added = f" + {c.read(3)}" if adds else ""
    if c.has("hi"):
        return c.write(0, f"({c_type(c.kind)})(({whole}) >> {width}){added}")
    c.has("lo")
    return c.write(0, f"{a} * {b}{added}")


def carry(c: Context, a: str, b: str) -> None:
    """Write a sum or difference and set the carry."""
    wide, width = double_width(c)
    wide = wide.replace("s", "u")
    kind = f"u{width}"
    c.do(f"{{ {wide} w_ = ({wide})({kind}){a} {SYMBOLS[c.base[:3]]} ({wide})({kind}){b}; "
         f"cc = (w_ >> {width}) & 1; {c.write(0, f'({c_type(c.kind)})w_')} }}")  # fmt: skip


@handles("addc", "subc")
def with_carry(c: Context) -> None:
    wide, width = double_width(c)
    wide, kind = wide.replace("s", "u"), f"u{width}"
    a, b, sign = c.read(1), c.read(2), SYMBOLS[c.base[:3]]
    set_carry = f"cc = (w_ >> {width}) & 1;" if c.has("cc") else ""
    c.do(f"{{ {wide} w_ = ({wide})({kind}){a} {sign} ({wide})({kind}){b} {sign} cc; {set_carry} "
         f"{c.write(0, f'({c_type(c.kind)})w_')} }}")  # fmt: skip


@handles("mad", "madc")
def multiply_add(c: Context) -> None:
    if is_float(c.kind):
        fused(c)
        return
    a, b = c.read(1), c.read(2)
    set_carry = c.has("cc")
    if c.base == "mad" and not set_carry:
        c.do(product(c, a, b, adds=True))
        return
    wide, width = double_width(c)
    kind, plain = f"u{width}", wide.replace("s", "u")
    part = f"((({wide}){a} * ({wide}){b}) >> {width})" if c.has("hi") else f"({a} * {b})"
    c.has("lo")
    carried = " + cc" if c.base == "madc" else ""
    keep = f"cc = (w_ >> {width}) & 1;" if set_carry else ""
    c.do(f"{{ {plain} w_ = ({plain})({kind}){part} + ({plain})({kind}){c.read(3)}{carried}; {keep} "
         f"{c.write(0, f'({c_type(c.kind)})w_')} }}")  # fmt: skip


@handles("fma")
def fused(c: Context) -> None:
    mode, ftz, saturate = c.one_of(tuple(ROUNDING)), c.has("ftz"), c.has("sat")
    values = flushed(c, [c.read(1), c.read(2), c.read(3)], ftz)
    name = "fmaf" if c.kind == "f32" else "fma"
    put_float(c, rounded(mode, c.kind, values, f"{name}($x, $y, $z)"), ftz, saturate)


@handles("rem")
def remainder(c: Context) -> None:
    c.do(c.write(0, f"rem_{c_type(c.kind)}({c.read(1)}, {c.read(2)})"))


@handles("mul24", "mad24")
def of_24_bits(c: Context) -> None:
    if not c.has("lo"):
        raise c.unsupported()
    cut = "(({} << 8) >> 8)" if c.kind[0] == "s" else "({} & 0xFFFFFFu)"
    added = f" + {c.read(3)}" if c.base == "mad24" else ""
    c.do(c.write(0, f"{cut.format(c.read(1))} * {cut.format(c.read(2))}{added}"))


@handles("sad")
def absolute_difference(c: Context) -> None:
    c.do(c.write(0, f"{c.read(3)} + (MAX({c.read(1)}, {c.read(2)}) - MIN({c.read(1)}, {c.read(2)}))"))


@handles("abs", "neg")
def sign(c: Context) -> None:
    if is_float(c.kind):
        ftz, (a,) = c.has("ftz"), [c.read(1)]
        if ftz:
            a = f"ftz({a})"
        size = "f" if c.kind == "f32" else ""
        c.do(c.write(0, f"fabs{size}({a})" if c.base == "abs" else f"-{a}"))
    elif c.base == "abs":
        c.do(c.write(0, f"{c.read(1)} < 0 ? -{c.read(1)} : {c.read(1)}"))
    else:
        c.do(c.write(0, f"-{c.read(1)}"))


@handles("min", "max")
def extreme(c: Context) -> None:
    if not is_float(c.kind):
        c.do(c.write(0, f"{c.base.upper()}({c.read(1)}, {c.read(2)})"))
        return
    ftz = c.has("ftz")
    a, b = flushed(c, [c.read(1), c.read(2)], ftz)
    value = f"{c.base}_{c.kind}({a}, {b})"
    if c.has("NaN"):
        value = f"(isnan({a}) || isnan({b}) ? ({c.kind})NAN : {value})"
    c.do(c.write(0, value))


@handles("copysign")
def with_sign_of(c: Context) -> None:
    """The sign of the first, the size of the second."""
    c.do(c.write(0, f"copysign{'f' if c.kind == 'f32' else ''}({c.read(2)}, {c.read(1)})"))


@handles("testp")
def test_property(c: Context) -> None:
    tests = {
        "finite": "isfinite({})", "infinite": "isinf({})", "number": "!isnan({})", "notanumber": "isnan({})",
        "normal": "isnormal({})", "subnormal": "(fpclassify({}) == FP_SUBNORMAL)",
    }  # fmt: skip
    c.do(c.write(0, tests[c.one_of(tests)].format(c.read(1)), "pred"))


@handles("sqrt", "rcp", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh")
def unary(c: Context) -> None:
    approximate, mode, ftz = c.has("approx"), c.one_of(tuple(ROUNDING)), c.has("ftz")
    (a,) = flushed(c, [c.read(1)], ftz and c.kind == "f32")
    if c.kind == "f64":
        if approximate and c.base in ("rcp", "rsqrt") and ftz:
            c.do(c.write(0, f"{c.base}_gross({a})"))
        elif c.base in ("sqrt", "rcp"):
            formula = "sqrt($x)" if c.base == "sqrt" else "1.0 / $x"
            c.do(c.write(0, rounded(mode, "f64", [a], formula)))
        elif c.base == "rsqrt":
            c.do(c.write(0, f"1.0 / sqrt({a})"))
        else:
            raise c.unsupported()
        return
    if not approximate and c.base not in ("sqrt", "rcp"):
        raise c.unsupported()
    if approximate:
        put_float(c, APPROXIMATE[c.base].format(a), ftz, False)
    else:
        formula = "sqrtf($x)" if c.base == "sqrt" else "1.0f / $x"
        put_float(c, rounded(mode, "f32", [a], formula), ftz, False)


@handles("cvt")
def convert(c: Context) -> None:
    whole = {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}
    if c.has("tf32"):
        mode = {"rna": "a", "rn": "e", "rz": "z"}[c.one_of(("rna", "rn", "rz"))]
        c.do(c.write(0, f"to_tf32({c.read(1, 'f32')}, '{mode}')", "b32"))
        return
    if len(c.kinds) != 2 or any(kind in ("f16", "bf16", "f16x2", "pred") for kind in c.kinds):
        raise c.unsupported()
    to, source = c.kinds
    integral, mode, ftz, saturate = c.one_of(whole), c.one_of(tuple(ROUNDING)), c.has("ftz"), c.has("sat")
    a = c.read(1, source)
    if ftz and source == "f32":
        a = f"ftz({a})"
    bits = 8 * SIZES[to]
    if is_float(source) and is_float(to):
        if integral:
            a = f"{whole[integral]}{'f' if source == 'f32' else ''}({a})"
        value = f"(f32){a}" if to == "f32" else f"(f64){a}"
        if SIZES[to] < SIZES[source] and mode not in ("", "rn"):
            value = f"ROUNDED1({ROUNDING[mode]}, {to}, {source}, {a}, ({to})x)"
        if ftz and to == "f32":
            value = f"ftz({value})"
        if saturate:
            value = f"saturate_{to}({value})"
    elif is_float(source):
        if not integral:
            raise c.unsupported("a number becomes an integer by no rounding")
        # NaN has a place of its own if one of both is wide.
        wide = int(source == "f64" or bits == 64)
        number = f"{whole[integral]}((f64){a})"
        name = "signed" if to[0] == "s" else "unsigned"
        value = f"to_{to[0]}64({number}, {wide})" if bits == 64 else f"to_{name}({number}, {bits}, {wide})"
    elif is_float(to):
        value = f"({to}){a}"
        if mode not in ("", "rn"):
            value = f"ROUNDED1({ROUNDING[mode]}, {to}, {c_type(source)}, {a}, ({to})x)"
    else:
        value = a
        if saturate:
            low = f"-((s128)1 << {bits - 1})" if to[0] == "s" else "(s128)0"
            high = f"((s128)1 << {bits - (to[0] == 's')}) - 1"
            value = f"MIN(MAX((s128){a}, {low}), {high})"
    c.do(c.write(0, value, to))


@handles("slct")
def select_by_sign(c: Context) -> None:
    to, by = c.kinds
    c.has("ftz")
    c.do(c.write(0, f"{c.read(3, by)} >= 0 ? {c.read(1, to)} : {c.read(2, to)}", to))


@handles("clz", "popc")
def count_bits(c: Context) -> None:
    wide = SIZES[c.kind] == 8
    a = c.read(1)
    if c.base == "popc":
        value = f"__builtin_popcountll({a})"
    else:
        value = f"({a} ? __builtin_clz{'ll' if wide else ''}({a}) : {64 if wide else 32})"
    c.do(c.write(0, value, "u32"))


@handles("bfind")
def find_bit(c: Context) -> None:
    width, a = 8 * SIZES[c.kind], c.read(1)
    if c.kind[0] == "s":
        a = f"({a} < 0 ? ~{a} : {a})"
    wide = f"(u64)(u{width}){a}"
    found = f"(63 - __builtin_clzll({wide}))"
    if c.has("shiftamt"):
        found = f"({width - 1} - {found})"
    c.do(c.write(0, f"({wide}) ? (u32){found} : 0xFFFFFFFFu", "u32"))


@handles("shr")
def shift_right(c: Context) -> None:
    c.do(c.write(0, f"shr_{c_type(c.kind)}({c.read(1)}, {c.read(2, 'u32')})"))


@handles("shl")
def shift_left(c: Context) -> None:
    c.do(c.write(0, f"shl_{c_type(c.kind)}({c.read(1)}, {c.read(2, 'u32')})"))


@handles("bfe")
def extract(c: Context) -> None:
    values = f"(u{8 * SIZES[c.kind]}){c.read(1)}, {c.read(2, 'u32')}, {c.read(3, 'u32')}"
    c.do(c.write(0, f"extract({values}, {8 * SIZES[c.kind]}, {int(c.kind == signed(c.kind))})"))
