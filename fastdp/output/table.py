"""Tables as text: one row at a time, which readers only ever see whole."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import BinaryIO

from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import CheckpointError
from fastdp.output.files import writing
from fastdp.output.output_file import Arrays, OutputFile, Position


class TextTable(OutputFile):
    """A file with a header and rows; each goes to the system in one piece.

    A kind of table says what stands in the header and in the rows.
    """

    needs_atoms = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file: BinaryIO | None = None
        self._rows = 0
        self._bytes = 0
        self._step = -1

    @abstractmethod
    def header(self) -> str:
        """Return the first line."""

    @abstractmethod
    def row(self, snapshot: Snapshot) -> str:
        """Return the line of a step."""

    @abstractmethod
    def beginning(self, step: int) -> str:
        """Return what the line of a step begins with."""

    def create(self, snapshot: Snapshot) -> None:
        """Start the table with its header."""
        with writing(self.path):
            self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 - open as long as the run
            self._append(self.header())

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
        wanted = self.header() if position["rows"] == 0 else self.beginning(position["step"])
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
        """Append a row."""
        line = self.row(snapshot)
        with writing(self.path):
            self._append(line)
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
