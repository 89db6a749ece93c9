"""How far the models of a committee are apart: DeePMD-kit's formulas for forces, virial and energy.

Over K models, with the population's statistics (division by K):

    σ_i  = √⟨|F_i − ⟨F_i⟩|²⟩                                of each atom: largest, smallest, mean
    σ_ab = √⟨(Ξ_ab/N − ⟨Ξ_ab/N⟩)²⟩                          largest, smallest, and √(Σ σ_ab²/9)
    relative:  σ_i/(|⟨F_i⟩| + l),  σ_ab/(|⟨Ξ_ab/N⟩| + l)

as in the program for LAMMPS; `dp model-devi` divides virials by another norm. Zhang et al., Phys. Rev.
Materials 3,
023804 (2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Deviation:
    """Of one frame.

    Attributes
    ----------
    virial : (3,) float64
        Largest, smallest and quadratic mean over the nine components, eV per atom.
    forces : (3,) float64
        Largest, smallest and mean over the atoms, eV/Å.
    energy : float
        Standard deviation of the energy per atom, eV.
    atomic : (n_atoms,) float64
        Of each atom's force.
    """

    virial: Array
    forces: Array
    energy: float
    atomic: Array


def deviation(
    energies: Array,
    forces: Array,
    virials: Array,
    *,
    relative_force: float | None = None,
    relative_virial: float | None = None,
) -> Deviation:
    """Return the deviation of K models.

    Parameters
    ----------
    energies : (K,) float64
        eV.
    forces : (K, n_atoms, 3) float64
        eV/Å.
    virials : (K, 3, 3) float64
        eV.
    relative_force, relative_virial : float, optional
        Levels l, eV/Å and eV, of relative deviations.

    Returns
    -------
    Deviation
    """
    n_atoms = forces.shape[1]
    atomic = atomic_deviation(forces, relative_force)
    return Deviation(
        virial_deviation(virials, n_atoms, relative_virial),
        np.array([atomic.max(), atomic.min(), atomic.mean()]),
        float(np.std(energies / n_atoms)),
        atomic,
    )


def atomic_deviation(forces: Array, relative: float | None = None) -> Array:
    """Return σ_i of each atom, (n_atoms,) eV/Å, from forces (K, n_atoms, 3); relative to a level if given."""
    mean = forces.mean(axis=0)
    atomic = np.sqrt(np.mean(np.sum((forces - mean) ** 2, axis=2), axis=0))
    if relative is not None:
        atomic = atomic / (np.linalg.norm(mean, axis=1) + relative)
    return np.asarray(atomic)


def virial_deviation(virials: Array, n_atoms: int, relative: float | None = None) -> Array:
    """Return largest, smallest and quadratic mean of σ_ab, (3,) eV, from virials (K, 3, 3) of n atoms."""
    per_atom = virials.reshape(len(virials), 9) / n_atoms
    components = per_atom.std(axis=0)
    if relative is not None:
        components = components / (np.abs(per_atom.mean(axis=0)) + relative)
    return np.array([components.max(), components.min(), np.sqrt(np.mean(components**2))])


NAMES = ("max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f")


def header(n_atoms: int | None) -> str:
    """Return the first line of `model_devi.out`; with atoms' deviations if their number is given."""
    line = "#" + "step".rjust(11) + "".join(name.rjust(19) for name in NAMES)
    return line if n_atoms is None else line + f"atm_devi_f(N={n_atoms})".rjust(19)


def row(step: int, found: Deviation, *, atomic: bool) -> str:
    """Return a line of `model_devi.out`, as LAMMPS with DeePMD-kit writes it and DP-GEN reads it."""
    values = [*found.virial, *found.forces, *(found.atomic if atomic else ())]
    return f"{step:12d}" + "".join(f" {value:18.6e}" for value in values)
