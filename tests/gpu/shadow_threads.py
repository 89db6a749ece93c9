"""Running a kernel with shadow memory: one thread after the other, from barrier to barrier.

Where a thread waits at a barrier the next one goes on, in an order that is always the same; so every run of a
defect is the same run. The threads of a kernel without barriers need no threads of the host at all but one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
from numba.core import types
from numba.np import numpy_support
from shadow_memory import Allocation, Log, ShadowArray, name_at

Place = tuple[tuple[str, int], ...]
"""Files and lines from a barrier up to the kernel."""


class AbortedError(Exception):
    """Another thread of the block has failed."""


class Worker(threading.Thread):
    """A thread of the host, that takes one thread of a block at a time."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(daemon=True)
        self.go = threading.Semaphore(0)
        self.one: BlockThread | None = None
        self._runner = runner
        self.start()

    def run(self) -> None:
        """Wait for work, for ever."""
        while True:
            self.go.acquire()
            one = self.one
            assert one is not None
            try:
                one.body()
            except AbortedError:
                pass
            except BaseException as error:
                one.error = error
            one.done = True
            self._runner.idle.append(self)
            self._runner.back.release()


class BlockThread:
    """A thread of a block."""

    def __init__(self, number: int, body: Callable[[], None]) -> None:
        self.number = number
        self.body = body
        self.worker: Worker | None = None
        self.waits_at: Place | None = None
        self.done = False
        self.error: BaseException | None = None


