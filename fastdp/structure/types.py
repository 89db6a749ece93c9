"""Matching the atoms of a structure to the types of a model: by name, never by number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import StructureError
from fastdp.structure.naming import list_atoms


def match_types(symbols: Sequence[str], type_names: Sequence[str]) -> NDArray[np.int32]:
    """Return the model's type of each atom.

    Parameters
    ----------
    symbols : sequence of str
        Element (or type) name of each atom.
    type_names : sequence of str
        The model's names, in its order.

    Returns
    -------
    (n_atoms,) int32
        Index into `type_names`.

    Raises
    ------
    StructureError
        If an atom has a name that the model does not know.
    """
    number = {name: index for index, name in enumerate(type_names)}
    unknown: dict[str, list[int]] = {}
    for index, symbol in enumerate(symbols):
        if symbol not in number:
            unknown.setdefault(symbol, []).append(index)
    if unknown:
        found = "; ".join(f"{symbol} ({list_atoms(atoms)})" for symbol, atoms in unknown.items())
        raise StructureError(f"the model knows {', '.join(type_names)}, but the structure has {found}")
    return np.array([number[symbol] for symbol in symbols], dtype=np.int32)
