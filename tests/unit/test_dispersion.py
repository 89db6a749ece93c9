"""D3 dispersion through dftd3: units, signs, derivatives, what cannot be used."""

from __future__ import annotations

import sys

import ase
import numpy as np
import pytest
from cases import run_fastdp, water_box
from term_cases import thermo, write_terms_case

from fastdp.errors import BackendError, InputError, SimulationError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential import factory
from fastdp.potential.base import Evaluation
from fastdp.potential.factory import make_potential
from fastdp.potential.terms.addends import make_addends
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import D3, ZBL
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.units import BOHR_A, HARTREE_EV


@pytest.fixture
def dftd3():
    return pytest.importorskip("dftd3", reason="needs dftd3: pip install 'fastdp[d3]'")


def evaluate(atoms: ase.Atoms, settings: D3, addend=None) -> Evaluation:
    names = tuple(sorted(set(atoms.symbols)))
    types = np.array([names.index(symbol) for symbol in atoms.symbols], dtype=np.int32)
    if addend is None:
        (addend,) = make_addends(make_terms([settings], names), specified=False)
    neighbours = VerletList(3.0, 0.5, atoms.cell[:], atoms.pbc, types)
    neighbours.build(atoms.positions)
    result = Evaluation.empty(len(atoms))
    addend.add(neighbours, result, virial=True)
    return result


def slab() -> ase.Atoms:
    atoms = water_box()
    atoms.pbc = [True, False, True]
    atoms.cell[1] = 0.0
    return atoms


SYSTEMS = {"periodic": water_box, "open": lambda: water_box(periodic=False), "slab": slab}


