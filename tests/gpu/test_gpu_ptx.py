"""Kernels as they are compiled for a card: defects are found, the code for a card runs, so does CUDA C++."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from compressed import evaluate
from fake_cuda import HostArray, fake_cupy
from gpu_cases import AS_PTX, compressed_case
from numba import cuda, types
from ptx.errors import PtxFaultError
from ptx.machine import Memory, load
from ptx.ptx_device import CheckedBlas, PtxDevice, PtxDriver, install, why_not

from fastdp.errors import BackendError
from fastdp.gpu.device import card as card_module
from fastdp.gpu.device import launchers
from fastdp.gpu.device.card import Card
from fastdp.gpu.device.compiled import Compiled, assembly
from fastdp.gpu.potential import CudaPotential

pytestmark = pytest.mark.skipif(
    not AS_PTX or bool(why_not()), reason=why_not() or "FASTDP_GPU_PTX=1 runs compiled kernels"
)

THREADS = 64
SKIN = 0.5


@cuda.jit
def write_beyond(values, result):
    result[cuda.grid(1) + 1] = values[0]


@cuda.jit
def read_before(values, result):
    i = cuda.grid(1)
    result[i] = values[i - result.shape[0] - 1]


@cuda.jit
def beyond_shared_memory(values, result):
    part = cuda.shared.array(THREADS, types.float64)
    part[cuda.threadIdx.x + 1] = 1.0
    cuda.syncthreads()
    result[cuda.grid(1)] = part[cuda.threadIdx.x]


@cuda.jit
def leave_one_behind(values, result):
    if cuda.threadIdx.x % 2 == 0:
        cuda.syncthreads()
        result[cuda.grid(1)] = values[0]
    else:
        cuda.syncthreads()
        result[cuda.grid(1)] = values[1]


DEFECTS: dict[Any, str] = {
    write_beyond: r"not allocated, 8 bytes .* \(0 bytes behind the end of an array of 1024",
    read_before: "not allocated",
    beyond_shared_memory: "beyond shared memory",
    leave_one_behind: "different barriers",
}


@pytest.mark.parametrize("kernel", DEFECTS, ids=lambda kernel: kernel.py_func.__name__)
def test_a_planted_defect_is_found(device: PtxDevice, kernel: Any) -> None:
    values, result = device.upload(np.arange(128.0)), device.empty(128, np.float64)
    action = device.launch(kernel, 2, THREADS, (values, result))
    with pytest.raises(PtxFaultError, match=f"{kernel.py_func.__name__}.*{DEFECTS[kernel]}"):
        action()


@cuda.jit
def reverse(values, result):
    part = cuda.shared.array(THREADS, types.float64)
    t = cuda.threadIdx.x
    part[t] = values[cuda.grid(1)]
    result[cuda.grid(1)] = part[THREADS - 1 - t]


def test_a_missing_barrier_is_seen(device: PtxDevice) -> None:
    values, result = device.upload(np.arange(128.0)), device.empty(128, np.float64)
    device.launch(reverse, 2, THREADS, (values, result))()
    found = device.read(result)
    assert np.isnan(found).sum() == 64


@cuda.jit
def double(values, result):
    i = cuda.grid(1)
    if i < result.shape[0]:
        result[i] = 2.0 * values[i]


def test_a_misaligned_array_is_seen(device: PtxDevice) -> None:
    """Numbers of 8 bytes from the fourth byte on, which NumPy allows."""
    whole = device.upload(np.zeros(34, np.uint32))
    shifted = whole[1:33]
    shifted.raw = np.frombuffer(whole.raw.data, np.float64, 16, 4)
    with pytest.raises(PtxFaultError, match="misaligned"):
        device.launch(double, 1, 16, (shifted, device.empty(16, np.float64)))()


def test_what_the_driver_refuses_is_an_error(device: PtxDevice) -> None:
    values, result = device.upload(np.arange(128.0)), device.empty(128, np.float64)
    with pytest.raises(BackendError, match="refused the kernel double with status 1"):
        device.launch(double, 1, 2048, (values, result))()
    with pytest.raises(BackendError, match=r"double no 300000 bytes"):
        device.launch(double, 1, 32, (values, result), 300_000)


@pytest.mark.parametrize(("precision", "products"), [("double", "full"), ("mixed", "tf32x3")])
@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_networks_in_one_kernel(
    capability: tuple[int, int], precision: str, products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA C++ on (emulated) tensor cores, against one layer after the other."""
    _, atoms, model = compressed_case("time steps and other widths", 1e-3)
    device = PtxDevice(capability, backwards=AS_PTX == "backwards")
    install(device, monkeypatch.setattr)
    layers, fused = (
        evaluate(CudaPotential(model, device, precision, products, (), network), atoms, SKIN)
        for network in ("layers", "fused")
    )
    assert "fused_network" in device.launcher.kernels
    # Single precision: of the size of its rounding, grown through the layers.
    tolerance = 1e-12 if precision == "double" else 1e-5
    np.testing.assert_allclose(fused.forces, layers.forces, rtol=0, atol=tolerance)
    assert fused.energy == pytest.approx(layers.energy, abs=10 * tolerance)


@pytest.fixture
def card(device: PtxDevice, monkeypatch: pytest.MonkeyPatch) -> Card:
    """The class for real cards, with its launches by the driver; memory, driver and cuBLAS are replaced."""
    memory = Memory()
    driver = PtxDriver(memory, device.driver.backwards)
    module = fake_cupy(1, 1 << 28)
    module.empty = lambda shape, dtype: memory.empty(shape, dtype).view(HostArray)
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(empty_pinned=np.empty))
    monkeypatch.setattr(cuda, "external_stream", lambda pointer: 0)
    monkeypatch.setattr(cuda, "select_device", lambda number: None)
    monkeypatch.setattr(ctypes, "CDLL", of_the_driver(driver, ctypes.CDLL))
    monkeypatch.setattr(card_module, "load_library", lambda: CheckedBlas(memory))
    monkeypatch.setattr(launchers, "compiled", as_text)
    monkeypatch.setattr(Card, "_load", lambda self, kernel: adopted(driver, kernel))
    found = Card()
    monkeypatch.setattr(found, "capture", device.capture)
    return found


def of_the_driver(driver: PtxDriver, others: Callable[..., Any]) -> Callable[..., Any]:
    def load_library(name: str, *arguments: Any, **options: Any) -> Any:
        return driver if name == "libcuda.so.1" else others(name, *arguments, **options)

    return load_library


def as_text(function: Any, signature: tuple[Any, ...], capability: tuple[int, int]) -> Compiled:
    """Leave a kernel as PTX."""
    return Compiled(assembly(function, signature, capability).encode(), function.__name__)


def adopted(driver: PtxDriver, kernel: Compiled) -> tuple[int, Any]:
    (found,) = load(kernel.code.decode()).values()
    return driver.adopt(found), found


def test_the_code_for_a_card(card: Card, device: PtxDevice) -> None:
    assert card.launcher.name == "driver"
    assert card.features is not None
    assert card.features.capability == (9, 0)
    _, atoms, model = compressed_case("open along one direction", 1e-3)
    found, expected = (
        evaluate(CudaPotential(model, where, "mixed", "tf32x3"), atoms, SKIN) for where in (card, device)
    )
    np.testing.assert_array_equal(found.forces, expected.forces)
    assert found.energy == expected.energy
