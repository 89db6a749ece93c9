"""Branches, calls, barriers, and what the threads of a warp do together."""

from __future__ import annotations

from ptx.context import Context, c_name
from ptx.registry import handles
from ptx.syntax import Group, Name, Operand

MMA = {
    # Shape and type of the products: how a thread waits, its variant, numbers of A, B and C, type of each.
    ("m16n8k4", "tf32"): ("MMA_TF32", 4, (2, 1, 4), ("b32", "f32")),
    ("m16n8k8", "tf32"): ("MMA_TF32", 8, (4, 2, 4), ("b32", "f32")),
    ("m8n8k4", "f64"): ("MMA_F64_884", 0, (1, 1, 2), ("f64", "f64")),
    ("m16n8k4", "f64"): ("MMA_F64_4", 0, (2, 1, 4), ("f64", "f64")),
    ("m16n8k8", "f64"): ("MMA_F64_8", 0, (4, 2, 4), ("f64", "f64")),
    ("m16n8k16", "f64"): ("MMA_F64_16", 0, (8, 4, 4), ("f64", "f64")),
}
ROUNDING = ("rn", "rz", "rm", "rp")


def name_of(c: Context, operand: Operand) -> str:
    """Return a name as it is written."""
    if not isinstance(operand, Name):
        raise c.unsupported(f"{operand} is no name")
    return operand.text


@handles("bra")
def branch(c: Context) -> None:
    c.has("uni")
    target = name_of(c, c.operands[0])
    c.step.targets = (target,)
    c.step.falls = c.instruction.predicate is not None
    c.do(f"if (!--b->launch->fuel) fault(b, ENDLESS, {c.line}, 0, 0); goto {c_name(target)};")


@handles("brx")
def branch_by_table(c: Context) -> None:
    c.has("idx"), c.has("uni")
    targets = c.names.tables[name_of(c, c.operands[1])]
    c.step.targets = targets
    c.step.falls = c.instruction.predicate is not None
    cases = " ".join(f"case {i}: goto {c_name(target)};" for i, target in enumerate(targets))
    c.do(f"switch ({c.read(0, 'u32')}) {{ {cases} default: fault(b, TRAP, {c.line}, 0, 0); }}")


@handles("ret", "exit")
def leave(c: Context) -> None:
    c.has("uni")
    c.step.falls = c.instruction.predicate is not None
    if c.in_kernel:
        c.do("t->wait = DONE; return;")
    elif c.base == "exit":
        raise c.unsupported("within a function that is called")
    else:
        c.do("return;")


@handles("trap", "brkpt")
def trap(c: Context) -> None:
    c.do(f"fault(b, TRAP, {c.line}, 0, 0);")


@handles("call")
def call(c: Context) -> None:
    c.has("uni")
    first, last = c.operands[0], c.operands[-1]
    results = first.items if isinstance(first, Group) else ()
    given = last.items if len(c.operands) > 1 and isinstance(last, Group) else ()
    names = [one for one in c.operands if isinstance(one, Name)]
    if len(names) != 1:
        raise c.unsupported("through an address")
    function = c.names.functions.get(names[0].text)
    if function is None:
        raise c.unsupported(f"{names[0].text} is not known")
    if function.body is None:
        # A function of the system, such as that of a failed assertion.
        c.do(f"fault(b, CALLED, {c.line}, 0, 0);")
        return
    values = []
    for one in (*results, *given):
        if not isinstance(one, Name) or c.names.symbols.get(one.text, ("",))[0] != "param":
            raise c.unsupported("with an operand that is no .param variable")
        values.append(f"(u8 *){c.names.symbols[one.text][1]}")
    c.do(f"{c_name(function.name)}(b, t, {', '.join(values) or '0'});")


