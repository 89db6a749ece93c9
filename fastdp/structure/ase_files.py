"""Structures through ASE: files of every format that it reads, and its Atoms objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase import units
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, open_with_compression
from numpy.typing import NDArray

from fastdp.errors import StructureError
from fastdp.structure.masses import masses_by_name
from fastdp.structure.structure import Structure

A_PER_PS_FROM_ASE = 1000.0 * units.fs
"""Value in Å/ps of ASE's unit of velocity, with the constants that ASE's own readers used."""

NAMES_ELEMENTS = {
    "lammps-data": re.compile(r"\s*(Masses|Atom\s+Type\s+Labels)\b"),
    "lammps-dump-text": re.compile(r"ITEM: ATOMS\b.*\b(element|mass)\b"),
    "lammps-dump-binary": re.compile(r"(?!)"),
}
"""Formats where ASE takes type 1 for hydrogen, 2 for helium, … unless a line matches the pattern."""

UNITLESS_VELOCITIES = ("vel", "velo", "velocity", "velocities")
"""Columns of extxyz files that other programs write in units of their own."""


NO_SUCH_FOLDER = (
    "is a folder, but not in DeePMD-kit's npy layout: that has type.raw and set.000/coord.npy. "
    "Name a file in it"
)


def read_with_ase(
    path: Path, frame: int, masses: Mapping[str, float], file_format: str | None = None
) -> Structure:
    """Read one frame of a file through ASE.

    Parameters
    ----------
    path : Path
    frame : int
        Counted from 0; negative from the end.
    masses : mapping of str to float
        Masses that the user sets, u.
    file_format : str, optional
        ASE's name of the format; by default ASE guesses it.

    Returns
    -------
    Structure

    Raises
    ------
    StructureError
        If ASE cannot read the file, the frame is not there, or the file does not name elements.
    """
    if file_format is not None and file_format not in ioformats:
        raise StructureError(f"ASE has no format {file_format!r}; `ase info --formats` lists them")
    try:
        file_format = file_format or filetype(str(path))
        names_elements = file_format not in NAMES_ELEMENTS or _has_line(path, NAMES_ELEMENTS[file_format])
        atoms = _frame(path, frame, file_format) if names_elements else None
    except IsADirectoryError as error:
        raise StructureError(NO_SUCH_FOLDER) from error
    except UnknownFileTypeError as error:
        raise StructureError(
            "the format is not recognised. A structure is a file that ASE reads (extxyz, POSCAR, cif, …; "
            "name the format if need be), a trajectory of fastdp (.h5), or a DeePMD-kit npy folder"
        ) from error
    except (IndexError, StopIteration) as error:
        raise StructureError(f"there is no frame {frame}, or the file is cut short") from error
    except Exception as error:  # ASE's readers raise whatever their parsing ran into
        if path.is_dir() and file_format == "bundletrajectory":  # ASE's guess for every folder
            raise StructureError(NO_SUCH_FOLDER) from error
        raise StructureError(
            f"ASE cannot read it as {file_format}: {type(error).__name__}: {error}"
        ) from error
    if atoms is None:
        raise StructureError(
            f"this {file_format} file numbers its atom types without naming them, and fastdp matches atoms "
            "to a model by name only. Add element names (Masses or Atom Type Labels; a column `element`)"
        )
    if not isinstance(atoms, ase.Atoms):
        raise StructureError(f"ASE reads a {type(atoms).__name__} from it, not a structure")
    return structure_from_atoms(atoms, masses)


def read_labelled_frames(path: Path) -> list[tuple[Structure, dict[str, Any]]]:
    """Read all frames of a file, with energy, forces and stress (3, 3) where they are.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of (Structure, dict)
        Energies in eV, forces in eV/Å, stress in eV/Å³ with ASE's sign.

    Raises
    ------
    StructureError
        If ASE cannot read the file, or the file does not name elements.
    """
    read_with_ase(path, 0, {})
    frames = ase.io.read(path, index=":", do_not_split_by_at_sign=True, parallel=False)
    found = []
    for atoms in frames:
        results = dict(atoms.calc.results) if atoms.calc is not None else {}
        if "stress" in results:
            results["stress"] = atoms.get_stress(voigt=False)
        found.append((structure_from_atoms(atoms), results))
    return found


def structure_from_atoms(atoms: ase.Atoms, masses: Mapping[str, float] | None = None) -> Structure:
    """Return an ASE Atoms object as a structure.

    Parameters
    ----------
    atoms : ase.Atoms
    masses : mapping of str to float, optional
        Masses that the user sets, u.

    Returns
    -------
    Structure
        With velocities if the atoms have momenta.

    Raises
    ------
    StructureError
        If a name has no mass.
    """
    notes = []
    if atoms.constraints:
        notes.append(f"{len(atoms.constraints)} constraint(s) of the file are ignored: every atom moves")
    velocities = None
    if atoms.has("momenta"):
        velocities = atoms.get_velocities() * A_PER_PS_FROM_ASE
    else:
        notes += [
            f"column `{name}` of the file is not used, since its unit is not known; "
            "ASE keeps velocities as `momenta`"
            for name in UNITLESS_VELOCITIES
            if name in atoms.arrays
        ]
    symbols = tuple(atoms.get_chemical_symbols())
    return Structure(
        symbols=symbols,
        positions=atoms.get_positions(),
        cell=np.asarray(atoms.cell[:]),
        periodic=atoms.pbc,
        masses=masses_by_name(
            symbols, masses or {}, from_file=atoms.get_masses() if atoms.has("masses") else None
        ),
        velocities=velocities,
        notes=tuple(notes),
        spins=_spins(atoms),
    )


def _spins(atoms: ase.Atoms) -> NDArray[np.float64] | None:
    """Return magnetic moments that are vectors; of numbers the direction is not known."""
    moments = atoms.arrays.get("initial_magmoms")
    if moments is None or moments.shape != (len(atoms), 3):
        return None
    return np.array(moments, dtype=np.float64)


def _has_line(path: Path, pattern: re.Pattern[str]) -> bool:
    with open_with_compression(str(path), "rt") as file:
        return any(pattern.match(line) for line in file)


def _frame(path: Path, frame: int, file_format: str) -> object:
    # Not in ASE's parallel mode, which waits for all ranks as soon as there are any: one rank reads.
    options: dict[str, Any] = {"format": file_format, "do_not_split_by_at_sign": True, "parallel": False}
    if frame >= 0:
        return ase.io.read(path, index=frame, **options)
    # Not by the negative number itself: for one beyond the first frame ASE's extxyz reader gives the first.
    tail = ase.io.read(path, index=slice(frame, None), **options)
    if len(tail) < -frame:
        raise IndexError(frame)
    return tail[0]
