"""Reading structures: DeePMD-kit's npy folders, and every format that ASE reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastdp.errors import StructureError
from fastdp.structure.ase_files import read_with_ase
from fastdp.structure.deepmd_folder import is_deepmd_folder, read_deepmd_folder
from fastdp.structure.structure import Structure


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
        A file that ASE reads, or a folder in DeePMD-kit's npy layout.
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
        If the file is missing, cannot be read, has no such frame, or cannot be repeated as asked.
    """
    path = Path(path)
    if not path.exists():
        raise StructureError(f"{path}: no such file or folder")
    try:
        if file_format is None and is_deepmd_folder(path):
            structure = read_deepmd_folder(path, frame, masses or {})
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
    supercell = structure.repeated(counts)
    if supercell.velocities is not None:
        supercell.notes += (
            "the copies made by `repeat` start with the same velocities as the original; "
            "[velocities] draws new ones",
        )
    return supercell
