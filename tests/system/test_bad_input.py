"""Bad input: a clear message, exit code 2, and nothing written or lost."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.constraints import FixAtoms
from cases import INPUT, everything_in, run_fastdp, water_box, write_case

from fastdp.cli.main import main
from fastdp.simulation.settings import CheckpointSettings

ModelFile = Callable[[str], Path]
Spoil = Callable[[Path], object]


@pytest.fixture
def case(tmp_path: Path, model_file: ModelFile) -> Path:
    return write_case(tmp_path, model_file("two_sided"))


def edit(old: str, new: str) -> Spoil:
    def spoil(folder: Path) -> None:
        text = (folder / "input.toml").read_text()
        assert old in text
        (folder / "input.toml").write_text(text.replace(old, new, 1))

    return spoil


def atoms(change: Callable[[ase.Atoms], None]) -> Spoil:
    def spoil(folder: Path) -> None:
        box = water_box()
        change(box)
        # A format that keeps all digits, NaN included.
        ase.io.write(folder / "start.traj", box)
        edit("start.extxyz", "start.traj")(folder)

    return spoil


def model(content: Callable[[bytes], bytes]) -> Spoil:
    return lambda folder: (folder / "model.pb").write_bytes(content((folder / "model.pb").read_bytes()))


def structure(text: str) -> Spoil:
    return lambda folder: (folder / "start.extxyz").write_text(text)


def put(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("precious")

    return spoil


CASES: dict[str, tuple[Spoil, str]] = {
    "unknown element": (
        atoms(lambda box: box.set_chemical_symbols(["Na", *box.get_chemical_symbols()[1:]])),
        "the model knows O, H, but the structure has Na (atom 0)",
    ),
    "truncated model": (model(lambda data: data[: len(data) // 2]), "model.pb"),
    "truncated by a byte": (model(lambda data: data[:-1]), "model.pb"),
    "empty model": (model(lambda data: b""), "model.pb: the file is empty"),
    "no model at all": (model(lambda data: b"\x89PNG\r\n\x1a\n" + bytes(1000)), "model.pb: not a model"),
    "text for a model": (model(lambda data: b"import torch\n"), "model.pb: not a model"),
    "model that is a folder": (
        edit('model = "model.pb"', 'model = "."'),
        "is a folder",
    ),
    "missing model": (lambda folder: (folder / "model.pb").unlink(), "no such file: model.pb"),
    "unknown key": (edit("seed = 5", "sead = 5"), "[velocities], sead: unknown key; did you mean `seed`?"),
    "unknown table": (edit("[output]", "[outputs]"), "outputs"),
    "negative time step": (
        edit("timestep_fs = 0.5", "timestep_fs = -0.5"),
        "[[stage]] 1, timestep_fs: is -0.5",
    ),
    "absent time step": (edit("timestep_fs = 0.5\n", ""), "[[stage]] 1, timestep_fs: missing"),
    "NaN time step": (edit("timestep_fs = 0.5", "timestep_fs = nan"), "[[stage]] 1, timestep_fs: is nan"),
    "no TOML": (edit("[potential]", "[potential"), "not valid TOML"),
    "other version": (edit("version = 1", "version = 3"), "version: is 3, must be 1"),
    "too many threads": (edit("threads = 1", "threads = 4000"), "4000 threads are asked for"),
    "missing structure": (lambda folder: (folder / "start.extxyz").unlink(), "no such file: start.extxyz"),
    "damaged structure": (structure("12\n\nO 0 0 0\n"), "start.extxyz: ASE cannot read it"),
    "no such frame": (edit('extxyz"', 'extxyz"\nframe = 7'), "start.extxyz: there is no frame 7"),
    "no velocities": (edit("temperature_K = 300\nseed = 5\n", ""), "the structure has no velocities"),
    "cell of zero volume": (
        atoms(lambda box: box.set_cell([[6, 0, 0], [0, 6, 0], [6, 6, 0]])),
        "must not be parallel or lie in one plane",
    ),
    "cell without a vector": (atoms(lambda box: box.set_cell([6, 6, 0])), "cell vector c"),
    "no cell but periodic": (atoms(lambda box: box.set_cell([0, 0, 0])), "cell vector a"),
    "NaN in the cell": (atoms(lambda box: box.set_cell([6, 6, np.nan])), "nan"),
    "NaN position": (
        atoms(lambda box: box.positions.__setitem__((3, 1), np.nan)),
        "the position of atom 3 is not finite",
    ),
    "atoms on top of each other": (
        atoms(lambda box: box.positions.__setitem__(7, box.positions[2] + [0.001, 0, 0])),
        "atoms on top of each other (less than 0.01 Å apart, atoms counted from 0): 2 (H) and 7 (H)",
    ),
    "atoms on top through the boundary": (
        atoms(lambda box: box.positions.__setitem__(7, box.positions[2] + 2 * box.cell[0] - box.cell[1])),
        "2 (H) and 7 (H)",
    ),
    "empty structure": (structure(""), "start.extxyz: the file is empty"),
    "folder without type.raw": (
        edit('file = "start.extxyz"', 'file = "."'),
        "is a folder, but not in DeePMD-kit's npy layout",
    ),
    "more copies than can be numbered": (
        edit('extxyz"', 'extxyz"\nrepeat = [10000, 10000, 10000]'),
        "makes 12000000000000 atoms; at most 2147483647",
    ),
    "output folder of too long a name": (
        edit('directory = "out"', f'directory = "{300 * "a"}"'),
        "File name too long; choose another name",
    ),
    "output file of too long a name": (
        edit("every = 1", f'every = 1\nfile = "{200 * "ä"}"'),
        "must have at most 200 bytes",
    ),
    "output directory that is a link to nothing": (
        lambda folder: (folder / "out").symlink_to("/nonexistent/folder"),
        "cannot write to",
    ),
    "one atom": (atoms(lambda box: box.__delitem__(slice(1, None))), "at least 2 atoms"),
    "existing trajectory": (put("out/trajectory.h5"), "trajectory.h5"),
    "existing thermo table": (put("out/thermo.csv"), "thermo.csv"),
    "existing checkpoint": (put(f"out/{CheckpointSettings.file}"), CheckpointSettings.file),
    "output directory that is a file": (put("out"), "out"),
    "output over the structure": (
        edit("every = 2", 'every = 2\nfile = "start.extxyz"\n[output_]'),
        "output_: unknown key",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_with_2_and_touches_nothing(
    name: str, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = CASES[name]
    spoil(case.parent)
    before = everything_in(case.parent)
    assert main(["run", str(case)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert str(case) in err
    assert "Traceback" not in err
    assert everything_in(case.parent) == before


@pytest.mark.parametrize("name", ["unknown element", "truncated model", "negative time step"])
def test_check_finds_the_same(name: str, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, expected = CASES[name]
    spoil(case.parent)
    assert main(["check", str(case)]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["att_attn2.pb", "dp4mask.pb", "pairwise_dprc.pb", "deepdipole.pb", "deepdos.pb"]
)
def test_unsupported_models_are_refused_by_the_part_that_was_found(
    name: str, case: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sorted(shared.glob(f"models/*/{name}"))
    assert found
    shutil.copy(found[0], case.parent / "model.pb")
    before = everything_in(case.parent)
    assert main(["run", str(case)]) == 2
    assert "model.pb" in capsys.readouterr().err
    assert everything_in(case.parent) == before


def test_model_structure_and_output_are_reported_together(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (case.parent / "model.pb").write_bytes(b"")
    atoms(lambda box: box.set_cell([6, 6, 0]))(case.parent)
    put("out/thermo.csv")(case.parent)
    edit("threads = 1", "threads = 4000")(case.parent)
    assert main(["run", str(case)]) == 2
    err = capsys.readouterr().err
    assert "4 problems" in err
    for expected in ("the file is empty", "cell vector c", "4000 threads", "output exists already"):
        assert expected in err


def test_start_structure_that_the_potential_refuses(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same error that stops a run with 3 is bad input at the start."""
    from fastdp.errors import PairTooCloseError

    def refuse(*arguments: object, **more: object) -> None:
        raise PairTooCloseError("atoms 1 and 2 are 0.1 Å apart", atoms=(1, 2))

    monkeypatch.setattr("fastdp.potential.reference.ReferencePotential.evaluate", refuse)
    before = everything_in(case.parent)
    assert main(["run", str(case)]) == 2
    assert "the start structure cannot be run: atoms 1 and 2" in capsys.readouterr().err
    assert everything_in(case.parent) == before


