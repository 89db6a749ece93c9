"""What every file is that a run appends to and can continue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from fastdp.dynamics.snapshot import Snapshot

Position = Mapping[str, int]
"""How far a file has been written, as numbers that a checkpoint keeps."""

Arrays = Mapping[str, NDArray[Any]]


class OutputFile(ABC):
    """A file that grows by one record at a time, is readable throughout, and can be cut back.

    Parameters
    ----------
    path : pathlib.Path
        Where it is.
    """

    needs_atoms: ClassVar[bool] = True
    """Whether `write` reads the atoms, and not only what was measured on them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def create(self, snapshot: Snapshot) -> None:
        """Start the file, which must not exist, for the atoms of `snapshot`."""

    @abstractmethod
    def verify(self, snapshot: Snapshot, position: Position) -> None:
        """Check, changing nothing, that the file holds everything up to `position`.

        Raises
        ------
        CheckpointError
            If it does not.
        """

    @abstractmethod
    def reopen(self, snapshot: Snapshot, position: Position, waiting: Arrays) -> None:
        """Cut the file back to `position` and continue there, first with what was `waiting`."""

    @abstractmethod
    def write(self, snapshot: Snapshot) -> None:
        """Append `snapshot`."""

    @abstractmethod
    def position(self) -> dict[str, int]:
        """Return how far the file has been written."""

    def waiting(self) -> Arrays:
        """Return what has been given to `write` but is not in the file yet, as arrays for a checkpoint."""
        return {}

    @abstractmethod
    def sync(self) -> None:
        """Make what has been written survive a loss of power."""

    @abstractmethod
    def close(self) -> None:
        """Write what waits and close the file; does nothing if it is not open."""
