"""The code for a card, with CuPy, driver and cuBLAS replaced by what works on memory of the host."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from compressed import evaluate
from fake_cuda import ColumnMajorBlas, fake_cupy
from gpu_cases import compressed_case, state_of
from numba import config, cuda

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import VelocityVerletSettings
from fastdp.errors import BackendError
from fastdp.gpu.device import card as card_module
from fastdp.gpu.device.base import Device
from fastdp.gpu.device.card import Card
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.potential import CudaPotential
from fastdp.potential.base import Evaluation

pytestmark = pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="a card has the real thing")

MEMORY = 1 << 28


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch):
    """A node with two cards."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    module = fake_cupy(2, MEMORY)
    monkeypatch.setitem(sys.modules, "cupy", module)
    pinned = SimpleNamespace(empty_pinned=np.empty)
    monkeypatch.setitem(sys.modules, "cupyx", pinned)
    monkeypatch.setattr(cuda, "external_stream", lambda pointer: 0, raising=False)
    monkeypatch.setattr(
        cuda, "as_cuda_array", lambda raw, sync: FakeCUDAArray(raw.view(np.ndarray)), raising=False
    )
    monkeypatch.setattr(cuda, "select_device", lambda number: module.selected.append(number))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr(card_module, "load_library", ColumnMajorBlas)
    return module


@pytest.fixture
def card(cupy, device: Device, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A card that launches by Numba, with few threads, which are slow here, and without graphs."""
    found = Card(launcher="numba")
    for name in ("elements", "rows", "sums", "capture"):
        monkeypatch.setattr(found, name, getattr(device, name))
    return found


@pytest.mark.parametrize(("precision", "products"), [("double", "full"), ("mixed", "tf32x3")])
def test_a_card_gives_what_the_simulator_gives(
    card: Card, device: Device, precision: str, products: str
) -> None:
    _, atoms, model = compressed_case("open along one direction", 1e-5)
    found = evaluate(CudaPotential(model, card, precision, products), atoms, 0.5)
    expected = evaluate(CudaPotential(model, device, precision, products), atoms, 0.5)
    # The stand-in rounds factors as tensor cores do; the library here does not.
    tolerance = 1e-12 if precision == "double" else 1e-4
    np.testing.assert_allclose(found.forces, expected.forces, atol=tolerance)
    assert found.energy == pytest.approx(expected.energy, abs=10 * tolerance)


def test_steps_and_ghosts_on_a_card(card: Card) -> None:
    _, atoms, model = compressed_case("open boundaries", 1e-4)
    potential = CudaPotential(model, card)
    state, result = state_of(atoms), Evaluation.empty(len(atoms.types))
    neighbours = atoms.neighbours(model.cutoff, 0.5)
    potential._evaluate_share(neighbours, result, True)
    engine = DeviceEngine(potential, state, 0.5)
    integrator = make_integrator(VelocityVerletSettings(timestep_fs=1.0))
    engine.load(state, result, integrator, 1e5)
    log, halted = engine.advance(2, virial=True)
    assert not halted
    # Of a step of 1 fs at 300 K; the potential energy is that of the start but for some meV.
    assert log.potential_energy == pytest.approx(result.energy, abs=0.1)
    engine.fetch(state, result, integrator)
    assert np.isfinite(state.positions).all()


def test_cards_are_taken_in_turn(cupy) -> None:
    with pytest.warns(UserWarning, match=r"Numba launches .* driver does not \("):
        third = Card(local_rank=3)
    assert cupy.used == cupy.selected == [1]
    assert third.name == "Fake H9000 (number 1)"
    # The simulator's kernels are no machine code.
    assert third.launcher.name == "numba"


def test_memory_and_time(card: Card) -> None:
    assert card.memory() == (MEMORY, 2 * MEMORY)
    with pytest.raises(BackendError, match=r"no room for 305 MiB more: 256 of 512 MiB are free"):
        card.empty((10_000_000, 4), np.float64)
    first, last = card.mark(), card.mark()
    assert 0.0 <= card.elapsed(first, last) < 10.0
    array = card.upload(np.arange(6.0).reshape(2, 3))
    other = card.zeros((2, 3), np.float64)
    card.copy(other, array)
    into = card.staging((2, 3), np.float64)
    assert card.read(other, into) is into
    np.testing.assert_array_equal(into, np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("value", [0, 3, np.nan])
def test_filling_compiles_nothing(card: Card, dtype: type, value: float) -> None:
    if np.isnan(value) and np.dtype(dtype).kind != "f":
        return
    array = card.upload(np.ones((4, 3), dtype))
    card.fill(array[1:3], value)
    expected = np.ones((4, 3), dtype)
    expected[1:3] = value
    np.testing.assert_array_equal(card.read(array), expected)
    card.fill(array[4:], value)
