from __future__ import annotations

import numpy as np
import pytest

from fastdp.dynamics.kinetic import Kinetics, temperature
from fastdp.dynamics.settings import VelocitySettings
from fastdp.dynamics.state import State
from fastdp.dynamics.velocities import maxwell_boltzmann, prepare_velocities
from fastdp.units import BOLTZMANN_EV_PER_K, EV_PER_U_A2_PER_PS2


def gas(n: int = 300) -> State:
    rng = np.random.default_rng(3)
    return State(
        positions=rng.uniform(0, 20, (n, 3)),
        velocities=rng.normal(2.0, 1.0, (n, 3)),
        images=np.zeros((n, 3)),
        masses=np.where(np.arange(n) % 3 == 0, 15.999, 1.008),
        cell=np.eye(3) * 20.0,
        periodic=[True] * 3,
        symbols=("O", "H", "H") * (n // 3),
        types=np.zeros(n),
    )


def measured_temperature(state: State) -> float:
    return temperature(Kinetics(state.masses).energy(state.velocities), state.degrees_of_freedom)


def test_drawn_velocities_have_the_temperature_and_no_momentum() -> None:
    state = gas()
    prepare_velocities(state, VelocitySettings(temperature_K=330.0, seed=1))
    # Rounding of a sum over 300 atoms.
    assert measured_temperature(state) == pytest.approx(330.0, rel=1e-13)
    assert np.abs(state.masses @ state.velocities).max() < 1e-10


def test_same_seed_same_velocities() -> None:
    drawn = []
    for seed in (5, 5, 6):
        state = gas()
        prepare_velocities(state, VelocitySettings(temperature_K=100.0, seed=seed))
        drawn.append(state.velocities)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_each_mass_has_its_own_width() -> None:
    masses = np.repeat([1.008, 63.546], 200_000)
    velocities = maxwell_boltzmann(masses, 300.0, np.random.default_rng(0))
    for mass in (1.008, 63.546):
        variance = velocities[masses == mass].var()
        expected = BOLTZMANN_EV_PER_K * 300.0 / (mass * EV_PER_U_A2_PER_PS2)
        # The variance of 600 000 normal numbers is known to √(2/600 000) = 0.18 %; five of those.
        assert variance == pytest.approx(expected, rel=0.01)


def test_temperature_only_on_average() -> None:
    state = gas()
    prepare_velocities(state, VelocitySettings(temperature_K=300.0, seed=1, exact_temperature=False))
    found = measured_temperature(state)
    # √(2/897) = 4.7 % is one standard deviation.
    assert found != pytest.approx(300.0, rel=1e-6)
    assert found == pytest.approx(300.0, rel=0.25)


def test_given_velocities_lose_their_momentum_only() -> None:
    state = gas()
    before = state.velocities.copy()
    prepare_velocities(state, VelocitySettings())
    drift = before - state.velocities
    np.testing.assert_allclose(drift, np.broadcast_to(drift[0], drift.shape), atol=1e-12)
    assert np.abs(state.masses @ state.velocities).max() < 1e-10


def test_given_velocities_are_left_alone() -> None:
    state = gas()
    before = state.velocities.copy()
    prepare_velocities(state, VelocitySettings(remove_net_momentum=False))
    np.testing.assert_array_equal(state.velocities, before)


@pytest.mark.parametrize("n", [1, 2])
def test_few_atoms_and_zero_temperature(n: int) -> None:
    state = State(
        np.zeros((n, 3)),
        np.ones((n, 3)),
        np.zeros((n, 3)),
        np.ones(n),
        np.eye(3),
        [True] * 3,
        ["H"] * n,
        [0] * n,
    )
    prepare_velocities(state, VelocitySettings(temperature_K=300.0, seed=1))
    assert measured_temperature(state) == pytest.approx(300.0 if n == 2 else 0.0, rel=1e-12)
    prepare_velocities(state, VelocitySettings(temperature_K=0.0, seed=1))
    np.testing.assert_array_equal(state.velocities, 0.0)
