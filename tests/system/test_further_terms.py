"""Pair terms in whole runs: conserved energy, the same with any backend and threads, bad input."""

from __future__ import annotations

import shutil

import ase.io
import numpy as np
import pytest
from ase.units import GPa
from cases import run_fastdp, water_box
from term_cases import TERMS, thermo, write_terms_case
from water import WATER

from fastdp.ase import FastDP
from fastdp.errors import InputError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.threads import available_threads
from fastdp.potential.base import Evaluation
from fastdp.potential.factory import make_potential
from fastdp.potential.sum import SumPotential
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import ZBL
from fastdp.structure.read import read_structure
from fastdp.structure.types import match_types


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model_file):
    """A run of 200 steps on one thread."""
    folder = tmp_path_factory.mktemp("run")
    write_terms_case(folder, model_file("two_sided"))
    result = run_fastdp("run", "input.toml", folder=folder)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_a_run_says_its_terms_and_conserves_energy(finished) -> None:
    folder, output = finished
    assert "further term: zbl from 0.6 to 1.1 Å" in output
    assert "further term: table far.tab from 0.3 to 6.5 Å, 310 intervals" in output
    table = thermo(folder)
    table = table[table["stage"] == 1]
    energy = table["total_energy_eV"]
    # Bonds of 0.96 Å lie within the repulsion, and fly apart; velocity Verlet's error is of the second order.
    assert np.ptp(table["kinetic_energy_eV"]) > 1.0
    assert np.ptp(energy) < 2e-3 * np.ptp(table["kinetic_energy_eV"])


def test_backends_and_threads_agree(finished, tmp_path, model_file) -> None:
    folder, _ = finished
    table = thermo(folder)
    two = tmp_path / "threads"
    shutil.copytree(folder, two, ignore=shutil.ignore_patterns("out"))
    threads = str(min(2, available_threads()))
    assert run_fastdp("run", "input.toml", "--threads", threads, folder=two).returncode == 0
    # Sums of the model's forces differ in rounding, which grows little in 20 fs.
    np.testing.assert_allclose(thermo(two)["total_energy_eV"], table["total_energy_eV"], rtol=0, atol=1e-9)
    exact = tmp_path / "reference"
    exact.mkdir()
    write_terms_case(exact, model_file("two_sided"), backend="reference", steps=20)
    assert run_fastdp("run", "input.toml", folder=exact).returncode == 0
    # The compressed potential is off by 1e-5 eV/Å, as it may be.
    for name in ("potential_energy_eV", "pressure_xx_bar"):
        np.testing.assert_allclose(thermo(exact)[name][:20], table[name][:20], rtol=1e-4, atol=1e-4)


def test_a_run_resumes_with_the_same_terms_only(finished, tmp_path, model_file) -> None:
    folder, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    (copy / "input.toml").write_text(
        (copy / "input.toml").read_text().replace("outer_A = 1.1", "outer_A = 1.2")
    )
    result = run_fastdp("run", "input.toml", "--resume", folder=copy)
    assert result.returncode == 2
    assert "zbl from 0.6 to 1.2" in result.stderr + result.stdout
    assert "zbl from 0.6 to 1.1" in result.stderr + result.stdout


def test_check_finds_everything_that_is_wrong_with_terms(tmp_path, model_file) -> None:
    terms = TERMS.replace("outer_A = 1.1", "outer_A = 0.5").replace("far.tab", "nowhere.tab")
    write_terms_case(tmp_path, model_file("two_sided"), terms=terms)
    result = run_fastdp("check", "input.toml", folder=tmp_path)
    assert result.returncode == 2
    assert "inner_A = 0.6 must be above 0 and below outer_A = 0.5" in result.stderr
    assert "nowhere.tab" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("[potential.zbl]\ninner_A = 1.0\n", "[potential.zbl], outer_A: missing"),
        ("[potential.zbl]\ninner = 1.0\nouter_A = 2\n", "did you mean `inner_A`?"),
        (
            '[[potential.table]]\nfil = "far.tab"\n',
            "[[potential.table]] 1, fil: unknown key; did you mean `file`?",
        ),
        ('[potential.table]\nfile = "far.tab"\n', "write [[table]], not [table]"),
    ],
)
def test_keys_of_terms_are_checked(terms, message, tmp_path, model_file) -> None:
    write_terms_case(tmp_path, model_file("two_sided"), terms=terms)
    result = run_fastdp("check", "input.toml", folder=tmp_path)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split())


