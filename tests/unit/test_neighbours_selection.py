"""Counting neighbours by type against the brute-force pairs."""

from __future__ import annotations

import numpy as np
import pytest

from fastdp.errors import InputError
from fastdp.neighbours.brute_force import all_pairs
from fastdp.neighbours.selection import count_overflow
from fastdp.neighbours.verlet_list import VerletList


def test_counts_and_overflow():
    rng = np.random.default_rng(1)
    cell = np.array([[9.0, 0.0, 0.0], [2.0, 8.0, 0.0], [0.0, 1.0, 7.0]])
    periodic = (True, True, False)
    positions = rng.uniform(0, 9, size=(60, 3))
    types = rng.choice([0, 2], size=60, p=[0.7, 0.3]).astype(np.int32)
    cutoff, selection = 3.5, np.array([9, 5, 4])

    neighbours = VerletList(cutoff, 1.0, cell, periodic, types)
    neighbours.build(positions)
    moved = positions + 0.2 * rng.uniform(-1, 1, size=positions.shape)
    neighbours.update(moved)

    pairs = all_pairs(moved, cell, periodic, cutoff)
    counts = np.zeros((60, 3), dtype=int)
    np.add.at(counts, (pairs.centre, types[pairs.neighbour]), 1)
    largest = np.array([counts[types == t].max(axis=0, initial=0) for t in range(3)])
    overflowing = np.array([(counts[types == t] > selection).sum(axis=0) for t in range(3)])
    assert overflowing[0, 0] > 0
    assert overflowing[2, 2] > 0
    assert (largest == selection).any() or (counts == selection).any()

    found = count_overflow(neighbours, cutoff, selection)
    np.testing.assert_array_equal(found.largest, largest)
    np.testing.assert_array_equal(found.overflowing, overflowing)


def test_types_that_are_absent_count_nothing():
    neighbours = VerletList(2.0, 0.0, np.zeros((3, 3)), (False, False, False), np.array([1, 1]))
    neighbours.build(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    largest, overflowing = count_overflow(neighbours, 2.0, [0, 0])
    np.testing.assert_array_equal(largest, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(overflowing, [[0, 0], [0, 2]])


def test_selection_must_cover_all_types():
    neighbours = VerletList(2.0, 0.0, np.zeros((3, 3)), (False, False, False), np.array([0, 3]))
    neighbours.build(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    with pytest.raises(InputError, match="types up to 3, selection covers 2"):
        count_overflow(neighbours, 2.0, [5, 5])
