"""Wrapping into the cell, and what cells there may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdp.errors import StructureError
from fastdp.neighbours.lattice import Lattice, reduction
from fastdp.neighbours.wrap import wrap_positions

ALL_PERIODIC = (True, True, True)
TRICLINIC = np.array([[5.0, 0.0, 0.0], [1.5, 4.0, 0.0], [-2.0, 1.0, 6.0]])


def wrapped(positions, cell, periodic=ALL_PERIODIC):
    positions = np.array(positions, dtype=np.float64)
    images = np.zeros(positions.shape, dtype=np.int32)
    wrap_positions(positions, images, cell, periodic)
    return positions, images


coordinates = st.floats(-1e3, 1e3) | st.sampled_from([0.0, -0.0, 5.0, -5.0, 1e-17, -1e-17, -1e-12, 4.0, 6.0])


@given(
    st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=5),
    st.tuples(*[st.booleans()] * 3),
    st.tuples(*[st.floats(-3.0, 3.0)] * 3),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_wrapping(points, periodic, tilts):
    cell = np.diag([5.0, 4.0, 6.0])
    cell[1, 0], cell[2, 0], cell[2, 1] = 5.0 * np.array(tilts)
    positions, images = wrapped(points, cell, periodic)
    # Coordinates of 1e3 Å are rounded to 1e-13 Å; up to a thousand cell lengths are subtracted.
    np.testing.assert_allclose(positions + images @ cell, points, rtol=0, atol=1e-11)
    fractional = positions @ Lattice.from_cell(cell, periodic).reciprocal
    assert fractional.min() >= -1e-10
    assert fractional.max() < 1.0
    assert not images[:, ~np.array(periodic)].any()

    again, more_images = positions.copy(), images.copy()
    wrap_positions(again, more_images, cell, periodic)
    assert again.tobytes() == positions.tobytes()
    assert more_images.tobytes() == images.tobytes()


def test_atoms_on_faces():
    positions, images = wrapped([[5.0, 0.0, -5.0], [10.0, -0.0, 5.0 - 1e-15]], np.eye(3) * 5.0)
    np.testing.assert_array_equal(positions, [[0.0, 0.0, 0.0], [0.0, 0.0, 5.0 - 1e-15]])
    np.testing.assert_array_equal(images, [[1, 0, -1], [2, 0, 0]])


def test_images_are_added_to():
    positions = np.array([[12.0, 1.0, 1.0]])
    images = np.array([[3, -1, 7]], dtype=np.int32)
    wrap_positions(positions, images, np.eye(3) * 5.0, ALL_PERIODIC)
    np.testing.assert_array_equal(positions, [[2.0, 1.0, 1.0]])
    np.testing.assert_array_equal(images, [[5, -1, 7]])


def test_far_away_atoms_end_inside():
    # Their coordinates are multiples of up to 1.5e-8 Å: shifted once, some would end just outside.
    rng = np.random.default_rng(1)
    cells = rng.integers(-(10**7), 10**7, size=(2000, 3))
    positions, _ = wrapped(cells @ TRICLINIC + rng.uniform(-2e-8, 2e-8, size=cells.shape), TRICLINIC)
    fractional = positions @ Lattice.from_cell(TRICLINIC, ALL_PERIODIC).reciprocal
    assert fractional.min() >= -1e-10
    assert fractional.max() < 1.0


def test_wrapping_leaves_everything_alone_when_it_refuses():
    positions = np.array([[12.0, 1.0, 1.0], [np.nan, 0.0, 0.0]])
    images = np.zeros((2, 3), dtype=np.int32)
    with pytest.raises(StructureError, match="atom 1 is at"):
        wrap_positions(positions, images, np.eye(3) * 5.0, ALL_PERIODIC)
    np.testing.assert_array_equal(positions[0], [12.0, 1.0, 1.0])
    assert not images.any()


@pytest.mark.parametrize(
    ("cell", "periodic", "message"),
    [
        (np.diag([5.0, 0.0, 5.0]), ALL_PERIODIC, r"cell vector b is \[0.0, 0.0, 0.0\] Å"),
        (np.diag([5.0, np.nan, 5.0]), ALL_PERIODIC, "cell vector b is .*nan"),
        (np.array([[5.0, 0, 0], [0, 5.0, 0], [3.0, 4.0, 0]]), ALL_PERIODIC, r"span 0 Å\^3 of volume"),
        (np.array([[5.0, 0, 0], [9.0, 0, 0], [0, 0, 0]]), (True, True, False), r"span 0 Å\^2 of volume"),
    ],
)
def test_degenerate_cells(cell, periodic, message):
    with pytest.raises(StructureError, match=message):
        Lattice.from_cell(cell, periodic)


def test_heights_of_the_periodic_part():
    lattice = Lattice.from_cell(TRICLINIC, ALL_PERIODIC)
    areas = np.linalg.norm(np.cross(TRICLINIC[[1, 2, 0]], TRICLINIC[[2, 0, 1]]), axis=1)
    np.testing.assert_allclose(1 / lattice.inverse_heights, 120.0 / areas, rtol=1e-14)
    layer = Lattice.from_cell(TRICLINIC, (True, True, False))
    # The vectors a and b alone: area 20 Å² over the other vector's length.
    np.testing.assert_allclose(layer.inverse_heights, [np.hypot(1.5, 4.0) / 20, 5.0 / 20, 0.0], rtol=1e-14)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_reduction_keeps_the_lattice_and_undoes_skew(seed):
    rng = np.random.default_rng(seed)
    neat = np.diag(rng.uniform(2.0, 9.0, size=3)) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    shears = np.eye(3, dtype=np.int64)
    for _ in range(4):
        a, b = rng.choice(3, size=2, replace=False)
        shears[a] += rng.integers(-4, 5) * shears[b]
    skewed = shears @ neat
    transform = reduction(skewed)
    assert round(abs(np.linalg.det(transform))) == 1
    # The shortest basis of a right-angled lattice is its edges, in whatever order and sign.
    found = np.sort(np.linalg.norm(transform @ skewed, axis=1))
    np.testing.assert_allclose(found, np.sort(np.linalg.norm(neat, axis=1)), rtol=1e-9)


def test_reduction_leaves_a_reduced_basis_alone():
    hexagonal = np.array([[3.0, 0, 0], [-1.5, 1.5 * np.sqrt(3), 0], [0, 0, 5.0]])
    np.testing.assert_array_equal(reduction(hexagonal), np.eye(3))


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_a_vector_is_shortened_by_two_others_that_shorten_it_only_together(signs: tuple[int, int]) -> None:
    # Pairs are reduced: no vector gets shorter by one other alone.
    b, c = np.array([1.0, 0.0, 0.0]), np.array([-0.4, 0.9, 0.0])
    along = np.linalg.solve([b[:2], c[:2]], [0.45, 0.45])
    vectors = np.array([[*along, 0.6], signs[0] * b, signs[1] * c])
    reduced = reduction(vectors) @ vectors
    assert abs(np.linalg.det(reduced)) == pytest.approx(abs(np.linalg.det(vectors)), rel=1e-12)
    shortest = np.linalg.norm(vectors[0] - b - c)
    assert shortest < np.linalg.norm(vectors[0]) - 0.1
    assert np.linalg.norm(reduced, axis=1).min() == pytest.approx(shortest, rel=1e-12)
