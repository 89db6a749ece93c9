"""What is counted of a launch: instructions of warps, and what their accesses to memory touch.

An instruction of a warp is taken to be what its threads do at the k-th execution of an instruction since they
last waited for others: exact where a warp does not diverge, else about what threads would do that wait for
each other at the end of every branch. Instructions that are always run together (`Segment`) share one count;
one whose predicate is false is counted, for it is issued.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ptx.syntax import Instruction

CLASSES = (
    "mma", "fp64", "fp32", "special", "integer", "convert", "move", "branch", "exchange", "barrier", "global",
    "shared", "local", "atomic",
)  # fmt: skip
"""Of instructions. Of "move" (between registers, from parameters) little is left in machine code."""

SPECIAL = ("ex2", "lg2", "sin", "cos", "tanh", "rsqrt")
ARITHMETIC = (
    "add", "sub", "mul", "fma", "mad", "min", "max", "div", "rcp", "sqrt", "setp", "set", "testp", "slct",
)  # fmt: skip
OTHERS = {
    **dict.fromkeys(("mov", "cvta", "call", "isspacep", "abs", "neg", "copysign"), "move"),
    **dict.fromkeys(("bra", "brx", "ret", "exit", "trap", "brkpt"), "branch"),
    **dict.fromkeys(("bar", "barrier", "membar", "fence"), "barrier"),
    **dict.fromkeys(("shfl", "vote", "match", "redux", "activemask"), "exchange"),
    **dict.fromkeys(("atom", "red"), "atomic"),
    "cvt": "convert",
    "mma": "mma",
}
KINDS = {"ld": 0, "ldu": 0, "cp": 0, "st": 1, "atom": 2, "red": 2}
SPACES = {"global": 0, "const": 0, "shared": 1, "": 2}


def class_of(instruction: Instruction) -> str:
    """Return what an instruction counts as."""
    base, *rest = instruction.opcode.split(".")
    if base in KINDS and base not in ("atom", "red"):
        space = next((one.partition("::")[0] for one in rest if one.partition("::")[0] in SPACES), "")
        if "param" in "".join(rest):
            return "move"
        return "local" if "local" in rest else space if space == "shared" else "global"
    real = next((one for one in rest if one in ("f64", "f32")), "")
    if base in SPECIAL or (base in ("rcp", "sqrt", "div") and "approx" in rest):
        return "special"
    if base in ARITHMETIC and real:
        return f"fp{real[1:]}"
    # The sign is a bit.
    if base in ("abs", "neg") and not real:
        return "integer"
    return OTHERS.get(base, "integer")


@dataclass
class Segment:
    """Instructions that are run together, as (line, opcode, class)."""

    instructions: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Access:
    """An access in the text: its instruction and segment, what it does (`KINDS`), where (`SPACES`), bytes."""

    instruction: int
    segment: int
    kind: int
    space: int
    size: int


class Counting:
    """Enters counts into the translation of a module, and says what was counted.

    Attributes
    ----------
    segments : list of Segment
    accesses : list of Access
    """

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.accesses: list[Access] = []
        self._open = False
        self._instructions = 0

    def begin(self, instruction: Instruction) -> str:
        """Return what has to stand before an instruction."""
        code = ""
        if not self._open:
            code = f"count(t, {len(self.segments)}); "
            self.segments.append(Segment())
            self._open = True
        entry = (instruction.line, instruction.opcode, class_of(instruction))
        self.segments[-1].instructions.append(entry)
        self._instructions += 1
        return code

    def end(self) -> None:
        """Close a segment: threads may go on elsewhere, or later."""
        self._open = False

    def seen(self, base: str, space: str, size: int, address: str) -> str:
        """Return an address in C that is noted when it is used."""
        self.accesses.append(
            Access(self._instructions - 1, len(self.segments) - 1, KINDS[base], SPACES[space], size)
        )
        return f"seen(t, {len(self.accesses) - 1}, {address})"

    def sizes(self) -> Iterator[str]:
        """Yield what stands before all else in C."""
        yield "#define COUNTING"
        yield f"enum {{ N_SEGMENTS = {len(self.segments)}, N_ACCESSES = {len(self.accesses)} }};"

    def table(self) -> str:
        """Return the accesses in C."""
        rows = [f"{{{a.segment}, {a.size}, {a.kind}, {a.space}}}" for a in self.accesses]
        return f"static const Access accesses[] = {{{', '.join([*rows, '{0, 0, 0, 0}'])}}};"

    @property
    def size(self) -> int:
        """Numbers that a launch counts."""
        return len(SegmentCounts.__annotations__) * len(self.segments) + OF_AN_ACCESS * len(self.accesses)


@dataclass(frozen=True)
class SegmentCounts:
    """Of all segments.

    Attributes
    ----------
    warps, threads : (n_segments,) int64
        Executions by warps, and by their threads.
    """

    warps: NDArray[np.int64]
    threads: NDArray[np.int64]


@dataclass(frozen=True)
class AccessCounts:
    """Of all accesses, summed over warps; in the order in which they are counted.

    Attributes
    ----------
    warps, threads : (n_accesses,) int64
        Executions by warps of which a thread took part, and by threads.
    sectors : (n_accesses,) int64
        Different sectors of 32 bytes of global memory, for each execution by a warp.
    lines : (n_accesses,) int64
        128 bytes each, that the sectors of an execution would fill.
    first : (n_accesses,) int64
        Sectors that the block had not read before.
    wavefronts, least : (n_accesses,) int64
        Of shared memory, and without any conflict of banks.
    """

    warps: NDArray[np.int64]
    threads: NDArray[np.int64]
    sectors: NDArray[np.int64]
    lines: NDArray[np.int64]
    first: NDArray[np.int64]
    wavefronts: NDArray[np.int64]
    least: NDArray[np.int64]


OF_AN_ACCESS = len(AccessCounts.__annotations__)


@dataclass(frozen=True)
class Row:
    """Counts of an instruction: line, opcode, class, executions by warps and threads, what is touched."""

    line: int
    opcode: str
    kind: str
    warps: int
    threads: int
    bytes: int = 0
    sectors: int = 0
    lines: int = 0
    first: int = 0
    wavefronts: int = 0
    least: int = 0


@dataclass(frozen=True)
class Counters:
    """What was counted of a launch.

    Attributes
    ----------
    kernel : str
    blocks, threads : int
        Blocks, and threads of each.
    segments : SegmentCounts
    accesses : AccessCounts
    counting : Counting
        What they belong to.
    """

    kernel: str
    blocks: int
    threads: int
    segments: SegmentCounts
    accesses: AccessCounts
    counting: Counting

    def rows(self) -> list[Row]:
        """Return the counts by instructions, in their order in the text."""
        touched: dict[int, NDArray[np.int64]] = {}
        table = np.stack([getattr(self.accesses, name) for name in AccessCounts.__annotations__], axis=1)
        for access, found in zip(self.counting.accesses, table, strict=True):
            values = np.array([found[1] * access.size, *found[2:]])
            touched[access.instruction] = touched.get(access.instruction, 0) + values
        result: list[Row] = []
        for number, segment in enumerate(self.counting.segments):
            warps, threads = int(self.segments.warps[number]), int(self.segments.threads[number])
            for line, opcode, kind in segment.instructions:
                of_memory = (int(one) for one in touched.get(len(result), ()))
                result.append(Row(line, opcode, kind, warps, threads, *of_memory))
        return result


def counters(
    counting: Counting, kernel: str, blocks: int, threads: int, found: NDArray[np.int64]
) -> Counters:
    """Return the numbers of a launch in their order in C."""
    n_segments, n_accesses = len(counting.segments), len(counting.accesses)
    ends = 2 * n_segments
    return Counters(
        kernel,
        blocks,
        threads,
        SegmentCounts(*found[:ends].reshape(n_segments, 2).T),
        AccessCounts(*found[ends:].reshape(n_accesses, OF_AN_ACCESS).T),
        counting,
    )
