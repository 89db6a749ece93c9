"""Threads: counted by affinity, limited within a context, restored after it."""

import os

import numba
import pytest
import threadpoolctl

from fastdp.errors import InputError
from fastdp.parallel.threads import available_threads, choose_threads, thread_limits


def blas_threads() -> set[int]:
    pools = threadpoolctl.threadpool_info()
    return {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}


def test_the_affinity_counts_not_the_machine() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_threads() == 1
        assert choose_threads(None) == 1
        with pytest.raises(InputError, match="2 threads are asked for, but this process may use 1 to 1"):
            choose_threads(2)
    finally:
        os.sched_setaffinity(0, before)
    assert available_threads() == len(before)


def test_limits_hold_within_the_context_only() -> None:
    numba_before, blas_before = numba.get_num_threads(), blas_threads()
    with thread_limits(1) as threads:
        assert threads == numba.get_num_threads() == 1
        assert blas_threads() == {1}
    assert numba.get_num_threads() == numba_before
    assert blas_threads() == blas_before


@pytest.mark.parametrize("threads", [0, -1, 10_000])
def test_impossible_numbers_are_refused(threads: int) -> None:
    with pytest.raises(InputError, match=f"{threads} threads"):
        choose_threads(threads)