class Runner:
    """Runs kernels.

    Parameters
    ----------
    log : Log

    Attributes
    ----------
    backwards : bool
        Whether blocks, and threads of a block, come in the opposite order.
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        self.backwards = False
        self.idle: list[Worker] = []
        self.back = threading.Semaphore(0)
        self._aborting = False
        self._now: BlockThread | None = None

    def run(self, function: Any, grid: int, block: int, shared: int, arguments: tuple[Any, ...]) -> None:
        """Run all blocks of a launch."""
        # Only there where Numba was told to simulate.
        from numba.cuda.simulator.kernel import swapped_cuda_module

        log = self.log
        log.launch += 1
        log.kernel = function.__name__
        log.kernels.add(log.kernel)
        try:
            for number in self._order(grid):
                log.block = number
                module = KernelModule(self, grid, block, shared)
                with swapped_cuda_module(function, module):
                    self._run_block(lambda: function(*arguments), block)
        finally:
            log.kernel = "the host"

    def wait(self) -> None:
        """Wait at a barrier; called by a thread of a block."""
        one = self._now
        assert one is not None
        assert one.worker is not None
        one.waits_at = stack(sys._getframe(2))
        self.back.release()
        one.worker.go.acquire()
        if self._aborting:
            raise AbortedError
        one.waits_at = None

    def _order(self, n: int) -> range:
        return range(n - 1, -1, -1) if self.backwards else range(n)

    def _run_block(self, body: Callable[[], None], size: int) -> None:
        self.log.epoch = 0
        running = [BlockThread(number, body) for number in self._order(size)]
        while running:
            for one in running:
                self._resume(one)
                if one.error is not None:
                    self._abort(running)
                    raise one.error
            waiting = [one for one in running if not one.done]
            self._check_barrier(waiting, size)
            running = waiting
            self.log.epoch += 1

    def _check_barrier(self, waiting: list[BlockThread], size: int) -> None:
        """Report threads that wait where not all threads of their block do."""
        if not waiting:
            return
        places = sorted({one.waits_at for one in waiting if one.waits_at is not None})
        if len(waiting) < size:
            what = f"{size - len(waiting)} of {size} threads of the block have left, {len(waiting)} wait"
            self.log.add("synccheck", "barrier", what, named(places[0]))
        elif len(places) > 1:
            what = "threads of one block wait at different barriers: " + ", ".join(map(named, places))
            self.log.add("synccheck", "barrier", what, named(places[0]))

    def _resume(self, one: BlockThread) -> None:
        self._now = one
        self.log.thread = one.number
        if one.worker is None:
            one.worker = self.idle.pop() if self.idle else Worker(self)
            one.worker.one = one
        one.worker.go.release()
        self.back.acquire()

    def _abort(self, running: list[BlockThread]) -> None:
        self._aborting = True
        for one in running:
            if one.worker is not None and not one.done:
                self._resume(one)
        self._aborting = False


def stack(frame: FrameType | None) -> Place:
    """Return files and lines from the caller of a barrier up to the kernel."""
    found = []
    while frame is not None and frame.f_code.co_filename != __file__:
        found.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def named(place: Place) -> str:
    """Return the line of a barrier, and those that called the function it is in."""
    return " from ".join(f"{file.rpartition('/')[2]}:{line}" for file, line in place)


class KernelModule:
    """What the name `cuda` means within a kernel, for one block."""

    def __init__(self, runner: Runner, grid: int, block: int, shared: int) -> None:
        self._runner = runner
        self._dynamic = shared
        self._arrays: dict[Any, ShadowArray] = {}
        self._votes: dict[int, bool] = {}
        self.gridDim = SimpleNamespace(x=grid, y=1, z=1)
        self.blockDim = SimpleNamespace(x=block, y=1, z=1)
        self.blockIdx = SimpleNamespace(x=runner.log.block, y=0, z=0)
        self.shared = SimpleNamespace(array=self._shared_array)
        self.local = SimpleNamespace(array=self._local_array)
        self.const = SimpleNamespace(array_like=lambda array: array)
        self.atomic = Atomics()

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(
            f"cuda.{name} is not known to the shadow checker: tests/gpu/shadow_threads.py"
        )

    @property
    def threadIdx(self) -> SimpleNamespace:
        """Of the thread that runs now."""
        return SimpleNamespace(x=self._runner.log.thread, y=0, z=0)

    def grid(self, dimensions: int) -> int:
        """As of CUDA, in one dimension."""
        assert dimensions == 1
        return self.blockIdx.x * self.blockDim.x + self._runner.log.thread

    def gridsize(self, dimensions: int) -> int:
        """As of CUDA, in one dimension."""
        assert dimensions == 1
        return self.gridDim.x * self.blockDim.x

    def syncthreads(self) -> None:
        """Wait for all threads of the block."""
        self._runner.wait()

    def syncthreads_or(self, predicate: Any) -> int:
        """Wait for all threads of the block; return whether `predicate` is true in any of them."""
        epoch = self._runner.log.epoch
        self._votes[epoch] = self._votes.get(epoch, False) or bool(predicate)
        self._runner.wait()
        return int(self._votes[epoch])

    def popc(self, value: Any) -> int:
        """Return the number of bits that are set."""
        return int(value).bit_count()

    def _shared_array(self, shape: Any, dtype: Any) -> ShadowArray:
        """Return the array of this line; one array in every block, or all dynamic memory for shape 0."""
        caller = sys._getframe(1)
        # All dynamic arrays are the same memory, whatever line asks for it.
        key: Any = "dynamic" if shape == 0 else (caller.f_code.co_filename, caller.f_lineno)
        kind = as_dtype(dtype)
        if key not in self._arrays:
            if shape == 0:
                shape = self._dynamic // kind.itemsize
            name = name_at(caller.f_code.co_filename, caller.f_lineno)
            self._arrays[key] = new_array(shape, kind, name, self._runner.log)
        found = self._arrays[key]
        if found.dtype != kind:
            raise NotImplementedError("dynamic shared memory of two types is not followed")
        return found

    def _local_array(self, shape: Any, dtype: Any) -> ShadowArray:
        """Return memory of this thread alone."""
        caller = sys._getframe(1)
        name = name_at(caller.f_code.co_filename, caller.f_lineno)
        return new_array(shape, as_dtype(dtype), name, self._runner.log)


def new_array(shape: Any, dtype: np.dtype[Any], name: str, log: Log) -> ShadowArray:
    """Return memory that nobody has written."""
    raw = poisoned(shape, dtype)
    return ShadowArray(
        raw, Allocation(raw.size, dtype.itemsize, raw.__array_interface__["data"][0]), name, log
    )


def poisoned(shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """Return an array of what nobody expects."""
    raw = np.empty(shape, dtype)
    poison(raw)
    return raw


def poison(raw: np.ndarray[Any, Any]) -> None:
    """Fill an array with what nobody expects."""
    raw[...] = np.array(np.nan if raw.dtype.kind == "f" else -9).astype(raw.dtype)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """Return NumPy's type for Numba's."""
    return numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else np.dtype(dtype)


class Atomics:
    """The atomic operations that kernels use."""

    def add(self, array: ShadowArray, index: Any, value: Any) -> Any:
        """Add; return the old value, as all of these."""
        return array.change(index, lambda old: old + value)

    def max(self, array: ShadowArray, index: Any, value: Any) -> Any:
        """Take the larger."""
        return array.change(index, lambda old: max(old, value))

    def min(self, array: ShadowArray, index: Any, value: Any) -> Any:
        """Take the smaller."""
        return array.change(index, lambda old: min(old, value))

    def or_(self, array: ShadowArray, index: Any, value: Any) -> Any:
        """Set bits."""
        return array.change(index, lambda old: old | value)

    def exch(self, array: ShadowArray, index: Any, value: Any) -> Any:
        """Put another value."""
        return array.change(index, lambda old: value)
