"""Shadow memory: for every element of an array, whether it was ever written and who touched it when.

Threads of one block are ordered by barriers only, threads of different blocks by nothing within a launch. So
two touches of an element are a race where they come from different threads, one of them at least writes, not
both are atomic, and they are of different blocks or of the same *epoch*, the time between two barriers.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

READ, WRITE, ATOMIC = 1, 2, 4
KINDS = {READ: "read", WRITE: "write", ATOMIC: "atomic operation"}
NOBODY, SEVERAL = -1, -2

HERE = tuple(
    str(Path(__file__).with_name(f"{name}.py")) for name in ("shadow_memory", "shadow_threads", "shadow")
)

Elements = tuple[str, str, int | None]
"""Of an array in a kernel: the names of both, and the first index (None: any)."""


@dataclass(frozen=True)
class Report:
    """A defect.

    Attributes
    ----------
    check : {"memcheck", "racecheck", "initcheck", "synccheck"}
        As the tools of compute-sanitizer.
    kernel, array : str
    place : str
        File and line.
    what : str
    """

    check: str
    kernel: str
    array: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {self.kernel}, {self.array}, at {self.place}: {self.what}"


class OutOfBoundsError(Exception):
    """There is nothing to go on with."""


@dataclass
class Log:
    """What was found, and where execution is.

    Attributes
    ----------
    reports : list of Report
        The first of each kind, kernel, array and line.
    launch, block, thread, epoch : int
        Of what runs now.
    same_value : set of (kernel, array, first index)
        Elements that several threads may write at once, because all of them write the same.
    either_value : set of (kernel, array, first index)
        Elements that threads may read while others change them atomically: what follows must not depend on
        whether the change is seen.
    late : bool
        Whether these are read as they were before the launch.
    used : set
        Exceptions that were made use of.
    kernels : set of str
        Kernels that were run.
    """

    reports: list[Report] = field(default_factory=list)
    kernel: str = "the host"
    launch: int = 0
    block: int = 0
    thread: int = 0
    epoch: int = 0
    same_value: set[Elements] = field(default_factory=set)
    either_value: set[Elements] = field(default_factory=set)
    late: bool = False
    used: set[Elements] = field(default_factory=set)
    kernels: set[str] = field(default_factory=set)
    _seen: set[tuple[str, str, str, str]] = field(default_factory=set)

    def add(self, check: str, array: str, what: str, place: str = "") -> None:
        """Report something, about the line of a kernel or of the host that runs now, or about `place`."""
        report = Report(check, self.kernel, array, place or place_of(sys._getframe(1)), what)
        key = (check, self.kernel, array, report.place)
        if key not in self._seen:
            self._seen.add(key)
            self.reports.append(report)

    def exception(self, table: set[Elements], array: str, first: int) -> bool:
        """Whether an element is in a table of exceptions."""
        for entry in ((self.kernel, array, first), (self.kernel, array, None)):
            if entry in table:
                self.used.add(entry)
                return True
        return False

    def forget(self) -> None:
        """Begin anew."""
        self.reports.clear()
        self._seen.clear()


def place_of(frame: FrameType | None) -> str:
    """Return file and line of the nearest caller outside of the checker."""
    while frame is not None and frame.f_code.co_filename in HERE:
        frame = frame.f_back
    return "?" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def name_at(file: str, line: int) -> str:
    """Return the name that a line assigns to."""
    return linecache.getline(file, line).partition("=")[0].strip() or f"line {line}"


def text(index: tuple[Any, ...]) -> str:
    """Return an index in brackets, without the names of NumPy's types."""
    return f"({', '.join(map(str, index))})"


class Touches:
    """Who touched an element in this launch: in this epoch of the block, before it, in other blocks."""

    __slots__ = (
        "atomics",
        "before",
        "block",
        "changers",
        "epoch",
        "foreign",
        "mine",
        "raced",
        "reader",
        "value",
        "writer",
    )

    def __init__(self, block: int, epoch: int) -> None:
        self.block = block
        self.epoch = epoch
        self.reader = self.writer = self.atomics = NOBODY
        self.mine = self.foreign = 0
        self.raced = False
        self.value: Any = None
        self.before: Any = None
        self.changers: set[tuple[int, int]] = set()


