"""Shadow memory finds planted defects of each kind, and nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import config, cuda, types
from shadow import ShadowDevice
from shadow_memory import OutOfBoundsError

pytestmark = pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="a card has compute-sanitizer")

TOLERANCE = 1e-4
SKIN = 0.5
THREADS = 4


# Each takes `values`, (8,) float64 that were written, and `result`, (8,) that were not.


@cuda.jit
def write_beyond(values, result):
    result[cuda.grid(1) + 1] = values[0]


@cuda.jit
def read_before(values, result):
    i = cuda.grid(1)
    result[i] = values[i - 1]


@cuda.jit
def place_between(values, result):
    i = cuda.grid(1)
    result[i] = values[i / 2]


@cuda.jit
def read_the_result(values, result):
    i = cuda.grid(1)
    result[i] += values[i]


@cuda.jit
def read_shared_unwritten(values, result):
    part = cuda.shared.array(THREADS, types.float64)
    t = cuda.threadIdx.x
    if t > 0:
        part[t] = values[t]
    cuda.syncthreads()
    result[cuda.grid(1)] = part[t]


@cuda.jit
def read_local_unwritten(values, result):
    own = cuda.local.array(2, types.float64)
    own[0] = values[0]
    result[cuda.grid(1)] = own[1]


@cuda.jit
def without_a_barrier(values, result):
    part = cuda.shared.array(0, types.float64)
    t = cuda.threadIdx.x
    part[t] = values[t]
    result[cuda.grid(1)] = part[0]


@cuda.jit
def without_the_second_barrier(values, result):
    part = cuda.shared.array(THREADS, types.float64)
    t = cuda.threadIdx.x
    total = 0.0
    for turn in range(2):
        part[t] = values[t + turn]
        cuda.syncthreads()
        total += part[(t + 1) % THREADS]
    result[cuda.grid(1)] = total


@cuda.jit
def between_blocks(values, result):
    if cuda.threadIdx.x == 0:
        result[cuda.blockIdx.x] = values[cuda.blockIdx.x]
    cuda.syncthreads()
    if cuda.threadIdx.x == 1:
        result[2 + cuda.blockIdx.x] = result[0]


@cuda.jit
def one_place(values, result):
    result[0] = values[cuda.grid(1)]


@cuda.jit
def sum_with_and_without_atomics(values, result):
    if cuda.grid(1) == 0:
        values[0] = 0.0
    cuda.atomic.add(values, 0, 1.0)


@cuda.jit
def leave_early(values, result):
    i = cuda.grid(1)
    if i > 5:
        return
    cuda.syncthreads()
    result[i] = values[i]


@cuda.jit
def two_barriers(values, result):
    if cuda.threadIdx.x < 2:
        cuda.syncthreads()
    else:
        cuda.syncthreads()
    result[cuda.grid(1)] = values[0]


DEFECTS: dict[Any, tuple[str, str, str]] = {
    write_beyond: ("memcheck", "result", "index (8) is outside of shape (8,)"),
    read_before: ("memcheck", "values", "index (-1) is outside of shape (8,)"),
    place_between: ("memcheck", "values", "index (0.0) is no integer"),
    read_the_result: ("initcheck", "result", "(0) is read, which nobody has written"),
    read_shared_unwritten: ("initcheck", "part", "(0) is read, which nobody has written"),
    read_local_unwritten: ("initcheck", "own", "(1) is read, which nobody has written"),
    without_a_barrier: ("racecheck", "part", "read of (0) against write of another thread"),
    without_the_second_barrier: ("racecheck", "part", "write of (1) against read of another thread"),
    between_blocks: ("racecheck", "result", "read of (0) against write of another block"),
    one_place: ("racecheck", "result", "write of (0) against write of another thread"),
    sum_with_and_without_atomics: ("racecheck", "values", "atomic operation of (0) against write"),
    leave_early: ("synccheck", "barrier", "2 of 4 threads of the block have left, 2 wait"),
    two_barriers: ("synccheck", "barrier", "threads of one block wait at different barriers"),
}


@pytest.mark.parametrize("kernel", DEFECTS, ids=lambda kernel: kernel.py_func.__name__)
def test_a_planted_defect_is_found(kernel: Any) -> None:
    device = ShadowDevice()
    values, result = device.upload(np.arange(8.0)), device.empty(8, np.float64)
    action = device.launch(kernel, 2, THREADS, (values, result), 8 * THREADS)
    check, array, what = DEFECTS[kernel]
    if check == "memcheck":
        with pytest.raises(OutOfBoundsError):
            action()
    else:
        action()
    report = device.reports[0]
    assert (report.check, report.kernel, report.array) == (check, kernel.py_func.__name__, array)
    # What else there is, is the same seen from the other side.
    assert {(other.check, other.array) for other in device.reports} == {(check, array)}
    assert report.what.startswith(what)
    # The line is one of the kernel.
    code = kernel.py_func.__code__
    file, line = report.place.split(":")
    assert file == Path(__file__).name
    assert int(line) in {number for _, _, number in code.co_lines()}


@cuda.jit
def sound(flag, values, result, count):
    """Everything that is right, and looks like a defect at a glance."""
    part = cuda.shared.array(THREADS, types.float64)
    if flag[0] != 0:
        return
    t = cuda.threadIdx.x
    for turn in range(2):
        part[t] = values[t + turn]
        cuda.syncthreads()
        result[cuda.grid(1), 0] = part[(t + 1) % THREADS]
        cuda.syncthreads()
    # Written by another thread of the block, before the barrier.
    result[cuda.grid(1), 1] = result[cuda.blockIdx.x * THREADS, 0]
    cuda.atomic.add(count, 0, 1)


def test_what_is_sound_is_not_reported(checked: ShadowDevice) -> None:
    result, count = checked.empty((8, 2), np.float64), checked.zeros(1, np.int32)
    flag, values = checked.zeros(1, np.int32), checked.upload(np.arange(8.0))
    action = checked.launch(sound, 2, THREADS, (flag, values, result, count))
    action()
    assert checked.read(count) == [8]
    expected = np.tile([2.0, 3.0, 4.0, 1.0], 2)
    np.testing.assert_array_equal(checked.read(result), np.stack([expected, np.full(8, 2.0)], axis=1))
    # All threads may leave, and another launch may touch what this one did.
    checked.fill(flag, 1)
    action()


def test_views_share_their_marks() -> None:
    device = ShadowDevice()
    whole = device.empty((4, 3), np.float32)
    device.fill(whole[1:3].transpose(1, 0)[:2], 1.0)
    device.read(whole[1:3, :2].view(np.int32))
    assert device.reports == []
    other = device.zeros((4, 3), np.float32)
    device.copy(other, whole)
    device.read(other)
    assert [report.what for report in device.reports] == ["8 of 12 elements were never written"]


def test_products_are_checked() -> None:
    device = ShadowDevice()
    a, b = device.upload(np.ones((2, 2))), device.empty((2, 2), np.float64)
    device.product(a, b, a)()
    device.product(a.transpose(1, 0), a, b)()
    found = {(report.check, report.array, report.what) for report in device.reports}
    assert found == {
        ("memcheck", "product", "a and out overlap"),
        ("memcheck", "product", "the last axis of a is not contiguous"),
        ("initcheck", "b of product", "4 of 4 elements were never written"),
    }


def test_what_is_under_way_must_be_left_alone() -> None:
    device = ShadowDevice()
    array, host = device.upload(np.arange(3.0)), np.zeros(3)
    device.read_later(array, host)
    mark = device.mark()
    assert np.isnan(host).all()
    device.wait(mark)
    np.testing.assert_array_equal(host, np.arange(3.0))
    device.write_later(array, host)
    device.read_later(array, host)
    device.wait(device.mark())
    assert device.reports == []
    device.write_later(array, host)
    mark = device.mark()
    host[1] = 7.0
    device.wait(mark)
    (report,) = device.reports
    assert report.what == "the host has changed memory that was under way"
    device.write_later(array, host.astype(np.float32))
    assert device.reports[1].what == "the arrays are not contiguous, or not alike"


def test_which_value_is_written_by_all_is_checked() -> None:
    """An exception for threads that write the same is none for threads that do not."""
    for value, n_reports in ((np.ones(8), 0), (np.arange(8.0), 1)):
        device = ShadowDevice()
        device.log.same_value.add(("one_place", "result", 0))
        device.launch(one_place, 2, THREADS, (device.upload(value), device.empty(8, np.float64)))()
        assert len(device.reports) == n_reports
