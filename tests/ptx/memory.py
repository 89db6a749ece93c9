"""Loads, stores, atomic operations and asynchronous copies."""

from __future__ import annotations

from ptx.context import Context
from ptx.registry import handles
from ptx.syntax import SIZES, Address, Name, Number, Operand
from ptx.types import c_type, is_float

SPACES = ("param", "param::entry", "param::func", "global", "shared", "shared::cta", "local", "const")
ORDERS = ("volatile", "relaxed", "acquire", "release", "acq_rel", "weak", "mmio")
SCOPES = ("cta", "gpu", "sys", "cluster")
CACHES = (
    "nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::no_allocate", "L1::evict_first", "L1::evict_last",
    "L1::evict_normal", "L1::evict_unchanged", "L2::64B", "L2::128B", "L2::256B",
)  # fmt: skip
LARGEST_COPY = 16
"""Bytes of an asynchronous copy."""
ATOMIC = {
    "add": "o_ + x_", "min": "MIN(o_, x_)", "max": "MAX(o_, x_)", "and": "o_ & x_", "or": "o_ | x_",
    "xor": "o_ ^ x_", "exch": "x_", "cas": "o_ == x_ ? y_ : o_", "inc": "o_ >= x_ ? 0 : o_ + 1",
    "dec": "o_ == 0 || o_ > x_ ? x_ : o_ - 1",
}  # fmt: skip


def space_of(c: Context) -> str:
    """Return the space of an access, and take what says how it is cached and ordered as read."""
    space = c.one_of(SPACES).partition("::")[0]
    c.has(*ORDERS), c.has(*SCOPES), c.has(*CACHES)
    return space


def address_of(c: Context, operand: Operand) -> tuple[str, str]:
    """Return an address as a number in C, and the space of the variable that it begins with."""
    if not isinstance(operand, Address):
        raise c.unsupported(f"{operand} is no address")
    if operand.base is None:
        return f"((u64){operand.offset}ull)", ""
    name = operand.base.text
    space = c.names.symbols[name][0] if name in c.names.symbols else ""
    return f"({c.read(operand.base, 'u64')} + (u64){operand.offset}ll)", space


def place(c: Context, space: str, address: str, size: int) -> str:
    """Return a checked address in C of memory."""
    tail = f"{address if space == 'local' else c.seen(space, address, size)}, {size}, {c.line}"
    if space == "shared":
        return f"shared_at(b, {c.new_site()}, {tail})"
    if space == "local":
        return f"local_at(b, t, LOCAL_BYTES, {tail})"
    if space in ("global", "const"):
        return f"global_at(b, {c.new_site()}, {tail})"
    if space == "":
        return f"generic_at(b, t, {c.new_site()}, LOCAL_BYTES, {tail})"
    raise c.unsupported(f"in space {space}")


def parameter(c: Context, operand: Operand, size: int) -> str:
    """Return the address in C of a parameter."""
    address, space = address_of(c, operand)
    if space == "param":
        return f"(void *){address}"
    return f"(void *)parameter_at(b, {address}, {size}, {c.line})"


def vector(c: Context) -> int:
    """Return how many numbers are moved at once."""
    return int(c.one_of(("v2", "v4", "v8"), "v1")[1])


@handles("ld", "ldu")
def load(c: Context) -> None:
    space, number, kind = space_of(c), vector(c), c.kind
    size = SIZES[kind] * number
    if space == "param":
        where = parameter(c, c.operands[1], size)
    else:
        where = place(c, space, address_of(c, c.operands[1])[0], size)
    c.do(f"{{ {c_type(kind)} v_[{number}]; memcpy(v_, {where}, {size});")
    for i, target in enumerate(c.items(0)):
        c.do(c.write(target, f"v_[{i}]"))
    c.do("}")


@handles("st")
def store(c: Context) -> None:
    space, number, kind = space_of(c), vector(c), c.kind
    size = SIZES[kind] * number
    values = [c.read(one) for one in c.items(1)]
    if space == "param":
        where = parameter(c, c.operands[0], size)
    else:
        where = place(c, space, address_of(c, c.operands[0])[0], size)
    c.do(f"{{ {c_type(kind)} v_[{number}] = {{{', '.join(values)}}}; memcpy({where}, v_, {size}); }}")


@handles("atom", "red")
def atomic(c: Context) -> None:
    operation = c.one_of(ATOMIC)
    space = c.one_of(("global", "shared", "shared::cta")).partition("::")[0]
    c.has(*ORDERS), c.has(*SCOPES), c.has("noftz")
    first = 1 if c.base == "atom" else 0
    kind, size = c.kind, SIZES[c.kind]
    if not operation or size not in (4, 8) or (is_float(kind) and operation not in ("add", "exch")):
        raise c.unsupported()
    where = place(c, space, address_of(c, c.operands[first])[0], size)
    of_type, x = c_type(kind), c.read(first + 1)
    y = f"{of_type} y_ = {c.read(first + 2)};" if operation == "cas" else ""
    c.do(f"{{ {of_type} *p_ = {where}; {of_type} o_ = *p_, x_ = {x}; {y} *p_ = {ATOMIC[operation]};")
    if c.base == "atom":
        c.do(c.write(0, "o_"))
    c.do("(void)x_; }")


@handles("membar", "fence", "prefetch", "prefetchu", "nanosleep", "griddepcontrol")
def nothing(c: Context) -> None:
    """Do nothing: one thread runs at a time, and all see what it does."""
    c.has("sc", "acq_rel", "proxy", "async", "alias", "mbarrier_init", "acquire", "release")
    c.has("gl", *SCOPES)
    c.has("global", "local", "L1", "L2", "L2::evict_last", "L2::evict_normal", "wait", "launch_dependents")
    if c.kinds:
        _ = c.kind


@handles("cp")
def copy(c: Context) -> None:
    if not c.has("async"):
        raise c.unsupported()
    if c.has("commit_group"):
        c.do("close_group(b, t);")
        return
    if c.has("wait_group"):
        c.do(f"wait_groups(b, t, {c.read(0, 'u32')});")
        return
    if c.has("wait_all"):
        c.do("wait_all(b, t);")
        return
    c.has("ca", "cg"), c.has(*CACHES)
    if not c.has("shared", "shared::cta") or not c.has("global"):
        raise c.unsupported()
    size = c.read(2, "u32")
    moved = c.operands[2].value if isinstance(c.operands[2], Number) else LARGEST_COPY
    to = c.seen("shared", address_of(c, c.operands[0])[0], moved, "st")
    source = c.seen("global", address_of(c, c.operands[1])[0], moved)
    read = size
    if len(c.operands) > 3:
        last = c.operands[3]
        ignored = isinstance(last, Name) and c.names.registers.get(last.text) == "pred"
        read = f"({c.read(last, 'pred')} ? 0 : {size})" if ignored else c.read(last, "u32")
    c.do(f"copy_later(b, t, {c.new_site()}, {to}, {source}, {size}, {read}, {c.line});")
