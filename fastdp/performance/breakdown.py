"""What a potential takes on a structure, section by section, against its floor."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numba
import numpy as np

from fastdp.dynamics.state import State
from fastdp.neighbours.verlet_list import VerletList
from fastdp.performance.ceilings import Ceilings, measure_ceilings
from fastdp.performance.work import Work, count_work, mean_neighbours
from fastdp.potential.base import Evaluation, Precision
from fastdp.potential.compressed.clock import SECTIONS
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.potential import CompressedPotential

SKINS = (0.5, 0.75, 1.0, 1.5, 2.0)
"""Å, that are tried."""


@dataclass(frozen=True)
class Breakdown:
    """Times for one atom and step.

    Attributes
    ----------
    precision : {"double", "mixed"}
    threads : int
    ceilings : Ceilings
        Of one core.
    work : Work
    floors, sections : dict of str to float
        s of one core, by section: at least, and measured.
    evaluation : float
        s of wall time for a whole evaluation, median.
    spread : (float, float)
        Shortest and longest.
    """

    precision: Precision
    threads: int
    ceilings: Ceilings
    work: Work
    floors: dict[str, float]
    sections: dict[str, float]
    evaluation: float
    spread: tuple[float, float]

    @property
    def fraction(self) -> float:
        """Floor over measured time, of all cores that were used."""
        return sum(self.floors.values()) / (self.evaluation * self.threads)


def break_down(
    model: CompressedModel, precision: Precision, neighbours: VerletList, seconds: float
) -> Breakdown:
    """Time the kernels of a compressed potential.

    Parameters
    ----------
    model : CompressedModel
    precision : {"double", "mixed"}
    neighbours : VerletList
        Built.
    seconds : float
        Time to spend on it.

    Returns
    -------
    Breakdown
    """
    n = neighbours.n_atoms
    potential = CompressedPotential(model, precision)
    result = Evaluation.empty(n)
    potential.evaluate(neighbours, result, virial=False)
    times = _times(potential, neighbours, result, seconds)
    potential.count_cycles(True)
    counted = _times(potential, neighbours, result, seconds)
    ceilings = measure_ceilings(precision)
    cycles = potential.count_cycles(False).sum(axis=0)
    per_atom = 1.0 / (ceilings.cycles_per_second * len(counted) * n)
    centre = np.repeat(np.arange(n), np.diff(neighbours.first))
    row = neighbours.neighbours[: neighbours.first[-1]]
    vectors = neighbours.extended_positions[row] - neighbours.extended_positions[centre]
    within = np.einsum("ij,ij->i", vectors, vectors) < model.cutoff**2
    shares = np.bincount(neighbours.types, minlength=model.n_types) / n
    work = count_work(model, shares, *mean_neighbours(neighbours.first, within))
    return Breakdown(
        precision,
        numba.get_num_threads(),
        ceilings,
        work,
        work.floors(ceilings),
        {name: float(count) * per_atom for name, count in zip(SECTIONS, cycles, strict=True)},
        float(np.median(times)) / n,
        (min(times) / n, max(times) / n),
    )


@dataclass(frozen=True)
class SkinTime:
    """What a step takes with one skin.

    Attributes
    ----------
    skin : float
        Å.
    evaluation, build : float
        s of wall time for one atom.
    interval : float
        Steps until the fastest atom, moving straight on, has covered half of the skin.
    """

    skin: float
    evaluation: float
    build: float
    interval: float

    @property
    def step(self) -> float:
        """For one atom and step, s."""
        return self.evaluation + self.build / self.interval


def try_skins(
    model: CompressedModel, precision: Precision, state: State, timestep_ps: float, seconds: float
) -> list[SkinTime]:
    """Time evaluation and build for several skins.

    Parameters
    ----------
    model : CompressedModel
    precision : {"double", "mixed"}
    state : State
        With velocities.
    timestep_ps : float
    seconds : float
        Time to spend on each.

    Returns
    -------
    list of SkinTime
    """
    fastest = float(np.linalg.norm(state.velocities, axis=1).max(initial=0.0))
    found = []
    for skin in SKINS:
        neighbours = VerletList(model.cutoff, skin, state.cell, state.periodic, state.types)
        neighbours.build(state.positions)
        started = time.perf_counter()
        neighbours.build(state.positions)
        build = time.perf_counter() - started
        potential = CompressedPotential(model, precision)
        result = Evaluation.empty(state.n_atoms)
        potential.evaluate(neighbours, result, virial=False)
        times = _times(potential, neighbours, result, seconds)
        covered = fastest * timestep_ps
        interval = max(1.0, 0.5 * skin / covered) if covered > 0.0 else np.inf
        n = state.n_atoms
        found.append(SkinTime(skin, float(np.median(times)) / n, build / n, interval))
    return found


def _times(
    potential: CompressedPotential, neighbours: VerletList, result: Evaluation, seconds: float
) -> list[float]:
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        potential.evaluate(neighbours, result, virial=False)
        found.append(time.perf_counter() - started)
    return found
