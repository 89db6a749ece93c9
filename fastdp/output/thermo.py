"""The table of thermodynamic quantities: comma-separated values, one row at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import CheckpointError
from fastdp.output.files import writing
from fastdp.output.output_file import Arrays, OutputFile, Position

COLUMNS: dict[str, Callable[[Snapshot], float]] = {
    "step": lambda s: s.state.step,
    "time_ps": lambda s: s.state.time_ps,
    "stage": lambda s: s.stage,
    "temperature_K": lambda s: s.temperature,
    "potential_energy_eV": lambda s: s.potential_energy,
    "kinetic_energy_eV": lambda s: s.kinetic_energy,
    "total_energy_eV": lambda s: s.total_energy,
    "conserved_quantity_eV": lambda s: s.conserved_quantity,
    "volume_A3": lambda s: s.state.volume,
}
"""What each column holds, but for the pressures that follow."""

PRESSURE_COLUMNS = (
    "pressure_bar",
    "pressure_xx_bar",
    "pressure_yy_bar",
    "pressure_zz_bar",
    "pressure_yz_bar",
    "pressure_xz_bar",
    "pressure_xy_bar",
)
_COMPONENTS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

HEADER = ",".join((*COLUMNS, *PRESSURE_COLUMNS))


class ThermoTable(OutputFile):
    """A CSV file with the units in the names of its columns and numbers that read back exactly.

    Each row goes to the system in one piece, so that readers only ever see whole rows.
    """

    needs_atoms = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file: BinaryIO | None = None
        self._rows = 0
        self._bytes = 0
        self._step = -1

    def create(self, snapshot: Snapshot) -> None:
        """Start the table with its header."""
        with writing(self.path):
            self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 - open as long as the run
            self._append(HEADER)

    def verify(self, snapshot: Snapshot, position: Position) -> None:
        """Check that the rows up to `position` are there.

        Raises
        ------
        CheckpointError
            If the table is absent, shorter, or ends with another step there.
        """
        try:
            with open(self.path, "rb") as file:
                text = file.read(position["bytes"])
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint continues the table {self.path}, which cannot be read: {error.strerror};"
                " put it back or give the table another name"
            ) from None
        lines = text.splitlines()
        wanted = HEADER if position["rows"] == 0 else f"{position['step']},"
        sound = (
            len(text) == position["bytes"]
            and len(lines) == position["rows"] + 1
            and lines[-1].startswith(wanted.encode())
        )
        if not sound:
            raise CheckpointError(
                f"{self.path} does not hold the {position['rows']} rows up to step {position['step']} that"
                " the checkpoint continues; put the table of this run back or give the table another name"
            )

    def reopen(self, snapshot: Snapshot, position: Position, waiting: Arrays) -> None:
        """Cut the table back to `position` and continue there."""
        with writing(self.path):
            self._file = open(self.path, "r+b", buffering=0)  # noqa: SIM115 - open as long as the run
            self._file.truncate(position["bytes"])
            self._file.seek(position["bytes"])
        self._rows, self._bytes, self._step = position["rows"], position["bytes"], position["step"]

    def write(self, snapshot: Snapshot) -> None:
        """Append a row; the virial must be current."""
        pressure = snapshot.pressure_tensor()
        values = [float(pressure.trace()) / 3.0, *(float(pressure[component]) for component in _COMPONENTS)]
        row = [*(column(snapshot) for column in COLUMNS.values()), *values]
        with writing(self.path):
            # repr is the shortest text that reads back as the same number.
            self._append(",".join(repr(value) for value in row))
        self._rows += 1
        self._step = snapshot.state.step

    def position(self) -> dict[str, int]:
        """Return the number of rows, the bytes they take with the header, and the step of the last."""
        return {"rows": self._rows, "bytes": self._bytes, "step": self._step}

    def sync(self) -> None:
        """Make the rows survive a loss of power."""
        if self._file is not None:
            with writing(self.path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the table."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, line: str) -> None:
        assert self._file is not None
        data = f"{line}\n".encode("ascii")
        if self._file.write(data) != len(data):
            self._file.truncate(self._bytes)
            raise OSError("the disk is full")
        self._bytes += len(data)
