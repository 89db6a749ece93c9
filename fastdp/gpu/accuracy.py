"""How far two potentials are apart."""

from __future__ import annotations

import numpy as np

from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.compressed.measurement import Atoms


def force_difference(first: Potential, second: Potential, atoms: Atoms) -> float:
    """Return the rms difference of a force component, eV/Å, between two potentials of one cutoff.

    Parameters
    ----------
    first, second : Potential
    atoms : Atoms
    """
    neighbours = atoms.neighbours(first.cutoff)
    results = [Evaluation.empty(len(atoms.types)) for _ in range(2)]
    for potential, result in zip((first, second), results, strict=True):
        potential.evaluate(neighbours, result, virial=False)
    return float(np.sqrt(np.mean((results[0].forces - results[1].forces) ** 2)))
