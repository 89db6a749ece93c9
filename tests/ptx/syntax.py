"""PTX as text taken apart: variables, functions, instructions with their operands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ptx.errors import PtxSyntaxError

TOKENS = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<string>"[^"]*")
    |(?P<float>0[fF][0-9a-fA-F]{8}\b|0[dD][0-9a-fA-F]{16}\b|\d+\.\d+(?:[eE][+-]?\d+)?)
    |(?P<integer>(?:0[xX][0-9a-fA-F]+|\d+)U?\b)
    |(?P<name>[%.]?[A-Za-z_$][\w$]*(?:\.[\w$]+(?:::[\w$]+)*)*)
    |(?P<mark>[{}()\[\],;:|!@<>=+\-*])""",
    re.VERBOSE | re.DOTALL,
)
SIZES = {
    **{f"{kind}{bits}": bits // 8 for kind in "bsu" for bits in (8, 16, 32, 64)},
    "f16": 2, "bf16": 2, "f16x2": 4, "f32": 4, "f64": 8, "pred": 1, "b128": 16,
}  # fmt: skip
SPACES = ("reg", "param", "shared", "local", "global", "const")
LINKING = ("visible", "extern", "weak", "common")
IGNORED_LINES = ("version", "target", "address_size", "file", "loc", "pragma", "section")
TUNING = ("maxntid", "reqntid", "minnctapersm", "maxnreg", "noreturn", "maxclusterrank", "explicitcluster")


@dataclass(frozen=True)
class Token:
    """A word, with its kind and its line."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Name:
    """A register, special register, variable or label; `inverted` of a predicate with `!`."""

    text: str
    inverted: bool = False


@dataclass(frozen=True)
class Number:
    """An immediate: an integer, or the bits of a floating-point number of `size` bytes."""

    value: int
    size: int = 0


@dataclass(frozen=True)
class Address:
    """`[base + offset]`; without a base, an absolute address."""

    base: Name | None
    offset: int


@dataclass(frozen=True)
class Group:
    """Several operands: `{a, b}`, `(a, b)`, or `p|q`."""

    kind: str
    items: tuple[Operand, ...]


Operand = Name | Number | Address | Group


@dataclass(frozen=True)
class Variable:
    """Of any space; `size` bytes, none for what is declared without a size."""

    space: str
    type: str
    align: int
    name: str
    size: int
    initial: bytes = b""
    linking: str = ""


@dataclass(frozen=True)
class Instruction:
    """An instruction, or a label if `opcode` is empty; `predicate` of `@p` or `@!p`."""

    line: int
    opcode: str
    operands: tuple[Operand, ...] = ()
    predicate: Name | None = None
    label: str = ""


@dataclass
class Function:
    """A kernel or a function.

    Attributes
    ----------
    variables : list of Variable
        Of the body: registers, shared and local memory, parameters of calls.
    tables : dict of str to tuple of str
        Labels of `.branchtargets`.
    """

    name: str
    is_kernel: bool
    parameters: list[Variable]
    results: list[Variable]
    body: list[Instruction] | None = None
    variables: list[Variable] = field(default_factory=list)
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class Module:
    """All of a text."""

    variables: list[Variable]
    functions: dict[str, Function]
    lines: list[str]


def tokens_of(text: str) -> Iterator[Token]:
    """Yield all words of a text."""
    place, line = 0, 1
    while place < len(text):
        found = TOKENS.match(text, place)
        if found is None:
            raise PtxSyntaxError(f"line {line}: {text[place : place + 20]!r} is not PTX")
        kind = found.lastgroup or ""
        if kind != "space":
            yield Token(kind, found[0], line)
        line += found[0].count("\n")
        place = found.end()


def integer(text: str) -> int:
    """Return the value of an integer of PTX."""
    return int(text.rstrip("U"), 0) if not re.fullmatch(r"0\d+U?", text) else int(text.rstrip("U"), 8)