def test_the_model_sees_its_own_cutoff_only(model_file) -> None:
    """A term that reaches farther changes nothing but its own part."""
    structure = read_structure(WATER / "start.extxyz")
    description = read_model(WATER / "water.pb")
    types = match_types(structure.symbols, description.type_names)
    far = make_terms([ZBL(0.5, 9.0)], description.type_names)
    results = []
    for terms, width in (((), 6.0), (far, 9.0), ((), 9.0)):
        potential = make_potential(description, structure, backend="cpu", tolerance=1e-3, terms=terms)
        assert potential.cutoff == max(6.0, 9.0 if terms else 0.0)
        neighbours = VerletList(width, 0.5, structure.cell, structure.periodic, types)
        neighbours.build(structure.positions)
        result = Evaluation.empty(structure.n_atoms)
        potential.evaluate(neighbours, result)
        if isinstance(potential, SumPotential):
            alone = Evaluation.empty(structure.n_atoms)
            potential.addends[0].add(neighbours, alone, virial=True)
            result.forces -= alone.forces
            result.virial -= alone.virial
            result.energy -= alone.energy
        results.append(result)
    narrow, summed, wide = results
    for other in (summed, wide):
        # Rounding of sums in another order; forces of the repulsion of bonds are 100 eV/Å.
        np.testing.assert_allclose(other.forces, narrow.forces, rtol=0, atol=1e-10)
        np.testing.assert_allclose(other.virial, narrow.virial, rtol=0, atol=1e-8)
        assert other.energy == pytest.approx(narrow.energy, abs=1e-8)


def test_the_calculator_takes_terms(model_file) -> None:
    atoms = water_box()
    model = model_file("two_sided")
    atoms.calc = FastDP(model, backend="reference", terms=[ZBL(0.6, 1.3)])
    found = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    atoms.calc = FastDP(model, backend="reference")
    plain = atoms.get_potential_energy()
    assert found[0] > plain + 1.0
    h = 1e-5
    atoms.calc = FastDP(model, backend="reference", terms=[ZBL(0.6, 1.3)])
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 0] += sign * h
        moved.calc = atoms.calc
        energies.append(moved.get_potential_energy())
    # Rounding of energies of 100 eV over 2h.
    assert -(energies[0] - energies[1]) / (2 * h) == pytest.approx(found[1][1, 0], abs=1e-5)
    assert np.abs(found[2]).max() > 1.0 * GPa
    with pytest.raises(InputError, match="inner_A = 2"):
        FastDP(model, terms=[ZBL(2.0, 1.0)])


def test_a_run_may_go_as_far_down_as_it_is_told(tmp_path, model_file) -> None:
    """Two hydrogen atoms that fly at each other with 20 eV, into the repulsion and out again."""
    atoms = water_box()
    direction = atoms.positions[4] - atoms.positions[1]
    direction /= np.linalg.norm(direction)
    atoms.positions[4] = atoms.positions[1] + 0.75 * direction
    momenta = np.zeros((12, 3))
    momenta[1], momenta[4] = direction * np.sqrt(2 * 10.0 * 1.008), -direction * np.sqrt(2 * 10.0 * 1.008)
    atoms.set_momenta(momenta)
    results = []
    for number, key in enumerate(("", "shortest_A = 0.1\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = write_terms_case(
            folder,
            model_file("two_sided"),
            terms=f"{key}[potential.zbl]\ninner_A = 0.6\nouter_A = 0.8\n",
            steps=300,
        )
        ase.io.write(folder / "start.extxyz", atoms)
        text = path.read_text().replace("temperature_K = 300\nseed = 5", "remove_net_momentum = false")
        text = text.replace("timestep_fs = 0.1", "timestep_fs = 0.005").replace("steps = 4", "steps = 0")
        path.write_text(text + "[guards]\nmaximum_temperature_K = 1e6\n")
        results.append(run_fastdp("run", "input.toml", folder=folder))
    without, down = results
    assert without.returncode == 3
    assert "the compressed potential begins at" in without.stderr
    assert down.returncode == 0, down.stderr
    assert "O-O 0.10, O-H 0.10, H-H 0.10 Å" in down.stdout
    energy = thermo(tmp_path / "1")
    energy = energy[energy["stage"] == 1]
    assert np.ptp(energy["kinetic_energy_eV"]) > 10.0
    assert np.ptp(energy["total_energy_eV"]) < 1e-3 * np.ptp(energy["kinetic_energy_eV"])
