"""Reading the trajectories that fastdp writes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
from numpy.typing import NDArray

from fastdp.errors import TrajectoryError
from fastdp.output.h5md import GROUP, STEP, TIME


@dataclass(frozen=True)
class Frame:
    """One frame of a trajectory, in fastdp's units.

    Attributes
    ----------
    step : int
        Steps since the start of the run.
    time_ps : float
        ps.
    positions : (n_atoms, 3) float64
        Å.
    images : (n_atoms, 3) int32
        `positions + images @ cell` is the unwrapped path.
    velocities : (n_atoms, 3) float64 or None
        Å/ps; None if the trajectory holds none.
    cell : (3, 3) float64
        Rows are the cell vectors, Å.
    """

    step: int
    time_ps: float
    positions: NDArray[np.float64]
    images: NDArray[np.int32]
    velocities: NDArray[np.float64] | None
    cell: NDArray[np.float64]


class Trajectory:
    """An H5MD file of fastdp, open for reading.

    The file may be one that is being written: this sees the frames that were there when it was opened,
    and new ones wait until it is closed.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Attributes
    ----------
    symbols : tuple of str
        Name of each atom's element (or type).
    masses : (n_atoms,) float64
        u.
    periodic : (3,) bool
        Which directions are periodic.

    Raises
    ------
    TrajectoryError
        If the file cannot be read, or is not a trajectory of fastdp.

    Examples
    --------
    >>> with Trajectory("trajectory.h5") as trajectory:  # doctest: +SKIP
    ...     print(len(trajectory), trajectory[-1].time_ps)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            kind = "is no file" if self.path.exists() else "no such file"
            raise TrajectoryError(f"{self.path}: {kind}; give the trajectory of a run (trajectory.h5)")
        # A lock of our own, which waits for the writer where that of HDF5 gives up.
        self._lock = open(self.path, "rb")  # noqa: SIM115 - open as long as the trajectory
        with suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            self._file = h5py.File(self.path, "r", locking=False)
        except OSError as error:
            self._lock.close()
            raise TrajectoryError(f"{self.path}: not a trajectory, or damaged ({error})") from error
        try:
            symbols = self._file["parameters/symbols"]
            names = symbols["names"].asstr()[:]
            self.symbols = tuple(str(names[i]) for i in symbols["index"][:])
            boundary = self._file[f"{GROUP}/box"].attrs["boundary"]
            self.periodic = np.array([name == "periodic" for name in boundary])
            group = self._file[GROUP]
            names = [name for name in ("position", "image", "mass", "box/edges", "velocity") if name in group]
            self._series = {name: group[name]["value"] for name in names}
            self._steps, self._times = self._file[STEP], self._file[TIME]
            # The shortest element counts: a crash may have cut the last frame short.
            self._length = min(len(s) for s in (*self._series.values(), self._steps, self._times))
            self.masses = self._series["mass"][0] if self._length else np.zeros(len(self.symbols))
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            self.close()
            raise TrajectoryError(
                f"{self.path}: not a trajectory written by fastdp, or damaged ({error})"
            ) from error

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Frame:
        """Return frame `index`; negative numbers count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} frames, not {index}")
        i = index % len(self)
        velocity = self._series.get("velocity")
        try:
            return Frame(
                step=int(self._steps[i]),
                time_ps=float(self._times[i]),
                positions=self._series["position"][i],
                images=self._series["image"][i],
                velocities=None if velocity is None else velocity[i],
                cell=self._series["box/edges"][i],
            )
        except (OSError, RuntimeError) as error:
            raise TrajectoryError(f"{self.path}: frame {i} is damaged ({error})") from error

    def __iter__(self) -> Iterator[Frame]:
        return (self[i] for i in range(len(self)))

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._lock.close()
