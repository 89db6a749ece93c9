"""The trajectory as other programs see it: the standard's layout, MDAnalysis, ZnH5MD, ASE."""

from __future__ import annotations

import os
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from ase import units

import fastdp
from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State
from fastdp.errors import CheckpointError, FastDPError, InputError, OutputExistsError, TrajectoryError
from fastdp.output.convert import convert
from fastdp.output.h5md import ROOM_AT_ONCE, TrajectoryFile
from fastdp.output.trajectory import Trajectory
from fastdp.potential.base import Evaluation

CUBOID = np.diag([9.0, 10.0, 11.0])
TRICLINIC = np.array([[8.0, 0.0, 0.0], [3.0, 7.0, 0.0], [-2.0, 1.0, 9.0]])
CELLS = [
    pytest.param(CUBOID, [True] * 3, id="cuboid"),
    pytest.param(TRICLINIC, [True] * 3, id="triclinic"),
    pytest.param(TRICLINIC, [True, True, False], id="slab"),
    pytest.param(np.zeros((3, 3)), [False] * 3, id="cluster"),
]
FRAMES = 4


def frame(
    i: int, cell: np.ndarray = CUBOID, periodic: list[bool] | None = None, symbols=("O", "H", "H")
) -> State:
    """Return the atoms of frame `i`, all numbers different."""
    rng = np.random.default_rng(i)
    return State(
        positions=rng.uniform(0, 9, (3, 3)),
        velocities=rng.normal(scale=5, size=(3, 3)),
        images=rng.integers(-3, 3, (3, 3)),
        masses=[15.999, 1.008, 2.014],
        cell=cell,
        periodic=[True] * 3 if periodic is None else periodic,
        symbols=symbols,
        types=[0, 1, 1],
        step=20 * i,
        time_ps=0.01 * i,
    )


def snapshot(state: State) -> Snapshot:
    return Snapshot(state, Evaluation.empty(state.n_atoms))


def writer(path: Path, *, velocities: bool = True) -> TrajectoryFile:
    parameters = {"input": "version = 1 # Å\n", "model_sha256": "ab" * 32, "seed": 3}
    return TrajectoryFile(path, velocities=velocities, parameters=parameters, author="Émilie")


def write(path: Path, *args, velocities: bool = True, **options) -> list[State]:
    states = [frame(i, *args, **options) for i in range(FRAMES)]
    file = writer(path, velocities=velocities)
    file.create(snapshot(states[0]))
    for state in states:
        file.write(snapshot(state))
    file.close()
    return states


