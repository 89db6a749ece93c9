"""Telling the user where atoms have more neighbours than the model was trained to see."""

from __future__ import annotations

import numpy as np

from fastdp.model.description import DeepPotential
from fastdp.neighbours.selection import count_overflow
from fastdp.neighbours.verlet_list import VerletList


def overflow_warnings(neighbours: VerletList, description: DeepPotential, *, truncates: bool) -> list[str]:
    """Return one line for each pair of types where atoms have more neighbours than `sel`.

    Parameters
    ----------
    neighbours : VerletList
        Built.
    description : DeepPotential
    truncates : bool
        Whether the potential drops the farthest as the trainer does; otherwise it keeps all.

    Returns
    -------
    list of str
        Empty if no atom has too many.
    """
    selection, names = description.descriptor.selection, description.type_names
    found = count_overflow(neighbours, description.cutoff, selection)
    consequence = (
        "the farthest are dropped, as the trainer does, and the energy jumps when they change"
        if truncates
        else "all are kept, unlike in DeePMD-kit, which drops the farthest"
    )
    return [
        f"{found.overflowing[centre, other]} {names[centre]} atoms have more {names[other]} neighbours "
        f"(up to {found.largest[centre, other]}) than the {selection[other]} of the model's training (sel): "
        f"{consequence}"
        for centre, other in np.argwhere(found.overflowing)
    ]
