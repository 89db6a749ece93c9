"""A module of PTX as one text of C, and what has to be known of its kernels to launch them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ptx import arithmetic, control, logic, memory
from ptx.context import Context, Names, c_name
from ptx.counting import Counting
from ptx.errors import UnsupportedPtxError
from ptx.flow import Step, live_after
from ptx.parser import parse
from ptx.registry import HANDLERS
from ptx.syntax import Address, Function, Group, Instruction, Module, Name, Operand, Variable
from ptx.types import bits_type, c_type

TABLES = (arithmetic, control, logic, memory)
"""The modules that fill the table of instructions."""
SHARED_START = 1024
"""Where shared memory begins, as in `runtime.h`."""
DYNAMIC_ALIGNMENT = 16
LEAVING = ("ret", "exit")


@dataclass(frozen=True)
class KernelSource:
    """What a launch of a kernel needs.

    Attributes
    ----------
    name : str
        In PTX.
    number : int
        Of the C function that runs it.
    parameters : tuple of (int, int)
        Offset and size of each, bytes.
    static_shared : int
        Bytes of shared memory besides what the launch adds.
    """

    name: str
    number: int
    parameters: tuple[tuple[int, int], ...]
    static_shared: int


@dataclass(frozen=True)
class Translation:
    """C, the kernels in it, the lines of PTX that it was made of, and what is counted, if anything."""

    source: str
    kernels: tuple[KernelSource, ...]
    lines: tuple[str, ...]
    counting: Counting | None = None


def translate(text: str, *, counting: bool = False) -> Translation:
    """Return a module of PTX in C.

    Parameters
    ----------
    text : str
    counting : bool
        Whether instructions and accesses are to be counted.

    Raises
    ------
    PtxSyntaxError, UnsupportedPtxError
        If something in it is not understood; says which line.
    """
    module = parse(text)
    shared = list(_shared_variables(module))
    parts = ['#include "runtime.h"', *_statics(module)]
    counted = Counting() if counting else None
    functions = [one for one in module.functions.values() if one.body is not None]
    parts += [f"{_header(one)};" for one in functions if not one.is_kernel]
    kernels = []
    for function in functions:
        translated = _FunctionTranslator(module, function, shared, counted)
        parts.append(translated.text())
        if function.is_kernel:
            number = len(kernels)
            places, static = _layout(module, function, shared)
            kernels.append(KernelSource(function.name, number, _offsets(function.parameters), static))
            parts.append(_entry(function, number, places, static, translated))
    if counted is not None:
        parts = [*counted.sizes(), *parts, counted.table()]
    return Translation("\n".join(parts) + "\n", tuple(kernels), tuple(module.lines), counted)


def _shared_variables(module: Module) -> Iterator[Variable]:
    yield from (one for one in module.variables if one.space == "shared")
    for function in module.functions.values():
        yield from (one for one in function.variables if one.space == "shared")


def _statics(module: Module) -> Iterator[str]:
    """Yield variables in global and constant memory."""
    table = []
    for one in _static_variables(module):
        if one.linking == "extern":
            continue
        values = ", ".join(str(byte) for byte in one.initial) or "0"
        yield f"static u8 {c_name(one.name)}[{one.size}] __attribute__((aligned(256))) = {{{values}}};"
        table.append(f"{{{c_name(one.name)}, {one.size}}}")
    yield f"static Placed placed[] = {{{', '.join([*table, '{0, 0}'])}}};"
    yield f"static const int n_placed = {len(table)};"


def _static_variables(module: Module) -> Iterator[Variable]:
    places = [module.variables, *(function.variables for function in module.functions.values())]
    yield from (one for place in places for one in place if one.space in ("global", "const"))


def _offsets(parameters: list[Variable]) -> tuple[tuple[int, int], ...]:
    found, end = [], 0
    for one in parameters:
        start = -(-end // one.align) * one.align
        found.append((start, one.size))
        end = start + one.size
    return tuple(found)


def _names_in(operands: tuple[Operand, ...]) -> Iterator[str]:
    for one in operands:
        if isinstance(one, Name):
            yield one.text
        elif isinstance(one, Address) and one.base is not None:
            yield one.base.text
        elif isinstance(one, Group):
            yield from _names_in(one.items)


def _used(module: Module, function: Function, seen: set[str]) -> set[str]:
    """Return all names in a function and in what it calls."""
    seen.add(function.name)
    found = {name for one in function.body or [] for name in _names_in(one.operands)}
    for name in sorted(found & set(module.functions) - seen):
        found |= _used(module, module.functions[name], seen)
    return found


def _layout(module: Module, function: Function, shared: list[Variable]) -> tuple[list[int], int]:
    """Return the addresses of shared variables in a kernel, and how many bytes have a size."""
    used = _used(module, function, set())
    end, places = SHARED_START, [0] * len(shared)
    for i, one in enumerate(shared):
        if one.name in used and one.size:
            places[i] = -(-end // one.align) * one.align
            end = places[i] + one.size
    dynamic = -(-end // DYNAMIC_ALIGNMENT) * DYNAMIC_ALIGNMENT
    has_dynamic = False
    for i, one in enumerate(shared):
        if one.name in used and not one.size:
            has_dynamic = True
            places[i] = dynamic
    return places, (dynamic if has_dynamic else end) - SHARED_START


def _local_layout(module: Module) -> tuple[dict[str, int], int]:
    """Return where in a thread's local memory the variables of all functions are, and its size."""
    places, end = {}, 0
    for function in module.functions.values():
        for one in function.variables:
            if one.space == "local":
                places[one.name] = -(-end // one.align) * one.align
                end = places[one.name] + one.size
    return places, -(-end // 16) * 16


def _header(function: Function) -> str:
    names = [f", u8 *{c_name(one.name)}" for one in (*function.results, *function.parameters)]
    unused = ", int unused" if not names else ""
    return f"static void {c_name(function.name)}(Block *b, Thread *t{''.join(names)}{unused})"


def _entry(
    function: Function, number: int, places: list[int], static: int, translated: _FunctionTranslator
) -> str:
    name = c_name(function.name)
    table = ", ".join(f"{place}u" for place in places) or "0"
    saved = f"sizeof(Saved{name})" if translated.saved else "0"
    return (
        f"static const u32 symbols_{number}[] = {{{table}}};\n"
        f"int launch_{number}(Launch *launch) {{\n"
        f"  Kernel k = {{{name}, {saved}, {translated.local_bytes}, symbols_{number}, {static}, "
        f"sites{name}, {translated.n_sites}}};\n"
        f"  return run_launch(launch, &k);\n}}"
    )


class _FunctionTranslator:
    """Translates one kernel or function."""

    def __init__(
        self, module: Module, function: Function, shared: list[Variable], counting: Counting | None
    ) -> None:
        self._counting = counting
        self._function = function
        self._name = c_name(function.name)
        registers = {one.name: one.type for one in function.variables if one.space == "reg"}
        symbols = self._symbols(module, shared)
        self._names = Names(registers, symbols, module.functions, function.tables)
        self.local_bytes = _local_layout(module)[1]
        self.n_sites = 0
        self.saved: list[str] = []

    def text(self) -> str:
        """Return the function in C."""
        function = self._function
        steps = [self._step(one) for one in function.body or []]
        if self._counting is not None:
            self._counting.end()
        self.saved = sorted(set().union(*live_after(steps)))
        lines, n_stops = [], 0
        for step in steps:
            code = step.code
            if step.stops:
                n_stops += 1
                code = code.replace("@STOP@", f"t->state = {n_stops}; return; resume_{n_stops}:;")
            lines.append(code)
        return "\n".join([*self._opening(n_stops), *lines, *self._closing()])

    def _opening(self, n_stops: int) -> list[str]:
        registers = self._names.registers
        found = [f"static Site sites{self._name}[{max(self.n_sites, 1)}];"]
        if self._function.is_kernel:
            if self.saved:
                fields = " ".join(f"{self._c(registers[name])} {c_name(name)};" for name in self.saved)
                found.append(f"typedef struct {{ {fields} }} Saved{self._name};")
                found += [f"#define {c_name(name)} s->{c_name(name)}" for name in self.saved]
            found.append(f"static void {self._name}(Block *b, Thread *t, void *saved) {{")
            if self.saved:
                found.append(f"Saved{self._name} *s = saved;")
        else:
            found.append(f"{_header(self._function)} {{")
        found.append(f"Site *const sites = sites{self._name}; (void)sites;")
        found.append(f"enum {{ LOCAL_BYTES = {self.local_bytes} }}; u32 cc = 0; (void)cc;")
        kept = set(self.saved)
        found += [f"{self._c(kind)} {c_name(name)};" for name, kind in registers.items() if name not in kept]
        for one in self._function.variables:
            if one.space == "param":
                found.append(f"u8 {c_name(one.name)}[{one.size}] __attribute__((aligned(16)));")
        if n_stops:
            cases = " ".join(f"case {number}: goto resume_{number};" for number in range(1, n_stops + 1))
            found.append(f"switch (t->state) {{ case 0: break; {cases} }}")
        return found

    def _closing(self) -> list[str]:
        end = "t->wait = DONE;" if self._function.is_kernel else ""
        return [end, "}", *(f"#undef {c_name(name)}" for name in self.saved)]

    @staticmethod
    def _c(kind: str) -> str:
        return c_type(kind) if kind in ("f32", "f64", "pred") else bits_type(kind)

    def _symbols(self, module: Module, shared: list[Variable]) -> dict[str, tuple[str, str]]:
        function = self._function
        found = {
            one.name: (one.space, f"(u64){c_name(one.name)}")
            for one in _static_variables(module)
            if one.linking != "extern"
        }
        found |= {one.name: ("shared", f"b->symbols[{i}]") for i, one in enumerate(shared)}
        found |= {name: ("local", f"{place}u") for name, place in _local_layout(module)[0].items()}
        for one in function.variables:
            if one.space == "param":
                found[one.name] = ("param", f"(u64){c_name(one.name)}")
        for one, (offset, _) in zip(function.parameters, _offsets(function.parameters), strict=True):
            if function.is_kernel:
                found[one.name] = ("kernel", f"(u64)(b->launch->parameters + {offset})")
            else:
                found[one.name] = ("param", f"(u64){c_name(one.name)}")
        found |= {one.name: ("param", f"(u64){c_name(one.name)}") for one in function.results}
        return found

    def _step(self, instruction: Instruction) -> Step:
        if not instruction.opcode:
            if self._counting is not None:
                self._counting.end()
            return Step(code=f"{c_name(instruction.label)}:;", label=instruction.label)
        before = "" if self._counting is None else self._counting.begin(instruction)
        c = Context(instruction, self._names, self._function.is_kernel, self.n_sites, self._counting)
        handler = HANDLERS.get(c.base)
        if handler is None:
            raise c.unsupported()
        try:
            handler(c)
        except (IndexError, KeyError, ValueError, TypeError) as error:
            raise UnsupportedPtxError(
                f"line {c.line}: {instruction.opcode} is not supported ({type(error).__name__}: {error})"
            ) from error
        c.finish()
        self.n_sites += c.sites
        if instruction.predicate is not None:
            c.step.code = f"if ({c.read(instruction.predicate, 'pred')}) {{ {c.step.code} }}"
            c.step.writes.clear()
        c.step.code = f"{before}{c.step.code} /* {instruction.line} */"
        if self._counting is not None and (c.step.stops or c.step.targets or c.base in LEAVING):
            self._counting.end()
        return c.step