@handles("bar", "barrier")
def barrier(c: Context) -> None:
    c.has("cta")
    if c.has("warp"):
        c.has("sync")
        c.stop("WARP_SYNC", f"t->mask = {c.read(0, 'u32')};", "")
        return
    c.has("aligned")
    if c.has("red"):
        operation = c.one_of(("popc", "and", "or"))
        kind = "u32" if operation == "popc" else "pred"
        number, *expected = c.operands[1:-1]
        letter = {"popc": "+", "and": "&", "or": "|"}[operation]
        set_up = f"t->variant = '{letter}'; t->in[0] = {c.read(-1, 'pred')};"
        after = c.write(0, "t->out[0]", kind)
        wait = "BARRIER_REDUCE"
    else:
        arrives = c.has("arrive")
        if not arrives and not c.has("sync"):
            raise c.unsupported()
        number, *expected = c.operands
        set_up, after, wait = "t->in[0] = 0;", "", "BARRIER"
        if arrives:
            c.do(f"if ({c.read(number, 'u32')} >= BARRIERS) fault(b, BARRIER_NUMBER, {c.line}, 0, 0); "
                 f"b->arrived[{c.read(number, 'u32')}]++;")  # fmt: skip
            return
    count = c.read(expected[0], "u32") if expected else "0"
    c.stop(
        wait,
        f"t->number = {c.read(number, 'u32')}; t->expected = {count}; {set_up} "
        f"if (t->number >= BARRIERS) fault(b, BARRIER_NUMBER, {c.line}, 0, 0);",
        after,
    )


def answers(c: Context, kinds: tuple[str, ...]) -> str:
    """Return the statements that write the results of a warp."""
    return " ".join(
        c.write(target, f"t->out[{i}]", kind)
        for i, (target, kind) in enumerate(zip(c.items(0), kinds, strict=False))
    )


@handles("shfl")
def shuffle(c: Context) -> None:
    if not c.has("sync"):
        raise c.unsupported("without .sync")
    mode = c.one_of(("up", "down", "bfly", "idx"))
    values = [c.read(place, "b32") for place in range(1, 5)]
    c.stop(
        "SHUFFLE",
        " ".join(f"t->in[{i}] = {value};" for i, value in enumerate(values[:3]))
        + f" t->variant = '{mode[0]}'; t->mask = {values[3]};",
        answers(c, ("b32", "pred")),
    )


@handles("vote", "match", "redux")
def ask_warp(c: Context) -> None:
    if not c.has("sync"):
        raise c.unsupported("without .sync")
    if c.base == "vote":
        mode = c.one_of(("all", "any", "uni", "ballot"))
        wait, source, kinds = "VOTE", "pred", ("b32" if mode == "ballot" else "pred",)
        variant = {"all": "l", "any": "y", "uni": "u", "ballot": "b"}[mode]
    elif c.base == "match":
        mode = c.one_of(("all", "any"))
        wait, source, kinds, variant = "MATCH", c.kind, ("b32", "pred"), {"all": "l", "any": "y"}[mode]
    else:
        mode = c.one_of(("add", "and", "or", "xor", "min", "max"))
        wait, source, kinds = "REDUCE", c.kind, (c.kind,)
        letters = {"add": "+", "and": "&", "or": "|", "xor": "^", "min": "n", "max": "N"}
        variant = letters[mode].lower() if mode == "min" else letters[mode]
        if c.kind == "s32":
            variant = {"min": "m", "max": "M"}.get(mode, variant)
    c.stop(
        wait,
        f"t->in[0] = {c.read(1, source)}; t->variant = '{variant}'; t->mask = {c.read(2, 'b32')};",
        answers(c, kinds),
    )


@handles("activemask")
def active_mask(c: Context) -> None:
    """Give the thread alone: threads of a warp need not run together."""
    c.do(c.write(0, "1u << t->lane"))


@handles("mma")
def multiply(c: Context) -> None:
    shape = c.one_of(tuple({key[0] for key in MMA}))
    kind = "tf32" if c.has("tf32") else "f64"
    c.has("tf32")
    right = c.has("sync") and c.has("aligned") and c.has("row") and c.has("col")
    if not right or (shape, kind) not in MMA:
        raise c.unsupported()
    c.has(*ROUNDING)
    wait, variant, numbers, (factor, addend) = MMA[shape, kind]
    operands = [(one, factor) for one in (*c.items(1), *c.items(2))] + [(one, addend) for one in c.items(3)]
    if tuple(len(c.items(place)) for place in (1, 2, 3)) != numbers:
        raise c.unsupported("the number of operands")
    values = []
    for i, (operand, of_type) in enumerate(operands):
        bits = {"f32": "fu({})", "f64": "du({})"}.get(of_type, "{}")
        values.append(f"t->in[{i}] = {bits.format(c.read(operand, of_type))};")
    back = {"f32": "uf((u32)t->out[{}])", "f64": "ud(t->out[{}])"}[addend]
    written = [c.write(one, back.format(i), addend) for i, one in enumerate(c.items(0))]
    c.stop(wait, " ".join(values) + f" t->variant = {variant}; t->mask = 0xFFFFFFFFu;", " ".join(written))
