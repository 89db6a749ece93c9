"""Reading and validating the input file."""

from pathlib import Path

import pytest

from fastdp.config.load import load_input, output_files
from fastdp.errors import ConfigurationError

VALID = """\
version = 1
[potential]
model = "model.pb"
[structure]
file = "start.extxyz"
[velocities]
temperature_K = 300
[[stage]]
ensemble = "nve"
steps = 10
timestep_fs = 0.5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.pb").write_bytes(b"")
    (tmp_path / "start.extxyz").write_text("")
    return tmp_path


def problems_of(folder: Path, text: str) -> list[str]:
    path = folder / "input.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_input(path)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    return list(caught.value.problems)


def the_problem(folder: Path, text: str) -> str:
    problems = problems_of(folder, text)
    assert len(problems) == 1, problems
    return problems[0]


def test_valid_input_has_absolute_paths_and_defaults(folder: Path) -> None:
    path = folder / "input.toml"
    path.write_text(VALID)
    configuration = load_input(path).configuration
    assert configuration.potential.model == str(folder / "model.pb")
    assert configuration.structure.file == str(folder / "start.extxyz")
    assert Path(configuration.output.directory) == folder
    assert configuration.potential.backend == "auto"
    assert configuration.potential.tolerance == 1e-5
    assert output_files(configuration)["output.thermo.file"] == folder / "thermo.csv"


def test_paths_count_from_the_input_file_not_from_the_working_directory(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "input.toml").write_text(VALID)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_input(folder / "input.toml").configuration.potential.model == str(folder / "model.pb")


@pytest.mark.parametrize(
    ("line", "replacement", "expected"),
    [
        (
            "timestep_fs = 0.5",
            "timestep_fs = -0.5",
            "line 11: [[stage]] 1, timestep_fs: is -0.5, must be greater",
        ),
        ("timestep_fs = 0.5", "timestep_fs = 0", "line 11: [[stage]] 1, timestep_fs: is 0, must be greater"),
        ("timestep_fs = 0.5", "", "[[stage]] 1, timestep_fs: missing. Time step."),
        ("timestep_fs = 0.5", 'timestep_fs = "0.5"', "timestep_fs: is '0.5', must be a number"),
        ("timestep_fs = 0.5", "timestep_fs = nan", "timestep_fs: is nan, must be a finite number"),
        ("timestep_fs = 0.5", "timestep = 0.5", "timestep: unknown key; did you mean `timestep_fs`?"),
        ("steps = 10", "steps = 1.5", "steps: is 1.5, must be an integer"),
        ("steps = 10", "steps = true", "steps: is true, must be an integer"),
        ('ensemble = "nve"', 'ensemble = "nvee"', "is 'nvee', must be 'nve' or 'nvt'; did you mean 'nve'?"),
        ('ensemble = "nve"', 'ensmble = "nve"', "line 9: [[stage]] 1, ensmble: unknown key; did you mean"),
        ("[[stage]]", "[stage]", "stage: must be an array of tables: write [[stage]], not [stage]"),
        ("version = 1", "version = 2", "line 1: version: is 2, must be 1"),
        ("version = 1", "version = 1\nthreads = 2", "threads: unknown key here; it belongs in [parallel]"),
        (
            "version = 1",
            "version = 1\n[neighbors]\nskin_A = 1.0",
            "neighbors: unknown key; did you mean `neigh",
        ),
        ('file = "start.extxyz"', 'file = "other.extxyz"', "[structure], file: no such file: other.extxyz"),
        ('model = "model.pb"', 'model = "other.pb"', "[potential], model: no such file: other.pb"),
        ('model = "model.pb"', 'model = "a\\u0000b"', "[potential], model: is 'a\\x00b', must be a path"),
        (
            "temperature_K = 300",
            "temperature_K = -1",
            "temperature_K: is -1, must be greater than or equal to 0 K",
        ),
        (
            "temperature_K = 300",
            "temperature_K = 1e308",
            "temperature_K: is 1e+308, must be less than or equal to",
        ),
        (
            'ensemble = "nve"',
            'ensemble = "nve"\ntemperature_K = 300',
            "line 10: [[stage]] 1, temperature_K: not a key of ensemble = 'nve', but of 'nvt'; take it out",
        ),
        (
            'ensemble = "nve"',
            'ensemble = "nve"\npressure = 1',
            "pressure: unknown key; known here are name, steps, timestep_fs, ensemble",
        ),
        (
            'file = "start.extxyz"',
            'file = "start.extxyz"\nrepeat = [2, 2]',
            "[structure], repeat: has 2 entries, must have at least 3",
        ),
        (
            'file = "start.extxyz"',
            'file = "start.extxyz"\nmasses_u = { H = 1e-300 }',
            "H: is 1e-300, must be greater than or equal to 0.0001",
        ),
        ('model = "model.pb"', 'model = "model.pb"\nbackend = "gpu"', "did you mean 'cuda'?"),
        ('model = "model.pb"', 'model = "model.pb"\nprecision = "single"', "did you mean 'mixed'?"),
        (
            'model = "model.pb"',
            'model = "model.pb"\nhead = ""',
            "head: is '', must have at least 1 characters",
        ),
    ],
)
def test_each_problem_is_named_with_its_place(
    folder: Path, line: str, replacement: str, expected: str
) -> None:
    assert line in VALID
    assert expected in the_problem(folder, VALID.replace(line, replacement, 1))


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(folder: Path) -> None:
    text = """\
