"""The choice of the way to multiply, by a device whose times are scripted."""

from __future__ import annotations

import numpy as np
import pytest
from compressed import random_atoms

from fastdp.errors import CheckpointError
from fastdp.gpu.device import choice
from fastdp.gpu.device.base import Action
from fastdp.gpu.device.recording import RecordingDevice
from fastdp.gpu.potential import PRODUCTS, CudaPotential
from fastdp.gpu.trial import choose_products, network_seconds
from fastdp.model.readers.registry import read_model
from fastdp.potential.compressed.tuning import compress
from fastdp.potential.factory import make_potential
from fastdp.structure.structure import Structure


class ScriptedDevice(RecordingDevice):
    """Does nothing, and takes a given time for it."""

    def __init__(self, launch: float, full: float, tf32: float) -> None:
        super().__init__()
        self.seconds = {"launch": launch, False: full, True: tf32}
        self.clock = 0.0
        self.actions = 0

    def launch(self, kernel, grid, block, arguments, shared=0) -> Action:
        super().launch(kernel, grid, block, arguments, shared)
        return self.taking(self.seconds["launch"])

    def product(self, a, b, out, *, transposed=False, accumulate=False, tf32=False) -> Action:
        return self.taking(self.seconds[tf32])

    def mark(self) -> float:
        return self.clock

    def taking(self, seconds: float) -> Action:
        def act() -> None:
            self.clock += seconds
            self.actions += 1

        return act


@pytest.fixture(scope="module")
def case(model_file):
    description = read_model(model_file("two_sided"))
    atoms = random_atoms(np.random.default_rng(3), 2)
    structure = Structure(
        symbols=tuple(description.type_names[t] for t in atoms.types),
        positions=atoms.positions,
        cell=atoms.cell,
        periodic=atoms.periodic,
        masses=np.ones(len(atoms.types)),
    )
    return description, structure, compress(description, atoms, 1e-2)[0]


@pytest.mark.parametrize(
    ("launch", "full", "tf32", "expected"),
    [
        # Splitting is a launch for each product, and there are three products for one.
        (0.0, 3.2, 1.0, "tf32x3"),
        (0.0, 2.0, 1.0, "full"),
        (1.0, 3.2, 1.0, "full"),
        # A gain of 2 % is noise.
        (0.0, 3.06, 1.0, "full"),
    ],
)
def test_the_fastest_is_chosen(case, launch, full, tf32, expected):
    chosen, seconds = choose_products(ScriptedDevice(launch, full, tf32), case[2], (12, 12))
    assert chosen == expected
    assert set(seconds) == {"full", "tf32x3"}
    if launch == 0.0:
        assert seconds["tf32x3"] / seconds["full"] == pytest.approx(3 * tf32 / full)


def test_times_are_for_all_atoms(case, monkeypatch):
    """One tile of each type is timed, and counts as often as there are such tiles."""
    few = network_seconds(ScriptedDevice(0.0, 1.0, 1.0), case[2], "full", (10, 10))
    monkeypatch.setattr("fastdp.gpu.tiles.LARGEST_TILE", 5)
    device = ScriptedDevice(0.0, 1.0, 1.0)
    assert network_seconds(device, case[2], "full", (10, 10)) == pytest.approx(2 * few)
    assert network_seconds(device, case[2], "full", (10, 0)) == pytest.approx(few, rel=0.5)


def made(case, monkeypatch, device, **options):
    description, structure, _ = case
    lines: list[str] = []
    monkeypatch.setattr(choice, "open_device", lambda: device)
    options = {"precision": "mixed", "tolerance": 1e-2} | options
    potential = make_potential(description, structure, backend="cuda", report=lines.append, **options)
    assert isinstance(potential, CudaPotential)
    return potential, "\n".join(lines)


def test_the_choice_is_said_and_kept(case, monkeypatch):
    fast, slow = ScriptedDevice(0.0, 4.0, 1.0), ScriptedDevice(0.0, 1.0, 1.0)
    potential, lines = made(case, monkeypatch, fast)
    assert potential.choices() == {"gpu_network": "layers", "gpu_products": "tf32x3"}
    assert "products of float32 matrices: tf32x3, by a trial" in lines
    assert 'gpu_products = "tf32x3" asks for the same' in lines
    # A run that is continued goes on in the same way, on whatever card.
    again, lines = made(case, monkeypatch, slow, state=potential.state_arrays())
    assert again.choices() == {"gpu_network": "layers", "gpu_products": "tf32x3"}
    assert "as in the checkpoint" in lines
    assert slow.actions == 0
    # What is asked for is not tried.
    fixed, lines = made(case, monkeypatch, slow, gpu_products="full")
    assert fixed.choices() == {"gpu_network": "layers", "gpu_products": "full"}
    assert "products of float32" not in lines
    assert slow.actions == 0


def test_a_checkpoint_without_a_choice_is_of_full_products(case, monkeypatch):
    state = case[2].arrays()
    potential, _ = made(case, monkeypatch, ScriptedDevice(0.0, 4.0, 1.0), state=state)
    assert potential.choices() == {"gpu_network": "layers", "gpu_products": "full"}
    with pytest.raises(CheckpointError, match="'half', which are unknown"):
        made(case, monkeypatch, ScriptedDevice(0, 1, 1), state={**state, PRODUCTS: np.array(b"half")})


def test_there_is_nothing_to_choose_in_double_precision(case, monkeypatch):
    device = ScriptedDevice(0.0, 4.0, 1.0)
    potential, _ = made(case, monkeypatch, device, precision="double")
    assert potential.choices() == {"gpu_network": "layers"}
    assert potential.device_model.products == "full"
    assert device.actions == 0
