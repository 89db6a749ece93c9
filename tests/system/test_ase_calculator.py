"""The ASE calculator: values, units, signs, boundaries, and what it keeps between calls."""

import copy
import pickle
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ase
import h5py
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from ase.units import fs
from cases import water_box

from fastdp.ase import FastDP
from fastdp.errors import InputError, ModelError, NonFiniteError, StructureError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.potential.reference import ReferencePotential

ModelFile = Callable[[str], Path]


@pytest.fixture
def model(model_file: ModelFile) -> Path:
    return model_file("two_sided")


@pytest.fixture
def box(model: Path) -> ase.Atoms:
    atoms = water_box()
    atoms.calc = FastDP(model, backend="reference")
    return atoms


def reference_of(model: Path, atoms: ase.Atoms) -> Evaluation:
    description = read_model(model)
    types = [description.type_names.index(symbol) for symbol in atoms.get_chemical_symbols()]
    neighbours = VerletList(description.cutoff, 0.0, atoms.cell[:], atoms.pbc, types)
    neighbours.build(atoms.positions)
    result = Evaluation.empty(len(atoms))
    ReferencePotential(description).evaluate(neighbours, result)
    return result


def builds_of(atoms: ase.Atoms) -> int:
    return atoms.calc._neighbours.number_of_builds


class TestValues:
    def test_all_properties_against_the_reference(self, box: ase.Atoms, model: Path) -> None:
        """The neighbour lists differ by the skin, so sums differ in their order: 1e-12 is a few roundings."""
        expected = reference_of(model, box)
        assert box.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
        assert box.get_potential_energy(force_consistent=True) == box.get_potential_energy()
        np.testing.assert_allclose(box.get_potential_energies(), expected.atomic_energies, rtol=1e-12)
        np.testing.assert_allclose(box.get_forces(), expected.forces, atol=1e-12)
        stress = -(expected.virial + expected.virial.T) / (2 * box.get_volume())
        np.testing.assert_allclose(box.get_stress(voigt=False), stress, atol=1e-14)
        assert box.get_stress().shape == (6,)

    @pytest.mark.parametrize("frame", ["cluster_open_boundaries", "triclinic_0"])
    def test_against_deepmd_kit(self, shared: Path, frame: str) -> None:
        with h5py.File(shared / "reference" / "ternary_twoside.pb.h5") as file:
            group = file[frame]
            atoms = ase.Atoms(
                [symbol.decode() for symbol in group["symbols"][:]],
                positions=group["positions"][:],
                cell=group["cell"][:] if "cell" in group else None,
                pbc="cell" in group,
            )
            energy, forces, virial = (group[name][()] for name in ("energy", "forces", "virial"))
        atoms.calc = FastDP(shared / "models" / "own" / "ternary_twoside.pb", backend="reference")
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9 * len(atoms))
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-9)
        if atoms.pbc.all():
            stress = -0.5 * (virial + virial.T) / atoms.get_volume()
            np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, atol=1e-8 / atoms.get_volume())

    @pytest.mark.parametrize(("backend", "precision"), [("reference", "double"), ("cpu", "double")])
    def test_stress_is_the_derivative_of_the_energy_by_strain(
        self, model: Path, backend: str, precision: str
    ) -> None:
        """σ = (1/V) ∂E/∂ε, tension positive. Central differences at 1e-4 are good to about 1e-8 relative."""
        atoms = water_box()
        atoms.calc = FastDP(model, backend=backend, precision=precision)
        stress = atoms.get_stress(voigt=False)
        cell, step = atoms.cell[:], 1e-4
        numerical = np.zeros((3, 3))
        for a in range(3):
            for b in range(3):
                energies = []
                for sign in (1, -1):
                    strained = atoms.copy()
                    strain = np.eye(3)
                    strain[a, b] += 0.5 * sign * step
                    strain[b, a] += 0.5 * sign * step
                    strained.set_cell(cell @ strain, scale_atoms=True)
                    strained.calc = atoms.calc
                    energies.append(strained.get_potential_energy())
                numerical[a, b] = (energies[0] - energies[1]) / (2 * step * atoms.get_volume())
        np.testing.assert_allclose(stress, numerical, atol=1e-6 * np.abs(stress).max())

    @pytest.mark.parametrize("backend", ["reference", "cpu"])
    def test_forces_are_the_derivative_of_the_energy(self, model: Path, backend: str) -> None:
        atoms = water_box()
        atoms.calc = FastDP(model, backend=backend)
        forces = atoms.get_forces()
        step = 1e-4
        for atom, axis in ((0, 0), (4, 1), (11, 2)):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * step
                moved.calc = atoms.calc
                energies.append(moved.get_potential_energy())
            numerical = -(energies[0] - energies[1]) / (2 * step)
            # The third derivative leaves about step² ≈ 1e-8 of the forces' scale.
            assert forces[atom, axis] == pytest.approx(numerical, abs=1e-6 * np.abs(forces).max())

    def test_compressed_against_reference(self, box: ase.Atoms, model: Path) -> None:
        compressed = box.copy()
        lines: list[str] = []
        compressed.calc = FastDP(model, backend="cpu", tolerance=1e-4, report=lines.append)
        # The tolerance bounds the rms; a component stays within a few of them.
        difference = compressed.get_forces() - box.get_forces()
        assert np.sqrt(np.mean(difference**2)) < 1e-4
        assert lines

    def test_a_run_of_ase_conserves_energy(self, box: ase.Atoms) -> None:
        """Wrong units of the forces, or forces that are not current, would show at once."""
        generator = np.random.default_rng(2)
        box.set_velocities(generator.normal(0.0, 0.01, (12, 3)))
        before = box.get_total_energy()
        VelocityVerlet(box, timestep=0.1 * fs).run(20)
        # The force field is random and stiff; at 0.1 fs the fluctuation is of order 1e-5 eV.
        assert box.get_total_energy() == pytest.approx(before, abs=2e-4)


