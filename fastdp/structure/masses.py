"""Atomic masses by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from fastdp.errors import StructureError

PLACEHOLDER = "X"
"""ASE's symbol for "no element"; it has a mass of 1 there, which is no mass to move an atom with."""


def masses_by_name(
    symbols: Sequence[str], given: Mapping[str, float], *, from_file: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the mass of each atom: the given one, else the file's, else that of the element.

    Parameters
    ----------
    symbols : sequence of str
        Name of each atom.
    given : mapping of str to float
        Mass of each name that the user sets, u.
    from_file : (n_atoms,) float64, optional
        Masses that the structure's file holds, u.

    Returns
    -------
    (n_atoms,) float64
        u.

    Raises
    ------
    StructureError
        If `given` has a name that no atom bears, or a name that is no element has no mass.
    """
    present = sorted(set(symbols))
    strangers = sorted(set(given) - set(present))
    if strangers:
        raise StructureError(
            f"masses_u names {', '.join(strangers)}, but the structure has only {', '.join(present)}"
        )
    table: dict[str, float] = {}
    if from_file is None:
        table = {
            name: float(atomic_masses[atomic_numbers[name]])
            for name in present
            if name in atomic_numbers and name != PLACEHOLDER
        }
        unknown = [name for name in present if name not in table and name not in given]
        if unknown:
            raise StructureError(
                f"no mass is known for {', '.join(unknown)}: these are not elements. "
                f"Set them, for example masses_u = {{ {unknown[0]} = 12.011 }}"
            )
    table |= {name: float(mass) for name, mass in given.items()}
    masses = np.empty(len(symbols)) if from_file is None else np.array(from_file, dtype=np.float64)
    for index, name in enumerate(symbols):
        if name in table:
            masses[index] = table[name]
    return masses
