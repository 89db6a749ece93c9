from __future__ import annotations

import numpy as np
import pytest

from fastdp.dynamics.kernels import count_non_finite
from fastdp.dynamics.kinetic import Kinetics, pressure_tensor, temperature
from fastdp.units import BOLTZMANN_EV_PER_K, EV_PER_U_A2_PER_PS2


@pytest.mark.parametrize("n", [1, 2, 5000])
def test_sums_agree_with_numpy(n: int) -> None:
    rng = np.random.default_rng(n)
    velocities, masses = rng.normal(size=(n, 3)), rng.uniform(1, 60, n)
    kinetics = Kinetics(masses)
    tensor = EV_PER_U_A2_PER_PS2 * np.einsum("i,ia,ib->ab", masses, velocities, velocities)
    # Sums in another order.
    assert kinetics.energy(velocities) == pytest.approx(0.5 * np.trace(tensor), rel=1e-13)
    np.testing.assert_allclose(kinetics.tensor(velocities), tensor, rtol=1e-11, atol=1e-13 * np.trace(tensor))


def test_an_ideal_gas_has_its_pressure() -> None:
    # Argon at 273.15 K, 101325 Pa: one mole takes 22.41396954 litres (CODATA). Its kinetic tensor is
    # N k_B T on the diagonal.
    n_atoms, volume = 6.02214076e23, 22.41396954e-3 * 1e30
    kinetic = np.eye(3) * n_atoms * BOLTZMANN_EV_PER_K * 273.15
    pressure = pressure_tensor(kinetic, np.zeros((3, 3)), volume)
    # Digits of the molar volume.
    np.testing.assert_allclose(pressure, np.eye(3) * 1.01325, rtol=1e-9)


def test_virial_enters_the_pressure_with_its_sign() -> None:
    virial = np.array([[3.0, 0.2, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    pressure = pressure_tensor(np.zeros((3, 3)), virial, 100.0)
    # 3 eV in 100 Å³ at 1 602 176.634 bar each; the tensor is made symmetric.
    assert pressure[2, 2] == pytest.approx(48065.29902, rel=1e-9)
    assert pressure[0, 1] == pressure[1, 0] == pytest.approx(1602.176634, rel=1e-9)


def test_temperature_of_a_known_energy() -> None:
    assert temperature(1.5 * BOLTZMANN_EV_PER_K * 300.0, 3) == pytest.approx(300.0, rel=1e-14)
    assert temperature(1.0, 0) == 0.0


def test_non_finite_numbers_are_counted() -> None:
    array = np.zeros((3000, 3))
    assert count_non_finite(array) == 0
    array[[5, 1024, 2999], [0, 1, 2]] = np.nan, np.inf, -np.inf
    assert count_non_finite(array) == 3
