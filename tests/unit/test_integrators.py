from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.integrator import Integrator
from fastdp.dynamics.kinetic import Kinetics, temperature
from fastdp.dynamics.nose_hoover import SUZUKI_YOSHIDA_WEIGHTS, NoseHoover
from fastdp.dynamics.settings import (
    IntegratorSettings,
    NoseHooverSettings,
    VelocitySettings,
    VelocityVerletSettings,
)
from fastdp.dynamics.state import State
from fastdp.dynamics.velocities import prepare_velocities
from fastdp.errors import StructureError
from fastdp.potential.base import Evaluation
from fastdp.units import A_PER_PS2_FROM_EV_PER_A_U, BOLTZMANN_EV_PER_K

NVE = VelocityVerletSettings(timestep_fs=1.0)
NVT = NoseHooverSettings(timestep_fs=1.0, temperature_K=300.0, thermostat_time_fs=40.0)


class Oscillators:
    """Atoms on springs to the origin, each with its own stiffness (eV/Å²)."""

    def __init__(self, stiffness: np.ndarray) -> None:
        self.stiffness = stiffness
        self.evaluation = Evaluation.empty(len(stiffness))

    def compute(self, state: State) -> None:
        self.evaluation.forces[:] = -self.stiffness[:, None] * state.positions
        self.evaluation.energy = float(0.5 * (self.stiffness[:, None] * state.positions**2).sum())


def oscillators(n: int = 30, *, temperature_K: float = 300.0) -> tuple[State, Oscillators]:
    rng = np.random.default_rng(11)
    state = State(
        positions=rng.normal(scale=0.1, size=(n, 3)),
        velocities=np.zeros((n, 3)),
        images=np.zeros((n, 3)),
        masses=rng.uniform(10, 40, n),
        cell=np.zeros((3, 3)),
        periodic=[False] * 3,
        symbols=("Ar",) * n,
        types=np.zeros(n),
        # The springs take momentum up, so that no degree of freedom is lost.
        degrees_of_freedom=3 * n,
    )
    prepare_velocities(
        state, VelocitySettings(temperature_K=temperature_K, seed=4, remove_net_momentum=False)
    )
    return state, Oscillators(rng.uniform(1.0, 6.0, n))


def start(settings: IntegratorSettings, state: State, force_field: Oscillators) -> Integrator:
    integrator = make_integrator(settings)
    integrator.initialise(state)
    force_field.compute(state)
    return integrator


def conserved(integrator: Integrator, state: State, force_field: Oscillators) -> float:
    kinetic = Kinetics(state.masses).energy(state.velocities)
    return kinetic + force_field.evaluation.energy + integrator.bath_energy(state)


def scatter(settings: IntegratorSettings, duration_fs: float = 500.0) -> float:
    """Return the root mean square deviation of the conserved quantity over a short run, eV."""
    state, force_field = oscillators()
    integrator = start(settings, state, force_field)
    values = [conserved(integrator, state, force_field)]
    for _ in range(round(duration_fs / settings.timestep_fs)):
        integrator.step(state, force_field)
        values.append(conserved(integrator, state, force_field))
    return float(np.std(values))


@pytest.mark.parametrize(
    "settings",
    [NVE, NVT, replace(NVT, chain_length=1), replace(NVT, suzuki_yoshida_order=7, sub_steps=2)],
)
def test_error_of_the_conserved_quantity_falls_as_the_square_of_the_time_step(
    settings: IntegratorSettings,
) -> None:
    errors = [scatter(replace(settings, timestep_fs=dt)) for dt in (2.0, 1.0, 0.5)]
    # Second order: 4 each time, up to terms of fourth order.
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("settings", [NVE, NVT, replace(NVT, suzuki_yoshida_order=5, sub_steps=3)])
def test_reversing_all_velocities_leads_back(settings: IntegratorSettings) -> None:
    state, force_field = oscillators()
    integrator = start(settings, state, force_field)
    before = state.positions.copy(), state.velocities.copy()
    for _ in range(300):
        integrator.step(state, force_field)
    assert np.abs(state.positions - before[0]).max() > 0.05
    state.velocities *= -1.0
    chain = integrator.state_dict()
    if chain:
        integrator.load_state_dict({**chain, "velocities": -chain["velocities"]})
    for _ in range(300):
        integrator.step(state, force_field)
    # Rounding of 600 steps.
    np.testing.assert_allclose(state.positions, before[0], atol=1e-11)
    np.testing.assert_allclose(state.velocities, -before[1], atol=1e-9)


