from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from fastdp.dynamics.state import State
from fastdp.errors import NonFiniteError


def make(positions: np.ndarray, cell: np.ndarray, periodic: list[bool]) -> State:
    n = len(positions)
    return State(
        positions, np.zeros((n, 3)), np.zeros((n, 3)), np.ones(n), cell, periodic, ["H"] * n, np.zeros(n)
    )


TRICLINIC = np.array([[8.0, 0.0, 0.0], [3.0, 7.0, 0.0], [-2.0, 1.0, 9.0]])


@pytest.mark.parametrize("periodic", [[True] * 3, [True, True, False], [False] * 3])
def test_wrapping_counts_images_and_keeps_the_path(periodic: list[bool]) -> None:
    positions = np.random.default_rng(0).uniform(-40, 40, (200, 3))
    state = make(positions, TRICLINIC, periodic)
    state.wrap()
    # Coordinates of 40 Å are known to 7e-15 Å; images move them a few times.
    np.testing.assert_allclose(state.positions + state.images @ TRICLINIC, positions, atol=1e-12)
    assert (state.images[:, ~state.periodic] == 0).all()
    if all(periodic):
        fractions = state.positions @ np.linalg.inv(TRICLINIC)
        assert fractions.min() > -1e-9
        assert fractions.max() < 1.0 + 1e-9


def test_wrapping_twice_changes_no_bit() -> None:
    state = make(np.random.default_rng(1).uniform(-40, 40, (200, 3)), TRICLINIC, [True] * 3)
    state.wrap()
    positions, images = state.positions.copy(), state.images.copy()
    state.wrap()
    np.testing.assert_array_equal(state.positions, positions)
    np.testing.assert_array_equal(state.images, images)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12])
def test_lost_atoms_are_named(value: float) -> None:
    positions = np.zeros((5, 3))
    positions[3, 1] = value
    with pytest.raises(NonFiniteError, match=r"position of atom 3 \(H\)") as caught:
        make(positions, TRICLINIC, [True] * 3).wrap()
    assert caught.value.atoms == (3,)


def test_arrays_are_the_whole_state() -> None:
    state = make(np.random.default_rng(2).normal(size=(7, 3)), TRICLINIC, [True, False, True])
    state.step, state.time_ps, state.degrees_of_freedom = 12, 0.1 + 0.2, 21
    copy = State.from_arrays(state.to_arrays())
    for name in (field.name for field in fields(state)):
        value = getattr(state, name)
        np.testing.assert_array_equal(getattr(copy, name), value, err_msg=name)


def test_a_state_owns_its_arrays() -> None:
    positions = np.zeros((2, 3))
    state = make(positions, TRICLINIC, [True] * 3)
    state.positions += 1.0
    np.testing.assert_array_equal(positions, 0.0)
    assert state.degrees_of_freedom == 3


def test_volume_needs_three_periodic_directions() -> None:
    assert make(np.zeros((1, 3)), TRICLINIC, [True] * 3).volume == pytest.approx(504.0)
    assert np.isnan(make(np.zeros((1, 3)), TRICLINIC, [True, True, False]).volume)