verison = 1
[potential]
model = "absent.pb"
tolerance = -1.0
[structure]
file = "start.extxyz"
repeat = [1, 0, "a"]
[[stage]]
ensemble = "nvt"
steps = 10
timestep_fs = 0.5
[[stage]]
ensemble = "nvt"
temperature_K = 300
steps = -1
time_step_fs = 0.5
[output.trajectory]
every = 0
"""
    problems = problems_of(folder, text)
    expected = [
        "line 1: verison: unknown key",
        "line 4: [potential], tolerance: is -1.0",
        "line 7: [structure], repeat entry 2: is 0",
        "line 7: [structure], repeat entry 3: is 'a'",
        "line 8: [[stage]] 1, temperature_K: missing",
        "line 15: [[stage]] 2, steps: is -1",
        "line 16: [[stage]] 2, time_step_fs: unknown key; did you mean `timestep_fs`",
        "line 18: [output.trajectory], every: is 0",
        "[potential], model: no such file",
    ]
    assert len(problems) == len(expected), problems
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(start)


def test_a_stage_of_unknown_kind_is_still_checked(folder: Path) -> None:
    problems = problems_of(folder, VALID.replace('"nve"', '"npt"').replace("0.5", "-0.5"))
    # Not "did you mean 'nvt'?": whoever writes npt means it.
    assert any(problem.endswith("is 'npt', must be 'nve' or 'nvt'") for problem in problems)
    assert any("timestep_fs: is -0.5" in problem for problem in problems)


def test_syntax_error_names_the_line(folder: Path) -> None:
    assert "at line 2" in the_problem(folder, "version = 1\n[potential\n")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 100_000, b"a = " + b"1" * 10_000])
def test_what_is_not_toml_is_a_problem_not_a_crash(folder: Path, content: bytes) -> None:
    path = folder / "input.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        load_input(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[committee]\nmodels = ["model.pb", "absent.pb"]',
            "[committee], models: no such file: absent.pb",
        ),
        (
            '[[tensor]]\nmodel = "absent.pb"\nfile = "a.csv"',
            "[[tensor]] 1, model: no such file: absent.pb",
        ),
        (
            '[committee]\nmodels = ["other.pb"]\nabove_limit = "pause"',
            "[committee], above_limit: is 'pause', which would do nothing without `limit`",
        ),
        (
            '[committee]\nmodels = ["other.pb"]\nsave_frames = "frames"',
            "[committee], save_frames: would do nothing without `limit`",
        ),
    ],
)
def test_what_a_run_would_find_out_late_is_found_at_once(folder: Path, text: str, expected: str) -> None:
    (folder / "other.pb").write_bytes(b"")
    assert the_problem(folder, VALID + text).startswith(expected)


def test_a_byte_order_mark_is_no_problem(folder: Path) -> None:
    path = folder / "input.toml"
    path.write_bytes(b"\xef\xbb\xbf" + VALID.encode())
    assert load_input(path).configuration.stage[0].steps == 10


def test_another_encoding_is_named_with_its_line(folder: Path) -> None:
    path = folder / "input.toml"
    path.write_bytes(VALID.encode() + b"# caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"line 12: not a text file in UTF-8 \(byte 0xe9\)"):
        load_input(path)


def test_missing_input_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_input(tmp_path / "input.toml")


def test_a_folder_is_not_an_input_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="directory"):
        load_input(tmp_path)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            '[output.trajectory]\nfile = "thermo.csv"',
            "output.thermo.file and output.trajectory.file are the same",
        ),
        (
            '[output.trajectory]\nfile = "start.extxyz"',
            "output.trajectory.file and structure.file are the same",
        ),
        ('[output.checkpoint]\nfile = "model.pb"', "output.checkpoint.file and potential.model are the same"),
        ('[output.thermo]\nfile = "input.toml"', "output.thermo.file and the input file are the same"),
        ('[output.thermo]\nfile = "crash.extxyz"', "the crash frame and output.thermo.file are the same"),
        (
            '[output.thermo]\nfile = "checkpoint_previous.npz"',
            "the previous checkpoint and output.thermo.file are the same",
        ),
        (
            '[output.thermo]\nfile = ".checkpoint.npz.lock"',
            "the lock of the run and output.thermo.file are the same",
        ),
        (
            '[committee]\nmodels = ["second.pb"]\nfile = "second.pb"',
            "committee.file and committee.models.0 are the same",
        ),
        (
            '[[tensor]]\nmodel = "dipole.pb"\nfile = "dipole.pb"',
            "tensor.0.file and tensor.0.model are the same",
        ),
        (
            '[[tensor]]\nmodel = "dipole.pb"\nfile = "dipole"\natomic = true',
            "the arrays of tensor.0 and tensor.0.file are the same",
        ),
        (
            '[[potential.table]]\nfile = "pairs.csv"\n[output.thermo]\nfile = "pairs.csv"',
            "output.thermo.file and potential.table.0.file are the same",
        ),
        ('[output.thermo]\nfile = "../thermo.csv"', "must be a file name without folders"),
        ('[output.thermo]\nfile = ".."', "must be a file name without folders"),
    ],
)
def test_outputs_may_not_overwrite_one_another_or_the_input(folder: Path, output: str, expected: str) -> None:
    for name in ("second.pb", "dipole.pb", "pairs.csv"):
        (folder / name).write_bytes(b"")
    assert expected in the_problem(folder, VALID + output)


def test_the_crash_frame_of_a_run_may_not_replace_what_the_next_one_starts_from(folder: Path) -> None:
    (folder / "crash.extxyz").write_text("")
    assert "the crash frame and structure.file are the same file" in the_problem(
        folder, VALID.replace("start.extxyz", "crash.extxyz")
    )
