"""A few evaluations of the start structure: whether it can be run at all, and what that will cost."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.state import State
from fastdp.errors import SimulationError, StructureError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.progress import duration_text
from fastdp.potential.base import Evaluation, Potential
from fastdp.simulation.decomposed_force_field import DecomposedForceField
from fastdp.simulation.settings import RunSettings, StageSettings
from fastdp.structure.structure import Structure
from fastdp.units import PS_PER_FS

TIMED_EVALUATIONS = 3

LARGE = 20_000
"""Atoms, from which on one evaluation is long enough to be timed, and to wait for."""

BYTES_PER_ATOM_IN_FRAME = {True: 60, False: 36}
"""Position, image and, where wanted, velocity of an atom."""


@dataclass(frozen=True)
class Trial:
    """What the start structure came to.

    Attributes
    ----------
    neighbours : VerletList
        Of the start structure.
    evaluation : Evaluation
        Energy and forces of the start structure.
    evaluation_seconds, build_seconds : float
        Wall time to evaluate the potential and to build the neighbour list, s.
    peak_bytes : int
        Largest memory that this process has held so far.
    """

    neighbours: VerletList
    evaluation: Evaluation
    evaluation_seconds: float
    build_seconds: float
    peak_bytes: int


def try_start(potential: Potential, structure: Structure, types: NDArray[np.int32], skin: float) -> Trial:
    """Evaluate the start structure.

    Parameters
    ----------
    potential : Potential
    structure : Structure
    types : (n_atoms,) int32
    skin : float
        Of the neighbour list, Å.

    Returns
    -------
    Trial

    Raises
    ------
    StructureError
        If the potential cannot be evaluated there, or is not finite.
    """
    evaluation = Evaluation.empty(structure.n_atoms)
    neighbours = VerletList(potential.cutoff, skin, structure.cell, structure.periodic, types)
    try:
        neighbours.build(structure.positions)
        # The first evaluation compiles; it is not timed.
        potential.evaluate(neighbours, evaluation)
    except SimulationError as error:
        raise StructureError(f"the start structure cannot be run: {error.reason}") from error
    if not (math.isfinite(evaluation.energy) and np.isfinite(evaluation.forces).all()):
        raise StructureError(
            f"the start structure cannot be run: its energy is {evaluation.energy} eV and not all forces "
            "are finite"
        )
    return Trial(
        neighbours,
        evaluation,
        # Most steps need no virial.
        min(
            _seconds(lambda: potential.evaluate(neighbours, evaluation, virial=False))
            for _ in range(TIMED_EVALUATIONS if structure.n_atoms < LARGE else 1)
        ),
        _seconds(lambda: neighbours.build(structure.positions)),
        _peak_bytes(),
    )


def try_start_together(force_field: DecomposedForceField, state: State) -> Trial:
    """Evaluate the start of a run on several ranks, all of which call this together.

    Parameters
    ----------
    force_field : DecomposedForceField
    state : State
        The atoms of this rank, which are wrapped into the cell.

    Returns
    -------
    Trial
        With the times and the memory of the rank that needs most.

    Raises
    ------
    StructureError
        On all ranks, if the potential cannot be evaluated there, or is not finite.
    """
    communicator = state.communicator
    try:
        force_field.compute(state)
    except SimulationError as error:
        refusal = StructureError(f"the start structure cannot be run: {error.reason}")
        refusal.on_all_ranks = error.on_all_ranks
        raise refusal from error
    evaluation = force_field.evaluation
    if communicator.any(not (math.isfinite(evaluation.energy) and np.isfinite(evaluation.forces).all())):
        refusal = StructureError(
            f"the start structure cannot be run: its energy is {evaluation.energy} eV and not all forces "
            "are finite"
        )
        refusal.on_all_ranks = True
        raise refusal
    force_field.virial = False
    evaluation_seconds = min(_seconds(lambda: force_field.compute(state)) for _ in range(TIMED_EVALUATIONS))
    force_field.virial = True
    build_seconds = _seconds(lambda: force_field.neighbours.build(state.positions))
    most = communicator.maximum(np.array([evaluation_seconds, build_seconds, _peak_bytes()]))
    return Trial(force_field.neighbours, evaluation, float(most[0]), float(most[1]), int(most[2]))


def forecast(trial: Trial, state: State, settings: RunSettings, skin: float) -> list[str]:
    """Return what a run will take, in words.

    The neighbour list is taken to be built whenever the atom that is fastest at the start, moving straight
    on, has covered half the skin.

    Parameters
    ----------
    trial : Trial
    state : State
        At the start.
    settings : RunSettings
    skin : float
        Å.

    Returns
    -------
    list of str
        Lines.
    """
    steps = sum(stage.steps for stage in settings.stages)
    seconds = sum(
        stage.steps * (trial.evaluation_seconds + trial.build_seconds * _builds_per_step(state, stage, skin))
        for stage in settings.stages
    )
    per_step = seconds / max(steps, 1)
    lines = [
        f"time: about {1e3 * per_step:.3g} ms a step ({1e6 * per_step / state.n_total:.3g} µs/atom/step), "
        f"{duration_text(seconds)} for {steps} steps",
        f"memory: about {trial.peak_bytes / 2**20:.0f} MiB"
        + (" on the largest rank" if state.communicator.size > 1 else ""),
    ]
    trajectory = settings.output.trajectory
    if trajectory is not None:
        frames = steps // trajectory.every + 1
        size = frames * state.n_total * BYTES_PER_ATOM_IN_FRAME[trajectory.velocities]
        lines.append(f"disk: {frames} frames, at most {size / 2**20:.3g} MiB of trajectory")
    return lines


def _builds_per_step(state: State, stage: StageSettings, skin: float) -> float:
    own = np.linalg.norm(state.velocities, axis=1).max(initial=0.0)
    fastest = float(state.communicator.maximum(np.array([own]))[0])
    return min(1.0, fastest * stage.integrator.timestep_fs * PS_PER_FS / (0.5 * skin)) if skin > 0.0 else 1.0


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _peak_bytes() -> int:
    """Return the peak resident memory; the system counts it in KiB, but macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
