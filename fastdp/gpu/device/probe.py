"""Trying out a launcher with a kernel that takes one of each kind of argument."""

from __future__ import annotations

import numpy as np
from numba import cuda

from fastdp.gpu.device.base import Device
from fastdp.gpu.device.launchers import Launcher

ROWS, COLUMNS, BLOCK = 5, 3, 32


@cuda.jit
def combine(numbers, n, factor, plain, turned, result):
    """Set result[j, i] = n numbers[i] + factor plain[i, j] + turned[j, i], a thread for each i."""
    i = cuda.grid(1)
    if i < plain.shape[0]:
        for j in range(plain.shape[1]):
            result[j, i] = n * numbers[i] + factor * plain[i, j] + turned[j, i]


def try_out(device: Device, launcher: Launcher) -> str:
    """Return what is wrong with a launcher: nothing, if a kernel did through it what it should.

    Parameters
    ----------
    device : Device
    launcher : Launcher
    """
    numbers = np.arange(ROWS, dtype=np.int32)
    plain = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    # A part of a larger array with its axes exchanged, as the moments' components are.
    whole = np.arange(2.0 * ROWS * COLUMNS).reshape(ROWS, 2, COLUMNS)
    turned = device.upload(whole)[:, 1].transpose(1, 0)
    result = device.zeros((COLUMNS, ROWS), np.float64)
    arguments = (device.upload(numbers), 7, 0.5, device.upload(plain), turned, result)
    launcher.action(combine, 1, BLOCK, arguments, 0)()
    expected = 7 * numbers + 0.5 * plain.T + whole[:, 1].T
    found = device.read(result)
    return "" if np.array_equal(found, expected) else f"a trial gave {found.tolist()}"