@pytest.mark.parametrize("chain_length", [1, 2, 4])
def test_nose_hoover_solves_its_equations_of_motion(chain_length: int) -> None:
    """Against a general solver of high order, given the equations as they are printed."""
    settings = replace(NVT, chain_length=chain_length, suzuki_yoshida_order=3)
    n = 4
    state, force_field = oscillators(n, temperature_K=500.0)
    energy = BOLTZMANN_EV_PER_K * settings.temperature_K
    tau = settings.thermostat_time_fs * 1e-3
    q = energy * tau**2 * np.array([3 * n] + [1] * (chain_length - 1))
    masses = state.masses[:, None]

    def rates(_t, y):
        x, v = y[: 6 * n].reshape(2, n, 3)
        xi_velocity = y[6 * n + chain_length :]
        twice_kinetic = (masses * v**2).sum() / A_PER_PS2_FROM_EV_PER_A_U
        drive = np.concatenate([[twice_kinetic - 3 * n * energy], q[:-1] * xi_velocity[:-1] ** 2 - energy])
        damping = np.append(xi_velocity[1:], 0.0) * xi_velocity
        acceleration = -force_field.stiffness[:, None] * x * A_PER_PS2_FROM_EV_PER_A_U / masses
        return np.concatenate(
            [v.ravel(), (acceleration - xi_velocity[0] * v).ravel(), xi_velocity, drive / q - damping]
        )

    initial = np.concatenate([state.positions.ravel(), state.velocities.ravel(), np.zeros(2 * chain_length)])
    exact = solve_ivp(rates, (0.0, 0.2), initial, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    errors = []
    for timestep_fs in (1.0, 0.5):
        moved, _ = oscillators(n, temperature_K=500.0)
        integrator = start(replace(settings, timestep_fs=timestep_fs), moved, force_field)
        for _ in range(round(200.0 / timestep_fs)):
            integrator.step(moved, force_field)
        chain = integrator.state_dict()
        found = np.concatenate(
            [moved.positions.ravel(), moved.velocities.ravel(), chain["positions"], chain["velocities"]]
        )
        errors.append(np.abs(found - exact) / (np.abs(exact).max()))
    # Of second order in the time step, and small: both would fail for other equations.
    assert errors[1].max() < 2e-3
    assert np.linalg.norm(errors[0]) / np.linalg.norm(errors[1]) == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize(("order", "moments"), [(1, ()), (3, (3,)), (5, (3,)), (7, (3, 5))])
def test_suzuki_yoshida_weights_meet_their_order_conditions(order: int, moments: tuple[int, ...]) -> None:
    weights = np.array(SUZUKI_YOSHIDA_WEIGHTS[order])
    assert len(weights) == order
    assert weights.sum() == pytest.approx(1.0, abs=1e-15)
    np.testing.assert_array_equal(weights, weights[::-1])
    for power in moments:
        # Rounding of seven terms of order one.
        assert abs((weights**power).sum()) < 1e-14


def test_nose_hoover_samples_the_canonical_kinetic_energy() -> None:
    state, force_field = oscillators(40, temperature_K=150.0)
    integrator = start(replace(NVT, timestep_fs=4.0), state, force_field)
    kinetics = Kinetics(state.masses)
    temperatures = []
    for step in range(60_000):
        integrator.step(state, force_field)
        if step >= 10_000:
            temperatures.append(temperature(kinetics.energy(state.velocities), 120))
    values = np.array(temperatures)
    blocks = values.reshape(50, -1)
    mean_error = blocks.mean(axis=1).std(ddof=1) / np.sqrt(50)
    variance_error = blocks.var(axis=1).std(ddof=1) / np.sqrt(50)
    # Five standard errors of blocks of 4 ps, which is 100 times the thermostat's period.
    assert abs(values.mean() - 300.0) < 5 * mean_error
    assert mean_error < 1.0
    # The variance of the canonical ensemble: 2 T² / N_f.
    assert abs(values.var() - 2 * 300.0**2 / 120) < 5 * variance_error
    assert variance_error < 0.1 * 1500.0


@pytest.mark.parametrize("settings", [NVE, NVT])
def test_momentum_is_conserved(settings: IntegratorSettings) -> None:
    state, force_field = oscillators()
    force_field.compute(state)
    forces = force_field.evaluation.forces
    forces -= forces.mean(axis=0)
    prepare_velocities(state, VelocitySettings(temperature_K=300.0))
    integrator = make_integrator(settings)
    integrator.initialise(state)

    class Constant:
        evaluation = force_field.evaluation

        def compute(self, state: State) -> None:
            pass

    for _ in range(100):
        integrator.step(state, Constant())
    # Rounding, in u Å/ps, where each atom has about 100.
    assert np.abs(state.masses @ state.velocities).max() < 1e-9


def test_state_goes_out_and_in_exactly() -> None:
    state, force_field = oscillators()
    integrator = start(NVT, state, force_field)
    for _ in range(17):
        integrator.step(state, force_field)
    arrays = integrator.state_dict()
    copied = State.from_arrays(state.to_arrays())
    other = Oscillators(force_field.stiffness)
    twin = start(NVT, copied, other)
    twin.load_state_dict(arrays)
    for _ in range(50):
        integrator.step(state, force_field)
        twin.step(copied, other)
    np.testing.assert_array_equal(state.positions, copied.positions)
    np.testing.assert_array_equal(state.velocities, copied.velocities)
    assert integrator.bath_energy(state) == twin.bath_energy(copied)
    # What was taken out is a copy: the first integrator has moved on.
    assert not np.array_equal(arrays["positions"], integrator.state_dict()["positions"])


def test_a_single_atom_has_no_temperature() -> None:
    state = State(
        np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 3)), [1.0], np.eye(3), [True] * 3, ["H"], [0]
    )
    with pytest.raises(StructureError, match="at least 2 atoms"):
        make_integrator(NVT).initialise(state)


