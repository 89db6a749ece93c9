"""Committees and models of tensors in whole runs; what backends say of models they do not evaluate."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cases import everything_in, water_box
from potentials import LennardJones, Sabotaged, too_close_at
from typer.testing import CliRunner

from fastdp.cli.main import app
from fastdp.dynamics.state import State
from fastdp.errors import BackendError, InputError
from fastdp.model.readers.registry import read_model
from fastdp.model.suitability import why_not_compressed
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import load_latest
from fastdp.output.trajectory import Trajectory
from fastdp.potential.base import Evaluation
from fastdp.potential.factory import make_potential
from fastdp.simulation.candidate_frames import save_frame
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.read import read_structure

INPUT = """
version = 1
[potential]
model = "{model}"
backend = "reference"
{further}
[structure]
file = "water.extxyz"
[velocities]
temperature_K = 300
seed = 4
[[stage]]
ensemble = "nve"
steps = 6
timestep_fs = 0.2
[output]
directory = "out"
thermo.every = 2
trajectory.every = 2
checkpoint.every = 4
"""

WATER = """6
Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 pbc="T T T"
O 1.0 1.0 1.0
H 1.9 1.2 1.0
H 0.7 1.9 1.1
O 4.0 4.0 1.2
H 4.9 4.1 1.3
H 3.8 4.9 1.0
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, model_file):
    (tmp_path / "water.extxyz").write_text(WATER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_input(folder, model, further):
    (folder / "in.toml").write_text(INPUT.format(model=model, further=further))


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def failure(result, exit_code):
    """Return the message of the error that the command ended with."""
    assert result.exception.exit_code == exit_code, result.exception
    return str(result.exception)


def test_a_committee_of_the_same_model_does_not_deviate(folder, model_file):
    model = model_file("two_sided")
    write_input(folder, model, f'[committee]\nmodels = ["{model}", "{model}"]\nevery = 3\natomic = true\n')
    result = run("run", "in.toml", "--quiet")
    assert result.exit_code == 0, result.output
    lines = (folder / "out/model_devi.out").read_text().splitlines()
    assert lines[0].split()[0] == "#"
    table = np.array([line.split() for line in lines[1:]], dtype=float)
    np.testing.assert_array_equal(table[:, 0], [0, 3, 6])
    assert table.shape == (3, 7 + 6)
    # The mean of three equal numbers is that number but for its rounding.
    assert np.abs(table[:, 1:]).max() < 1e-14


def test_frames_above_the_limit_are_saved_and_can_be_read(folder, model_file):
    pytest.importorskip("dpdata")
    further = f'[committee]\nmodels = ["{model_file("one_sided")}"]\nevery = 2\nlimit = 1e-9\n'
    further += 'save_frames = "candidates"\n'
    write_input(folder, model_file("two_sided"), further)
    result = run("run", "in.toml")
    assert result.exit_code == 0, result.output
    assert "apart in the force on atom" in result.output
    saved = sorted((folder / "out/candidates").iterdir())
    assert [path.name for path in saved] == ["step_0", "step_2", "step_4", "step_6"]
    structure = read_structure(str(saved[0]))
    assert structure.symbols == ("O", "H", "H", "O", "H", "H")
    np.testing.assert_allclose(structure.cell, 9.0 * np.eye(3))
    with Trajectory(folder / "out/trajectory.h5") as trajectory:
        # All digits, in the order of the input.
        np.testing.assert_array_equal(read_structure(str(saved[2])).positions, trajectory[2].positions)
    before = everything_in(folder)
    again = run("run", "in.toml", "--overwrite")
    assert "candidates exists" in failure(again, 2)
    assert everything_in(folder) == before


def test_open_boundaries_are_saved_as_such(tmp_path):
    pytest.importorskip("dpdata")
    state = State.from_structure(
        structure_from_atoms(water_box(periodic=False)), np.array([0, 1, 1] * 4, dtype=np.int32)
    )
    save_frame(state, tmp_path / "frames/step_7")
    structure = read_structure(str(tmp_path / "frames/step_7"))
    assert not structure.periodic.any()
    assert structure.symbols == state.symbols
    np.testing.assert_array_equal(structure.positions, state.positions)


def test_without_dpdata_saving_frames_is_refused_at_the_start(folder, model_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "dpdata", None)
    model = model_file("two_sided")
    write_input(folder, model, f'[committee]\nmodels = ["{model}"]\nlimit = 1.0\nsave_frames = "new"\n')
    assert "pip install 'fastdp[dpdata]'" in failure(run("run", "in.toml", "--quiet"), 2)
    assert not (folder / "out").exists()


DISAGREE = '[committee]\nmodels = ["{}"]\nevery = 2\nlimit = 1e-9\nabove_limit = "{}"\n'


def test_a_run_stops_where_the_committee_disagrees(folder, model_file):
    write_input(folder, model_file("two_sided"), DISAGREE.format(model_file("one_sided"), "stop"))
    result = run("run", "in.toml", "--quiet")
    assert "above the limit of 1e-09" in failure(result, 3)
    assert (folder / "out/crash.extxyz").exists()
    assert len((folder / "out/model_devi.out").read_text().splitlines()) == 2


def test_a_run_pauses_where_the_committee_disagrees_and_goes_on(folder, model_file):
    """Every evaluation is a pause; the files are those of a run that was not paused."""
    write_input(folder, model_file("two_sided"), DISAGREE.format(model_file("one_sided"), "continue"))
    assert run("run", "in.toml", "--quiet").exit_code == 0
    names = ("thermo.csv", "model_devi.out")
    whole = [(folder / "out" / name).read_bytes() for name in names]
    write_input(folder, model_file("two_sided"), DISAGREE.format(model_file("one_sided"), "pause"))
    for number, step in enumerate((0, 2, 4)):
        result = run("run", "in.toml", "--quiet", "--resume" if number else "--overwrite")
        message = failure(result, 5)
        assert f"paused after step {step} of 6: the models of the committee are" in message
        assert "--resume goes on from here" in message
        assert load_latest(folder / "out/checkpoint.npz", pytest.fail).sections["state"]["step"] == step
        assert not (folder / "out/crash.extxyz").exists()
    # After the last step there is nothing to pause.
    assert run("run", "in.toml", "--quiet", "--resume").exit_code == 0
    assert [(folder / "out" / name).read_bytes() for name in names] == whole


def test_a_member_that_cannot_be_evaluated_is_named(folder, model_file):
    """Its tables were made for the start structure; here the driving model is given another one."""
    from fastdp.errors import PairTooCloseError
    from fastdp.parallel.communicator import SERIAL
    from fastdp.simulation.members import Members

    neighbours = VerletList(4.2, 0.0, 9.0 * np.eye(3), np.ones(3, dtype=bool), np.zeros(2, dtype=np.int32))
    neighbours.build(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    potential = Sabotaged(LennardJones(cutoff=4.0), too_close_at(1, (0, 1)))
    members = Members(["b.pb"], [potential], neighbours, SERIAL)
    snapshot = SimpleNamespace(evaluation=Evaluation.empty(2))
    with pytest.raises(
        PairTooCloseError, match=r"the model b\.pb of the committee: atoms 0 and 1 are"
    ) as error:
        members.evaluate(snapshot)
    assert error.value.atoms == (0, 1)
    with pytest.raises(InputError, match="ends at 4"):
        Members(["b.pb"], [LennardJones(cutoff=5.0)], neighbours, SERIAL)


def test_a_committee_does_not_change_the_run_and_is_resumed(folder, model_file):
    write_input(folder, model_file("two_sided"), "")
    assert run("run", "in.toml", "--quiet").exit_code == 0
    alone = (folder / "out/thermo.csv").read_text()
    further = f'[committee]\nmodels = ["{model_file("one_sided")}"]\nevery = 2\n'
    write_input(folder, model_file("two_sided"), further)
    assert run("run", "in.toml", "--quiet", "--overwrite").exit_code == 0
    assert (folder / "out/thermo.csv").read_text() == alone
    whole = (folder / "out/model_devi.out").read_text()
    text = (folder / "in.toml").read_text()
    (folder / "in.toml").write_text(text.replace("steps = 6", "steps = 8"))
    resumed = run("run", "in.toml", "--quiet", "--resume")
    assert resumed.exit_code == 0, resumed.output
    longer = (folder / "out/model_devi.out").read_text()
    assert longer.startswith(whole)
    assert len(longer.splitlines()) == len(whole.splitlines()) + 1


def test_tensors_have_their_own_table(folder, shared, model_file):
    dipole = shared / "models/third_party/deepdipole.pb"
    further = f'[[tensor]]\nmodel = "{dipole}"\nfile = "dipole.csv"\nevery = 3\natomic = true\n'
    write_input(folder, model_file("two_sided"), further)
    result = run("run", "in.toml", "--quiet")
    assert result.exit_code == 0, result.output
    rows = (folder / "out/dipole.csv").read_text().splitlines()
    assert rows[0] == "step,time_ps,dipole_x,dipole_y,dipole_z"
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "3", "6"]
    atomic = np.load(folder / "out/dipole/step_3.npy")
    assert atomic.shape == (6, 3)
    np.testing.assert_allclose(atomic.sum(axis=0), np.array(rows[2].split(",")[2:], dtype=float), atol=1e-12)
    assert not atomic[[1, 2, 4, 5]].any()


def test_models_with_other_types_are_refused(folder, model_file):
    write_input(folder, model_file("two_sided"), f'[committee]\nmodels = ["{model_file("one_type")}"]\n')
    for arguments in (["run", "in.toml", "--quiet"], ["check", "in.toml"]):
        assert "the same types in the same order" in failure(run(*arguments), 2)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("own/locframe.pb", "descriptor loc_frame"),
        ("own/native_att_noconc.dp", "type of the first atom"),
    ],
)
def test_fast_backends_refuse_what_only_the_reference_evaluates(shared, model, reason):
    description = read_model(shared / "models" / model)
    structure = read_structure(str(shared / "water/data_0"))
    with pytest.raises(BackendError, match=reason) as caught:
        make_potential(description, structure, backend="cpu")
    assert 'backend = "auto"' in str(caught.value)
    said: list[str] = []
    make_potential(description, structure, backend="auto", report=said.append)
    assert said[0].startswith("backend: reference (slow), because the model")
    assert reason in said[0]


