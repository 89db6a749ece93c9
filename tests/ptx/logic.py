"""Bits, comparisons, selection, and copies between registers."""

from __future__ import annotations

from ptx.arithmetic import flushed
from ptx.context import Context
from ptx.registry import handles
from ptx.syntax import SIZES, Group
from ptx.types import is_float

COMPARISONS = {
    "eq": "$a == $b", "ne": "$a != $b", "lt": "$a < $b", "le": "$a <= $b", "gt": "$a > $b", "ge": "$a >= $b",
    "lo": "$a < $b", "ls": "$a <= $b", "hi": "$a > $b", "hs": "$a >= $b",
}  # fmt: skip
FLOAT_COMPARISONS = {
    **COMPARISONS,
    "ne": "($a < $b || $a > $b)",
    "equ": "!($a < $b || $a > $b)", "neu": "$a != $b", "ltu": "!($a >= $b)", "leu": "!($a > $b)",
    "gtu": "!($a <= $b)", "geu": "!($a < $b)",
    "num": "($a == $a && $b == $b)", "nan": "($a != $a || $b != $b)",
}  # fmt: skip
JOINED = {"and": "&&", "or": "||", "xor": "!="}
BITWISE = {"and": "&", "or": "|", "xor": "^"}


@handles("and", "or", "xor")
def bitwise(c: Context) -> None:
    c.do(c.write(0, f"{c.read(1)} {BITWISE[c.base]} {c.read(2)}"))


@handles("not")
def invert(c: Context) -> None:
    c.do(c.write(0, f"!{c.read(1)}" if c.kind == "pred" else f"~{c.read(1)}"))


@handles("cnot")
def is_zero(c: Context) -> None:
    c.do(c.write(0, f"{c.read(1)} == 0"))


@handles("lop3")
def logic_of_three(c: Context) -> None:
    c.do(c.write(0, f"logic3({c.read(1)}, {c.read(2)}, {c.read(3)}, {c.read(4, 'u32')})"))


@handles("shf")
def funnel_shift(c: Context) -> None:
    left, clamp, wrap = c.has("l"), c.has("clamp"), c.has("wrap")
    if (not left and not c.has("r")) or (not clamp and not wrap):
        raise c.unsupported()
    n = c.read(3, "u32")
    n = f"MIN({n}, 32u)" if clamp else f"({n} & 31u)"
    both = f"(((u64){c.read(2)} << 32) | {c.read(1)})"
    c.do(c.write(0, f"(u32)(({both} << {n}) >> 32)" if left else f"(u32)({both} >> {n})"))


@handles("prmt")
def permute(c: Context) -> None:
    c.do(c.write(0, f"permute({c.read(1)}, {c.read(2)}, {c.read(3)})"))


@handles("bfi")
def insert(c: Context) -> None:
    values = f"{c.read(1)}, {c.read(2)}, {c.read(3, 'u32')}, {c.read(4, 'u32')}"
    c.do(c.write(0, f"insert({values}, {8 * SIZES[c.kind]})"))


@handles("brev")
def reverse(c: Context) -> None:
    c.do(c.write(0, f"reversed{8 * SIZES[c.kind]}({c.read(1)})"))


def comparison(c: Context, kind: str) -> str:
    """Return the comparison of the first two sources."""
    table = FLOAT_COMPARISONS if is_float(kind) else COMPARISONS
    operation = c.one_of(tuple(table))
    if not operation:
        raise c.unsupported()
    a, b = flushed(c, [c.read(1, kind), c.read(2, kind)], c.has("ftz"))
    return "(" + table[operation].replace("$a", a).replace("$b", b) + ")"


@handles("setp")
def set_predicate(c: Context) -> None:
    found = comparison(c, c.kind)
    join = c.one_of(JOINED)
    targets = c.items(0)
    values = [found, f"!{found}"]
    if join:
        other = c.read(3, "pred")
        values = [f"(({value}) {JOINED[join]} ({other} != 0))" for value in values]
    # Both are found before one is written: a target may be a source.
    c.do(f"{{ u8 v_ = {values[0]}, w_ = {values[1]}; (void)w_;")
    for target, value in zip(targets, ("v_", "w_"), strict=False):
        c.do(c.write(target, value, "pred"))
    c.do("}")


@handles("set")
def set_number(c: Context) -> None:
    to, kind = c.kinds
    found = comparison(c, kind)
    join = c.one_of(JOINED)
    if join:
        found = f"({found} {JOINED[join]} ({c.read(3, 'pred')} != 0))"
    c.do(c.write(0, f"{found} ? {'1.0f' if to == 'f32' else '0xFFFFFFFFu'} : 0", to))


@handles("selp")
def select(c: Context) -> None:
    c.do(c.write(0, f"{c.read(3, 'pred')} ? {c.read(1)} : {c.read(2)}"))


@handles("mov")
def move(c: Context) -> None:
    source, target = c.operands[1], c.operands[0]
    if isinstance(target, Group) or isinstance(source, Group):
        size, width = SIZES[c.kind], 8 * SIZES[c.kind]
        parts = c.items(1) if isinstance(source, Group) else c.items(0)
        each = width // len(parts)
        part = f"b{each}"
        if isinstance(source, Group):
            terms = [f"((u{width}){c.read(one, part)} << {each * i})" for i, one in enumerate(parts)]
            c.do(c.write(0, " | ".join(terms), f"b{8 * size}"))
        else:
            c.do(f"{{ u{width} w_ = {c.read(1, f'b{8 * size}')};")
            for i, one in enumerate(parts):
                c.do(c.write(one, f"w_ >> {each * i}", part))
            c.do("}")
        return
    c.do(c.write(0, c.read(1)))


@handles("cvta")
def convert_address(c: Context) -> None:
    to_space = c.has("to")
    space = c.one_of(("global", "shared::cta", "shared", "local", "const", "param"))
    if space in ("global", "const", "param"):
        c.do(c.write(0, c.read(1)))
        return
    window = {"s": "SHARED_WINDOW", "l": "LOCAL_WINDOW"}[space[0]]
    c.do(c.write(0, f"{c.read(1)} {'-' if to_space else '+'} {window}"))


@handles("isspacep")
def is_in_space(c: Context) -> None:
    space = c.one_of(("global", "shared::cta", "shared", "local", "const", "param"))
    where = f"({c.read(1, 'u64')} & WINDOW_MASK)"
    windows = {"shared": "SHARED_WINDOW", "shared::cta": "SHARED_WINDOW", "local": "LOCAL_WINDOW"}
    if space in ("const", "param"):
        raise c.unsupported()
    c.do(c.write(0, f"{where} == {windows.get(space, '0')}", "pred"))