@pytest.mark.parametrize("damage", [None, b"", b"fastdp checkpoint 1\n", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_nothing_to_resume(damage: bytes | None, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if damage is not None:
        (case.parent / "out").mkdir()
        (case.parent / "out" / CheckpointSettings.file).write_bytes(damage)
    before = everything_in(case.parent)
    assert main(["run", str(case), "--resume"]) == 2
    assert CheckpointSettings.file in capsys.readouterr().err
    assert everything_in(case.parent) == before


def test_resuming_with_another_structure_is_refused(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(case), "--quiet"]) == 0
    box = water_box()
    box.positions[0, 0] += 0.01
    ase.io.write(case.parent / "start.extxyz", box)
    before = everything_in(case.parent)
    assert main(["run", str(case), "--resume"]) == 2
    assert "belongs to another run: structure" in capsys.readouterr().err
    assert everything_in(case.parent) == before


@pytest.mark.parametrize(
    "name", ["trajectory.h5", "thermo.csv", "checkpoint.npz", "checkpoint_previous.npz", "crash.extxyz"]
)
def test_a_folder_in_the_place_of_a_file_is_never_replaced(
    name: str, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (case.parent / "out" / name).mkdir(parents=True)
    (case.parent / "out" / name / "mine").write_text("precious")
    before = everything_in(case.parent)
    assert main(["run", str(case), "--overwrite"]) == 2
    assert f"{name} is a folder where a file is to go" in capsys.readouterr().err
    assert everything_in(case.parent) == before


def test_a_folder_in_the_place_of_the_checkpoint_is_found_before_resuming(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(case), "--quiet"]) == 0
    (case.parent / "out" / CheckpointSettings.file).unlink()
    (case.parent / "out" / CheckpointSettings.file).mkdir()
    before = everything_in(case.parent)
    assert main(["run", str(case), "--resume"]) == 2
    assert "is a folder where a file is to go" in capsys.readouterr().err
    assert everything_in(case.parent) == before


def test_copies_for_which_there_is_no_room(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the system ends the process, after a long time and without a word."""
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}[name])
    edit('extxyz"', 'extxyz"\nrepeat = [5, 2, 2]')(case.parent)
    assert main(["check", str(case)]) == 2
    assert "repeat = [5, 2, 2] makes 240 atoms, which take at least" in capsys.readouterr().err
    # 204 atoms fit.
    edit("repeat = [5, 2, 2]", "repeat = [4, 2, 2]")(case.parent)
    assert main(["check", str(case)]) == 0


def test_running_out_of_memory_is_no_defect(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise MemoryError("Unable to allocate 1. TiB")

    monkeypatch.setattr("fastdp.potential.reference.ReferencePotential.evaluate", fail)
    assert main(["run", str(case)]) == 1
    err = capsys.readouterr().err
    assert "not enough memory (Unable to allocate 1. TiB)" in err
    assert "Traceback" not in err


def test_another_ensemble_is_named_when_resuming(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(case), "--quiet"]) == 0
    edit('ensemble = "nve"', 'ensemble = "nvt"\ntemperature_K = 300')(case.parent)
    assert main(["run", str(case), "--resume"]) == 2
    assert "another run: integrator of stage 1 was" in capsys.readouterr().err


def test_the_trajectory_that_is_missing_when_resuming(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(case), "--quiet"]) == 0
    (case.parent / "out" / "trajectory.h5").unlink()
    assert main(["run", str(case), "--resume"]) == 2
    # And nothing of what HDF5 says besides.
    assert "cannot be read: No such file or directory; put the trajectory" in capsys.readouterr().err


def test_what_the_file_of_the_structure_has_in_vain_is_a_warning(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also to those who asked for quiet: a slab whose lower layers were fixed must not move unnoticed."""
    atoms(lambda box: box.set_constraint(FixAtoms([0, 1])))(case.parent)
    assert main(["run", str(case), "--quiet"]) == 0
    assert "warning: 1 constraint(s) of the file are ignored: every atom moves" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--write-expectation", "absent/x.h5", "there is no folder"),
        ("--write-expectation", ".", "is a folder; name a file"),
        ("--write-expectation", "model.pb", "output exists already: {folder}/model.pb; choose another name"),
    ],
)
def test_expectations_that_cannot_be_written_are_found_first(
    option: str, name: str, message: str, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything_in(case.parent)
    assert main(["check", str(case), option, str(case.parent / name)]) == 2
    out, err = capsys.readouterr()
    assert message.format(folder=case.parent) in err
    assert "--resume" not in err
    assert out == ""
    assert everything_in(case.parent) == before


def test_directory_that_may_not_be_written(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (case.parent / "out").mkdir(mode=0o500)
    assert main(["run", str(case)]) == 2
    assert "cannot write to" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["unknown key", "truncated model", "existing trajectory"])
def test_in_a_process_of_its_own(name: str, case: Path) -> None:
    spoil, expected = CASES[name]
    spoil(case.parent)
    before = everything_in(case.parent)
    done = run_fastdp("run", case.name, folder=case.parent)
    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert everything_in(case.parent) == before


def test_the_case_itself_is_sound(case: Path) -> None:
    assert INPUT == case.read_text()
    assert main(["run", str(case), "--quiet"]) == 0