def test_a_gpu_refuses_three_body_terms_by_name(native_file, tmp_path):
    (tmp_path / "water.extxyz").write_text(WATER)
    structure = read_structure(str(tmp_path / "water.extxyz"))
    with pytest.raises(BackendError, match="'cuda' does not evaluate it, because the model has a three-body"):
        make_potential(read_model(native_file("se_e3")), structure, backend="cuda")


def test_several_three_body_parts_are_left_to_the_reference(native_file):
    description = read_model(native_file("se_e2_a and se_e3"))
    part = description.descriptor.parts[1]
    twice = replace(description, descriptor=replace(description.descriptor, parts=(part, part)))
    assert "several se_e3" in why_not_compressed(twice)


def test_excluded_neighbours_that_fill_slots_make_the_energy_jump(shared):
    description = read_model(shared / "models/own/native_sea_prot.dp")
    assert why_not_compressed(description) is None
    embedding = tuple(
        tuple(None if {alpha, beta} == {0, 1} else network for beta, network in enumerate(row))
        for alpha, row in enumerate(description.descriptor.embedding)
    )
    excluding = replace(description, descriptor=replace(description.descriptor, embedding=embedding))
    assert "jumps at the cutoff" in why_not_compressed(excluding)


def test_excluded_neighbours_of_se_e2_r_make_the_energy_jump(native_file):
    description = read_model(native_file("se_e2_r"))
    embedding = tuple((None, row[1]) for row in description.descriptor.embedding)
    excluding = replace(description, descriptor=replace(description.descriptor, embedding=embedding))
    assert "jumps at the cutoff" in why_not_compressed(excluding)


