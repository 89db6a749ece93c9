"""The fitting network in one kernel of CUDA C++: on a card, or as PTX on the processor.

The simulator knows Python only; there, `tests/unit/test_fused_network.py` runs the kernel by other means.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from compressed import evaluate, rms
from gpu_cases import compressed_case, random_model_file, run_settings, simulation, state_of
from test_gpu_interfaces import INPUT, molecule

from fastdp.cli.main import main
from fastdp.dynamics.settings import NoseHooverSettings
from fastdp.errors import BackendError
from fastdp.gpu.device.base import Device
from fastdp.gpu.fused import network
from fastdp.gpu.layout import Products
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.trial import APART, Way, choose_way, difference
from fastdp.potential.compressed.potential import CompressedPotential

TOLERANCE, MIXED, SKIN = 1e-5, 5e-5, 0.7
"""eV/Å and Å, as in test_gpu_potential.py."""

CASES = (
    "water frame",
    "ternary, triclinic",
    "time steps and other widths",
    "se_e2_a and se_e2_r",
)


@pytest.fixture
def card(device: Device) -> Device:
    """A device that takes kernels in CUDA C++."""
    if device.features is None:
        pytest.skip("kernels in CUDA C++ need a card, or FASTDP_GPU_PTX")
    return device


@pytest.mark.parametrize("name", CASES)
def test_forces_energies_and_virial(card: Device, name: str) -> None:
    _, atoms, model = compressed_case(name, TOLERANCE)
    cpu = evaluate(CompressedPotential(model), atoms, skin=SKIN)
    found = evaluate(CudaPotential(model, card, network="fused"), atoms, skin=SKIN)
    # The same sums in another order.
    np.testing.assert_allclose(found.forces, cpu.forces, atol=1e-12 * np.abs(cpu.forces).max())
    np.testing.assert_allclose(found.virial, cpu.virial, atol=1e-11 * np.abs(cpu.virial).max())
    np.testing.assert_allclose(found.atomic_energies, cpu.atomic_energies, rtol=1e-12)
    assert found.energy == pytest.approx(cpu.energy, rel=1e-12)


def test_products_in_tf32(card: Device) -> None:
    """Three products of split factors are as good as float32; one of rounded factors is far off."""
    _, atoms, model = compressed_case("copper cluster", TOLERANCE)
    double = evaluate(CompressedPotential(model), atoms, skin=SKIN)
    split, rounded, layers = (
        evaluate(CudaPotential(model, card, "mixed", products, network=kind), atoms, SKIN)
        for products, kind in (("tf32x3", "fused"), ("tf32", "fused"), ("tf32x3", "layers"))
    )
    assert rms(split.forces - double.forces) <= MIXED
    assert 1e-4 < rms(rounded.forces - double.forces) < 0.1
    assert abs(split.energy - double.energy) / len(atoms.types) < 1e-5
    np.testing.assert_allclose(split.forces, layers.forces, atol=MIXED)


def test_float32_as_it_is_needs_layers(card: Device) -> None:
    _, _, model = compressed_case("copper cluster", TOLERANCE)
    with pytest.raises(BackendError, match=re.escape('set gpu_products = "tf32x3"')):
        CudaPotential(model, card, "mixed", network="fused")


def test_a_network_that_the_kernel_cannot_evaluate(card: Device) -> None:
    _, _, model = compressed_case("gelu", TOLERANCE)
    with pytest.raises(BackendError, match="the activation gelu"):
        CudaPotential(model, card, network="fused")


@pytest.mark.parametrize(("products", "dtype"), [("full", np.float64), ("tf32x3", np.float32)])
def test_the_trial_at_the_start_finds_a_wrong_kernel(
    card: Device, products: Products, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, model = compressed_case("ternary, triclinic", TOLERANCE)
    way = Way(products, "fused")
    assert difference(card, model, dtype, way) < 0.1 * APART[products]
    right = network.weights_of

    def wrong(*arguments: object) -> object:
        weights, offsets = right(*arguments)
        weights[offsets["BIAS_AT"][-1]] += 0.1
        return weights, offsets

    monkeypatch.setattr(network, "weights_of", wrong)
    assert difference(card, model, dtype, way) > APART[products]
    ways, said = (Way(products, "layers"), way), []
    chosen, _ = choose_way(card, model, dtype, ways, (9, 9, 9), said.append)
    assert chosen.network == "layers"
    assert "gives other numbers than layer by layer" in said[0]


def test_a_run_follows_that_by_layers(card: Device, tmp_path: Path) -> None:
    _, atoms, model = compressed_case("water frame", TOLERANCE)
    ends = []
    for kind in ("layers", "fused", "fused"):
        state = state_of(atoms)
        run = run_settings(tmp_path / str(len(ends)), (20, NoseHooverSettings(0.5, 300.0)), every=5)
        simulation(run, state, CudaPotential(model, card, network=kind)).run()
        ends.append(state)
    np.testing.assert_array_equal(ends[1].positions, ends[2].positions)
    np.testing.assert_array_equal(ends[1].velocities, ends[2].velocities)
    # Rounding, grown over 20 steps.
    np.testing.assert_allclose(ends[1].positions, ends[0].positions, atol=1e-10)


def test_command_line(
    card: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pb").write_bytes(random_model_file("two_sided").read_bytes())
    molecule().write(tmp_path / "start.extxyz")
    text = INPUT.replace('gpu_products = "tf32"', 'gpu_network = "fused"')
    (tmp_path / "input.toml").write_text(text)
    assert main(["run", "input.toml"]) == 0
    with h5py.File(tmp_path / "out/trajectory.h5") as file:
        assert file["parameters/gpu_network"].asstr()[()] == "fused"
        assert file["parameters/gpu_products"].asstr()[()] == "tf32x3"
    (tmp_path / "input.toml").write_text(text.replace("[structure]", 'gpu_products = "full"\n[structure]'))
    assert main(["run", "input.toml", "--overwrite"]) != 0
    assert 'set gpu_products = "tf32x3"' in "".join(capsys.readouterr())
