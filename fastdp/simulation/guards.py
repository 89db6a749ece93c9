"""Reasons for which a run stops by itself."""

from __future__ import annotations

import math

import numpy as np

from fastdp.dynamics.kernels import count_non_finite
from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import NonFiniteError, RunawayTemperatureError
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
    state, evaluation = snapshot.state, snapshot.evaluation
    if count_non_finite(evaluation.forces):
        atoms = np.flatnonzero(~np.isfinite(evaluation.forces).all(axis=1))
        first = int(atoms[0])
        raise NonFiniteError(
            f"the force on atom {first} ({state.symbols[first]}) is {evaluation.forces[first].tolist()} eV/Å,"
            f" {len(atoms)} of {state.n_atoms} atoms are affected; {_ADVICE}",
            atoms=atoms[:MOST_ATOMS_NAMED].tolist(),
        )
    if not math.isfinite(evaluation.energy):
        atoms = np.flatnonzero(~np.isfinite(evaluation.atomic_energies))
        raise NonFiniteError(
            f"the potential energy is {evaluation.energy} eV; {_ADVICE}",
            atoms=atoms[:MOST_ATOMS_NAMED].tolist(),
        )
    temperature = snapshot.temperature
    # Written so that NaN is above the limit.
    if not temperature <= settings.maximum_temperature_K:
        fastest = int(np.abs(state.velocities).max(axis=1).argmax())
        raise RunawayTemperatureError(
            f"the temperature is {temperature:.6g} K, above the limit of"
            f" {settings.maximum_temperature_K:g} K; the fastest atom is {fastest}"
            f" ({state.symbols[fastest]}) with {state.velocities[fastest].tolist()} Å/ps; {_ADVICE}, or raise"
            " maximum_temperature_K",
            atoms=[fastest],
        )


_ADVICE = "use a shorter time step or a better relaxed structure"
