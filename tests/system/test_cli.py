"""The commands, through the entry point: what they print, write and return."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from cases import INPUT, everything_in, start_fastdp, water_box, write_case

from fastdp import __version__
from fastdp.cli.main import main

ModelFile = Callable[[str], Path]


@pytest.fixture
def case(tmp_path: Path, model_file: ModelFile) -> Path:
    return write_case(tmp_path, model_file("two_sided"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_same_output(expected: Path, found: Path) -> None:
    """Compare tables and trajectories bit for bit."""
    assert (found / "thermo.csv").read_bytes() == (expected / "thermo.csv").read_bytes()
    with h5py.File(expected / "trajectory.h5") as one, h5py.File(found / "trajectory.h5") as other:
        for name in ("position/step", "position/time", "position/value", "velocity/value", "image/value"):
            np.testing.assert_array_equal(one[f"particles/all/{name}"], other[f"particles/all/{name}"])


class TestRun:
    def test_a_run_says_what_it_does_and_where_its_files_are(
        self, case: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run", str(case)]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        for expected in (
            f"model: {case.parent / 'model.pb'}",
            "12 atoms (4 O, 8 H)",
            "velocities: drawn at 300 K, seed 5",
            "stage 1: 6 steps of 0.5 fs, constant energy",
            "stage 2: warm, 4 steps of 0.5 fs, constant temperature 300 K",
            "threads: 1",
            "reference",
            "ms a step",
            "MiB",
            "drift",
            "neighbours",
            f"written: {case.parent / 'out' / 'trajectory.h5'}",
        ):
            assert expected in out
        with h5py.File(case.parent / "out" / "trajectory.h5") as file:
            assert file["particles/all/position/step"][:].tolist() == [0, 2, 4, 6, 8, 10]
            assert b"timestep_fs = 0.5" in file["parameters/input"][()]
        rows = rows_of(case.parent / "out" / "thermo.csv")
        assert [int(row["step"]) for row in rows] == list(range(11))
        assert float(rows[0]["temperature_K"]) == pytest.approx(300.0, rel=1e-9)  # exact_temperature

    def test_quiet_prints_nothing(self, case: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["run", str(case), "--quiet"]) == 0
        assert capfd.readouterr() == ("", "")

    def test_threads_of_the_command_line_go_first(
        self, case: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        case.write_text(INPUT.replace("threads = 1", "threads = 4000"))
        assert main(["run", str(case), "--threads", "1"]) == 0
        assert "threads: 1\n" in capsys.readouterr().out

    def test_paths_do_not_depend_on_the_working_directory(
        self, case: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        monkeypatch.chdir(elsewhere)
        assert main(["run", os.path.relpath(case, elsewhere), "--quiet"]) == 0
        assert (case.parent / "out" / "trajectory.h5").exists()
        assert everything_in(elsewhere) == {}

    def test_a_second_run_is_refused_resumed_or_replaces_the_first(
        self, case: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run", str(case), "--quiet"]) == 0
        before = everything_in(case.parent)
        assert main(["run", str(case)]) == 2
        assert everything_in(case.parent) == before
        assert "trajectory.h5" in capsys.readouterr().err
        assert main(["run", str(case), "--resume", "--overwrite"]) == 2
        assert everything_in(case.parent) == before
        assert main(["run", str(case), "--quiet", "--overwrite"]) == 0

    @pytest.mark.parametrize("potential", ['backend = "reference"', 'backend = "cpu"\nprecision = "mixed"'])
    def test_a_resumed_run_is_the_uninterrupted_one(
        self, case: Path, potential: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A first run is given fewer steps, the resumed one all of them."""
        text = INPUT.replace('backend = "reference"', potential)
        case.write_text(text)
        assert main(["run", str(case), "--quiet"]) == 0
        folder = tmp_path_factory.mktemp("resumed")
        other = write_case(folder, case.parent / "model.pb", text=text.replace("steps = 4", "steps = 1"))
        assert main(["run", str(other), "--quiet"]) == 0
        other.write_text(text)
        assert main(["run", str(other), "--quiet", "--resume"]) == 0
        assert_same_output(case.parent / "out", folder / "out")

    def test_a_signal_ends_a_run_with_4_and_it_can_be_resumed(
        self, case: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        text = INPUT.replace("steps = 4", "steps = 600")
        case.write_text(text)
        folder = tmp_path_factory.mktemp("interrupted")
        other = write_case(folder, case.parent / "model.pb", text=text)
        process = start_fastdp("run", other.name, folder=folder)
        table = folder / "out" / "thermo.csv"
        while process.poll() is None and (not table.exists() or len(table.read_bytes().splitlines()) < 20):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 4, err
        assert "continue with --resume" in err
        assert "Traceback" not in err
        assert 20 < len(table.read_bytes().splitlines()) < 608
        assert main(["run", str(other), "--quiet", "--resume"]) == 0
        assert main(["run", str(case), "--quiet"]) == 0
        assert_same_output(case.parent / "out", folder / "out")

    def test_velocities_of_the_structure_are_used(self, tmp_path: Path, model_file: ModelFile) -> None:
        atoms = water_box()
        generator = np.random.default_rng(3)
        atoms.set_velocities(generator.normal(0.0, 0.02, (12, 3)))
        atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
        case = write_case(
            tmp_path,
            model_file("two_sided"),
            atoms=atoms,
            text=INPUT.replace("temperature_K = 300\nseed = 5", "remove_net_momentum = false"),
        )
        assert main(["run", str(case), "--quiet"]) == 0
        first = rows_of(tmp_path / "out" / "thermo.csv")[0]
        # extxyz keeps eight digits.
        assert float(first["kinetic_energy_eV"]) == pytest.approx(atoms.get_kinetic_energy(), rel=1e-6)

    def test_an_exploding_run_ends_with_3_and_keeps_what_was_written(
        self, case: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        case.write_text(INPUT.replace("[output]", "[guards]\nmaximum_temperature_K = 300.0001\n[output]", 1))
        case.write_text(case.read_text().replace("temperature_K = 300\nseed", "temperature_K = 290\nseed"))
        case.write_text(case.read_text().replace("steps = 4", "steps = 4000"))
        code = main(["run", str(case), "--quiet"])
        err = capsys.readouterr().err
        assert code == 3, err
        assert err.startswith("fastdp: step ")
        assert "Traceback" not in err
        assert (case.parent / "out" / "crash.extxyz").exists()
        with h5py.File(case.parent / "out" / "trajectory.h5") as file:
            assert len(file["particles/all/position/value"]) >= 1

    def test_supercell_and_masses(self, case: Path) -> None:
        case.write_text(
            INPUT.replace(
                'file = "start.extxyz"', 'file = "start.extxyz"\nrepeat = [1, 2, 1]\nmasses_u = { H = 2.014 }'
            )
        )
        assert main(["run", str(case), "--quiet"]) == 0
        with h5py.File(case.parent / "out" / "trajectory.h5") as file:
            assert file["particles/all/position/value"].shape[1] == 24
            assert sorted(set(file["particles/all/mass/value"][0].tolist())) == [2.014, 15.999]


class TestCheck:
    def test_it_forecasts_and_writes_nothing(self, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = everything_in(case.parent)
        assert main(["check", str(case)]) == 0
        out = capsys.readouterr().out
        for expected in ("12 atoms", "ms a step", "MiB", "6 frames", "ready to run"):
            assert expected in out
        assert everything_in(case.parent) == before

    def test_it_warns_of_output_that_exists(self, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (case.parent / "out").mkdir()
        (case.parent / "out" / "thermo.csv").write_text("precious")
        assert main(["check", str(case)]) == 0
        assert "warning: output exists already" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("backend", "consequence"), [("reference", "the farthest are dropped"), ("cpu", "all are kept")]
    )
    def test_more_neighbours_than_in_training_are_counted(
        self,
        tmp_path: Path,
        model_file: ModelFile,
        capsys: pytest.CaptureFixture[str],
        backend: str,
        consequence: str,
    ) -> None:
        text = INPUT.replace('"reference"', f'"{backend}"')
        assert main(["check", str(write_case(tmp_path, model_file("narrow_selection"), text=text))]) == 0
        out = capsys.readouterr().out
        assert "8 H atoms have more H neighbours" in out
        assert "than the 5 of the model's training (sel)" in out
        assert consequence in out

    def test_bad_input_ends_with_2(self, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
        case.write_text(INPUT.replace("steps = 6", "stepz = 6"))
        assert main(["check", str(case)]) == 2
        assert "did you mean `steps`" in capsys.readouterr().err


class TestSmallCommands:
    def test_info(self, model_file: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info", str(model_file("two_sided"))]) == 0
        out = capsys.readouterr().out
        assert "O, H" in out
        assert "se_e2_a" in out
        assert "4.2 Å" in out

    def test_convert(self, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", str(case), "--quiet"]) == 0
        destination = case.parent / "out.extxyz"
        arguments = ["convert", str(case.parent / "out" / "trajectory.h5"), str(destination)]
        assert main(arguments) == 0
        assert "6 frames" in capsys.readouterr().out
        frames = ase.io.read(destination, ":")
        assert len(frames) == 6
        assert frames[0].get_temperature() == pytest.approx(300.0 * 33 / 36, rel=1e-5)  # of 3N, not 3N − 3
        assert main(arguments) == 2
        assert main([*arguments, "--overwrite"]) == 0

    def test_schema_is_json_and_knows_every_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["schema"]) == 0
        schema = json.loads(capsys.readouterr().out)
        assert set(schema["required"]) == {"version", "potential", "structure", "stage"}
        assert schema["$defs"]["NVTStage"]["properties"]["temperature_K"]["unit"] == "K"

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"fastdp {__version__}\n")
        assert "numpy" in out

    @pytest.mark.parametrize("arguments", [["rum"], ["run"], ["run", "a", "--resum"], ["info"]])
    def test_wrong_usage_ends_with_2(self, arguments: list[str]) -> None:
        assert main(arguments) == 2

    def test_a_defect_is_reported_as_one(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("fastdp.model.readers.registry.read_model", lambda path: 1 / 0)
        assert main(["info", "model.pb"]) == 1
        err = capsys.readouterr().err
        assert "ZeroDivisionError" in err
        assert "defect in fastdp" in err


def test_help_imports_nothing_heavy() -> None:
    """Under mpirun every rank imports, so the start-up of the command line counts."""
    heavy = ("numpy", "numba", "scipy", "h5py", "ase", "pydantic")
    program = (
        "import sys; from fastdp.cli.main import main; code = main(['--help'])\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
