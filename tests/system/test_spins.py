"""Models with atomic spins: DeePMD-kit's answers, derivatives, and runs with spins that stay as they are."""

from __future__ import annotations

import ase
import ase.io
import h5py
import numpy as np
import pytest
from cases import INPUT, write_case

from fastdp.ase import FastDP
from fastdp.cli.main import main
from fastdp.errors import BackendError, InputError, StructureError, UnsupportedModelError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.potential.factory import make_potential
from fastdp.potential.reference import ReferencePotential
from fastdp.potential.spins import SpinPotential
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.read import read_structure

MODEL = "models/third_party/deepspin.pb"

POSITIONS = np.array([[12.83, 2.56, 2.18], [12.09, 2.87, 2.74], [3.51, 2.51, 2.60], [4.27, 3.22, 1.56]])
SPINS = np.array([[0.3, -0.5, 0.9], [-0.7, 0.2, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
TYPES = np.array([0, 0, 1, 1], dtype=np.int32)

# What DeePMD-kit 3.2.0 (TensorFlow) answers for atoms and partners, given as six atoms of three types: its
# graph adds the forces on partners to those on their atoms, and gives magnetic forces in their place.
ENERGIES = [-7.386918155438693, -7.3611743687352575, -4.12901315239115, -4.127154670186551]
FORCES = np.array(
    [
        [-0.024989361081423994, 0.011890319216811829, 0.013621223261870652],
        [0.024077228881684842, -0.011887963862333734, -0.013756459449691893],
        [-0.021301876887395176, -0.0207603346411152, 0.030498851194665687],
        [0.022214009087134327, 0.020757979286636988, -0.030363615006844244],
    ]
)
MAGNETIC_FORCES = np.array(
    [
        [-0.06043427427412329, 0.09326780344900544, -0.15847762969568563],
        [0.04841006525962251, -0.015063714482849017, -0.06389311401411187],
    ]
)
VIRIAL = np.array(
    [
        [0.0024221440288156398, 0.023190280795200666, -0.009236225752985657],
        [0.024564489811491178, 0.011053014263912742, -0.028246547469890342],
        [-0.012398898241247007, -0.025829430893654914, 0.02393134151417577],
    ]
)
PERIODIC = np.ones(3, dtype=bool)


def evaluated(potential, positions, cell, *, skin=0.0, types=TYPES):
    neighbours = VerletList(potential.cutoff, skin, cell, PERIODIC, types)
    neighbours.build(positions)
    result = Evaluation.empty(len(positions))
    potential.evaluate(neighbours, result)
    return result


@pytest.fixture(scope="module")
def description(shared):
    return read_model(shared / MODEL)


@pytest.mark.parametrize("skin", [0.0, 0.7])
def test_the_answers_of_deepmd_kit(description, skin):
    potential = SpinPotential(description, SPINS)
    found = evaluated(potential, POSITIONS, 13.0 * np.eye(3), skin=skin)
    # Rounding of a sum of energies of 7 eV.
    np.testing.assert_allclose(found.atomic_energies, ENERGIES, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.forces, FORCES, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.virial, VIRIAL, rtol=0, atol=1e-13)
    np.testing.assert_allclose(potential.magnetic_forces[:2], MAGNETIC_FORCES, rtol=0, atol=1e-13)
    assert not potential.magnetic_forces[2:].any()


def test_derivatives_are_central_differences(description):
    """In a cell shorter than the cutoff, where atoms see images of themselves and of their own partners."""
    cell = np.array([[4.6, 0.0, 0.0], [0.5, 4.9, 0.0], [-0.3, 0.4, 4.8]])
    generator = np.random.default_rng(8)
    positions = generator.uniform(0.0, 1.0, (4, 3)) @ cell

    def energy(positions, spins, cell):
        return evaluated(SpinPotential(description, spins), positions, cell).energy

    potential = SpinPotential(description, SPINS)
    found = evaluated(potential, positions, cell)
    h = 1e-5
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        step = np.zeros((4, 3))
        step[atom, axis] = h
        slope = (energy(positions + step, SPINS, cell) - energy(positions - step, SPINS, cell)) / (2 * h)
        # 2e-14 eV of rounding over h.
        assert found.forces[atom, axis] == pytest.approx(-slope, abs=1e-7)
        if atom < 2:
            slope = (energy(positions, SPINS + step, cell) - energy(positions, SPINS - step, cell)) / (2 * h)
            assert potential.magnetic_forces[atom, axis] == pytest.approx(-slope, abs=1e-7)
    for a, b in ((0, 0), (0, 1), (2, 1)):
        strain = np.zeros((3, 3))
        strain[a, b] = h
        plus, minus = np.eye(3) + strain, np.eye(3) - strain
        change = energy(positions @ plus.T, SPINS, cell @ plus.T)
        change -= energy(positions @ minus.T, SPINS, cell @ minus.T)
        assert found.virial[a, b] == pytest.approx(-change / (2 * h), abs=1e-6)


def crystal():
    """Nickel oxide, antiferromagnetic, off its lattice places."""
    atoms = ase.Atoms(
        "NiO", [[0, 0, 0], [2.09, 0, 0]], cell=2.09 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    )
    atoms.pbc = True
    atoms = atoms.repeat(2)
    atoms.rattle(0.03, seed=4)
    moments = np.zeros((len(atoms), 3))
    magnetic = np.array(atoms.get_chemical_symbols()) == "Ni"
    moments[magnetic] = np.outer(np.where(np.arange(magnetic.sum()) % 2, 1.2, -1.2), [0.6, 0.0, 0.8])
    atoms.set_initial_magnetic_moments(moments)
    return atoms


@pytest.fixture
def case(shared, tmp_path):
    return write_case(tmp_path, shared / MODEL, atoms=crystal())


def test_a_run_conserves_energy(case, capsys):
    case.write_text(INPUT.replace("steps = 6", "steps = 40"))
    assert main(["run", str(case)]) == 0, capsys.readouterr().err
    assert "spins: those of the structure, held as they are" in capsys.readouterr().out
    table = np.genfromtxt(case.parent / "out/thermo.csv", delimiter=",", names=True)
    nve = table[table["stage"] == 1]
    # Velocity Verlet's error is of the second order; forces of this random model are weak.
    assert np.ptp(nve["total_energy_eV"]) < 0.01 * np.ptp(nve["kinetic_energy_eV"])
    assert np.ptp(nve["kinetic_energy_eV"]) > 1e-4


def test_a_resumed_run_has_the_spins_of_its_checkpoint(case):
    assert main(["run", str(case), "--quiet"]) == 0
    whole = (case.parent / "out/thermo.csv").read_bytes()
    case.write_text(INPUT.replace("steps = 4", "steps = 1"))
    assert main(["run", str(case), "--quiet", "--overwrite"]) == 0
    case.write_text(INPUT)
    assert main(["run", str(case), "--quiet", "--resume"]) == 0
    assert (case.parent / "out/thermo.csv").read_bytes() == whole


def test_expectations_hold_spins(case, capsys):
    kept = case.parent / "frame.h5"
    assert main(["check", str(case), "--write-expectation", str(kept)]) == 0
    assert main(["check", str(case), "--expect", str(kept)]) == 0
    assert "all values of" in capsys.readouterr().out
    with h5py.File(kept, "r+") as file:
        file["start/spins"][0] = -file["start/spins"][0]
    assert main(["check", str(case), "--expect", str(kept)]) == 6
    assert "the reference" in capsys.readouterr().err
    with h5py.File(kept, "r+") as file:
        del file["start/spins"]
    assert main(["check", str(case), "--expect", str(kept)]) == 2
    assert "has no spins" in capsys.readouterr().err


def test_spins_of_npy_folders_and_supercells(tmp_path):
    atoms = crystal()
    folder = tmp_path / "system"
    (folder / "set.000").mkdir(parents=True)
    (folder / "type_map.raw").write_text("Ni\nO\n")
    (folder / "type.raw").write_text("\n".join(str(int(s == "O")) for s in atoms.get_chemical_symbols()))
    for name, values in (
        ("coord", atoms.positions),
        ("box", atoms.cell.array),
        ("spin", atoms.arrays["initial_magmoms"]),
    ):
        np.save(folder / f"set.000/{name}.npy", values.reshape(1, -1))
    found = read_structure(folder, repeat=(1, 2, 1))
    np.testing.assert_array_equal(found.spins, np.tile(atoms.arrays["initial_magmoms"], (2, 1)))
    np.save(folder / "set.000/spin.npy", np.zeros((1, 5)))
    with pytest.raises(StructureError, match=r"spin\.npy has 5 numbers in a frame, expected 48"):
        read_structure(folder)


def test_without_spins_nothing_is_evaluated(description, case, capsys):
    atoms = crystal()
    structure = structure_from_atoms(atoms)
    make_potential(description, structure)
    structure.spins[2] = 0.0
    with pytest.raises(StructureError, match=r"atom 2 \(Ni\) has no spin"):
        make_potential(description, structure)
    structure.spins = None
    with pytest.raises(StructureError, match="model with spins of Ni, and the structure has none"):
        make_potential(description, structure)
    with pytest.raises(UnsupportedModelError, match="cannot be evaluated without them"):
        ReferencePotential(description)
    with pytest.raises(BackendError, match="has atomic spins"):
        make_potential(description, structure, backend="cpu")
    with pytest.raises(InputError, match="model with spins"):
        FastDP(case.parent / "model.pb")
    del atoms.arrays["initial_magmoms"]
    ase.io.write(case.parent / "start.extxyz", atoms)
    assert main(["check", str(case)]) == 2
    assert "initial_magmoms" in capsys.readouterr().err
