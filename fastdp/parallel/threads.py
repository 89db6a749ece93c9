"""How many threads a run uses: the cores that this process may run on, not those of the machine."""

from __future__ import annotations

import importlib
import os

from fastdp.errors import InputError


def available_threads() -> int:
    """Return the number of cores in this process's CPU affinity, or of the machine where there is none."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(threads: int | None = None) -> int:
    """Set the number of threads of the kernels, and BLAS to one thread in each of them.

    Parameters
    ----------
    threads : int, optional
        By default every core that this process may run on.

    Returns
    -------
    int
        The number of threads now in use.

    Raises
    ------
    InputError
        If more threads are asked for than this process may use.
    """
    import numba
    import threadpoolctl

    importlib.import_module("scipy.linalg")  # loads the BLAS that compiled kernels call, to limit it too
    largest = min(available_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    chosen = largest if threads is None else threads
    if chosen > largest:
        raise InputError(
            f"{chosen} threads are asked for, but this process may use {largest} "
            "(its CPU affinity, or NUMBA_NUM_THREADS). Ask for fewer in [parallel] threads or --threads"
        )
    numba.set_num_threads(chosen)
    threadpoolctl.threadpool_limits(1, user_api="blas")
    return chosen
