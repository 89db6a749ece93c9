"""DeePMD-kit's npy layout: type.raw, type_map.raw, nopbc, set.*/coord.npy and box.npy.

In the mixed layout, set.*/real_atom_types.npy gives each frame its own types; −1 is an empty place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import StructureError
from fastdp.structure.masses import masses_by_name
from fastdp.structure.structure import Structure


def is_deepmd_folder(path: Path) -> bool:
    """Return whether `path` looks like a DeePMD-kit data folder (it may still be incomplete)."""
    return path.is_dir() and ((path / "type.raw").exists() or any(path.glob("set.*")))


def read_deepmd_folder(path: Path, frame: int, masses: Mapping[str, float]) -> Structure:
    """Read one frame of a DeePMD-kit npy folder.

    Parameters
    ----------
    path : Path
        The folder that holds type.raw.
    frame : int
        Counted from 0 over all sets in order of their names; negative from the end.
    masses : mapping of str to float
        Masses that the user sets, u.

    Returns
    -------
    Structure

    Raises
    ------
    StructureError
        If a file is missing or damaged, or sizes disagree.
    """
    types = _read_types(path / "type.raw")
    names = _read_type_names(path / "type_map.raw")
    folder, local_frame = _locate(path, frame)
    positions = _row(folder / "coord.npy", local_frame)
    if len(positions) != 3 * len(types):
        raise StructureError(
            f"{folder.name}/coord.npy has {len(positions)} numbers in a frame, "
            f"but type.raw has {len(types)} atoms: expected {3 * len(types)}"
        )
    positions = positions.reshape(-1, 3)
    spins = _spins(folder, local_frame, len(positions))
    if (folder / "real_atom_types.npy").exists():
        types = _row(folder / "real_atom_types.npy", local_frame).astype(np.int64)
        if len(types) != len(positions):
            raise StructureError(
                f"{folder.name}/real_atom_types.npy has {len(types)} atoms in a frame, "
                f"{folder.name}/coord.npy has {len(positions)}"
            )
        spins = None if spins is None else spins[types >= 0]
        positions, types = positions[types >= 0], types[types >= 0]
    out_of_range = np.flatnonzero((types < 0) | (types >= len(names)))
    if len(out_of_range):
        raise StructureError(
            f"atom {out_of_range[0]} has type {types[out_of_range[0]]}, "
            f"but type_map.raw names only types 0 to {len(names) - 1}"
        )
    symbols = tuple(names[kind] for kind in types)
    is_open = (path / "nopbc").exists()
    return Structure(
        symbols=symbols,
        positions=positions,
        cell=np.zeros((3, 3)) if is_open else _read_cell(folder, local_frame),
        periodic=np.full(3, not is_open),
        masses=masses_by_name(symbols, masses),
        spins=spins,
    )


def _spins(folder: Path, frame: int, n_atoms: int) -> NDArray[np.float64] | None:
    path = folder / "spin.npy"
    if not path.exists():
        return None
    row = _row(path, frame)
    if len(row) != 3 * n_atoms:
        raise StructureError(
            f"{folder.name}/spin.npy has {len(row)} numbers in a frame, expected {3 * n_atoms}"
        )
    return row.reshape(-1, 3)


LABELS = {"energy": 1, "force": None, "virial": 9, "fparam": None, "aparam": None}
"""Files of a set, and how many numbers each frame has in them where that does not depend on the atoms."""


def count_frames(path: Path) -> int:
    """Return the number of frames of all sets of a folder."""
    return sum(len(_array(folder / "coord.npy")) for folder in _sets(path))


def read_labels(path: Path, frame: int, n_atoms: int) -> tuple[dict[str, NDArray[np.float64]], bool]:
    """Return what a folder has for a frame besides the atoms, and whether any of it is in float32.

    Parameters
    ----------
    path : Path
        The folder that holds type.raw.
    frame : int
        As for `read_deepmd_folder`.
    n_atoms : int
        Of the frame.

    Returns
    -------
    labels : dict of str to (n,) float64
        By the names in `LABELS`; energies in eV, forces in eV/Å, virials in eV.
    rounded : bool

    Raises
    ------
    StructureError
        If a file is damaged, or has another number of values.
    """
    folder, local_frame = _locate(path, frame)
    labels, kinds = {}, [_array(folder / "coord.npy").dtype]
    for name, width in LABELS.items():
        file = folder / f"{name}.npy"
        if not file.exists():
            continue
        array = _array(file, fewest=1 if name == "energy" else 2)
        labels[name] = _row(file, local_frame, fewest=1 if name == "energy" else 2)
        kinds.append(array.dtype)
        wanted = 3 * n_atoms if name == "force" else width
        if wanted is not None and len(labels[name]) != wanted:
            raise StructureError(
                f"{folder.name}/{name}.npy has {len(labels[name])} numbers in a frame, expected {wanted}"
            )
    return labels, np.dtype(np.float32) in kinds


def _read_types(path: Path) -> NDArray[np.int64]:
    try:
        return np.array([int(word) for word in path.read_text().split()], dtype=np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise StructureError(f"cannot read {path.name}: {error}") from error


def _read_type_names(path: Path) -> list[str]:
    if not path.exists():
        raise StructureError(
            "type_map.raw is missing: without it the numbers in type.raw have no names, and fastdp "
            "matches atoms to a model by name only. Write the element of type 0, 1, … into it, one a line"
        )
    try:
        return path.read_text().split()
    except (OSError, ValueError) as error:
        raise StructureError(f"cannot read {path.name}: {error}") from error


def _sets(path: Path) -> list[Path]:
    return sorted(folder for folder in path.glob("set.*") if folder.is_dir())


def _locate(path: Path, frame: int) -> tuple[Path, int]:
    """Return the set folder and the frame's place in it."""
    folders = _sets(path)
    counts = [len(_array(folder / "coord.npy")) for folder in folders]
    total = sum(counts)
    index = frame if frame >= 0 else total + frame
    if not 0 <= index < total:
        raise StructureError(f"there is no frame {frame}: the folder has {total} frames")
    starts = np.cumsum([0, *counts])
    which = int(np.searchsorted(starts, index, side="right")) - 1
    return folders[which], int(index - starts[which])


def _array(path: Path, fewest: int = 2) -> NDArray[np.generic]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy raises whatever parsing the header ran into
        raise StructureError(f"cannot read {path.parent.name}/{path.name}: {error}") from error
    if array.ndim < fewest or array.dtype.kind not in "fiu":
        raise StructureError(
            f"{path.parent.name}/{path.name} is not a table of numbers with one row for each frame"
        )
    return array


def _row(path: Path, frame: int, fewest: int = 2) -> NDArray[np.float64]:
    array = _array(path, fewest)
    if frame >= len(array):
        raise StructureError(f"{path.parent.name}/{path.name} has only {len(array)} frames")
    return np.array(array[frame], dtype=np.float64).ravel()


def _read_cell(folder: Path, frame: int) -> NDArray[np.float64]:
    if not (folder / "box.npy").exists():
        raise StructureError(
            f"{folder.name}/box.npy is missing. A structure without a cell is marked by an empty file "
            "named nopbc beside type.raw"
        )
    row = _row(folder / "box.npy", frame)
    if len(row) != 9:
        raise StructureError(f"{folder.name}/box.npy has {len(row)} numbers in a frame, expected 9")
    return row.reshape(3, 3)
