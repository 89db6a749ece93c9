"""Potentials with known answers, and ones that misbehave on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fastdp.errors import PairTooCloseError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential


class HarmonicTethers(Potential):
    """½ k_i |x_i − a_i|² for each atom, in a system without periodic directions."""

    def __init__(self, anchors: NDArray[np.float64], stiffness: NDArray[np.float64]) -> None:
        self.anchors = anchors
        self.stiffness = stiffness

    @property
    def cutoff(self) -> float:
        return 0.1

    def evaluate(self, neighbours: VerletList, result: Evaluation, *, virial: bool = True) -> None:
        positions = np.empty_like(self.anchors)
        positions[neighbours.order] = neighbours.extended_positions[: neighbours.n_atoms]
        displacements = positions - self.anchors
        result.atomic_energies[:] = 0.5 * self.stiffness * (displacements**2).sum(axis=1)
        result.energy = float(result.atomic_energies.sum())
        result.forces[:] = -self.stiffness[:, None] * displacements
        result.virial[:] = displacements.T @ result.forces
        result.virial_is_current = virial


class LennardJones(Potential):
    """4ε[(σ/r)¹² − (σ/r)⁶], shifted so that energy and force end at the cutoff."""

    def __init__(self, epsilon: float = 0.0104, sigma: float = 3.4, cutoff: float = 6.0) -> None:
        self.epsilon = epsilon
        self.sigma = sigma
        self._cutoff = cutoff

    @property
    def cutoff(self) -> float:
        return self._cutoff

    def evaluate(self, neighbours: VerletList, result: Evaluation, *, virial: bool = True) -> None:
        result.forces[:] = 0.0
        result.virial[:] = 0.0
        result.energy = _lennard_jones(
            neighbours.n_atoms,
            neighbours.order,
            neighbours.first,
            neighbours.neighbours,
            neighbours.extended_positions,
            self.epsilon,
            self.sigma,
            self._cutoff,
            result.atomic_energies,
            result.forces,
            result.virial,
        )
        result.virial_is_current = virial


@njit(cache=True)
def _lennard_jones(
    n_atoms, order, first, neighbours, positions, epsilon, sigma, cutoff, energies, forces, virial
):
    at_cutoff = (sigma / cutoff) ** 6
    energy_shift = 4.0 * epsilon * (at_cutoff * at_cutoff - at_cutoff)
    slope = -24.0 * epsilon * (2.0 * at_cutoff * at_cutoff - at_cutoff) / cutoff
    total = 0.0
    for i in range(n_atoms):
        energy = 0.0
        for k in range(first[i], first[i + 1]):
            vector = positions[neighbours[k]] - positions[i]
            r = np.sqrt((vector**2).sum())
            if r < cutoff:
                s6 = (sigma / r) ** 6
                energy += 0.5 * (4.0 * epsilon * (s6 * s6 - s6) - energy_shift - (r - cutoff) * slope)
                derivative = -24.0 * epsilon * (2.0 * s6 * s6 - s6) / r - slope
                for a in range(3):
                    forces[order[i], a] += derivative * vector[a] / r
                    for b in range(3):
                        virial[a, b] -= 0.5 * derivative * vector[a] * vector[b] / r
        energies[order[i]] = energy
        total += energy
    return total


class ScatteredLennardJones(LennardJones):
    """The same, as potentials of many bodies are evaluated: each centre acts on all that it sees.

    Half of a pair's energy belongs to either atom, so that ghosts of other ranks get half of their force here
    and half at home. Interior atoms come first, and may not need ghosts.
    """

    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        n = neighbours.n_atoms
        energies, forces = np.zeros(n), np.zeros((neighbours.n_rows, 3))
        result.virial[:] = 0.0
        for stage in (0, 1):
            for start, stop, _, _ in neighbours.segments[neighbours.segments[:, 3] == stage]:
                _scattered_lennard_jones(
                    start,
                    stop,
                    neighbours.owner,
                    neighbours.first,
                    neighbours.neighbours,
                    neighbours.extended_positions,
                    self.epsilon,
                    self.sigma,
                    self._cutoff,
                    energies,
                    forces,
                    result.virial,
                )
            if stage == 0 and between is not None:
                between()
        result.atomic_energies[neighbours.order] = energies
        result.forces[neighbours.order] = forces[:n]
        result.ghost_forces = forces[n:]
        result.energy = float(energies.sum())
        result.virial_is_current = virial


@njit(cache=True)
def _scattered_lennard_jones(
    start, stop, owner, first, neighbours, positions, epsilon, sigma, cutoff, energies, forces, virial
):
    at_cutoff = (sigma / cutoff) ** 6
    energy_shift = 4.0 * epsilon * (at_cutoff * at_cutoff - at_cutoff)
    slope = -24.0 * epsilon * (2.0 * at_cutoff * at_cutoff - at_cutoff) / cutoff
    for i in range(start, stop):
        for k in range(first[i], first[i + 1]):
            vector = positions[neighbours[k]] - positions[i]
            r = np.sqrt((vector**2).sum())
            if r < cutoff:
                s6 = (sigma / r) ** 6
                energies[i] += 0.5 * (4.0 * epsilon * (s6 * s6 - s6) - energy_shift - (r - cutoff) * slope)
                derivative = 0.5 * (-24.0 * epsilon * (2.0 * s6 * s6 - s6) / r - slope)
                for a in range(3):
                    forces[i, a] += derivative * vector[a] / r
                    forces[owner[neighbours[k]], a] -= derivative * vector[a] / r
                    for b in range(3):
                        virial[a, b] -= derivative * vector[a] * vector[b] / r


class Sabotaged(Potential):
    """Another potential, with something done to the result of each evaluation.

    `sabotage` is given the number of the evaluation, from 1, and the result.
    """

    def __init__(self, potential: Potential, sabotage: Callable[[int, Evaluation], None]) -> None:
        self.potential = potential
        self.sabotage = sabotage
        self.evaluations = 0

    @property
    def cutoff(self) -> float:
        return self.potential.cutoff

    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        self.evaluations += 1
        options = {} if between is None else {"between": between}
        self.potential.evaluate(neighbours, result, virial=virial, **options)
        self.sabotage(self.evaluations, result)


def nan_force_at(evaluation: int, atom: int) -> Callable[[int, Evaluation], None]:
    def sabotage(number: int, result: Evaluation) -> None:
        if number == evaluation:
            result.forces[atom, 1] = np.nan

    return sabotage


def too_close_at(evaluation: int, atoms: tuple[int, int]) -> Callable[[int, Evaluation], None]:
    def sabotage(number: int, result: Evaluation) -> None:
        if number == evaluation:
            raise PairTooCloseError(f"atoms {atoms[0]} and {atoms[1]} are 0.1 Å apart", atoms=atoms)

    return sabotage


def wait(seconds: float) -> Callable[[int, Evaluation], None]:
    return lambda number, result: time.sleep(seconds)
