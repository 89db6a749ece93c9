"""`fastdp check --expect`: stored values in every format, hits and misses."""

from __future__ import annotations

from types import SimpleNamespace

import ase
import ase.io
import h5py
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from cases import INPUT, everything_in, write_case
from term_cases import write_terms_case

from fastdp.cli.main import main
from fastdp.errors import ExpectationError
from fastdp.expectation.compare import EXACT, HALF, ROUNDED, Limits, limits_of_reference
from fastdp.expectation.read import read_expectations


@pytest.fixture
def case(tmp_path, model_file):
    return write_case(tmp_path, model_file("two_sided"))


@pytest.fixture
def expected(case, capsys):
    """A file of what the model gives for the case's structure."""
    path = case.parent / "frame.h5"
    assert main(["check", str(case), "--write-expectation", str(path)]) == 0
    assert f"written: {path}" in capsys.readouterr().out
    return path


def change(path, name, place, amount):
    with h5py.File(path, "r+") as file:
        values = file[f"start/{name}"]
        values[place] = values[place] + amount


def test_what_was_written_is_found_again(case, expected, capsys):
    before = everything_in(case.parent)
    for backend in ("reference", "cpu"):
        case.write_text(INPUT.replace('"reference"', f'"{backend}"'))
        assert main(["check", str(case), "--expect", str(expected)]) == 0
        out = capsys.readouterr().out
        assert "the reference is within energy 0.0e+00 eV/atom" in out
        assert ("the fast path is within energy" in out) == (backend == "cpu")
        assert f"all values of {expected} are as expected" in out
    case.write_text(INPUT)
    assert everything_in(case.parent) == before


def test_what_is_written_is_the_models_answer(case, expected):
    """Energies are those of the run's table, forces their gradient."""
    from fastdp.ase import FastDP

    frame = read_expectations(expected)[0]
    atoms = ase.Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=frame.periodic)
    atoms.calc = FastDP(case.parent / "model.pb", backend="reference")
    assert frame.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert frame.atomic_energies.sum() == pytest.approx(frame.energy, abs=1e-10)
    h = 1e-4
    slopes = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[3, 1] += sign * h
        moved.calc = atoms.calc
        slopes.append(moved.get_potential_energy())
    # 1e-12 eV of rounding over h, and h² times a third derivative.
    assert frame.forces[3, 1] == pytest.approx(-(slopes[0] - slopes[1]) / (2 * h), abs=1e-6)
    with h5py.File(expected) as file:
        assert file.attrs["model"] == "model.pb"
        assert len(file.attrs["model_sha256"]) == 64


MISSES = [
    ("forces", (5, 2), 2e-9, "component z of the force on atom 5 (H)"),
    ("energy", (), 2e-8, "the energy (eV)"),
    ("atomic_energies", 2, 2e-9, "the energy of atom 2"),
    ("virial", (0, 1), 2e-8, "component xy of the virial"),
]


@pytest.mark.parametrize(("name", "place", "amount", "said"), MISSES, ids=[miss[0] for miss in MISSES])
def test_a_small_miss_of_the_reference_is_named(case, expected, capsys, name, place, amount, said):
    change(expected, name, place, amount)
    assert main(["check", str(case), "--expect", str(expected)]) == ExpectationError.exit_code == 6
    err = capsys.readouterr().err
    assert said in err
    assert "the reference" in err
    assert "1 value is not as expected" in err
    assert "1.0e-09 are tolerated" in err


def test_a_miss_of_the_fast_path_is_named(case, expected, capsys):
    """The tolerance of the input is that of the fast path, and of nothing else."""
    case.write_text(INPUT.replace('"reference"', '"cpu"'))
    change(expected, "forces", (7, 0), 5e-5)
    assert main(["check", str(case), "--expect", str(expected)]) == 6
    err = capsys.readouterr().err
    assert "the reference: component x of the force on atom 7" in err
    assert "the fast path" not in err
    change(expected, "forces", (7, 0), 5e-3)
    assert main(["check", str(case), "--expect", str(expected)]) == 6
    assert "the fast path: component x of the force on atom 7" in capsys.readouterr().err


def test_not_a_number_is_a_miss(case, expected, capsys):
    change(expected, "forces", (1, 1), np.nan)
    assert main(["check", str(case), "--expect", str(expected)]) == 6
    assert "the force on atom 1" in capsys.readouterr().err


def test_another_model_is_found_out(case, expected, model_file, capsys):
    (case.parent / "model.pb").write_bytes(model_file("one_sided").read_bytes())
    assert main(["check", str(case), "--expect", str(expected)]) == 6
    assert "values are not as expected" in capsys.readouterr().err


def labelled(expected):
    frame = read_expectations(expected)[0]
    atoms = ase.Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=frame.periodic)
    stress = -frame.virial / atoms.get_volume()
    symmetric = 0.5 * (stress + stress.T)
    voigt = symmetric[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces, stress=voigt)
    return frame, atoms


