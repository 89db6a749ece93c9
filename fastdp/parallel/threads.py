"""How many threads kernels use: the cores that this process may run on, not those of the machine."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastdp.errors import InputError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def available_threads() -> int:
    """Return the number of cores in this process's CPU affinity, or of the machine where there is none."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_threads(threads: int | None) -> int:
    """Return the number of threads to use.

    Parameters
    ----------
    threads : int or None
        What the user asks for; None is every core that this process may run on.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If more threads are asked for than this process may use.
    """
    import numba

    largest = min(available_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    chosen = largest if threads is None else threads
    if not 1 <= chosen <= largest:
        raise InputError(
            f"{chosen} threads are asked for, but this process may use 1 to {largest} "
            "(its CPU affinity, or NUMBA_NUM_THREADS); see [parallel] threads and --threads"
        )
    return chosen


@contextmanager
def thread_limits(threads: int | None = None) -> Iterator[int]:
    """Give the kernels `threads` threads, and BLAS one in each of them, until the context ends.

    Parameters
    ----------
    threads : int, optional
        See `choose_threads`.

    Yields
    ------
    int
        The number of threads in use.

    Raises
    ------
    InputError
        If more threads are asked for than this process may use.
    """
    import numba

    chosen = choose_threads(threads)
    before = numba.get_num_threads()
    numba.set_num_threads(chosen)
    try:
        with one_blas_thread():
            yield chosen
    finally:
        numba.set_num_threads(before)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread until the context ends: its threads would compete with those of the kernels."""
    with _blas_controller().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _blas_controller() -> ThreadpoolController:
    """Return the handle on all BLAS libraries; finding them takes milliseconds, so it is kept."""
    import threadpoolctl

    importlib.import_module("scipy.linalg")  # loads the BLAS that compiled kernels call
    return threadpoolctl.ThreadpoolController()
