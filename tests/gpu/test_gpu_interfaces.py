"""The GPU engine as users meet it: ASE, the command line, the forecast of memory."""

from __future__ import annotations

import re
from pathlib import Path

import ase
import h5py
import numpy as np
import pytest
from gpu_cases import at_random, random_model_file
from term_cases import smooth_table

from fastdp.ase import FastDP
from fastdp.cli.main import main
from fastdp.gpu.device.base import Device

INPUT = """\
version = 1
[potential]
model = "model.pb"
backend = "cuda"
precision = "mixed"
gpu_products = "tf32"
tolerance = 1e-3
[structure]
file = "start.extxyz"
[velocities]
temperature_K = 300
[[stage]]
ensemble = "nve"
steps = 2
timestep_fs = 0.5
[[stage]]
ensemble = "nvt"
steps = 1
timestep_fs = 0.5
temperature_K = 300
[neighbours]
skin_A = 0.3
[output]
directory = "out"
thermo.every = 1
[parallel]
threads = 1
"""


def molecule() -> ase.Atoms:
    atoms = at_random(2, 4, seed=6)
    symbols = ["OH"[t] for t in atoms.types]
    return ase.Atoms(symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)


def test_ase_calculator(device: Device) -> None:
    lines: list[str] = []
    results = []
    for backend in ("cuda", "cpu"):
        atoms = molecule()
        atoms.calc = FastDP(
            random_model_file("two_sided"), backend=backend, tolerance=1e-3, skin_A=0.3, report=lines.append
        )
        results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    assert "backend: cuda" in lines
    assert f"device: {device.name}" in lines


def test_command_line(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "model.pb").write_bytes(random_model_file("two_sided").read_bytes())
    molecule().write(tmp_path / "start.extxyz")
    (tmp_path / "input.toml").write_text(INPUT)
    assert main(["check", "input.toml"]) == 0
    forecast = "".join(capsys.readouterr())
    assert "GPU memory: about" in forecast
    assert "kB for each atom" in forecast
    assert re.search(r"force error of products in TF32: [1-9]\.\de-0\d eV/Å rms", forecast)
    assert main(["run", "input.toml"]) == 0
    # Audits look through the list of the host, which has to follow the device.
    assert "audit: force error against the model as trained" in "".join(capsys.readouterr())
    with h5py.File(tmp_path / "out/trajectory.h5") as file:
        assert file["parameters/gpu_products"].asstr()[()] == "tf32"
    rows = np.genfromtxt(tmp_path / "out/thermo.csv", delimiter=",", comments="#", names=True)
    assert len(rows) == 4
    assert all(np.isfinite(rows[column]).all() for column in rows.dtype.names)


def test_a_committee_beside_a_run_on_the_card(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other models are evaluated on the card too, at the present positions."""
    monkeypatch.chdir(tmp_path)
    for name, kind in (("model.pb", "two_sided"), ("second.pb", "one_sided")):
        (tmp_path / name).write_bytes(random_model_file(kind).read_bytes())
    molecule().write(tmp_path / "start.extxyz")
    text = INPUT.replace('precision = "mixed"\ngpu_products = "tf32"\n', "").replace("every = 1", "every = 5")
    text += '[committee]\nmodels = ["second.pb"]\nevery = 3\natomic = true\n'
    tables = []
    for backend in ("cuda", "cpu"):
        (tmp_path / "input.toml").write_text(
            text.replace('"cuda"', f'"{backend}"').replace('"out"', f'"{backend}"')
        )
        assert main(["run", "input.toml"]) == 0
        assert "".join(capsys.readouterr()).count(f"backend: {backend}") == 2
        tables.append(np.loadtxt(tmp_path / backend / "model_devi.out"))
    assert tables[0][:, 0].tolist() == [0, 3]
    # Seven digits are written.
    np.testing.assert_allclose(tables[0], tables[1], rtol=2e-6, atol=1e-12)


TERMS = """\
[potential.zbl]
inner_A = 0.8
outer_A = 2.6
[[potential.table]]
file = "far.tab"
elements = ["H", "O"]
[structure]
"""


def test_further_terms_in_a_run(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a committee, whose members have the terms too, and a table that reaches beyond the model."""
    monkeypatch.chdir(tmp_path)
    for name, kind in (("model.pb", "two_sided"), ("second.pb", "one_sided")):
        (tmp_path / name).write_bytes(random_model_file(kind).read_bytes())
    molecule().write(tmp_path / "start.extxyz")
    smooth_table(tmp_path / "far.tab", 2, end=4.6)
    text = INPUT.replace('precision = "mixed"\ngpu_products = "tf32"\n', "").replace("[structure]\n", TERMS)
    text += '[committee]\nmodels = ["second.pb"]\nevery = 3\n'
    tables, deviations = [], []
    for backend in ("cuda", "cpu"):
        (tmp_path / "input.toml").write_text(
            text.replace('"cuda"', f'"{backend}"').replace('"out"', f'"{backend}"')
        )
        if backend == "cuda":
            assert main(["check", "input.toml"]) == 0
            assert "GPU memory: about" in "".join(capsys.readouterr())
        assert main(["run", "input.toml"]) == 0
        said = "".join(capsys.readouterr())
        assert said.count(f"backend: {backend}") == 2
        assert "further term: table far.tab from 0.2 to 4.6 Å" in said
        assert "further term: zbl from 0.8 to 2.6 Å" in said
        assert "audit: force error against the model as trained" in said
        tables.append(np.genfromtxt(tmp_path / backend / "thermo.csv", delimiter=",", names=True))
        deviations.append(np.loadtxt(tmp_path / backend / "model_devi.out"))
    assert len(tables[0]) == 4
    for column in tables[1].dtype.names:
        np.testing.assert_allclose(tables[0][column], tables[1][column], rtol=1e-9, atol=1e-9)
    # Seven digits are written.
    np.testing.assert_allclose(deviations[0], deviations[1], rtol=2e-6, atol=1e-12)