def test_extxyz_has_eight_decimals_and_is_compared_to_that(case, expected, capsys):
    _, atoms = labelled(expected)
    path = case.parent / "frames.extxyz"
    ase.io.write(path, [atoms, atoms])
    assert main(["check", str(case), "--expect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "frame 1 (12 atoms): the reference is within energy" in out
    assert "virial" in out
    atoms.calc.results["forces"][4] += 1e-3
    ase.io.write(path, atoms)
    assert main(["check", str(case), "--expect", str(path)]) == 6
    assert "of the force on atom 4" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_npy_folders_of_deepmd_kit(case, expected, capsys, kind):
    frame, _ = labelled(expected)
    folder = case.parent / "system"
    (folder / "set.000").mkdir(parents=True)
    (folder / "type_map.raw").write_text("H\nO\n")
    (folder / "type.raw").write_text("\n".join("1" if name == "O" else "0" for name in frame.symbols))
    arrays = {"coord": frame.positions, "box": frame.cell, "force": frame.forces, "virial": frame.virial}
    for name, values in arrays.items():
        np.save(folder / f"set.000/{name}.npy", values.reshape(1, -1).astype(kind))
    np.save(folder / "set.000/energy.npy", np.array([frame.energy], dtype=kind))
    assert main(["check", str(case), "--expect", str(folder)]) == 0
    change_by = 1e-8 if kind is np.float64 else 1e-3
    np.save(folder / "set.000/force.npy", (frame.forces.reshape(1, -1) + change_by).astype(kind))
    assert main(["check", str(case), "--expect", str(folder)]) == 6
    assert "of the force on atom" in capsys.readouterr().err


def test_answers_of_deepmd_kit_itself(tmp_path, shared, capsys):
    """All frames of a file, by reference and fast path; frames with overflow of sel too."""
    text = INPUT.replace('"reference"', '"cpu"')
    path = write_case(tmp_path, shared / "models/own/water.pb", text=text)
    answers = shared / "reference/water.pb.h5"
    assert main(["check", str(path), "--expect", str(answers)]) == 0
    out = capsys.readouterr().out
    with h5py.File(answers) as file:
        assert out.count("the reference is within energy") == len(file)
        assert any(group.attrs["sel_overflow"] for group in file.values()) == ("all neighbours" in out)


def test_further_terms_belong_to_what_is_expected(tmp_path, model_file, capsys):
    path = write_terms_case(tmp_path, model_file("two_sided"))
    kept = tmp_path / "frame.h5"
    assert main(["check", str(path), "--write-expectation", str(kept)]) == 0
    assert main(["check", str(path), "--expect", str(kept)]) == 0
    assert "the fast path is within energy" in capsys.readouterr().out
    path.write_text(path.read_text().replace("inner_A = 0.6", "inner_A = 0.7"))
    assert main(["check", str(path), "--expect", str(kept)]) == 6


def test_what_cannot_be_compared_is_refused(case, expected, capsys):
    def refused(path):
        assert main(["check", str(case), "--expect", str(path)]) == 2
        return capsys.readouterr().err

    assert "no such file" in refused(case.parent / "absent.h5")
    assert main(["run", str(case), "--quiet"]) == 0
    assert "holds no energies and forces" in refused(case.parent / "out/trajectory.h5")
    assert "neither energy nor forces" in refused(case.parent / "start.extxyz")
    damaged = case.parent / "damaged.h5"
    damaged.write_bytes(expected.read_bytes()[:900])
    assert "damaged.h5" in refused(damaged)
    with h5py.File(expected, "r+") as file:
        del file["start/forces"]
        file["start/forces"] = np.zeros((5, 3))
    assert "forces has shape (5, 3)" in refused(expected)
    with h5py.File(expected, "r+") as file:
        del file["start/symbols"]
    assert "cannot be read as expected values" in refused(expected)
    assert main(["check", str(case), "--write-expectation", str(expected)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_parameters_must_be_those_of_the_input(tmp_path, shared, capsys):
    """A model whose one type has no name but "0"."""
    answers = shared / "reference/fparam_aparam.six_atoms.h5"
    with h5py.File(answers) as file:
        positions = file["six_atoms_open/positions"][()]
        value = float(file["six_atoms_open/fparam"][0])
    folder = tmp_path / "system"
    (folder / "set.000").mkdir(parents=True)
    (folder / "nopbc").touch()
    (folder / "type_map.raw").write_text("0\n")
    (folder / "type.raw").write_text("0 " * 6)
    np.save(folder / "set.000/coord.npy", positions.reshape(1, -1))
    np.save(folder / "set.000/box.npy", np.zeros((1, 9)))
    given = f'"reference"\nfparam = [{value!r}]\naparam = [{value!r}]'
    text = INPUT.replace('"start.extxyz"', '"system"\nmasses_u = { 0 = 1.0 }')
    path = write_case(
        tmp_path, shared / "models/third_party/fparam_aparam.pb", text=text.replace('"reference"', given)
    )
    assert main(["check", str(path), "--expect", str(answers)]) == 0, capsys.readouterr().err
    own = tmp_path / "own.h5"
    assert main(["check", str(path), "--write-expectation", str(own)]) == 0
    assert main(["check", str(path), "--expect", str(own)]) == 0
    path.write_text(path.read_text().replace(f"fparam = [{value!r}]", "fparam = [0.3]"))
    for file in (answers, own):
        assert main(["check", str(path), "--expect", str(file)]) == 2
        assert f"fparam = [{value!r}]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made_by", "precision", "rounded", "expected"),
    [
        ("fastdp 0.1", "float16", False, EXACT),
        ("another", "float64", False, EXACT),
        ("another", "float32", False, ROUNDED),
        ("another", "float16", False, HALF),
        ("fastdp 0.1", "float64", True, ROUNDED),
    ],
)
def test_what_is_tolerated_follows_from_who_computed_in_what(
    made_by: str, precision: str, rounded: bool, expected: Limits
) -> None:
    expectation = SimpleNamespace(made_by=made_by, rounded=rounded)
    assert limits_of_reference(expectation, SimpleNamespace(precision=precision)) == expected