class TestBoundaries:
    @pytest.mark.parametrize("pbc", [(True, True, False), (False, True, False), (False, False, False)])
    def test_mixed_boundaries_are_honoured(self, model: Path, pbc: tuple[bool, bool, bool]) -> None:
        atoms = water_box()
        whole = atoms.copy()
        whole.calc = FastDP(model, backend="reference")
        atoms.pbc = pbc
        atoms.calc = FastDP(model, backend="reference")
        expected = reference_of(model, atoms)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
        # Open and periodic must differ by much more than rounding for this to test anything.
        assert abs(atoms.get_potential_energy() - whole.get_potential_energy()) > 1e-5
        np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-12)

    def test_a_slab_with_a_full_cell_has_a_stress(self, box: ase.Atoms) -> None:
        box.pbc = [True, True, False]
        assert np.isfinite(box.get_stress()).all()

    @pytest.mark.parametrize("spoil", ["open", "no third vector"])
    def test_no_stress_without_a_full_periodic_cell(self, box: ase.Atoms, spoil: str) -> None:
        if spoil == "open":
            box.pbc = False
        else:
            box.set_cell([box.cell[0], box.cell[1], [0, 0, 0]])
            box.pbc = [True, True, False]
        assert np.isfinite(box.get_potential_energy())
        assert np.isfinite(box.get_forces()).all()
        with pytest.raises(PropertyNotImplementedError, match="three vectors"):
            box.get_stress()

    def test_a_molecule(self, model: Path) -> None:
        molecule = water_box(periodic=False)
        molecule.calc = FastDP(model, backend="reference")
        assert molecule.get_potential_energy() == pytest.approx(
            reference_of(model, molecule).energy, rel=1e-12
        )


class TestBetweenCalls:
    def test_the_list_is_kept_while_atoms_move_little(self, box: ase.Atoms, model: Path) -> None:
        box.get_potential_energy()
        for moves, builds in ((0.3, 1), (0.19, 1), (0.02, 2), (0.1, 2)):
            box.positions[3, 0] += moves  # 0.3 + 0.19 < skin/2 = 0.5 < 0.51
            forces = box.get_forces()
            assert builds_of(box) == builds
            np.testing.assert_allclose(forces, reference_of(model, box).forces, atol=1e-11)

    def test_nothing_is_computed_twice(self, box: ase.Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        evaluate = ReferencePotential.evaluate

        def counted(self: ReferencePotential, *arguments: object, **more: object) -> None:
            calls.append(1)
            evaluate(self, *arguments, **more)

        monkeypatch.setattr(ReferencePotential, "evaluate", counted)
        box.get_potential_energy()
        box.get_forces()
        box.get_stress()
        box.get_potential_energies()
        assert len(calls) == 1

    def test_earlier_results_are_not_overwritten(self, box: ase.Atoms) -> None:
        first = box.get_forces()
        kept = first.copy()
        box.rattle(0.1, seed=1)
        assert not np.allclose(box.get_forces(), kept)
        np.testing.assert_array_equal(first, kept)

    def test_wrapping_atoms_changes_nothing(self, box: ase.Atoms) -> None:
        energy = box.get_potential_energy()
        box.positions += 3 * box.cell[0] - 2 * box.cell[1]
        assert box.get_potential_energy() == pytest.approx(energy, rel=1e-12)
        box.wrap()
        assert box.get_potential_energy() == pytest.approx(energy, rel=1e-12)

    @pytest.mark.parametrize("backend", ["reference", "cpu"])
    @pytest.mark.parametrize("change", ["cell", "boundaries", "elements", "fewer atoms", "order", "dimers"])
    def test_any_other_change_makes_a_new_list(
        self, box: ase.Atoms, model: Path, change: str, backend: str
    ) -> None:
        calculator = box.calc = FastDP(model, backend=backend)
        box.get_potential_energy()
        if change == "cell":
            box.set_cell(box.cell[:] * 1.01)
        elif change == "boundaries":
            box.pbc = [True, False, True]
        elif change == "elements":
            box.symbols[1] = "O"
        elif change == "fewer atoms":
            del box[3:6]
        elif change == "order":
            box = box[[1, 0, *range(2, 12)]]
        else:
            oxygen = ase.Atoms("OO", positions=[[0, 0, 0], [2.5, 0, 0]])
            oxygen.calc = calculator
            oxygen.get_potential_energy()
            box = ase.Atoms("OH", positions=[[0, 0, 0], [1.5, 0, 0]])
        box.calc = calculator
        expected = reference_of(model, box)
        # The compressed potential is good to 1e-5 eV/Å here; a stale list is wrong by eV.
        tolerance = {"reference": 1e-11, "cpu": 1e-3}[backend]
        assert box.get_potential_energy() == pytest.approx(expected.energy, abs=tolerance)
        np.testing.assert_allclose(box.get_forces(), expected.forces, atol=tolerance)


class TestErrors:
    def test_unknown_element(self, box: ase.Atoms) -> None:
        box.symbols[2] = "Xe"
        with pytest.raises(StructureError, match=r"knows O, H, but the structure has Xe \(atom 2\)"):
            box.get_potential_energy()

    def test_cell_of_zero_volume(self, box: ase.Atoms) -> None:
        box.set_cell(np.zeros((3, 3)))
        with pytest.raises(StructureError, match="cell vector a"):
            box.get_potential_energy()

    def test_atoms_on_top_of_each_other(self, box: ase.Atoms) -> None:
        box.positions[1] = box.positions[0]
        with pytest.raises(StructureError, match="on top of each other"):
            box.get_potential_energy()

    def test_positions_that_are_not_finite(self, box: ase.Atoms) -> None:
        box.get_potential_energy()
        box.positions[1, 0] = np.nan
        with pytest.raises((StructureError, NonFiniteError)):
            box.get_potential_energy()

    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"absent\.pb"):
            FastDP(tmp_path / "absent.pb")

    def test_no_atoms(self, model: Path) -> None:
        with pytest.raises(Exception, match="no atoms"):
            FastDP(model, backend="reference").calculate()


