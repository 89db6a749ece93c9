"""Reasons for which a run stops by itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State
from fastdp.errors import NonFiniteError, RunawayTemperatureError, SimulationError
from fastdp.simulation.settings import GuardSettings

MOST_ATOMS_NAMED = 16


def check_step(snapshot: Snapshot, settings: GuardSettings) -> None:
    """Stop a run that has gone wrong.

    Parameters
    ----------
    snapshot : Snapshot
        Of the step just made.
    settings : GuardSettings
        The limits.

    Raises
    ------
    NonFiniteError
        If the energy or a force is NaN or infinite.
    RunawayTemperatureError
        If the instantaneous temperature is above the limit, or is NaN.
    """
    # What decides is the same on all ranks, so that all stop; details come from whoever has the atoms.
    evaluation, temperature = snapshot.evaluation, snapshot.temperature
    if snapshot.non_finite_forces:
        affected = np.logical_not(np.isfinite(evaluation.forces).all(axis=1))
        count, found = _gathered(snapshot.state, affected, evaluation.forces)
        first = found[0]
        error: SimulationError = NonFiniteError(
            f"the force on atom {first.atom} ({first.symbol}) is {first.value} eV/Å,"
            f" {count} of {snapshot.state.n_total} atoms are affected; {_ADVICE}",
            atoms=[row.atom for row in found],
        )
    elif not math.isfinite(evaluation.energy):
        energies = evaluation.atomic_energies
        _, found = _gathered(snapshot.state, ~np.isfinite(energies), energies)
        error = NonFiniteError(
            f"the potential energy is {evaluation.energy} eV; {_ADVICE}",
            atoms=[row.atom for row in found],
        )
    # Written so that NaN is above the limit.
    elif not temperature <= settings.maximum_temperature_K:
        speeds = np.abs(snapshot.state.velocities).max(axis=1)
        # NaN is the fastest of all.
        speeds[np.isnan(speeds)] = np.inf
        _, found = _gathered(snapshot.state, speeds == speeds.max(initial=0.0), snapshot.state.velocities)
        first = max(found, key=lambda row: (not np.isfinite(row.value).all(), np.abs(row.value).max()))
        error = RunawayTemperatureError(
            f"the temperature is {temperature:.6g} K, above the limit of"
            f" {settings.maximum_temperature_K:g} K; the fastest atom is {first.atom}"
            f" ({first.symbol}) with {first.value} Å/ps; {_ADVICE}, or raise"
            " maximum_temperature_K",
            atoms=[first.atom],
        )
    else:
        return
    error.on_all_ranks = True
    raise error


class _Row(NamedTuple):
    atom: int
    symbol: str
    value: list[float]


def _gathered(
    state: State, affected: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[int, list[_Row]]:
    """Return how many atoms of all ranks are affected, and the first of them in the order of the input."""
    atoms = np.flatnonzero(affected)
    rows = [
        _Row(int(state.identifiers[atom]), state.symbols[atom], values[atom].tolist())
        for atom in atoms[:MOST_ATOMS_NAMED]
    ]
    parts = state.communicator.gather_objects((len(atoms), rows))
    found = sorted((row for _, part in parts for row in part), key=lambda row: row.atom)
    return sum(count for count, _ in parts), found[:MOST_ATOMS_NAMED]


_ADVICE = "use a shorter time step or a better relaxed structure"
