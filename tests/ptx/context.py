"""What the translation of one instruction sees: operands in C, and what is read and written."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ptx.counting import Counting
from ptx.errors import UnsupportedPtxError
from ptx.flow import Step
from ptx.syntax import SIZES, Address, Function, Group, Instruction, Name, Number, Operand
from ptx.types import bits_type, c_type, is_float, literal

AXES = {"x": 0, "y": 1, "z": 2}
UNKNOWN_KINDS = ("f16", "bf16", "f16x2", "b128")
OF_SEVERAL_KINDS = ("cvt", "slct", "set", "mma")
INDICES = {"tid": "t->tid", "ntid": "b->launch->block", "ctaid": "b->ctaid", "nctaid": "b->launch->grid"}
SPECIAL = {
    "%laneid": "t->lane", "%warpid": "t->warp", "%nwarpid": "((b->n_threads + 31) / 32)",
    "%lanemask_eq": "(1u << t->lane)", "%lanemask_lt": "((1u << t->lane) - 1)",
    "%lanemask_le": "((2u << t->lane) - 1)", "%lanemask_gt": "~((2u << t->lane) - 1)",
    "%lanemask_ge": "~((1u << t->lane) - 1)", "%smid": "0u", "%nsmid": "1u", "%gridid": "0u",
    "%clock": "0u", "%clock_hi": "0u", "%clock64": "0ull", "%globaltimer": "0ull",
    "%total_smem_size": "((u32)b->launch->shared_bytes)",
    "%dynamic_smem_size": "((u32)b->launch->shared_bytes - b->static_bytes)",
}  # fmt: skip


def c_name(name: str) -> str:
    """Return a name of PTX as one of C."""
    return "_" + re.sub(r"\W", lambda found: "_p" if found[0] == "%" else "_", name)


class Names:
    """Everything that a function can name.

    Attributes
    ----------
    registers : dict of str to str
        Their types.
    symbols : dict of str to (str, str)
        Space and address in C of what is in memory.
    functions : dict of str to Function
    tables : dict of str to tuple of str
        Labels of branches by a number.
    """

    def __init__(
        self,
        registers: dict[str, str],
        symbols: dict[str, tuple[str, str]],
        functions: dict[str, Function],
        tables: dict[str, tuple[str, ...]],
    ) -> None:
        self.registers = registers
        self.symbols = symbols
        self.functions = functions
        self.tables = tables


class Context:
    """One instruction.

    Attributes
    ----------
    line : int
    base : str
        First part of the opcode.
    kinds : tuple of str
        Its types.
    operands : tuple of Operand
    step : Step
        Under way.
    in_kernel : bool
        And not in a function, in which a thread cannot stop.
    """

    def __init__(
        self,
        instruction: Instruction,
        names: Names,
        in_kernel: bool,
        site: int,
        counting: Counting | None = None,
    ) -> None:
        self._counting = counting
        parts = instruction.opcode.split(".")
        self.instruction = instruction
        self.line = instruction.line
        self.base = parts[0]
        self.kinds = tuple(part for part in parts[1:] if part in SIZES)
        self._left = [part for part in parts[1:] if part not in SIZES]
        self.operands = instruction.operands
        self.names = names
        self.in_kernel = in_kernel
        self.site = site
        self.step = Step()
        self.sites = 0

    def unsupported(self, what: str = "") -> UnsupportedPtxError:
        """Return the error of an instruction that is not known."""
        note = f" ({what})" if what else ""
        return UnsupportedPtxError(f"line {self.line}: {self.instruction.opcode} is not supported{note}")

    @property
    def kind(self) -> str:
        """The last type."""
        if not self.kinds:
            raise self.unsupported("it has no type")
        return self.kinds[-1]

    def has(self, *names: str) -> bool:
        """Whether one of these modifiers is there; it is then done with."""
        found = [name for name in names if name in self._left]
        for name in found:
            self._left.remove(name)
        return bool(found)

    def one_of(self, names: Mapping[str, str] | tuple[str, ...], default: str = "") -> str:
        """Return which of these modifiers is there."""
        for name in names:
            if self.has(name):
                return name
        return default

    def finish(self) -> None:
        """Raise if there are modifiers that nobody asked for."""
        if self._left:
            raise self.unsupported("." + ".".join(self._left))
        if any(kind in UNKNOWN_KINDS for kind in self.kinds):
            raise self.unsupported("its type")
        if len(self.kinds) > 1 and self.base not in OF_SEVERAL_KINDS:
            raise self.unsupported("of several types")

    def seen(self, space: str, address: str, size: int, base: str = "") -> str:
        """Return an address in C, noted if that is wanted; `base` is what is done there, as an opcode."""
        if self._counting is None:
            return address
        return self._counting.seen(base or self.base, space, size, address)

    def new_site(self) -> str:
        """Return the place of an access to memory in the table of what was found there before."""
        found = f"&sites[{self.site + self.sites}]"
        self.sites += 1
        return found

    def read(self, operand: Operand | int, kind: str | None = None) -> str:
        """Return the value of an operand as one of a type, by default the instruction's."""
        if isinstance(operand, int):
            operand = self.operands[operand]
        kind = self.kind if kind is None else kind
        if isinstance(operand, Number):
            return self._constant(operand, kind)
        if isinstance(operand, Address) and operand.base is not None:
            return f"({c_type(kind)})({self.read(operand.base, kind)} + {operand.offset})"
        if not isinstance(operand, Name):
            raise self.unsupported(f"an operand {operand}")
        name = operand.text
        if name in self.names.registers:
            self.step.reads.add(name)
            return self._register(name, kind, operand.inverted)
        if name in self.names.symbols:
            return f"(({c_type(kind)}){self.names.symbols[name][1]})"
        found = self.special(name)
        if found is None:
            raise self.unsupported(f"the name {name} is not known")
        return f"(({c_type(kind)}){found})"

    def special(self, name: str) -> str | None:
        """Return the value of a special register, or None."""
        if name == "WARP_SZ":
            return "32u"
        match = re.fullmatch(r"%(tid|ntid|ctaid|nctaid)\.([xyz])", name)
        if match:
            return f"{INDICES[match[1]]}[{AXES[match[2]]}]"
        return SPECIAL.get(name)

    def _constant(self, number: Number, kind: str) -> str:
        if kind == "pred":
            return str(int(number.value != 0))
        if number.size == 8 and kind == "f32":
            return f"((f32){literal(number.value, 'f64')})"
        if number.size == 4 and kind == "f64":
            return f"((f64){literal(number.value, 'f32')})"
        if not number.size and is_float(kind):
            return f"(({kind}){number.value})"
        return literal(number.value, kind)

    def _register(self, name: str, kind: str, inverted: bool) -> str:
        declared, value = self.names.registers[name], c_name(name)
        if kind == "pred" or declared == "pred":
            if declared != kind:
                raise self.unsupported(f"{name} as {kind}")
            return f"(!{value})" if inverted else value
        if declared == kind and is_float(kind):
            return value
        bits = {"f32": f"fu({value})", "f64": f"du({value})"}.get(declared, value)
        if is_float(kind):
            if SIZES[declared] < SIZES[kind]:
                raise self.unsupported(f"{name} is too small for {kind}")
            return f"{'uf' if kind == 'f32' else 'ud'}(({bits_type(kind)}){bits})"
        return f"(({c_type(kind)}){bits})"

    def write(self, operand: Operand | int, value: str, kind: str | None = None) -> str:
        """Return the statement that puts a value of a type in a register, extended by the type's sign."""
        if isinstance(operand, int):
            operand = self.operands[operand]
        kind = self.kind if kind is None else kind
        if not isinstance(operand, Name):
            raise self.unsupported(f"a target {operand}")
        name = operand.text
        if name == "_":
            return ""
        if name not in self.names.registers:
            raise self.unsupported(f"the register {name} is not known")
        declared = self.names.registers[name]
        if (declared == "pred") != (kind == "pred") or SIZES[declared] < SIZES[kind]:
            raise self.unsupported(f"{name} of type {declared} takes no {kind}")
        self.step.writes.add(name)
        if declared == "pred":
            return f"{c_name(name)} = ({value}) != 0;"
        if is_float(kind) and declared != kind:
            value = f"{'fu' if kind == 'f32' else 'du'}({value})"
        elif kind[0] == "s":
            value = f"({c_type(kind)})({value})"
            if SIZES[declared] > SIZES[kind]:
                value = f"(s{8 * SIZES[declared]}){value}"
        elif not is_float(kind):
            value = f"({c_type(kind)})({value})"
        if is_float(declared) and declared != kind:
            value = f"{'uf' if declared == 'f32' else 'ud'}(({bits_type(declared)})({value}))"
        return f"{c_name(name)} = {value};"

    def items(self, place: int) -> tuple[Operand, ...]:
        """Return the operands within a group, or the one that there is."""
        operand = self.operands[place]
        return operand.items if isinstance(operand, Group) else (operand,)

    def do(self, code: str) -> None:
        """Add a statement."""
        self.step.code += code + " "

    def stop(self, wait: str, code: str, after: str) -> None:
        """Let the thread wait for others: `code` before that, `after` when it goes on."""
        if not self.in_kernel:
            raise self.unsupported("within a function that is called")
        self.step.stops = True
        self.do(f"{code} t->wait = {wait}; t->line = {self.line}; @STOP@ {after}")
