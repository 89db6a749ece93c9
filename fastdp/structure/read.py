"""Reading structures: DeePMD-kit's npy folders, trajectories of fastdp, and every format that ASE reads."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastdp.errors import StructureError
from fastdp.structure.ase_files import read_with_ase
from fastdp.structure.deepmd_folder import is_deepmd_folder, read_deepmd_folder
from fastdp.structure.structure import Structure
from fastdp.structure.trajectory_file import is_own_trajectory, read_own_trajectory

MOST_ATOMS = 2**31 - 1
"""Atoms are numbered in 32 bits."""

BYTES_PER_ATOM = 200
"""The least that a process holds of an atom: positions, velocities, forces and images, and copies of them."""


def read_structure(
    path: str | Path,
    *,
    frame: int = -1,
    repeat: Sequence[int] = (1, 1, 1),
    masses: Mapping[str, float] | None = None,
    file_format: str | None = None,
) -> Structure:
    """Read one frame of a structure file.

    Parameters
    ----------
    path : str or Path
        A file that ASE reads, a trajectory of fastdp, or a folder in DeePMD-kit's npy layout.
    frame : int
        Which frame, counted from 0; negative numbers count from the end.
    repeat : (3,) sequence of int
        Copies along each cell vector.
    masses : mapping of str to float, optional
        Mass of each name in u, where the element's own is not meant or a name is no element.
    file_format : str, optional
        ASE's name of the format, where the file does not tell by its name or content.

    Returns
    -------
    Structure

    Raises
    ------
    StructureError
        If the file is missing, cannot be read, has no such frame, or cannot be repeated as asked: along an
        open direction, or to more atoms than this machine has room for.
    """
    path = Path(path)
    if not path.exists():
        raise StructureError(f"{path}: no such file or folder")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise StructureError("the file is empty")
        if file_format is None and is_deepmd_folder(path):
            structure = read_deepmd_folder(path, frame, masses or {})
        elif file_format is None and is_own_trajectory(path):
            structure = read_own_trajectory(path, frame, masses or {})
        else:
            structure = read_with_ase(path, frame, masses or {}, file_format)
    except StructureError as error:
        raise StructureError(f"{path}: {error}") from error
    if structure.n_atoms == 0:
        raise StructureError(f"{path}: frame {frame} has no atoms")
    counts = tuple(int(count) for count in repeat)
    if counts == (1, 1, 1):
        return structure
    open_but_repeated = [
        "abc"[axis] for axis in range(3) if counts[axis] > 1 and not structure.periodic[axis]
    ]
    if open_but_repeated:
        raise StructureError(
            f"{path}: repeat = {list(counts)} copies the structure along {', '.join(open_but_repeated)}, "
            "which is not periodic. Use 1 there"
        )
    _check_room(structure.n_atoms * math.prod(counts), f"{path}: repeat = {list(counts)}")
    supercell = structure.repeated(counts)
    if supercell.velocities is not None:
        supercell.notes += (
            "the copies made by `repeat` start with the same velocities as the original; "
            "[velocities] draws new ones",
        )
    return supercell


def _check_room(n_atoms: int, what: str) -> None:
    """Refuse what could only end with the system killing the process, after a long time without a word."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_atoms > MOST_ATOMS:
        raise StructureError(f"{what} makes {n_atoms} atoms; at most {MOST_ATOMS} can be numbered")
    if n_atoms * BYTES_PER_ATOM > memory:
        raise StructureError(
            f"{what} makes {n_atoms} atoms, which take at least {n_atoms * BYTES_PER_ATOM / 2**30:.3g} GiB; "
            f"this machine has {memory / 2**30:.3g}. Use fewer copies"
        )
