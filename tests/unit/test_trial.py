"""The trial of the start structure and the forecast made from it."""

import numpy as np
import pytest
from potentials import LennardJones, Sabotaged, nan_force_at, too_close_at

from fastdp.dynamics.settings import VelocityVerletSettings
from fastdp.dynamics.state import State
from fastdp.errors import StructureError
from fastdp.simulation.settings import OutputSettings, RunSettings, StageSettings, TrajectorySettings
from fastdp.simulation.trial import Trial, forecast, try_start
from fastdp.structure.structure import Structure

TYPES = np.zeros(2, dtype=np.int32)


@pytest.fixture
def pair() -> Structure:
    return Structure(
        symbols=("Ar", "Ar"),
        positions=np.array([[0.0, 0.0, 0.0], [3.8, 0.0, 0.0]]),
        cell=20.0 * np.eye(3),
        periodic=np.array([True, True, True]),
        masses=np.full(2, 39.95),
    )


def test_the_start_is_evaluated(pair: Structure) -> None:
    trial = try_start(LennardJones(), pair, TYPES, 1.0)
    assert trial.evaluation.energy < 0.0
    assert trial.evaluation.forces[0, 0] == pytest.approx(-trial.evaluation.forces[1, 0])
    assert trial.evaluation_seconds > 0.0
    assert trial.build_seconds > 0.0
    assert 2**20 < trial.peak_bytes < 2**40


@pytest.mark.parametrize("sabotage", [too_close_at(1, (0, 1)), nan_force_at(1, 0)])
def test_a_start_that_cannot_be_run_is_bad_input(pair: Structure, sabotage: object) -> None:
    with pytest.raises(StructureError, match="the start structure cannot be run"):
        try_start(Sabotaged(LennardJones(), sabotage), pair, TYPES, 1.0)


def test_forecast_counts_steps_builds_and_frames(pair: Structure, tmp_path) -> None:
    """1 ms a step and, at 2 Å/ps and 1 fs, a build of 100 ms every 250 steps (0.5 Å): 1.4 ms."""
    real = try_start(LennardJones(), pair, TYPES, 1.0)
    trial = Trial(real.neighbours, real.evaluation, 1e-3, 0.1, 300 * 2**20)
    state = State.from_structure(pair, TYPES)
    state.velocities[1] = [0.0, -2.0, 0.0]
    settings = RunSettings(
        stages=(
            StageSettings(1000, VelocityVerletSettings(1.0)),
            StageSettings(24, VelocityVerletSettings(1.0)),
        ),
        output=OutputSettings(tmp_path, trajectory=TrajectorySettings(every=10)),
    )
    time, memory, disk = forecast(trial, state, settings, 1.0)
    assert "about 1.4 ms a step (700 µs/atom/step)" in time
    assert "for 1024 steps" in time
    assert memory == "memory: about 300 MiB"
    assert disk.startswith("disk: 103 frames")


def test_a_start_at_rest_and_no_skin_are_no_trouble(pair: Structure, tmp_path) -> None:
    trial = try_start(LennardJones(), pair, TYPES, 0.0)
    stage = StageSettings(0, VelocityVerletSettings(1.0))
    settings = RunSettings(stages=(stage,), output=OutputSettings(tmp_path, trajectory=None))
    for skin in (0.0, 1.0):
        assert len(forecast(trial, State.from_structure(pair, TYPES), settings, skin)) == 2
