from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from fastdp.dynamics.kinetic import temperature
from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State
from fastdp.errors import CheckpointError, FastDPError
from fastdp.output.thermo import HEADER, ThermoTable
from fastdp.potential.base import Evaluation
from fastdp.units import BAR_PER_EV_PER_A3, EV_PER_U_A2_PER_PS2


def snapshot(i: int, *, periodic: bool = True) -> Snapshot:
    rng = np.random.default_rng(i)
    state = State(
        positions=rng.uniform(0, 9, (4, 3)),
        velocities=rng.normal(scale=5, size=(4, 3)),
        images=np.zeros((4, 3)),
        masses=[10.0, 11.0, 12.0, 13.0],
        cell=np.diag([5.0, 6.0, 7.0]),
        periodic=[periodic] * 3,
        symbols="BBBB",
        types=np.zeros(4),
        step=10 * i,
        time_ps=0.005 * i,
    )
    evaluation = Evaluation.empty(4)
    evaluation.energy = -3.0 * i - 0.1
    evaluation.virial[:] = rng.normal(size=(3, 3))
    evaluation.virial_is_current = True
    found = Snapshot(state, evaluation)
    found.measure(stage=2, bath_energy=0.25 * i)
    return found


def write(path: Path, n: int = 3, **options) -> ThermoTable:
    table = ThermoTable(path)
    table.create(snapshot(0, **options))
    for i in range(n):
        table.write(snapshot(i, **options))
    return table


def test_columns_hold_what_their_names_say(tmp_path: Path) -> None:
    path = tmp_path / "thermo.csv"
    write(path).close()
    rows = np.genfromtxt(path, delimiter=",", names=True, deletechars="")
    assert len(rows) == 3
    for i, row in enumerate(rows):
        state, evaluation = snapshot(i).state, snapshot(i).evaluation
        outer = EV_PER_U_A2_PER_PS2 * np.einsum("i,ia,ib", state.masses, state.velocities, state.velocities)
        kinetic = 0.5 * np.trace(outer)
        pressure = (outer + 0.5 * (evaluation.virial + evaluation.virial.T)) / 210.0 * BAR_PER_EV_PER_A3
        expected = {
            "step": 10 * i,
            "time_ps": 0.005 * i,
            "stage": 2,
            "temperature_K": temperature(kinetic, 9),
            "potential_energy_eV": evaluation.energy,
            "kinetic_energy_eV": kinetic,
            "total_energy_eV": kinetic + evaluation.energy,
            "conserved_quantity_eV": kinetic + evaluation.energy + 0.25 * i,
            "volume_A3": 210.0,
            "pressure_bar": np.trace(pressure) / 3,
            "pressure_xx_bar": pressure[0, 0],
            "pressure_yy_bar": pressure[1, 1],
            "pressure_zz_bar": pressure[2, 2],
            "pressure_yz_bar": pressure[1, 2],
            "pressure_xz_bar": pressure[0, 2],
            "pressure_xy_bar": pressure[0, 1],
        }
        assert list(rows.dtype.names) == list(expected)
        for name, value in expected.items():
            # Another order of summation.
            assert row[name] == pytest.approx(value, rel=1e-12), name


def test_numbers_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "thermo.csv"
    write(path).close()
    rows = np.genfromtxt(path, delimiter=",", names=True)
    for i, row in enumerate(rows):
        assert row["kinetic_energy_eV"] == snapshot(i).kinetic_energy
        assert row["conserved_quantity_eV"] == snapshot(i).conserved_quantity


def test_pressure_and_volume_need_a_periodic_cell(tmp_path: Path) -> None:
    path = tmp_path / "thermo.csv"
    write(path, periodic=False).close()
    rows = np.genfromtxt(path, delimiter=",", names=True)
    assert np.isnan(rows["pressure_bar"]).all()
    assert np.isnan(rows["volume_A3"]).all()
    assert np.isfinite(rows["total_energy_eV"]).all()


def test_each_row_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "thermo.csv"
    table = ThermoTable(path)
    table.create(snapshot(0))
    assert path.read_text() == f"{HEADER}\n"
    for i in range(3):
        table.write(snapshot(i))
        assert path.read_text().count("\n") == i + 2
        assert path.read_text().endswith("\n")
    table.close()


def test_continuing_cuts_back_and_appends(tmp_path: Path) -> None:
    path = tmp_path / "thermo.csv"
    table = write(path, 2)
    position = table.position()
    table.write(snapshot(2))
    table.close()
    whole = path.read_bytes()
    with open(path, "ab") as file:
        file.write(b"30,0.015,2,1")
    again = ThermoTable(path)
    again.verify(snapshot(1), position)
    again.reopen(snapshot(1), position, {})
    assert again.position() == position
    again.write(snapshot(2))
    again.close()
    assert path.read_bytes() == whole


def test_continuing_right_after_the_header(tmp_path: Path) -> None:
    path = tmp_path / "thermo.csv"
    table = write(path, 0)
    position = table.position()
    table.close()
    again = ThermoTable(path)
    again.verify(snapshot(0), position)
    again.reopen(snapshot(0), position, {})
    again.write(snapshot(0))
    again.close()
    assert path.read_text().count("\n") == 2


def test_continuing_refuses_another_file(tmp_path: Path) -> None:
    path = tmp_path / "thermo.csv"
    table = write(path, 2)
    table.close()
    position = table.position()
    for changed in ({"rows": 1}, {"step": 11}, {"bytes": position["bytes"] + 1}):
        with pytest.raises(CheckpointError, match=r"thermo\.csv does not hold"):
            ThermoTable(path).verify(snapshot(1), {**position, **changed})
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        ThermoTable(path).verify(snapshot(1), position)


def test_an_existing_table_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "thermo.csv"
    path.write_text("mine")
    with pytest.raises(Exception, match=r"thermo\.csv"):
        ThermoTable(path).create(snapshot(0))
    assert path.read_text() == "mine"


def test_a_disk_that_takes_half_a_row_leaves_whole_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "thermo.csv"
    table = write(path)
    before = path.read_bytes()

    class HalfFull:
        """Takes the first half of what it is given, as the system does when room runs out."""

        def __init__(self, file: BinaryIO) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            return self._file.write(data[: len(data) // 2])

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    monkeypatch.setattr(table, "_file", HalfFull(table._file))
    with pytest.raises(FastDPError, match=r"thermo\.csv: the disk is full"):
        table.write(snapshot(3))
    assert path.read_bytes() == before
    assert table.position()["rows"] == 3
    table.close()
