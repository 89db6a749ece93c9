"""The reference potential against what DeePMD-kit 3.2.0 answers for the same models and frames.

The agreement found is that of rounding: 1e-13 eV/Å and below in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastdp.model.readers.registry import read_model
from fastdp.neighbours.brute_force import all_pairs
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.potential.reference import ReferencePotential

MODELS = {
    "own/water.pb": ["water.pb"],
    "own/water_f32_gelu.pb": ["water_f32_gelu.pb"],
    "own/ternary_twoside.pb": ["ternary_twoside.pb"],
    "own/sea_two_excl.pb": ["sea_two_excl.pb"],
    "own/sea_atomener.pb": ["sea_atomener.pb"],
    "own/sea_oneside_f32.pb": ["sea_oneside_f32.pb"],
    "own/act_relu.pb": ["act_relu.pb"],
    "own/act_relu6.pb": ["act_relu6.pb"],
    "own/act_silu.pb": ["act_silu.pb"],
    "own/act_softplus.pb": ["act_softplus.pb"],
    "third_party/copper.pb": ["copper.pb"],
    "third_party/deeppot.pb": ["deeppot.pb", "deeppot.six_atoms"],
    "third_party/deeppot-1.pb": ["deeppot-1.pb", "deeppot-1.six_atoms"],
    "third_party/sea_012.pb": ["sea_012.six_atoms"],
}
"""Models and their files of answers."""

CASES = [(model, answers) for model, files in MODELS.items() for answers in files]


@dataclass(frozen=True)
class Frame:
    name: str
    positions: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray
    types: np.ndarray
    energy: float
    atomic_energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    overflow: bool


def read_frames(path: Path, type_names: tuple[str, ...]) -> list[Frame]:
    frames = []
    with h5py.File(path) as file:
        for name, group in file.items():
            positions = np.asarray(group["positions"], dtype=np.float64)
            if "symbols" in group:
                types = np.array([type_names.index(symbol) for symbol in group["symbols"].asstr()])
            else:
                types = np.asarray(group["types"])
            frames.append(
                Frame(
                    name,
                    positions,
                    np.asarray(group["cell"]) if "cell" in group else np.zeros((3, 3)),
                    np.full(3, "cell" in group),
                    types,
                    float(group["energy"][()]),
                    np.asarray(group["atomic_energies"]).ravel(),
                    np.asarray(group["forces"]).reshape(-1, 3),
                    np.asarray(group["virial"]).reshape(3, 3),
                    bool(group.attrs["sel_overflow"]),
                )
            )
    return frames


def assert_agrees(result: Evaluation, frame: Frame, precision: str) -> None:
    """Compare; weak forces relative to the largest."""
    exact = precision == "float64"
    n_atoms = len(frame.positions)
    strongest = np.abs(frame.forces).max()
    energy, force, virial = (1e-9, 1e-9, 1e-8) if exact else (1e-4, 1e-4, 1e-4)
    assert abs(result.energy - frame.energy) / n_atoms < energy, frame.name
    np.testing.assert_allclose(result.atomic_energies, frame.atomic_energies, rtol=0, atol=energy)
    # The forces of some random models are weak: there, 1e-9 of the largest.
    weak = min(1.0, float(strongest))
    np.testing.assert_allclose(result.forces, frame.forces, rtol=0, atol=force * weak, err_msg=frame.name)
    np.testing.assert_allclose(result.virial, frame.virial, rtol=0, atol=virial, err_msg=frame.name)


@pytest.mark.parametrize(("model", "answers"), CASES, ids=[answers for _, answers in CASES])
def test_energies_forces_and_virials_are_those_of_deepmd_kit(shared, model, answers):
    description = read_model(shared / "models" / model)
    potential = ReferencePotential(description)
    frames = read_frames(shared / "reference" / f"{answers}.h5", description.type_names)
    assert frames
    for frame in frames:
        pairs = all_pairs(frame.positions, frame.cell, frame.periodic, potential.cutoff)
        result = potential.evaluate_pairs(frame.types, pairs.centre, pairs.neighbour, pairs.vector)
        assert_agrees(result, frame, description.precision)


@pytest.mark.parametrize("model", ["own/water.pb", "own/sea_two_excl.pb", "third_party/deeppot.pb"])
def test_the_neighbour_list_gives_the_same(shared, model):
    description = read_model(shared / "models" / model)
    potential = ReferencePotential(description)
    answers = shared / "reference" / f"{MODELS[model][0]}.h5"
    for frame in read_frames(answers, description.type_names):
        types = frame.types.astype(np.int32)
        neighbours = VerletList(potential.cutoff, 0.7, frame.cell, frame.periodic, types)
        neighbours.build(frame.positions)
        result = Evaluation.empty(len(types))
        potential.evaluate(neighbours, result)
        assert result.virial_is_current
        assert_agrees(result, frame, description.precision)


def test_frames_of_every_kind_are_there(shared):
    """The comparison means something only if the answers hold all kinds of cells, and overflow."""
    frames = [
        frame
        for model, answers in CASES
        for frame in read_frames(
            shared / "reference" / f"{answers}.h5", read_model(shared / "models" / model).type_names
        )
    ]
    periodic = [frame for frame in frames if frame.periodic.all()]
    off_diagonal = ~np.eye(3, dtype=bool)
    assert any(not frame.periodic.any() for frame in frames)
    assert any(np.abs(frame.cell[off_diagonal]).max() > 0.5 for frame in periodic)
    assert any(np.linalg.norm(frame.cell, axis=1).min() < 6.0 for frame in periodic)
    assert sum(frame.overflow for frame in frames) >= 5


def test_six_atoms_have_the_energies_of_the_upstream_tests(shared):
    """Literals of DeePMD-kit's own tests (source/tests/infer, formats note section 5)."""
    literals = {
        "third_party/deeppot.pb": (-930.9691834787726, -930.1358316319386),
        "third_party/deeppot-1.pb": (-931.1167179437134, -930.0935559927830),
        "third_party/sea_012.pb": (-935.8530604684081, -935.0536233433287),
    }
    positions = np.array(
        [
            [12.83, 2.56, 2.18], [12.09, 2.87, 2.74], [0.25, 3.32, 1.68],
            [3.36, 3.00, 1.81], [3.51, 2.51, 2.60], [4.27, 3.22, 1.56],
        ]
    )  # fmt: skip
    types = np.array([0, 1, 1, 0, 1, 1])
    for model, energies in literals.items():
        potential = ReferencePotential(read_model(shared / "models" / model))
        for periodic, energy in zip((True, False), energies, strict=True):
            pairs = all_pairs(positions, 13.0 * np.eye(3), np.full(3, periodic), potential.cutoff)
            result = potential.evaluate_pairs(types, pairs.centre, pairs.neighbour, pairs.vector)
            assert result.energy == pytest.approx(energy, abs=1e-10)


