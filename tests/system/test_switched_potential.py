"""Kernels for models that hold tables of pairs: networks that give way to a table, and sums."""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np
import pytest
from cases import INPUT, run_fastdp, write_case
from table_models import ANSWERS, FILES, FOLDER, evaluate, structure_of
from term_cases import thermo

from fastdp.errors import BackendError, PairTooCloseError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.threads import available_threads, thread_limits
from fastdp.potential.base import Evaluation
from fastdp.potential.factory import make_potential
from fastdp.potential.reference import ReferencePotential
from fastdp.potential.sum import SumPotential
from fastdp.potential.switched import SwitchedPotential
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types


@pytest.mark.parametrize("name", ["linear.dp", "linear.pb"])
def test_fast_backends_add_the_tables_of_a_sum(name) -> None:
    structure = structure_of(ANSWERS["bonds"])
    description = read_model(FOLDER / name)
    assert description.cutoff == 5.0
    fast = make_potential(description, structure, backend="cpu", tolerance=1e-4)
    assert isinstance(fast, SumPotential)
    assert fast.driving.cutoff == 4.0
    exact = evaluate(ReferencePotential(description), structure, ("O", "H"))
    found = evaluate(fast, structure, ("O", "H"))
    # The compressed network is off by the tolerance.
    assert np.sqrt(np.mean((found.forces - exact.forces) ** 2)) < 3e-4
    assert found.energy == pytest.approx(exact.energy, abs=1e-2)
    np.testing.assert_allclose(found.virial, exact.virial, rtol=0, atol=1e-2)


def switched(name: str, structure: Structure, tolerance: float = 1e-5) -> SwitchedPotential:
    potential = make_potential(
        read_model(FOLDER / FILES[name]), structure, backend="cpu", tolerance=tolerance
    )
    assert isinstance(potential, SwitchedPotential)
    return potential


@pytest.mark.parametrize("model", ["srtab_pb", "zbl"])
@pytest.mark.parametrize("frame", ANSWERS)
def test_kernels_give_way_to_the_table_as_specified(model, frame) -> None:
    structure = structure_of(ANSWERS[frame])
    # Made for ordinary bonds: the tables of the network reach down to where its share ends all the same.
    potential = switched(model, structure_of(ANSWERS["bonds"]))
    found = evaluate(potential, structure, ("O", "H"))
    exact = evaluate(
        ReferencePotential(read_model(FOLDER / FILES[model]), every_neighbour=True), structure, ("O", "H")
    )
    # The compressed network is off by its tolerance of 1e-5 eV/Å where it was measured, and by more where
    # bonds are shorter; its energies, by about as many eV, are multiplied by slopes of w up to 10 / Å.
    assert np.sqrt(np.mean((found.forces - exact.forces) ** 2)) < 1e-3
    np.testing.assert_allclose(found.atomic_energies, exact.atomic_energies, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.virial, exact.virial, rtol=0, atol=5e-3)
    assert found.energy == pytest.approx(found.atomic_energies.sum(), abs=1e-10)


@pytest.mark.parametrize("frame", ["switching", "open", "table"])
def test_forces_of_the_kernels_are_derivatives(frame) -> None:
    """Of the energy of the kernels, whatever the error of the compression."""
    potential, h = switched("srtab_pb", structure_of(ANSWERS["bonds"])), 1e-5
    found = evaluate(potential, structure_of(ANSWERS[frame]), ("O", "H"))

    def energy(**change) -> float:
        return evaluate(potential, structure_of(ANSWERS[frame], **change), ("O", "H")).energy

    for atom, axis in ((0, 0), (1, 1), (5, 2)):
        step = np.zeros((12, 3))
        step[atom, axis] = h
        slope = (energy(move=step) - energy(move=-step)) / (2 * h)
        # As for the reference.
        assert -slope == pytest.approx(found.forces[atom, axis], rel=3e-7, abs=2e-5)


