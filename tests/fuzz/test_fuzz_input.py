"""Whatever the input file or the structure holds: a result, or one of fastdp's own errors."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import ase.io
import numpy as np
import pytest
from cases import INPUT, water_box, write_case
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fastdp.cli.main import main
from fastdp.config.load import load_input
from fastdp.config.walk import all_tables
from fastdp.errors import ConfigurationError, StructureError
from fastdp.structure.checks import check_structure
from fastdp.structure.read import read_structure

KEYS = sorted({key for _, keys in all_tables() for key in keys} | {"ensmble", "x", '"é"', "a.b"})
VALUES = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(lambda number: repr(number).replace("inf", "inf")),
    st.sampled_from(
        ["true", "[]", "[1, 2]", "{}", "{ a = 1 }", "1979-05-27", '""', '"nvt"', '"\\u0000"', "1e400", "[[]]"]
    ),
    st.text(max_size=8).map(lambda text: f"'{text}'"),
)
LINES = st.one_of(
    st.builds("{} = {}".format, st.sampled_from(KEYS), VALUES),
    st.sampled_from(["[stage]", "[[stage]]", "[[potential]]", "[output.trajectory]", "[x.y]", "[[", ""]),
    st.text(max_size=20),
)
EDITS = st.lists(st.tuples(st.integers(0, len(INPUT.splitlines())), st.booleans(), LINES), max_size=4)

STRUCTURE = "".join(
    f"{line}\n" for line in ("2", 'Lattice="5 0 0 0 5 0 0 0 5" pbc="T T T"', "O 0 0 0", "H 1 0 0")
)
WORDS = st.sampled_from(
    ["nan", "inf", "-1", "1e308", "0", "Lattice=", '"', "T", "Xx", "H", "\x00", "é", "3", "\n"]
)

many = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A new folder for each example, unlike pytest's, which all examples of a test share."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def edited(edits: list[tuple[int, bool, str]]) -> str:
    lines = INPUT.splitlines()
    for place, replaces, line in edits:
        lines[place : place + replaces] = [line]
    return "\n".join(lines)


@many
@given(text=st.one_of(st.text(), EDITS.map(edited)))
@example(text='stage = [{ensemble = "nvt"}, 3, {ensemble = 7}, {}, [[]]]')
@example(text="stage = { ensemble = 1 }\npotential = []\nstructure = 3\noutput = { trajectory = 1 }")
@example(text='[structure]\nfile = "\\u0000"\n[potential]\nmodel = "' + "x" * 5000 + '"')
def test_input_files(text: str) -> None:
    with folder() as path:
        file = path / "input.toml"
        file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        with contextlib.suppress(ConfigurationError):
            load_input(file)


@many
@given(data=st.binary(max_size=200))
def test_input_files_of_bytes(data: bytes) -> None:
    with folder() as path:
        file = path / "input.toml"
        file.write_bytes(data)
        with contextlib.suppress(ConfigurationError):
            load_input(file)


@many
@given(
    cut=st.integers(0, len(STRUCTURE)),
    insertions=st.lists(st.tuples(st.integers(0, len(STRUCTURE)), WORDS), max_size=4),
    suffix=st.sampled_from([".extxyz", ".xyz", ".cif", ".vasp", ".data", ".json", ".pdb", ""]),
    repeat=st.tuples(*[st.integers(1, 3)] * 3),
)
def test_structure_files(
    cut: int, insertions: list[tuple[int, str]], suffix: str, repeat: tuple[int, int, int]
) -> None:
    text = STRUCTURE[:cut] if not insertions else STRUCTURE
    for place, word in insertions:
        text = text[:place] + word + text[place:]
    with folder() as path:
        file = path / f"start{suffix}"
        file.write_text(text, encoding="utf-8")
        with contextlib.suppress(StructureError):
            check_structure(read_structure(file, repeat=repeat))


@many
@given(
    damaged=st.sampled_from(["type.raw", "type_map.raw", "set.000/coord.npy", "set.000/box.npy"]),
    place=st.integers(0, 300),
    data=st.binary(max_size=20),
    frame=st.integers(-3, 3),
)
def test_deepmd_folders(damaged: str, place: int, data: bytes, frame: int) -> None:
    with folder() as path:
        (path / "set.000").mkdir()
        (path / "type.raw").write_text("0\n1\n")
        (path / "type_map.raw").write_text("O\nH\n")
        np.save(path / "set.000" / "coord.npy", np.arange(12.0).reshape(2, 6))
        np.save(path / "set.000" / "box.npy", np.tile(5.0 * np.eye(3).ravel(), (2, 1)))
        content = (path / damaged).read_bytes()
        (path / damaged).write_bytes(content[:place] + data + content[place + len(data) :])
        with contextlib.suppress(StructureError):
            check_structure(read_structure(path, frame=frame))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, model_file: Callable[[str], Path]) -> Path:
    return write_case(tmp_path_factory.mktemp("fuzz"), model_file("two_sided"))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=EDITS,
    atom=st.integers(0, 11),
    place=st.tuples(*[st.sampled_from([0.0, 1.0, -1e9, 1e300, np.nan, np.inf])] * 3),
    cell=st.sampled_from([1.0, 0.0, 1e-12, 1e9, np.nan]),
)
def test_whole_command_line(
    case: Path, edits: list[tuple[int, bool, str]], atom: int, place: tuple[float, ...], cell: float
) -> None:
    case.write_text(edited(edits), encoding="utf-8", errors="surrogatepass", newline="")
    atoms = water_box()
    atoms.positions[atom] = place
    atoms.cell *= cell
    ase.io.write(case.parent / "start.extxyz", atoms)
    assert main(["check", str(case)]) in (0, 2)