def test_forces_and_virial_of_copper_are_central_differences(shared):
    """A production model in a cell that is triclinic and shorter than the cutoff."""
    description = read_model(shared / "models/third_party/copper.pb")
    potential = ReferencePotential(description)
    generator = np.random.default_rng(3)
    cell = np.array([[3.7, 0.0, 0.0], [0.4, 3.6, 0.0], [-0.3, 0.5, 3.8]])
    fractions = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0.0]])
    positions = fractions @ cell + generator.normal(scale=0.05, size=(4, 3))
    types = np.zeros(4, dtype=int)

    def evaluate(positions, cell):
        pairs = all_pairs(positions, cell, np.ones(3, dtype=bool), potential.cutoff)
        return potential.evaluate_pairs(types, pairs.centre, pairs.neighbour, pairs.vector)

    result = evaluate(positions, cell)
    h = 1e-4
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        step = np.zeros((4, 3))
        step[atom, axis] = h
        slope = (evaluate(positions + step, cell).energy - evaluate(positions - step, cell).energy) / (2 * h)
        # h² times third derivatives of order 100 eV/Å³, and 1e-14 eV of rounding over h.
        assert result.forces[atom, axis] == pytest.approx(-slope, abs=1e-6)
    for a in range(3):
        for b in range(3):
            strain = np.zeros((3, 3))
            strain[a, b] = h
            plus, minus = np.eye(3) + strain, np.eye(3) - strain
            change = evaluate(positions @ plus.T, cell @ plus.T).energy
            change -= evaluate(positions @ minus.T, cell @ minus.T).energy
            # The same with the third derivative by strain, of order 1000 eV.
            assert result.virial[a, b] == pytest.approx(-change / (2 * h), abs=2e-5)