class TestScripts:
    """What scripts do with calculators besides calling them."""

    def test_pickled_and_copied(self, box: ase.Atoms) -> None:
        energy, forces = box.get_potential_energy(), box.get_forces()
        for calculator in (pickle.loads(pickle.dumps(box.calc)), copy.deepcopy(box.calc)):
            atoms = water_box()
            atoms.calc = calculator
            assert atoms.get_potential_energy() == energy
            np.testing.assert_array_equal(atoms.get_forces(), forces)

    def test_a_compressed_one_can_be_pickled_after_its_first_call(self, model: Path) -> None:
        atoms = water_box()
        atoms.calc = FastDP(model, tolerance=1e-3)
        energy = atoms.get_potential_energy()
        other = water_box()
        other.calc = pickle.loads(pickle.dumps(atoms.calc))
        assert other.get_potential_energy() == energy

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"precision": "single"}, "precision is 'single', must be 'double' or 'mixed'"),
            ({"tolerance": 0}, "tolerance is 0, must be a number above 0"),
            ({"tolerance": "1e-5"}, "tolerance is '1e-5', must be a number"),
            ({"tolerance": float("nan")}, "tolerance is nan"),
            ({"shortest_A": 0.0}, "shortest_A is 0.0, must be a number from 0.05 to 2.0 Å"),
            ({"shortest_A": float("nan")}, "shortest_A is nan"),
            ({"skin_A": -1.0}, "skin_A is -1.0, must be a number of Å that is not negative"),
            ({"skin_A": float("inf")}, "skin_A is inf"),
            ({"terms": ["zbl"]}, "'zbl' is no further term"),
        ],
    )
    def test_a_wrong_option_is_refused_when_it_is_given(
        self, model: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError, match=re.escape(message)):
            FastDP(model, **options)

    @pytest.mark.parametrize("threads", ["2", 1.5])
    def test_threads_are_a_whole_number(self, model: Path, threads: Any) -> None:
        atoms = water_box()
        atoms.calc = FastDP(model, backend="reference", threads=threads)
        with pytest.raises(InputError, match=f"threads is {threads!r}, must be an integer"):
            atoms.get_potential_energy()

    def test_options_are_fixed(self, box: ase.Atoms) -> None:
        with pytest.raises(InputError, match="tolerance: the options of a FastDP calculator are fixed"):
            box.calc.set(tolerance=1e-3)

    def test_calculators_in_several_threads_take_turns(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Numba's simplest threading layer ends the process where kernels are called at the same time."""
        inside, most = 0, 0
        evaluate = ReferencePotential.evaluate

        def slow(*arguments: Any, **more: Any) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            evaluate(*arguments, **more)
            inside -= 1

        monkeypatch.setattr(ReferencePotential, "evaluate", slow)
        expected = reference_of(model, water_box()).energy
        most = 0

        def energy(_: int) -> float:
            atoms = water_box()
            atoms.calc = FastDP(model, backend="reference")
            return atoms.get_potential_energy()

        with ThreadPoolExecutor(3) as pool:
            energies = list(pool.map(energy, range(3)))
        assert most == 1
        np.testing.assert_allclose(energies, expected, rtol=1e-12)  # another skin, another order of sums
