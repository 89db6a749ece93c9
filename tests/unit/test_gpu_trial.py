"""The choice of how networks are evaluated, by a device whose times are scripted."""

from __future__ import annotations

import numpy as np
import pytest
from compressed import random_atoms

from fastdp.errors import CheckpointError
from fastdp.gpu import trial
from fastdp.gpu.device import choice
from fastdp.gpu.device.base import Action, CardFeatures
from fastdp.gpu.device.recording import RecordingDevice
from fastdp.gpu.device.source_kernel import SourceKernel
from fastdp.gpu.potential import NETWORK, PRODUCTS, CudaPotential
from fastdp.gpu.trial import Way, candidates, choose_way, network_seconds
from fastdp.model.readers.registry import read_model
from fastdp.potential.compressed.tuning import compress
from fastdp.potential.factory import make_potential
from fastdp.structure.structure import Structure


class ScriptedDevice(RecordingDevice):
    """Does nothing, and takes a given time for it."""

    def __init__(self, launch: float, full: float, tf32: float, fused: float | None = None) -> None:
        super().__init__(None if fused is None else CardFeatures((9, 0), 132))
        self.seconds = {"launch": launch, "fused": fused, False: full, True: tf32}
        self.clock = 0.0
        self.actions = 0

    def launch(self, kernel, grid, block, arguments, shared=0) -> Action:
        super().launch(kernel, grid, block, arguments, shared)
        return self.taking(self.seconds["fused" if isinstance(kernel, SourceKernel) else "launch"])

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
    device = ScriptedDevice(launch, full, tf32)
    ways = candidates(device, np.float32, "auto", "auto")
    chosen, seconds = choose_way(device, case[2], np.float32, ways, (12, 12), fail)
    assert chosen == Way(expected, "layers")
    assert set(seconds) == {Way("full", "layers"), Way("tf32x3", "layers")}
    if launch == 0.0:
        assert seconds[Way("tf32x3", "layers")] / seconds[Way("full", "layers")] == pytest.approx(
            3 * tf32 / full
        )


def fail(line: str) -> None:
    pytest.fail(line)


def test_what_is_open():
    plain, card = ScriptedDevice(0, 1, 1), ScriptedDevice(0, 1, 1, 1)
    full, split = Way("full", "layers"), Way("tf32x3", "layers")
    assert candidates(plain, np.float64, "auto", "auto") == (full,)
    assert candidates(plain, np.float32, "auto", "auto") == (full, split)
    assert candidates(card, np.float64, "auto", "auto") == (full, Way("full", "fused"))
    assert candidates(card, np.float32, "auto", "auto") == (full, split, Way("tf32x3", "fused"))
    assert candidates(card, np.float32, "full", "auto") == (full,)
    assert candidates(card, np.float32, "auto", "fused") == (Way("tf32x3", "fused"),)
    assert candidates(card, np.float32, "tf32", "auto") == (Way("tf32", "layers"), Way("tf32", "fused"))
    # Refused later, with what to do.
    assert candidates(card, np.float32, "full", "fused") == (Way("full", "fused"),)
    assert candidates(plain, np.float64, "auto", "fused") == (Way("full", "fused"),)


@pytest.mark.parametrize(
    ("fused", "apart", "expected"),
    [(1.0, 1e-12, "fused"), (100.0, 1e-12, "layers"), (1.0, 1e-3, "layers"), (1.0, np.nan, "layers")],
)
def test_one_kernel_has_to_be_right_and_faster(case, monkeypatch, fused, apart, expected):
    monkeypatch.setattr(trial, "difference", lambda *_: apart)
    device, lines = ScriptedDevice(0.0, 1.0, 1.0, fused), []
    ways = candidates(device, np.float64, "auto", "auto")
    chosen, seconds = choose_way(device, case[2], np.float64, ways, (12, 12), lines.append)
    assert chosen == Way("full", expected)
    right = apart < 1e-9
    assert len(seconds) == (2 if right else 1)
    assert bool(lines) != right
    assert all("gives other numbers" in line for line in lines)