class Allocation:
    """Shadow of one piece of memory.

    Parameters
    ----------
    size : int
        Elements.
    itemsize : int
        Bytes of one.
    address : int
        Of the first.
    """

    def __init__(self, size: int, itemsize: int, address: int, written: bool = False) -> None:
        self.itemsize = itemsize
        self.address = address
        self.written = np.full(size, written)
        self.touches: dict[int, Touches] = {}
        self.launch = -1

    def first(self, raw: NDArray[Any]) -> int:
        """Return the element that a view begins with."""
        return (raw.__array_interface__["data"][0] - self.address) // self.itemsize

    def strides(self, raw: NDArray[Any]) -> tuple[int, ...]:
        """Return the strides of a view in elements."""
        if raw.dtype.itemsize != self.itemsize:
            raise NotImplementedError("views of numbers of another size are not followed in shadow memory")
        return tuple(stride // self.itemsize for stride in raw.strides)

    def written_of(self, raw: NDArray[Any]) -> NDArray[np.bool_]:
        """Return the marks of a view, in its shape."""
        return as_strided(self.written[self.first(raw) :], raw.shape, self.strides(raw))


class ShadowArray:
    """What a kernel sees of an array: its elements, one at a time.

    Parameters
    ----------
    raw : array
    allocation : Allocation
    name : str
        In the kernel.
    log : Log
    """

    def __init__(self, raw: NDArray[Any], allocation: Allocation, name: str, log: Log) -> None:
        self.shape = tuple(raw.shape)
        self.dtype = raw.dtype
        self.ndim = raw.ndim
        self.size = raw.size
        self._raw = raw
        self._allocation = allocation
        self._first = allocation.first(raw)
        self._strides = allocation.strides(raw)
        self._name = name
        self._log = log

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        for i in range(self.shape[0]):
            yield self[i]

    def __getitem__(self, index: Any) -> Any:
        place, cell = self._place(index)
        if not self._allocation.written[cell]:
            self._log.add("initcheck", self._name, f"{text(place)} is read, which nobody has written")
        touches = self._touch(cell, READ, place)
        log = self._log
        if log.late and touches.raced and (log.block, log.thread) not in touches.changers:
            return touches.before
        return self._raw[place]

    def __setitem__(self, index: Any, value: Any) -> None:
        place, cell = self._place(index)
        self._raw[place] = value
        self._allocation.written[cell] = True
        self._touch(cell, WRITE, place)

    def change(self, index: Any, operation: Callable[[Any], Any]) -> Any:
        """Change an element atomically; return what it was before."""
        place, cell = self._place(index)
        if not self._allocation.written[cell]:
            self._log.add("initcheck", self._name, f"{text(place)} is changed, which nobody has written")
        touches = self._touch(cell, ATOMIC, place)
        before = self._raw[place]
        if touches.before is None:
            touches.before = before
        touches.changers.add((self._log.block, self._log.thread))
        self._raw[place] = operation(before)
        return before

    def _place(self, index: Any) -> tuple[tuple[int, ...], int]:
        """Return a checked index and the number of the element in the allocation."""
        indices = index if isinstance(index, tuple) else (index,)
        if len(indices) != self.ndim:
            raise NotImplementedError(
                f"{self._name}[{index}] is no element of an array of {self.ndim} dimensions"
            )
        cell = self._first
        for i, n, stride in zip(indices, self.shape, self._strides, strict=True):
            if not isinstance(i, (int, np.integer)) or isinstance(i, bool):
                self._fail(f"index {text(indices)} is no integer")
            if i < 0 or i >= n:
                self._fail(f"index {text(indices)} is outside of shape {self.shape}")
            cell += int(i) * stride
        return indices, cell

    def _fail(self, what: str) -> None:
        self._log.add("memcheck", self._name, what)
        raise OutOfBoundsError(f"{self._log.kernel}, {self._name}: {what}")

    def _touch(self, cell: int, kind: int, place: tuple[int, ...]) -> Touches:
        """Note a touch, and report a race with those before."""
        log, allocation = self._log, self._allocation
        if allocation.launch != log.launch:
            allocation.launch = log.launch
            allocation.touches = {}
        block, thread = log.block, log.thread
        touches = allocation.touches.get(cell)
        if touches is None:
            touches = allocation.touches[cell] = Touches(block, log.epoch)
        elif touches.block != block:
            touches.foreign |= touches.mine
            touches.mine = 0
            touches.block, touches.epoch = block, log.epoch
            touches.reader = touches.writer = touches.atomics = NOBODY
        elif touches.epoch != log.epoch:
            touches.epoch = log.epoch
            touches.reader = touches.writer = touches.atomics = NOBODY
        here = touches.foreign
        if touches.reader not in (NOBODY, thread):
            here |= READ
        if touches.writer not in (NOBODY, thread):
            here |= WRITE
        if touches.atomics not in (NOBODY, thread):
            here |= ATOMIC
        others = here & (WRITE | ATOMIC if kind == READ else READ | WRITE if kind == ATOMIC else 7)
        touches.raced = others == ATOMIC
        touches.mine |= kind
        if kind == READ:
            touches.reader = thread if touches.reader in (NOBODY, thread) else SEVERAL
        elif kind == ATOMIC:
            touches.atomics = thread if touches.atomics in (NOBODY, thread) else SEVERAL
        else:
            touches.writer = thread if touches.writer in (NOBODY, thread) else SEVERAL
        if others and not self._allowed(touches, kind, others, place):
            names = " and ".join(name for bit, name in KINDS.items() if others & bit)
            whose = (
                "of another block" if touches.foreign & others else "of another thread since the last barrier"
            )
            log.add("racecheck", self._name, f"{KINDS[kind]} of {text(place)} against {names} {whose}")
        if kind == WRITE:
            touches.value = self._raw[place]
        return touches

    def _allowed(self, touches: Touches, kind: int, others: int, place: tuple[int, ...]) -> bool:
        log = self._log
        if kind == WRITE and others == WRITE:
            same = touches.value == self._raw[place]
            return bool(same) and log.exception(log.same_value, self._name, int(place[0]))
        if {kind, others} == {READ, ATOMIC}:
            return log.exception(log.either_value, self._name, int(place[0]))
        return False
