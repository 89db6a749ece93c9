"""Structures from trajectories that fastdp wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastdp.errors import StructureError, TrajectoryError
from fastdp.structure.masses import masses_by_name
from fastdp.structure.structure import Structure

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CREATOR = "h5md/creator"


def is_own_trajectory(path: Path) -> bool:
    """Return whether `path` is an H5MD file of fastdp, or one of HDF5 that is damaged.

    What others write has units of its own, and is not for here.
    """
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return False
    import h5py

    try:
        trajectory = h5py.File(path, "r", locking=False)
    except OSError:
        return True  # nobody can open it, and reading it here says why
    with trajectory:
        try:
            return bytes(trajectory[CREATOR].attrs["name"]) == b"fastdp"
        except (OSError, RuntimeError, KeyError, TypeError, ValueError):
            return False


def read_own_trajectory(path: Path, frame: int, masses: Mapping[str, float]) -> Structure:
    """Read one frame of a trajectory, with its velocities.

    Parameters
    ----------
    path : Path
    frame : int
        Counted from 0; negative from the end.
    masses : mapping of str to float
        Masses that the user sets, u.

    Returns
    -------
    Structure
        That has crossed no boundaries yet.

    Raises
    ------
    StructureError
        If the file is damaged, or has no such frame.
    """
    # The output knows the structure, not the other way round, and HDF5 takes time to import.
    from fastdp.output.trajectory import Trajectory

    try:
        with Trajectory(path) as trajectory:
            found = trajectory[frame]
            return Structure(
                symbols=trajectory.symbols,
                positions=found.positions,
                cell=found.cell,
                periodic=trajectory.periodic,
                masses=masses_by_name(trajectory.symbols, masses, from_file=trajectory.masses),
                velocities=found.velocities,
            )
    except IndexError as error:
        raise StructureError(f"there is no frame {frame}: {error}") from error
    except TrajectoryError as error:
        raise StructureError(str(error)) from error
