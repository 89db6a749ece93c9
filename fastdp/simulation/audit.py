"""Comparing a compressed potential with the model as trained while a run goes on.

A compressed potential was measured on the start structure. What a run meets later (a melt, a surface, a
reaction) it may get wrong, and nothing in energy or conservation would tell. So at output steps a few atoms
are drawn and their energies and the gradients of these are computed with the original model as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import PairTooCloseError
from fastdp.model.description import DeepPotential
from fastdp.neighbours.partial import PartialList, rows_of
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.reference import ReferencePotential

WARNING = 10.0
"""Times the tolerance, from which on the user is warned."""

SHARE_OF_TIME = 0.01
"""Part of a run's time that audits may take; those beyond are left out."""


@dataclass(frozen=True)
class Deviation:
    """How far a potential is from the model as trained, over sampled atoms.

    Attributes
    ----------
    forces : (k,) float64
        eV/Å, for each atom: √(Σ_j |Δ ∂E_i/∂r_j|² / 3). Its rms over the atoms of a structure is the rms error
        of a force component, as far as the errors of different centres are independent.
    energies : (k,) float64
        |ΔE_i|, eV.
    """

    forces: NDArray[np.float64]
    energies: NDArray[np.float64]


def deviation(potential: Potential, description: DeepPotential, centres: PartialList) -> Deviation:
    """Compare a potential with the model as trained on sampled atoms.

    Parameters
    ----------
    potential : Potential
    description : DeepPotential
    centres : PartialList
        Atoms to compare, with rows of their own (`rows_of`).

    Returns
    -------
    Deviation
    """
    n = centres.n_atoms
    fast = Evaluation.empty(n)
    potential.evaluate(cast(VerletList, centres), fast, virial=False)
    gradient = np.concatenate([fast.forces, fast.ghost_forces])
    centre = np.repeat(np.arange(n), np.diff(centres.first))
    vectors = centres.extended_positions[centres.neighbours] - centres.extended_positions[centre]
    exact = ReferencePotential(description, every_neighbour=True).evaluate_pairs(
        centres.extended_types, centre, centres.neighbours, vectors, n_centres=n
    )
    squares = np.sum((gradient - exact.forces) ** 2, axis=1)
    totals = squares[:n] + np.bincount(centre, squares[n:], n)
    return Deviation(np.sqrt(totals / 3.0), np.abs(fast.atomic_energies - exact.atomic_energies[:n]))


class Audit:
    """Audits a run at its output steps; changes nothing in it.

    Where there are several ranks, each draws its share of the atoms, and all call `act` together.

    Parameters
    ----------
    potential : Potential
        One of its own, so that the buffers of that of the run stay as they are.
    description : DeepPotential
    neighbours : VerletList
        That of the run.
    tolerance : float
        eV/Å.
    n_atoms : int
        Drawn each time.
    warn : callable
        Told when the deviation is more than `WARNING` times the tolerance, once for each tenfold.
    communicator : Communicator
        Ranks that have other atoms.
    """

    def __init__(
        self,
        potential: Potential,
        description: DeepPotential,
        neighbours: VerletList,
        tolerance: float,
        n_atoms: int,
        warn: Callable[[str], None],
        communicator: Communicator = SERIAL,
    ) -> None:
        self._communicator = communicator
        self._potential = potential
        # Tables that are added to the model are exact, and not part of what is compared.
        self._description = replace(description, pair_part=None)
        self._neighbours = neighbours
        self._tolerance = tolerance
        self._n_atoms = n_atoms
        self._warn = warn
        self._limit = WARNING * tolerance
        self._started = time.perf_counter()
        self._seconds = 0.0
        self._sum = 0.0
        self._count = 0
        self._left_out = 0
        self._largest = 0.0
        self._largest_energy = 0.0
        self._largest_step = 0

    def act(self, snapshot: Snapshot) -> None:
        """Compare a few atoms of the present step, if there is time for it."""
        now = time.perf_counter()
        late = self._count > 0 and self._seconds > SHARE_OF_TIME * (now - self._started)
        if self._communicator.any(late):
            self._left_out += 1
            return
        step = snapshot.state.step
        own = self._sample(step, snapshot.state.n_total)
        self._seconds += time.perf_counter() - now
        total, count = self._communicator.sum(np.array([np.sum(own.forces**2), len(own.forces)]))
        largest, largest_energy = self._communicator.maximum(
            np.array([own.forces.max(initial=0.0), own.energies.max(initial=0.0)])
        )
        if count == 0:
            return
        self._sum += float(total)
        self._count += int(count)
        self._largest_energy = max(self._largest_energy, float(largest_energy))
        if largest > self._largest:
            self._largest, self._largest_step = float(largest), step
        rms = float(np.sqrt(total / count))
        if rms > self._limit:
            self._limit = 10.0 * rms
            self._warn(
                f"step {step}: the compressed potential is off from the model as trained by {rms:.1e} eV/Å "
                f"(rms over {int(count)} atoms), {rms / self._tolerance:.0f} times the tolerance. The run "
                "has left what its start structure stands for: start from a frame like this one, and the "
                "compressed potential is made for it"
            )

    def _sample(self, step: int, n_total: int) -> Deviation:
        """Compare this rank's share of the atoms."""
        n = self._neighbours.n_atoms
        share = min(n, -(-self._n_atoms * n // max(n_total, 1)))
        if share == 0:
            return Deviation(np.zeros(0), np.zeros(0))
        # The step is the seed: which atoms are drawn does not depend on how many audits there was time for.
        seed = [step] if self._communicator.size == 1 else [step, self._communicator.rank]
        chosen = np.random.default_rng(seed).choice(n, share, replace=False)
        try:
            return deviation(self._potential, self._description, rows_of(self._neighbours, chosen))
        except PairTooCloseError:
            # Where a table of the model takes over, its network is not evaluated.
            return Deviation(np.zeros(0), np.zeros(0))

    def lines(self) -> list[str]:
        """Return what was found, for the end of a run."""
        if self._count == 0:
            return []
        rms = np.sqrt(self._sum / self._count)
        left_out = (
            f"; {self._left_out} audits left out, to stay below 1 % of the time" if self._left_out else ""
        )
        return [
            f"audit: force error against the model as trained {rms:.1e} eV/Å rms over {self._count} atoms "
            f"drawn during the run, largest {self._largest:.1e} at step {self._largest_step}; energies "
            f"within {self._largest_energy:.1e} eV{left_out}"
        ]
