"""The frame at which a run had to stop, for the user to look at."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from fastdp.dynamics.state import State
from fastdp.errors import SimulationError
from fastdp.output.atoms import to_atoms
from fastdp.output.files import writing
from fastdp.potential.base import Evaluation


def write_crash_frame(
    path: Path, state: State, evaluation: Evaluation | None, error: SimulationError
) -> None:
    """Write `state` as extended XYZ with the reason in the comment line and the culprits marked.

    Parameters
    ----------
    path : pathlib.Path
        Replaced if it exists.
    state : State
        As it was found, NaN and all.
    evaluation : Evaluation or None
        Energy and forces, if they belong to `state`.
    error : SimulationError
        Why the run stopped.
    """
    atoms = to_atoms(
        state.symbols,
        state.positions,
        cell=state.cell,
        periodic=state.periodic,
        masses=state.masses,
        velocities=state.velocities,
    )
    culprits = np.zeros(state.n_atoms, dtype=bool)
    culprits[list(error.atoms)] = True
    atoms.new_array("culprit", culprits)
    atoms.info.update(step=state.step, time_ps=state.time_ps, reason=error.reason)
    if evaluation is not None:
        atoms.calc = SinglePointCalculator(atoms, energy=evaluation.energy, forces=evaluation.forces)
    with writing(path):
        # One rank writes; ASE's parallel mode would wait for all.
        ase.io.write(path, atoms, format="extxyz", parallel=False)