def test_one_kernel_that_cannot_be_had_is_named(case, monkeypatch):
    monkeypatch.setattr("fastdp.gpu.fused.network.why_not", lambda centre: "it is too green")
    device, lines = ScriptedDevice(0.0, 1.0, 1.0, 0.1), []
    ways = candidates(device, np.float64, "auto", "auto")
    chosen, _ = choose_way(device, case[2], np.float64, ways, (12, 12), lines.append)
    assert chosen == Way("full", "layers")
    assert "it is too green" in lines[0]


def test_a_compiler_that_fails_does_not_end_the_run(case, monkeypatch):
    def fails(*_):
        raise RuntimeError("libnvrtc.so.99 not found")

    monkeypatch.setattr(trial, "difference", fails)
    device, lines = ScriptedDevice(0.0, 1.0, 1.0, 0.1), []
    ways = candidates(device, np.float64, "auto", "auto")
    chosen, _ = choose_way(device, case[2], np.float64, ways, (12, 12), lines.append)
    assert chosen == Way("full", "layers")
    assert lines == ["fitting networks in one kernel were not tried: RuntimeError: libnvrtc.so.99 not found"]


def test_times_are_for_all_atoms(case, monkeypatch):
    """One tile of each type is timed, and counts as often as there are such tiles."""
    way = Way("full", "layers")

    def seconds(counts):
        return network_seconds(ScriptedDevice(0.0, 1.0, 1.0), case[2], np.float32, way, counts)

    few = seconds((10, 10))
    monkeypatch.setattr("fastdp.gpu.tiles.LARGEST_TILE", 5)
    assert seconds((10, 10)) == pytest.approx(2 * few)
    assert seconds((10, 0)) == pytest.approx(few, rel=0.5)


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
    assert "fitting networks on the GPU: layers, tf32x3, by a trial" in lines
    assert 'gpu_network = "layers", gpu_products = "tf32x3" asks for the same' in lines
    # A run that is continued goes on in the same way, on whatever card.
    again, lines = made(case, monkeypatch, slow, state=potential.state_arrays())
    assert again.choices() == {"gpu_network": "layers", "gpu_products": "tf32x3"}
    assert "as in the checkpoint" in lines
    assert slow.actions == 0
    # What is asked for is not tried.
    fixed, lines = made(case, monkeypatch, slow, gpu_products="full")
    assert fixed.choices() == {"gpu_network": "layers", "gpu_products": "full"}
    assert "fitting networks on" not in lines
    assert slow.actions == 0


def test_a_checkpoint_without_a_choice_is_of_full_products(case, monkeypatch):
    state = case[2].arrays()
    potential, _ = made(case, monkeypatch, ScriptedDevice(0.0, 4.0, 1.0), state=state)
    assert potential.choices() == {"gpu_network": "layers", "gpu_products": "full"}
    for name in (PRODUCTS, NETWORK):
        with pytest.raises(CheckpointError, match=f"the checkpoint has {name} = 'half', which is unknown"):
            made(case, monkeypatch, ScriptedDevice(0, 1, 1), state={**state, name: np.array(b"half")})


def test_a_run_in_double_precision_that_is_continued(case, monkeypatch):
    monkeypatch.setattr(trial, "difference", lambda *_: 0.0)
    potential, lines = made(case, monkeypatch, ScriptedDevice(0.0, 4.0, 1.0, 0.1), precision="double")
    assert potential.choices() == {"gpu_network": "fused"}
    assert 'gpu_network = "fused" asks for the same' in lines
    slow = ScriptedDevice(0.0, 1.0, 1.0, 9.0)
    again, _ = made(case, monkeypatch, slow, precision="double", state=potential.state_arrays())
    assert again.choices() == {"gpu_network": "fused"}
    assert slow.actions == 0


def test_there_is_nothing_to_choose_in_double_precision_without_tensor_cores(case, monkeypatch):
    device = ScriptedDevice(0.0, 4.0, 1.0)
    potential, _ = made(case, monkeypatch, device, precision="double")
    assert potential.choices() == {"gpu_network": "layers"}
    assert potential.device_model.products == "full"
    assert device.actions == 0
