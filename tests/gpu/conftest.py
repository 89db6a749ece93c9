"""The tests of the GPU engine: in Numba's simulator on a few atoms, or on a card at full size.

`NUMBA_ENABLE_CUDASIM=1 pytest tests/gpu` runs them in the simulator; `tests/system/test_gpu_simulator.py`
does that in a process of its own, for all else wants the real Numba. `pytest -m gpu` runs them on a card.
`FASTDP_GPU_PTX=1 pytest tests/gpu` runs what Numba compiles for a card on the processor (`tests/ptx`).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from gpu_cases import AS_PTX, SMALL
from numba import config
from shadow import ShadowDevice, install

from fastdp.errors import BackendError
from fastdp.gpu.device import choice
from fastdp.gpu.device.base import Device

SIMULATED = bool(config.ENABLE_CUDASIM)
SHADOW = os.environ.get("FASTDP_GPU_SHADOW", "") if SIMULATED else ""
"""Anything: with shadow memory; "backwards": with the opposite order of blocks and threads as well."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the simulator and the executor of PTX, these tests are for a card."""
    for item in items:
        if not SIMULATED and not AS_PTX and "tests/gpu" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> Iterator[Device]:
    """The simulator, or the card; with FASTDP_GPU_SHADOW the simulator with shadow memory.

    With FASTDP_GPU_PTX what runs compiled kernels on the processor.
    """
    if AS_PTX:
        from ptx import ptx_device

        reason = ptx_device.why_not()
        if reason:
            pytest.skip(reason)
        found = ptx_device.PtxDevice(backwards=AS_PTX == "backwards")
        with pytest.MonkeyPatch.context() as patch:
            ptx_device.install(found, patch.setattr)
            yield found
        return
    if SHADOW:
        shadowed = ShadowDevice(backwards=SHADOW == "backwards", late=SHADOW == "backwards")
        with pytest.MonkeyPatch.context() as patch:
            install(shadowed, patch.setattr)
            yield shadowed
        return
    try:
        device = choice.open_device()
        if not SIMULATED and SMALL:
            # compute-sanitizer cannot see beyond what was allocated in a pool of memory.
            importlib.import_module("cupy").cuda.set_allocator(None)
        yield device
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[ShadowDevice]:
    """A device that checks every access of a kernel; what it reports fails the test."""
    found = ShadowDevice()
    install(found, monkeypatch.setattr)
    yield found
    fail_if_reported(found)


@pytest.fixture(autouse=True)
def _nothing_is_reported(request: pytest.FixtureRequest) -> Iterator[None]:
    """With FASTDP_GPU_SHADOW, what a test of the simulator makes shadow memory report fails it."""
    yield
    if SHADOW and "device" in request.fixturenames:
        fail_if_reported(request.getfixturevalue("device"))


def fail_if_reported(device: ShadowDevice) -> None:
    """Fail with all reports of a device, and forget them."""
    found = [str(report) for report in device.reports]
    device.log.forget()
    if found:
        pytest.fail("\n".join(found))


@pytest.fixture(autouse=True, scope="session")
def _eager_threads() -> None:
    """Make the simulator's threads take turns more often: its barriers then cost a third of the time."""
    if SIMULATED:
        sys.setswitchinterval(2e-4)


@pytest.fixture(autouse=True)
def _no_arithmetic_surprises() -> Iterator[None]:
    """The simulator runs kernels as NumPy, which would only warn where a number is lost."""
    with np.errstate(invalid="raise", divide="raise"):
        yield