def test_layout_is_that_of_the_standard(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    states = write(path, TRICLINIC, [True, True, False])
    with h5py.File(path) as file:
        about = file["h5md"]
        assert list(about.attrs["version"]) == [1, 1]
        assert about["author"].attrs["name"].decode() == "Émilie"
        assert about["creator"].attrs["name"].decode() == "fastdp"
        assert about["creator"].attrs["version"].decode() == fastdp.__version__
        assert list(about["modules/units"].attrs["version"]) == [1, 0]
        assert about["modules/units"].attrs["system"].decode() == "SI"
        assert list(file["particles"]) == ["all"]
        assert "observables" not in file
        box = file["particles/all/box"]
        assert box.attrs["dimension"] == 3
        assert list(box.attrs["boundary"]) == ["periodic", "periodic", "none"]
        vectors, scalars = ("position", "velocity", "image", "box/edges"), ("species", "id", "mass")
        shapes = dict.fromkeys(vectors, (3, 3)) | dict.fromkeys(scalars, (3,))
        group = file["particles/all"]
        for name, shape in shapes.items():
            assert group[name]["value"].shape == (FRAMES, *shape), name
            assert group[name]["value"].maxshape[0] is None
            # The same objects, not copies: hard links.
            assert group[name]["step"] == group["position/step"]
            assert group[name]["time"] == group["position/time"]
        np.testing.assert_array_equal(group["position/step"], [0, 20, 40, 60])
        np.testing.assert_array_equal(group["position/time"], [s.time_ps for s in states])
        np.testing.assert_array_equal(group["position/value"], [s.positions for s in states])
        np.testing.assert_array_equal(group["velocity/value"], [s.velocities for s in states])
        np.testing.assert_array_equal(group["image/value"], [s.images for s in states])
        np.testing.assert_array_equal(group["box/edges/value"], [TRICLINIC] * FRAMES)
        np.testing.assert_array_equal(group["species/value"], [[8, 1, 1]] * FRAMES)
        np.testing.assert_array_equal(group["mass/value"], [[15.999, 1.008, 2.014]] * FRAMES)
        np.testing.assert_array_equal(group["id/value"], [[0, 1, 2]] * FRAMES)
        unit = {
            "position/value": "Angstrom",
            "box/edges/value": "Angstrom",
            "velocity/value": "Angstrom ps-1",
            "position/time": "ps",
            "mass/value": "u",
        }
        assert {name: group[name].attrs["unit"] for name in unit} == unit
        assert file["parameters/input"].asstr()[()] == "version = 1 # Å\n"
        assert file["parameters/seed"][()] == 3


@pytest.mark.parametrize(("cell", "periodic"), CELLS)
def test_mdanalysis_reads_it(tmp_path: Path, cell: np.ndarray, periodic: list[bool]) -> None:
    MDAnalysis = pytest.importorskip("MDAnalysis")
    path = tmp_path / "t.h5"
    states = write(path, cell, periodic)
    universe = MDAnalysis.Universe.empty(3, trajectory=False, velocities=True)
    universe.load_new(str(path), format="H5MD")
    assert universe.trajectory.n_frames == FRAMES
    for found, state in zip(universe.trajectory, states, strict=True):
        # MDAnalysis works in Å, ps and Å/ps, in float32.
        assert found.time == pytest.approx(state.time_ps, rel=1e-7)
        assert found.data["step"] == state.step
        np.testing.assert_allclose(found.positions, state.positions, rtol=1e-6)
        np.testing.assert_allclose(found.velocities, state.velocities, rtol=1e-6)
        if cell.any():
            lengths = np.linalg.norm(cell, axis=1)
            cosines = (cell @ cell.T / np.outer(lengths, lengths))[[1, 0, 0], [2, 2, 1]]
            np.testing.assert_allclose(
                found.dimensions, [*lengths, *np.degrees(np.arccos(cosines))], rtol=1e-6
            )


@pytest.mark.parametrize(("cell", "periodic"), CELLS)
def test_znh5md_reads_it(tmp_path: Path, cell: np.ndarray, periodic: list[bool]) -> None:
    znh5md = pytest.importorskip("znh5md")
    path = tmp_path / "t.h5"
    states = write(path, cell, periodic)
    frames = znh5md.IO(str(path))[:]
    assert len(frames) == FRAMES
    for atoms, state in zip(frames, states, strict=True):
        assert atoms.get_chemical_symbols() == ["O", "H", "H"]
        np.testing.assert_array_equal(atoms.positions, state.positions)
        np.testing.assert_array_equal(atoms.cell.array, cell)
        np.testing.assert_array_equal(atoms.pbc, periodic)


@pytest.mark.parametrize(("cell", "periodic"), CELLS)
def test_conversion_for_ase_has_the_right_units(
    tmp_path: Path, cell: np.ndarray, periodic: list[bool]
) -> None:
    source, destination = tmp_path / "t.h5", tmp_path / "t.extxyz"
    states = write(source, cell, periodic)
    assert convert(source, destination) == FRAMES
    frames = ase.io.read(destination, ":")
    for atoms, state in zip(frames, states, strict=True):
        assert atoms.get_chemical_symbols() == ["O", "H", "H"]
        np.testing.assert_array_equal(atoms.pbc, periodic)
        # Extended XYZ has 8 decimals.
        np.testing.assert_allclose(atoms.cell.array, cell, atol=1e-8)
        np.testing.assert_allclose(atoms.positions, state.positions, atol=1e-8)
        np.testing.assert_allclose(atoms.get_masses(), state.masses, atol=1e-8)
        np.testing.assert_array_equal(atoms.arrays["image"], state.images)
        # 1 Å/ps, said in ASE's own words; 1e-8 √(u eV) is 1e-6 Å/ps for a proton.
        np.testing.assert_allclose(
            atoms.get_velocities(), state.velocities * units.Angstrom / (1000 * units.fs), atol=1e-7
        )
        assert atoms.info["step"] == state.step
        assert atoms.info["time_ps"] == pytest.approx(state.time_ps, rel=1e-8)


def test_conversion_keeps_names_that_are_no_elements(tmp_path: Path) -> None:
    source, destination = tmp_path / "t.h5", tmp_path / "t.xyz"
    write(source, symbols=("O", "H_a", "H_b"))
    convert(source, destination)
    atoms = ase.io.read(destination, 0)
    assert atoms.get_chemical_symbols() == ["O", "X", "X"]
    assert list(atoms.arrays["type_name"]) == ["O", "H_a", "H_b"]


def test_conversion_refuses(tmp_path: Path) -> None:
    source, destination = tmp_path / "t.h5", tmp_path / "t.extxyz"
    write(source)
    destination.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"t\.extxyz"):
        convert(source, destination)
    assert destination.read_text() == "mine"
    assert convert(source, destination, overwrite=True) == FRAMES
    with pytest.raises(InputError, match="extended XYZ"):
        convert(source, tmp_path / "t.pdb")
    with pytest.raises(TrajectoryError, match="no such file"):
        convert(tmp_path / "absent.h5", tmp_path / "new.extxyz")
    assert not (tmp_path / "new.extxyz").exists()
    with pytest.raises(InputError, match="there is no folder"):
        convert(source, tmp_path / "absent" / "new.extxyz")
    (tmp_path / "folder.xyz").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        convert(source, tmp_path / "folder.xyz", overwrite=True)
    with pytest.raises(TrajectoryError, match="is no file"):
        convert(tmp_path, tmp_path / "new.extxyz")


