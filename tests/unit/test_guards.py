"""When a run stops by itself."""

import numpy as np
import pytest

from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State
from fastdp.errors import RunawayTemperatureError
from fastdp.potential.base import Evaluation
from fastdp.simulation.guards import check_step
from fastdp.simulation.settings import GuardSettings


def snapshot(velocities: np.ndarray) -> Snapshot:
    n = len(velocities)
    state = State(
        positions=np.zeros((n, 3)),
        velocities=velocities,
        images=np.zeros((n, 3)),
        masses=np.full(n, 20.0),
        cell=np.eye(3),
        periodic=[True] * 3,
        symbols=("Ne",) * n,
        types=np.zeros(n),
    )
    found = Snapshot(state, Evaluation.empty(n))
    found.evaluation.forces[:] = 0.0
    found.evaluation.energy = 0.0
    found.measure(stage=1, bath_energy=0.0)
    return found


def test_a_temperature_that_is_no_number_is_above_every_limit() -> None:
    velocities = np.full((5, 3), 2.0)
    velocities[1] = 300.0
    velocities[3, 2] = np.nan
    with pytest.raises(
        RunawayTemperatureError, match=r"temperature is nan K.*fastest atom is 3 \(Ne\)"
    ) as caught:
        check_step(snapshot(velocities), GuardSettings(maximum_temperature_K=1e300))
    assert caught.value.atoms == (3,)


def test_the_limit_itself_is_allowed() -> None:
    quiet = snapshot(np.full((5, 3), 2.0))
    check_step(quiet, GuardSettings(maximum_temperature_K=quiet.temperature))
    with pytest.raises(RunawayTemperatureError):
        check_step(quiet, GuardSettings(maximum_temperature_K=np.nextafter(quiet.temperature, 0.0)))
