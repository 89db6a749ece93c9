"""How atoms are named in messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

LONGEST_LIST = 5


def list_atoms(atoms: Sequence[int] | NDArray[Any]) -> str:
    """Return "atom 3" or "atoms 3, 4, 5, 6, 7 and 10 more"; atoms are counted from 0.

    Parameters
    ----------
    atoms : sequence of int
        Indices in input order.

    Returns
    -------
    str
    """
    shown = ", ".join(str(int(atom)) for atom in atoms[:LONGEST_LIST])
    rest = len(atoms) - LONGEST_LIST
    noun = "atom" if len(atoms) == 1 else "atoms"
    return f"{noun} {shown}" + (f" and {rest} more" if rest > 0 else "")