def test_threads_and_updates_do_not_matter_to_the_switch() -> None:
    structure = structure_of(ANSWERS["switching"])
    potential = switched("srtab_pb", structure)
    types = match_types(structure.symbols, ("O", "H"))
    neighbours = VerletList(potential.cutoff, 1.0, structure.cell, structure.periodic, types)
    neighbours.build(structure.positions)
    generator = np.random.default_rng(4)
    for _ in range(3):
        moved = structure.positions + generator.uniform(-0.1, 0.1, (12, 3))
        assert not neighbours.update(moved)
        results = []
        for threads in (1, min(2, available_threads())):
            with thread_limits(threads):
                results.append(Evaluation.empty(12))
                potential.evaluate(neighbours, results[-1])
        fresh = evaluate(potential, replace(structure, positions=moved), ("O", "H"))
        for result in results:
            # Sums in another order, of forces up to 1e4 eV/Å.
            np.testing.assert_allclose(result.forces, fresh.forces, rtol=1e-10, atol=1e-9)
            assert result.energy == pytest.approx(fresh.energy, abs=1e-9)


def test_atoms_that_the_table_has_taken_over_may_come_as_close_as_it_reaches() -> None:
    frame = ANSWERS["bonds"] | {"positions": np.array(ANSWERS["bonds"]["positions"])}
    frame["positions"][4] = frame["positions"][3] + [0.15, 0.0, 0.0]
    potential = switched("srtab_pb", structure_of(ANSWERS["bonds"]))
    found = evaluate(potential, structure_of(frame), ("O", "H"))
    exact = evaluate(ReferencePotential(read_model(FOLDER / "srtab.pb")), structure_of(frame), ("O", "H"))
    np.testing.assert_allclose(found.forces[[3, 4]], exact.forces[[3, 4]], rtol=1e-6, atol=1e-2)
    frame["positions"][4] = frame["positions"][3] + [0.08, 0.0, 0.0]
    with pytest.raises(PairTooCloseError, match=r"atoms 3 and 4 are 0.0800 Å apart, .* at 0.1000 Å"):
        evaluate(potential, structure_of(frame), ("O", "H"))


def test_a_run_through_the_switch_conserves_energy(tmp_path) -> None:
    """The error of velocity Verlet is of the second order; that of a wrong force would not be."""
    spread = []
    for steps, timestep in ((25, 0.04), (50, 0.02)):
        folder = tmp_path / str(steps)
        folder.mkdir()
        text = INPUT.replace('"reference"', '"cpu"').replace("steps = 4", "steps = 0")
        text = text.replace("steps = 6\ntimestep_fs = 0.5", f"steps = {steps}\ntimestep_fs = {timestep}")
        frame = ANSWERS["switching"]
        atoms = ase.Atoms(frame["symbols"], frame["positions"], cell=frame["cell"], pbc=True)
        write_case(folder, FOLDER / "srtab.pb", text=text, atoms=atoms)
        result = run_fastdp("run", "input.toml", folder=folder)
        assert result.returncode == 0, result.stderr
        table = thermo(folder)
        table = table[table["stage"] == 1]
        assert np.ptp(table["kinetic_energy_eV"]) > 1.0
        spread.append(np.ptp(table["total_energy_eV"]))
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.1)


def test_a_gpu_has_no_switch() -> None:
    with pytest.raises(BackendError, match=r"gives way to a table of pairs .* no kernels on a GPU"):
        make_potential(read_model(FOLDER / "srtab.pb"), structure_of(ANSWERS["bonds"]), backend="cuda")


@pytest.mark.parametrize(
    ("name", "message"), [("srtab.pb", "tables of the model"), ("linear.pb", "further terms")]
)
def test_bench_times_the_network_alone(name, message, tmp_path) -> None:
    frame = ANSWERS["bonds"]
    atoms = ase.Atoms(frame["symbols"], frame["positions"], cell=frame["cell"], pbc=True)
    write_case(tmp_path, FOLDER / name, text=INPUT.replace('"reference"', '"cpu"'), atoms=atoms)
    result = run_fastdp("bench", "input.toml", "--seconds", "0.1", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{message} are left out" in result.stdout
