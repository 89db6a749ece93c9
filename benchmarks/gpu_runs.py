"""Runs on a device for the benchmarks: an engine with atoms in motion, and the time that is left."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu_systems import VARIANTS, Case, make_state

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import VelocityVerletSettings
from fastdp.dynamics.state import State
from fastdp.gpu.device.base import Device
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.potential import CudaPotential
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.compressed.potential import CompressedPotential

SKIN = 1.0
LIMIT = 1e12
"""K; no guard is to end a run."""


@dataclass(frozen=True)
class Run:
    """Atoms in motion on a device.

    Attributes
    ----------
    engine : DeviceEngine
        Loaded.
    state : State
    integrator : VelocityVerlet
    force_error : float
        eV/Å, largest difference of a component at the start from the compressed potential on the CPU.
    start_seconds : float
        From nothing to the end of the first step, compiling included.
    """

    engine: DeviceEngine
    state: State
    integrator: Any
    force_error: float
    start_seconds: float


class Bench:
    """Everything that is measured, and how long there is for it.

    Parameters
    ----------
    device : Device
    options : namespace
        Of the command line.
    """

    def __init__(self, device: Device, options: argparse.Namespace) -> None:
        self.device = device
        self.options = options
        self.found: dict[str, Any] = {}
        self._forces: dict[str, np.ndarray] = {}
        self._end = time.monotonic() + 60.0 * options.minutes

    def keep(self, name: str, value: Any) -> None:
        """Note a result, and write everything that is known."""
        self.found[name] = value
        self.options.json.write_text(json.dumps(self.found, indent=1) + "\n")

    def time_left(self, what: str) -> bool:
        """Whether something new may begin."""
        if time.monotonic() < self._end:
            return True
        print(f"left out for want of time: {what}", flush=True)
        return False

    def potential(self, case: Case, variant: str) -> CudaPotential:
        """Return a potential of one variant."""
        chosen = VARIANTS[variant]
        return CudaPotential(
            case.model, self.device, chosen.precision, chosen.products, network=chosen.network
        )

    def run(self, case: Case, variant: str, copies: tuple[int, int, int]) -> Run:
        """Return atoms in motion on the device.

        The forces at the start come from a step in which no atom moves. All copies of the structure should
        have those of the structure itself, whatever the size of the system.
        """
        began = time.perf_counter()
        state, evaluation = make_state(case, copies), Evaluation.empty(case.n_atoms * int(np.prod(copies)))
        engine = DeviceEngine(self.potential(case, variant), state, SKIN)
        integrator = make_integrator(VelocityVerletSettings(timestep_fs=case.timestep_fs))
        integrator.initialise(state)
        velocities = state.velocities.copy()
        state.velocities[:] = 0.0
        engine.load(state, evaluation, integrator, LIMIT)
        engine.advance(1, virial=False)
        seconds = time.perf_counter() - began
        engine.fetch(state, evaluation, integrator)
        expected = self._forces_of(case)
        error = float(np.abs(evaluation.forces.reshape(-1, *expected.shape) - expected).max())
        state.velocities[:] = velocities
        engine.load(state, evaluation, integrator, LIMIT)
        return Run(engine, state, integrator, error, seconds)

    def _forces_of(self, case: Case) -> np.ndarray:
        """Return the forces on the structure by the CPU, eV/Å."""
        if case.name not in self._forces:
            state = make_state(case, (1, 1, 1))
            potential = CompressedPotential(case.model)
            self._forces[case.name] = evaluate(potential, state, Evaluation.empty(state.n_atoms))
        return self._forces[case.name]


def evaluate(potential: Potential, state: State, result: Evaluation) -> np.ndarray:
    """Evaluate a potential from scratch and return the forces, eV/Å."""
    neighbours = VerletList(potential.cutoff, SKIN, state.cell, state.periodic, state.types)
    neighbours.build(state.positions)
    potential.evaluate(neighbours, result)
    return result.forces.copy()