def test_parameters_are_written_into_the_networks(shared):
    """fparam and aparam as constants against the model that takes them as inputs."""
    description = read_model(shared / "models/third_party/fparam_aparam.pb")
    from fastdp.neighbours.brute_force import all_pairs
    from fastdp.potential.factory import with_parameters
    from fastdp.potential.reference import ReferencePotential

    with pytest.raises(InputError, match="needs 1 frame parameters"):
        with_parameters(description, None, [0.1])
    with pytest.raises(InputError, match="but 2 are given"):
        with_parameters(description, [0.1, 0.2], [0.1])
    positions = np.random.default_rng(5).uniform(0.0, 7.0, (12, 3))
    pairs = all_pairs(positions, 7.0 * np.eye(3), np.ones(3, dtype=bool), description.cutoff)
    plain = (np.zeros(12, dtype=int), pairs.centre, pairs.neighbour, pairs.vector)
    one = ReferencePotential(with_parameters(description, [0.3], [0.7])).evaluate_pairs(*plain)
    two = ReferencePotential(description, frame_parameters=[0.3], atom_parameters=[0.7]).evaluate_pairs(
        *plain
    )
    rows = ReferencePotential(
        description, frame_parameters=[0.3], atom_parameters=np.full((12, 1), 0.7)
    ).evaluate_pairs(*plain)
    for other in (two, rows):
        assert other.energy == pytest.approx(one.energy, abs=1e-12)
        np.testing.assert_allclose(other.forces, one.forces, atol=1e-12)
    different = ReferencePotential(
        description, frame_parameters=[0.3], atom_parameters=np.linspace(0, 1, 12)[:, None]
    ).evaluate_pairs(*plain)
    assert abs(different.energy - one.energy) > 1e-3


def test_type_embeddings_are_on_the_fast_path(shared):
    """se_atten without attention is compressed like se_e2_a, to the tolerance that is asked for."""
    from fastdp.potential.reference import ReferencePotential
    from fastdp.structure.types import match_types

    description = read_model(shared / "models/own/water_dpa1_noattn.pb")
    structure = read_structure(str(shared / "water/data_0"))
    types = match_types(structure.symbols, description.type_names)
    neighbours = VerletList(description.cutoff, 0.5, structure.cell, structure.periodic, types)
    neighbours.build(structure.positions)
    results = []
    fast = make_potential(description, structure, backend="cpu", tolerance=1e-4)
    for potential in (ReferencePotential(description, every_neighbour=True), fast):
        results.append(Evaluation.empty(structure.n_atoms))
        potential.evaluate(neighbours, results[-1])
    # The tolerance is that of the rms.
    assert np.sqrt(np.mean((results[0].forces - results[1].forces) ** 2)) < 1e-4
    assert np.sqrt(np.mean(results[0].forces ** 2)) > 1e-2