def test_a_trajectory_is_never_converted_onto_itself(tmp_path: Path) -> None:
    source, link = tmp_path / "t.extxyz", tmp_path / "link.extxyz"
    write(source)
    link.symlink_to(source)
    before = source.read_bytes()
    for destination in (source, link):
        with pytest.raises(InputError, match="is the trajectory itself"):
            convert(source, destination, overwrite=True)
    assert source.read_bytes() == before


def test_a_conversion_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination = tmp_path / "t.h5", tmp_path / "t.extxyz"
    write(source)
    destination.write_text("mine")
    calls = 0

    def fail_at_the_second(*arguments: object, **more: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("ase.io.write", fail_at_the_second)
    with pytest.raises(FastDPError, match=r"cannot write .*t\.extxyz: No space left on device; free space"):
        convert(source, destination, overwrite=True)
    assert destination.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.extxyz", "t.h5"]


@pytest.mark.parametrize("velocities", [True, False])
def test_reader_gives_back_what_was_written(tmp_path: Path, velocities: bool) -> None:
    path = tmp_path / "t.h5"
    states = write(path, TRICLINIC, [True, False, True], symbols=("O", "H_a", "H_b"), velocities=velocities)
    with Trajectory(path) as trajectory:
        assert len(trajectory) == FRAMES
        assert trajectory.symbols == ("O", "H_a", "H_b")
        np.testing.assert_array_equal(trajectory.periodic, [True, False, True])
        np.testing.assert_array_equal(trajectory.masses, states[0].masses)
        for found, state in zip(trajectory, states, strict=True):
            assert (found.step, found.time_ps) == (state.step, state.time_ps)
            np.testing.assert_array_equal(found.positions, state.positions)
            np.testing.assert_array_equal(found.images, state.images)
            np.testing.assert_array_equal(found.cell, state.cell)
            if velocities:
                np.testing.assert_array_equal(found.velocities, state.velocities)
            else:
                assert found.velocities is None
        assert trajectory[-1].step == 60
        with pytest.raises(IndexError):
            trajectory[FRAMES]


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None])
def test_reader_refuses_what_is_no_trajectory(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "t.h5"
    if content is None:
        with h5py.File(path, "w") as file:
            file["something"] = 1
    else:
        path.write_bytes(content)
    with pytest.raises(TrajectoryError, match=r"t\.h5"):
        Trajectory(path)


def test_each_frame_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    file = writer(path)
    file.create(snapshot(frame(0)))
    for i in range(FRAMES):
        with Trajectory(path) as trajectory:
            assert len(trajectory) == i
        file.write(snapshot(frame(i)))
    file.close()


def test_frames_wait_for_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.h5"
    file = writer(path)
    file.create(snapshot(frame(0)))
    file.write(snapshot(frame(0)))
    with Trajectory(path) as trajectory:
        file.write(snapshot(frame(1)))
        file.write(snapshot(frame(2)))
        file.sync()
        assert file.position() == {"frames": 1, "step": 0}
        assert len(trajectory) == 1
        position, waiting = file.position(), file.waiting()
    file.write(snapshot(frame(3)))
    assert file.position() == {"frames": 4, "step": 60}
    assert not file.waiting()
    with Trajectory(path):
        monkeypatch.setattr("fastdp.output.h5md.MOST_BYTES_WAITING", 500)
        file.write(snapshot(frame(4)))
        assert file.position() == {"frames": 4, "step": 60}
        file.write(snapshot(frame(5)))
        assert file.position() == {"frames": 6, "step": 100}
        monkeypatch.undo()
        monkeypatch.setattr("fastdp.output.h5md.PATIENCE_SECONDS", 0.1)
        file.write(snapshot(frame(6)))
        file.close()
    assert_frames(path, 7)
    # A checkpoint written while frames were waiting leads to the same file.
    file = writer(path)
    file.verify(snapshot(frame(2)), position)
    file.reopen(snapshot(frame(2)), position, waiting)
    for i in range(3, 7):
        file.write(snapshot(frame(i)))
    file.close()
    assert_frames(path, 7)
    # Frames may be waiting still when the run ends.
    file = writer(path)
    file.reopen(snapshot(frame(2)), position, waiting)
    file.close()
    assert_frames(path, 3)


def assert_frames(path: Path, n: int) -> None:
    with Trajectory(path) as trajectory:
        assert len(trajectory) == n
        for i, found in enumerate(trajectory):
            assert found.step == 20 * i
            np.testing.assert_array_equal(found.positions, frame(i).positions)
            np.testing.assert_array_equal(found.images, frame(i).images)


def test_continuing_cuts_back_and_appends(tmp_path: Path) -> None:
    path, whole = tmp_path / "t.h5", tmp_path / "whole.h5"
    write(path)
    write(whole)
    state = frame(1)
    position = {"frames": 2, "step": 20}
    file = writer(path)
    file.verify(snapshot(state), position)
    file.reopen(snapshot(state), position, {})
    assert file.position() == position
    for i in range(2, FRAMES):
        file.write(snapshot(frame(i)))
    file.sync()
    assert file.position() == {"frames": FRAMES, "step": 60}
    file.close()
    with h5py.File(path) as a, h5py.File(whole) as b:
        names: list[str] = []
        b.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            np.testing.assert_array_equal(a[name][()], b[name][()], err_msg=name)


def test_continuing_refuses_another_file(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    states = write(path)
    before = path.read_bytes()
    for position in ({"frames": FRAMES + 1, "step": 80}, {"frames": 2, "step": 40}):
        with pytest.raises(CheckpointError, match="does not hold"):
            writer(path).verify(snapshot(states[0]), position)
    with pytest.raises(CheckpointError, match="begun with velocities"):
        writer(path, velocities=False).verify(snapshot(states[0]), {"frames": 2, "step": 20})
    assert path.read_bytes() == before
    with pytest.raises(CheckpointError, match="cannot be read"):
        writer(tmp_path / "absent.h5").verify(snapshot(states[0]), {"frames": 2, "step": 20})
    path.write_bytes(before[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        writer(path).verify(snapshot(states[0]), {"frames": 2, "step": 20})


def test_a_frame_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    states = write(path)
    with h5py.File(path, "r+") as file:
        file["particles/all/image/value"].resize(FRAMES - 1, axis=0)
    with Trajectory(path) as trajectory:
        assert len(trajectory) == FRAMES - 1
    file = writer(path)
    position = {"frames": FRAMES - 1, "step": 40}
    file.verify(snapshot(states[2]), position)
    file.reopen(snapshot(states[2]), position, {})
    file.write(snapshot(states[3]))
    file.close()
    with Trajectory(path) as trajectory:
        assert [found.step for found in trajectory] == [0, 20, 40, 60]


def test_room_that_a_killed_run_reserved_is_reserved_anew(tmp_path: Path) -> None:
    """A hole takes no room until HDF5 writes into it, and then a full disk ends the process."""
    path = tmp_path / "t.h5"
    states = write(path)
    assert path.stat().st_size < ROOM_AT_ONCE  # what was reserved is given back
    position = {"frames": FRAMES, "step": states[-1].step}
    os.truncate(path, path.stat().st_size + 2**25)
    file = writer(path)
    file.reopen(snapshot(states[-1]), position, {})
    file.write(snapshot(frame(FRAMES)))
    found = path.stat()
    assert found.st_blocks * 512 >= found.st_size
    file.close()
    assert path.stat().st_size < ROOM_AT_ONCE
