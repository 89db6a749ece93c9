"""How many threads kernels use: the cores that this process may run on, not those of the machine."""

from __future__ import annotations

import functools
import importlib
import operator
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastdp.errors import InputError
from fastdp.parallel.communicator import Communicator

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def available_threads() -> int:
    """Return the number of cores in this process's CPU affinity, or of the machine where there is none."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_of_cores(communicator: Communicator) -> int:
    """Return how many threads this rank may use so that the ranks of a machine fit its cores together.

    Each core is shared equally by the ranks of the machine that may run on it, whether they were pinned to
    cores of their own or not.

    Parameters
    ----------
    communicator : Communicator
        All ranks call this together.

    Returns
    -------
    int
        At least 1.
    """
    if communicator.size == 1 or not hasattr(os, "sched_getaffinity"):
        return available_threads()
    own = os.sched_getaffinity(0)
    everybody = communicator.gather_objects((platform.node(), own))
    here = [cores for node, cores in everybody if node == platform.node()]
    return max(1, int(sum(1.0 / sum(core in cores for cores in here) for core in own) + 1e-9))


def choose_threads(threads: int | None, available: int | None = None) -> int:
    """Return the number of threads to use.

    Parameters
    ----------
    threads : int or None
        What the user asks for; None is every core that this process may run on.
    available : int, optional
        This rank's share of the cores that it may run on.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If more threads are asked for than this process may use.
    """
    import numba

    largest = min(available or available_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    chosen = largest if threads is None else threads
    try:
        chosen = operator.index(chosen)
    except TypeError:
        raise InputError(f"threads is {chosen!r}, must be an integer") from None
    if not 1 <= chosen <= largest:
        raise InputError(
            f"{chosen} threads are asked for, but this process may use 1 to {largest} "
            "(its CPU affinity, shared with other ranks there, or NUMBA_NUM_THREADS); see [parallel] threads "
            "and --threads"
        )
    return chosen


@contextmanager
def thread_limits(threads: int | None = None, available: int | None = None) -> Iterator[int]:
    """Give the kernels `threads` threads, and BLAS one in each of them, until the context ends.

    Parameters
    ----------
    threads, available : int, optional
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

    chosen = choose_threads(threads, available)
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