@pytest.mark.parametrize("damping", ["bj", "zero", "bjm", "zerom"])
def test_values_are_those_of_the_librarys_own_calculator(dftd3, damping) -> None:
    # Whether three-body terms are on by default depends on the library's version.
    calculator = pytest.importorskip("dftd3.ase").DFTD3(
        damping="d3" + damping, params_tweaks={"method": "pbe", "atm": False}
    )
    atoms = water_box()
    found = evaluate(atoms, D3("pbe", damping))
    atoms.calc = calculator
    # ASE converts with CODATA of 2014: 1e-8 relative.
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-7)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), rtol=1e-6, atol=1e-9)
    stress = -0.5 * (found.virial + found.virial.T) / atoms.cell.volume
    voigt = [stress[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(voigt, atoms.get_stress(), rtol=1e-6, atol=1e-9)


def test_argon_attracts_by_its_c6(dftd3) -> None:
    """64.6462 hartree·bohr⁶, table of S. Grimme et al., J. Chem. Phys. 132, 154104 (2010)."""
    c6 = []
    for r in (20.0, 28.0):
        atoms = ase.Atoms("Ar2", positions=[[0, 0, 0], [r, 0, 0]])
        c6.append(-evaluate(atoms, D3("pbe")).energy / HARTREE_EV * (r / BOHR_A) ** 6)
    # What is left is C8/r²: taken out by its change from one distance to the other.
    near, far = (1.0 / r**2 for r in (20.0, 28.0))
    assert (c6[1] * near - c6[0] * far) / (near - far) == pytest.approx(64.6462, rel=2e-3)


@pytest.mark.parametrize("system", SYSTEMS)
def test_forces_and_virial_are_derivatives(dftd3, system) -> None:
    atoms, settings, h = SYSTEMS[system](), D3("pbe"), 1e-4
    found = evaluate(atoms, settings)
    assert found.energy == pytest.approx(found.atomic_energies.sum(), abs=1e-12)

    def energy(positions=atoms.positions, cell=None) -> float:
        moved = ase.Atoms(atoms.symbols, positions, cell=atoms.cell if cell is None else cell, pbc=atoms.pbc)
        return evaluate(moved, settings).energy

    for atom, axis in ((0, 0), (4, 1), (11, 2)):
        step = np.zeros((12, 3))
        step[atom, axis] = h
        slope = (energy(atoms.positions + step) - energy(atoms.positions - step)) / (2 * h)
        # Energies of 1 eV with twelve digits over 2h, and h² times third derivatives of a few eV/Å³.
        assert -slope == pytest.approx(found.forces[atom, axis], abs=1e-7)
    for a, b in ((0, 0), (0, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] = strain[b, a] = h
        up, down = (np.eye(3) + sign * strain for sign in (1, -1))
        slope = (
            energy(atoms.positions @ up, atoms.cell[:] @ up)
            - energy(atoms.positions @ down, atoms.cell[:] @ down)
        ) / (2 * h)
        expected = found.virial[a, b] if a == b else found.virial[a, b] + found.virial[b, a]
        # Where there are images, some cross the cutoff of 60 bohr, and the energy jumps.
        assert -slope == pytest.approx(expected, abs=3e-4 if atoms.pbc.any() else 1e-7)


def test_a_list_that_is_updated_gives_what_a_new_one_does(dftd3) -> None:
    atoms = water_box()
    names = ("H", "O")
    types = np.array([names.index(symbol) for symbol in atoms.symbols], dtype=np.int32)
    (addend,) = make_addends(make_terms([D3("pbe", cutoff_A=12.0)], names), specified=True)
    neighbours = VerletList(3.0, 0.5, atoms.cell[:], atoms.pbc, types)
    neighbours.build(atoms.positions)
    first, second = Evaluation.empty(12), Evaluation.empty(12)
    addend.add(neighbours, first, virial=False)
    atoms.positions[3] += [0.1, 0.05, -0.1]
    neighbours.update(np.ascontiguousarray(atoms.positions))
    addend.add(neighbours, second, virial=True)
    fresh = evaluate(atoms, D3("pbe", cutoff_A=12.0))
    assert np.abs(first.forces - fresh.forces).max() > 1e-5
    assert np.all(first.virial == 0.0)
    np.testing.assert_allclose(second.forces, fresh.forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(second.virial, fresh.virial, rtol=0, atol=1e-11)


def test_a_shorter_cutoff_leaves_pairs_out(dftd3) -> None:
    atoms = water_box()
    whole, short = evaluate(atoms, D3("pbe")), evaluate(atoms, D3("pbe", cutoff_A=8.0))
    assert whole.energy < short.energy < 0.8 * whole.energy


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (("O",), D3("no such"), "dftd3 has no parameters of 'no such' with damping 'bj'"),
        (("O",), D3("pbe", "other"), r"damping: is 'other', and there are bj, zero"),
        (("O", "Ow"), D3("pbe"), "the model has the types Ow"),
        (("Rf",), D3("pbe"), "elements up to Lr, and the model has the types Rf"),
        (("X",), D3("pbe"), "the types X"),
        (("O",), D3("pbe", cutoff_A=-1.0), "cutoff_A: is -1.0"),
    ],
)
def test_what_cannot_be_used_is_named(dftd3, names, settings, message) -> None:
    with pytest.raises(InputError, match=message):
        make_terms([settings], names)


def test_several_ranks_are_refused(dftd3) -> None:
    with pytest.raises(BackendError, match=r"\[potential.d3\] is evaluated .* by one rank, and there are 2"):
        make_addends(make_terms([D3("pbe")], ("O",)), specified=False, ranks=2)


def test_a_gpu_is_refused_by_name(dftd3, model_file, monkeypatch) -> None:
    description = read_model(model_file("two_sided"))
    terms = make_terms([ZBL(0.5, 1.0), D3("pbe")], ("O", "H"))
    structure = structure_from_atoms(water_box())
    message = r"d3 of pbe, damping bj, .* has no kernels there: use backend = \"cpu\""
    with pytest.raises(BackendError, match=message):
        make_potential(description, structure, backend="cuda", terms=terms)
    monkeypatch.setattr("fastdp.gpu.device.choice.why_no_card", lambda: None)
    backend, reason = factory._fastest_backend(description, terms)
    assert backend == "cpu"
    assert reason.startswith("a GPU has no kernels for d3 of pbe")


def test_atoms_on_top_of_each_other_end_the_run(dftd3) -> None:
    atoms = ase.Atoms("O2", positions=[[0, 0, 0], [0, 0, 0]])
    with pytest.raises(SimulationError, match=r"the dispersion .* cannot be evaluated: "):
        evaluate(atoms, D3("pbe"))


def test_without_the_library_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "dftd3", None)
    monkeypatch.setitem(sys.modules, "dftd3.interface", None)
    with pytest.raises(InputError, match=r"needs the package dftd3.*pip install 'fastdp\[d3\]'"):
        make_terms([D3("pbe")], ("O",))


def test_a_run_conserves_energy(dftd3, tmp_path, model_file) -> None:
    terms = '[potential.d3]\nfunctional = "pbe"\ncutoff_A = 12.0\n'
    write_terms_case(tmp_path, model_file("two_sided"), terms=terms, steps=60)
    result = run_fastdp("run", "input.toml", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "further term: d3 of pbe, damping bj, within 12 Å (dftd3 " in result.stdout
    table = thermo(tmp_path)
    table = table[table["stage"] == 1]
    # The error of velocity Verlet, and pairs that cross the cutoff.
    assert np.ptp(table["total_energy_eV"]) < 2e-3 * np.ptp(table["kinetic_energy_eV"])


def test_three_bodies_add_to_the_energy(dftd3) -> None:
    atoms = ase.Atoms("Ar3", positions=[[0, 0, 0], [3.8, 0, 0], [1.9, 3.3, 0]])
    pairs, triples = evaluate(atoms, D3("pbe")), evaluate(atoms, D3("pbe", three_body=True))
    # Three atoms in a triangle repel each other (Axilrod and Teller 1943), by little.
    assert 0.0 < triples.energy - pairs.energy < 0.1 * abs(pairs.energy)