@pytest.mark.parametrize("order", [1, 3, 5, 7])
@pytest.mark.parametrize("sub_steps", [1, 2, 5])
def test_the_parts_of_a_step_of_the_chain_make_the_whole(order: int, sub_steps: int) -> None:
    state, force_field = oscillators()
    settings = replace(NVT, suzuki_yoshida_order=order, sub_steps=sub_steps)
    integrator = start(settings, state, force_field)
    assert isinstance(integrator, NoseHoover)
    durations = integrator.chain.durations
    assert len(durations) == order * sub_steps
    assert durations.sum() == pytest.approx(integrator.timestep_ps, rel=1e-14)


def test_more_parts_change_the_course_by_little() -> None:
    """A thermostat that is advanced by too short a time would couple more weakly, by a factor."""
    pushes = []
    for sub_steps in (1, 4):
        state, force_field = oscillators(temperature_K=450.0)
        integrator = start(replace(NVT, sub_steps=sub_steps), state, force_field)
        for _ in range(5):
            integrator.step(state, force_field)
        pushes.append(integrator.state_dict()["velocities"][0])
    assert abs(pushes[0]) > 0.1
    # Both are the exact motion but for terms of fourth order in 5 fs/40 fs.
    assert pushes[1] == pytest.approx(pushes[0], rel=1e-3)
