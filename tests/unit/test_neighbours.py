"""The cell list against the definition (brute force), and the definition against ASE and known crystals."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastdp.errors import InputError, StructureError
from fastdp.neighbours import rows
from fastdp.neighbours.brute_force import Pairs, all_pairs
from fastdp.neighbours.verlet_list import VerletList

ALL_PERIODIC = (True, True, True)
OPEN = (False, False, False)

# Vectors are sums of a few numbers of size 10 to 100, each rounded to 1e-14 of itself.
VECTOR_TOLERANCE = 1e-12


def listed_pairs(neighbours: VerletList, cutoff: float | None = None) -> Pairs:
    """Return the pairs of a list in the input's order, those within `cutoff` only if it is given."""
    centre = np.repeat(np.arange(neighbours.n_atoms), np.diff(neighbours.first))
    extended = neighbours.neighbours[: neighbours.first[-1]]
    vector = neighbours.extended_positions[extended] - neighbours.extended_positions[centre]
    owner = neighbours.owner[extended]
    kept = slice(None) if cutoff is None else np.linalg.norm(vector, axis=1) < cutoff
    return Pairs(neighbours.order[centre][kept], neighbours.order[owner][kept], vector[kept])


def in_one_order(pairs: Pairs) -> Pairs:
    rounded = np.round(pairs.vector, 6) + 0.0
    order = np.lexsort((*rounded.T, pairs.neighbour, pairs.centre))
    return Pairs(*(part[order] for part in pairs))


def assert_same_pairs(found: Pairs, expected: Pairs) -> None:
    found, expected = in_one_order(found), in_one_order(expected)
    np.testing.assert_array_equal(found.centre, expected.centre)
    np.testing.assert_array_equal(found.neighbour, expected.neighbour)
    np.testing.assert_allclose(found.vector, expected.vector, rtol=0, atol=VECTOR_TOLERANCE)


def built(positions, cell, periodic, cutoff, skin=0.0, types=None) -> VerletList:
    types = np.zeros(len(positions), dtype=np.int32) if types is None else types
    neighbours = VerletList(cutoff, skin, cell, periodic, types)
    neighbours.build(np.asarray(positions, dtype=np.float64))
    return neighbours


def assert_complete(positions, cell, periodic, reach) -> VerletList:
    neighbours = built(positions, cell, periodic, reach)
    assert_same_pairs(listed_pairs(neighbours), all_pairs(positions, cell, periodic, reach))
    return neighbours


def copper(repeat: int, *, displacement: float = 0.1, seed: int = 1):
    """Return positions, shuffled, and cell of a face-centred cubic crystal with 4·repeat³ atoms."""
    rng = np.random.default_rng(seed)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corners = np.stack(np.meshgrid(*[np.arange(repeat)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    positions = 3.61 * (corners + basis).reshape(-1, 3)
    positions += displacement * rng.normal(size=positions.shape)
    return rng.permutation(positions), np.eye(3) * 3.61 * repeat


# The specification itself.


@pytest.mark.parametrize("periodic", [ALL_PERIODIC, (True, False, True), (False, False, True), OPEN])
def test_brute_force_agrees_with_ase(periodic):
    rng = np.random.default_rng(2)
    cell = np.array([[5.0, 0.0, 0.0], [1.5, 4.0, 0.0], [-2.0, 1.0, 6.0]])
    positions = rng.uniform(-8, 8, size=(20, 3))
    i, j, vector = neighbor_list("ijD", Atoms("H20", positions, cell=cell, pbc=periodic), 5.5)
    assert len(i) > 50
    assert_same_pairs(Pairs(i, j, vector), all_pairs(positions, cell, periodic, 5.5))


def test_brute_force_counts_the_shells_of_a_crystal():
    # One atom in the primitive cell of an fcc crystal: shells of 12, 6, 24 and 12 at a√(k/2).
    a = 4.0
    cell = 0.5 * a * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    pairs = all_pairs(np.zeros((1, 3)), cell, ALL_PERIODIC, a * np.sqrt(2.1))
    squares, counts = np.unique(np.round(np.sum(pairs.vector**2, axis=1), 9), return_counts=True)
    np.testing.assert_allclose(squares, a**2 * np.array([0.5, 1.0, 1.5, 2.0]), rtol=1e-12)
    np.testing.assert_array_equal(counts, [12, 6, 24, 12])


# Systems at random.


@st.composite
def systems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.tuples(*[st.floats(0.8, 12.0)] * 3))
    tilts = draw(st.tuples(*[st.floats(-2.5, 2.5)] * 3))
    cell = np.diag(lengths)
    cell[1, 0], cell[2, 0], cell[2, 1] = np.array(tilts) * np.array(lengths)[[0, 0, 1]]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    periodic = draw(st.tuples(*[st.booleans()] * 3))
    spread = draw(st.floats(0.1, 30.0))
    positions = rng.uniform(-spread, spread, size=(draw(st.integers(1, 25)), 3))
    return positions, cell @ rotation, periodic, draw(st.floats(0.3, 5.0))


@given(systems())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_same_pairs_as_brute_force(system):
    positions, cell, periodic, reach = system
    # A pair at the very reach may fall on either side by rounding.
    pairs = all_pairs(positions, cell, periodic, reach + 1e-9)
    assume(np.all(np.linalg.norm(pairs.vector, axis=1) < reach - 1e-9))
    assert_same_pairs(listed_pairs(built(positions, cell, periodic, reach)), pairs)


# Systems that have gone wrong in other codes.


@pytest.mark.parametrize("edge", [0.9, 2.1, 3.9, 4.1, 16.1])
def test_one_atom_sees_its_images(edge):
    neighbours = assert_complete([[0.3, -0.2, 0.1]], np.eye(3) * edge, ALL_PERIODIC, 4.0)
    assert (neighbours.first[1] > 0) == (edge < 4.0)


def test_cell_shorter_than_the_cutoff_in_one_direction():
    rng = np.random.default_rng(3)
    assert_complete(rng.uniform(0, 9, size=(12, 3)), np.diag([1.7, 9.0, 30.0]), ALL_PERIODIC, 5.0)


@pytest.mark.parametrize("periodic", [ALL_PERIODIC, (True, True, False), (False, True, False)])
def test_highly_skewed_cell(periodic):
    rng = np.random.default_rng(4)
    cell = np.array([[6.0, 0.0, 0.0], [17.0, 5.0, 0.0], [-31.0, 22.0, 7.0]])
    assert_complete(rng.uniform(-5, 5, size=(30, 3)), cell, periodic, 4.0)


def test_skew_does_not_cost_images():
    # The same lattice, described by a cubic and by a very skewed cell.
    positions, cubic = copper(3)
    skewed = np.array([[1, 0, 0], [7, 1, 0], [-9, 12, 1]]) @ cubic
    neat = built(positions, cubic, ALL_PERIODIC, 6.0)
    tilted = built(positions, skewed, ALL_PERIODIC, 6.0)
    assert_same_pairs(listed_pairs(tilted), listed_pairs(neat))
    assert tilted.n_extended == neat.n_extended


def test_left_handed_cell():
    rng = np.random.default_rng(5)
    cell = np.array([[0.0, 5.0, 0.0], [6.0, 0.5, 0.0], [0.0, 1.0, 7.0]])
    assert np.linalg.det(cell) < 0
    assert_complete(rng.uniform(0, 6, size=(15, 3)), cell, ALL_PERIODIC, 4.0)


@pytest.mark.parametrize("periodic", [ALL_PERIODIC, (True, True, False), OPEN])
def test_atoms_exactly_on_faces(periodic):
    corners = np.array(np.meshgrid([0.0, 5.0, -5.0], [0.0, 2.5, 7.5], [0.0, 10.0, -1e-17])).reshape(3, -1).T
    corners += np.arange(len(corners))[:, None] * [0.0, 1e-3, 0.0]
    assert_complete(corners, np.eye(3) * 5.0, periodic, 3.3)


def test_open_cluster_without_a_cell():
    rng = np.random.default_rng(6)
    neighbours = assert_complete(rng.normal(size=(60, 3)) * 4, np.zeros((3, 3)), OPEN, 4.0)
    assert neighbours.n_extended == 60


def test_open_direction_with_zero_vector():
    rng = np.random.default_rng(7)
    cell = np.array([[6.0, 0.0, 0.0], [2.0, 5.0, 1.0], [0.0, 0.0, 0.0]])
    positions = rng.uniform(-20, 20, size=(80, 3))
    assert_complete(positions, cell, (True, True, False), 4.0)
    # Whatever vector is given along an open direction, it does not count.
    cell[2] = [3.0, 5.0, 2.0]
    assert_complete(positions, cell, (True, True, False), 4.0)


@pytest.mark.parametrize("extent", [1e3, 1e6, 9e7])
def test_far_apart_in_huge_vacuum(extent):
    positions = np.array(
        [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [extent, extent, -extent], [extent, extent + 1.0, -extent]]
    )
    neighbours = assert_complete(positions, np.zeros((3, 3)), OPEN, 3.0)
    np.testing.assert_array_equal(np.diff(neighbours.first), [1, 1, 1, 1])
    in_a_box = assert_complete(positions, np.eye(3) * 3e8, ALL_PERIODIC, 3.0)
    assert in_a_box.n_extended == 4


def test_slab_with_vacuum_makes_no_images_across_it():
    positions, cell = copper(3)
    cell[2, 2] += 40.0
    slab = assert_complete(positions, cell, ALL_PERIODIC, 5.0)
    film = assert_complete(positions, cell, (True, True, False), 5.0)
    # Thermal displacement puts some atoms below z = 0: wrapped to the other side of the vacuum.
    centred = assert_complete(positions + np.array([0, 0, 5]), cell, ALL_PERIODIC, 5.0)
    assert centred.n_extended == film.n_extended < slab.n_extended


def test_unwrapped_positions():
    rng = np.random.default_rng(8)
    positions, cell = copper(2)
    cell[1, 0] = 1.0
    away = positions + rng.integers(-1000, 1000, size=positions.shape) @ cell
    there, here = (
        listed_pairs(built(away, cell, ALL_PERIODIC, 5.0)),
        listed_pairs(built(positions, cell, ALL_PERIODIC, 5.0)),
    )
    there, here = in_one_order(there), in_one_order(here)
    np.testing.assert_array_equal(there.centre, here.centre)
    np.testing.assert_array_equal(there.neighbour, here.neighbour)
    # Coordinates of 1e4 Å are rounded to 1e-12 Å, three of which enter.
    np.testing.assert_allclose(there.vector, here.vector, rtol=0, atol=1e-11)


def test_two_atoms_in_one_place_are_neighbours():
    assert_complete([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], np.eye(3) * 10, ALL_PERIODIC, 3.0)


def test_no_atoms():
    neighbours = built(np.empty((0, 3)), np.eye(3), ALL_PERIODIC, 3.0)
    assert neighbours.n_extended == 0
    np.testing.assert_array_equal(neighbours.first, [0])
    assert not neighbours.update(np.empty((0, 3)))


# What a list is made of.


def test_atoms_are_sorted_by_type_and_then_in_space():
    rng = np.random.default_rng(9)
    positions, cell = copper(7)
    types = rng.choice([0, 2, 3], size=len(positions)).astype(np.int32)
    neighbours = built(positions, cell, ALL_PERIODIC, 5.0, types=types)
    np.testing.assert_array_equal(np.sort(neighbours.order), np.arange(len(positions)))
    np.testing.assert_array_equal(neighbours.extended_types[: len(positions)], types[neighbours.order])
    assert len(neighbours.type_start) == 5
    for t in range(4):
        members = neighbours.order[neighbours.type_start[t] : neighbours.type_start[t + 1]]
        np.testing.assert_array_equal(np.sort(members), np.flatnonzero(types == t))
    # Successive atoms of a type are in the same or a near bin; in the shuffled input they are 12 Å apart.
    steps = np.linalg.norm(
        np.diff(neighbours.extended_positions[neighbours.type_start[2] : len(positions)], axis=0), axis=1
    )
    assert np.median(steps) < 5.0
    assert np.median(np.linalg.norm(np.diff(positions, axis=0), axis=1)) > 10.0


def test_extended_atoms_are_images_of_their_owners():
    rng = np.random.default_rng(10)
    cell = np.array([[4.0, 0.0, 0.0], [1.0, 5.0, 0.0], [0.5, -1.0, 6.0]])
    positions = rng.uniform(-20, 20, size=(10, 3))
    types = rng.integers(0, 3, size=10).astype(np.int32)
    neighbours = built(positions, cell, (True, False, True), 5.0, types=types)
    n, m = neighbours.n_atoms, neighbours.n_extended
    owner = neighbours.owner[:m]
    np.testing.assert_array_equal(owner[:n], np.arange(n))
    assert np.all(owner[n:] < n)
    np.testing.assert_array_equal(neighbours.extended_types[:m], types[neighbours.order][owner])
    origin = np.concatenate([positions[neighbours.order], neighbours.extended_positions[owner[n:]]])
    np.testing.assert_allclose(
        neighbours.extended_positions[:m], origin + neighbours.images[:m] @ cell, atol=1e-12
    )
    assert not neighbours.images[:m, 1].any()
    # No image is made that is too far to be seen.
    low, high = (extreme(neighbours.extended_positions[:n], axis=0) for extreme in (np.min, np.max))
    assert np.all(neighbours.extended_positions[:m] > low - 5.001)
    assert np.all(neighbours.extended_positions[:m] < high + 5.001)


def test_layout_of_the_arrays():
    positions, cell = copper(2)
    neighbours = built(positions, cell, ALL_PERIODIC, 5.0)
    dtypes = {
        "order": np.int32,
        "type_start": np.int64,
        "extended_positions": np.float64,
        "extended_types": np.int32,
        "owner": np.int32,
        "first": np.int64,
        "neighbours": np.int32,
        "positions_at_build": np.float64,
    }
    for name, dtype in dtypes.items():
        array = getattr(neighbours, name)
        assert array.dtype == dtype, name
        assert array.flags.c_contiguous, name
    assert neighbours.bytes >= neighbours.neighbours.nbytes + neighbours.extended_positions.nbytes
    np.testing.assert_array_equal(neighbours.positions_at_build, positions)


def test_same_input_gives_the_same_list_bit_for_bit():
    rng = np.random.default_rng(11)
    positions, cell = copper(4)
    types = rng.integers(0, 2, size=len(positions)).astype(np.int32)
    once = built(positions, cell, ALL_PERIODIC, 5.0, 1.0, types)
    again = built(rng.permutation(positions), cell, ALL_PERIODIC, 5.0, 1.0, types)
    again.build(0.5 * positions)
    again.build(positions)
    assert again.number_of_builds == 3
    assert again.n_extended == once.n_extended
    for name, length in {
        "order": once.n_atoms,
        "extended_positions": once.n_extended,
        "extended_types": once.n_extended,
        "owner": once.n_extended,
        "first": once.n_atoms + 1,
        "neighbours": once.first[-1],
    }.items():
        first, second = getattr(once, name)[:length], getattr(again, name)[:length]
        assert first.tobytes() == second.tobytes(), name


def test_capacity_grows():
    rng = np.random.default_rng(12)
    positions = rng.uniform(0, 30, size=(150, 3))
    cell = np.eye(3) * 30.0
    neighbours = built(positions, cell, ALL_PERIODIC, 4.0)
    capacity = len(neighbours.neighbours)
    for shrink in (0.5, 0.25, 0.1):
        neighbours.build(positions * shrink)
        assert_same_pairs(listed_pairs(neighbours), all_pairs(positions * shrink, cell, ALL_PERIODIC, 4.0))
    assert len(neighbours.neighbours) > 10 * capacity


# Between builds.


@pytest.mark.parametrize("periodic", [ALL_PERIODIC, (True, False, True)])
def test_list_stays_complete_until_an_atom_moved_half_the_skin(periodic):
    rng = np.random.default_rng(13)
    cell = np.array([[7.0, 0.0, 0.0], [2.0, 8.0, 0.0], [-1.0, 1.0, 6.0]])
    positions = rng.uniform(-9, 9, size=(40, 3))
    cutoff, skin = 3.0, 1.2
    neighbours = built(positions, cell, periodic, cutoff, skin)
    steps = rng.normal(size=positions.shape)
    steps *= 0.4999 * skin / np.linalg.norm(steps, axis=1, keepdims=True)
    moved = positions + steps
    assert not neighbours.update(moved)
    assert_same_pairs(listed_pairs(neighbours, cutoff), all_pairs(moved, cell, periodic, cutoff))
    assert not neighbours.ensure(moved)
    # Far enough in two directions together, in none alone.
    moved[17] = positions[17] + np.array([0.36, 0.36, 0.0]) * skin
    assert neighbours.update(moved)
    assert neighbours.ensure(moved)
    assert neighbours.number_of_builds == 2
    np.testing.assert_array_equal(neighbours.positions_at_build, moved)
    assert not neighbours.update(moved)


def test_the_skin_is_needed():
    # Two atoms that approach by skin/2 each: in the list before they are within the cutoff.
    positions = np.array([[0.0, 0.0, 0.0], [3.9, 0.0, 0.0]])
    neighbours = built(positions, np.zeros((3, 3)), OPEN, 3.0, 1.0)
    np.testing.assert_array_equal(neighbours.first, [0, 1, 2])
    positions = np.array([[0.49, 0.0, 0.0], [3.41, 0.0, 0.0]])
    assert not neighbours.update(positions)
    assert len(listed_pairs(neighbours, 3.0).centre) == 2


def test_ensure_builds_first():
    positions, cell = copper(2)
    neighbours = VerletList(4.0, 0.5, cell, ALL_PERIODIC, np.zeros(len(positions), dtype=np.int32))
    assert neighbours.ensure(positions)
    assert not neighbours.ensure(positions)
    assert neighbours.number_of_builds == 1


def test_without_skin_any_motion_counts():
    positions, cell = copper(2)
    neighbours = built(positions, cell, ALL_PERIODIC, 4.0)
    assert not neighbours.update(positions)
    positions[3, 1] += 1e-9
    assert neighbours.update(positions)


def test_nan_counts_as_moved_and_cannot_be_built():
    positions, cell = copper(2)
    neighbours = built(positions, cell, ALL_PERIODIC, 4.0, 1.0)
    positions[5, 2] = np.nan
    assert neighbours.update(positions)
    with pytest.raises(StructureError, match=r"atom 5 is at .*nan"):
        neighbours.ensure(positions)


def test_update_allocates_nothing():
    positions, cell = copper(8)
    neighbours = built(positions, cell, ALL_PERIODIC, 5.0, 1.0)
    neighbours.update(positions)
    tracemalloc.start()
    neighbours.update(positions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Views of the arrays are a few hundred bytes each; one number for each of the 2048 atoms would be 8 kB.
    assert peak < 8_000


# Work.


@pytest.fixture
def candidates(monkeypatch):
    """Collect the number of candidate pairs of every build."""
    counts: list[int] = []
    fill_rows = rows.cell_list.fill_rows

    def counting(row, positions, reach, index, home_of, ranges, per_home, first, neighbours):
        if row == 0 and len(neighbours) > 0:
            counts.append(int(per_home[home_of].sum()))
        return fill_rows(row, positions, reach, index, home_of, ranges, per_home, first, neighbours)

    monkeypatch.setattr(rows.cell_list, "fill_rows", counting)
    return counts


def candidates_per_atom(counts, positions, cell, periodic) -> float:
    neighbours = built(positions, cell, periodic, 5.0)
    neighbours.build(positions)
    return counts[-1] / len(positions)


def test_work_per_atom_does_not_depend_on_the_number_of_atoms(candidates):
    small, large = (candidates_per_atom(candidates, *copper(repeat), ALL_PERIODIC) for repeat in (5, 15))
    # 125 bins of half the cutoff, at 0.085 atoms/Å³. Near the faces some of them stick out of the ghosts.
    expected = (5 * 2.5) ** 3 * 4 / 3.61**3
    assert small == pytest.approx(expected, rel=0.1)
    assert large == pytest.approx(expected, rel=0.1)


def test_vacuum_costs_nothing(candidates):
    positions, _ = copper(6)
    alone = candidates_per_atom(candidates, positions, np.zeros((3, 3)), OPEN)
    # 6e16 bins, if empty ones were kept.
    apart = np.concatenate([positions, positions + np.array([1e6, -1e6, 1e6])])
    assert candidates_per_atom(candidates, apart, np.zeros((3, 3)), OPEN) == pytest.approx(alone, rel=0.05)


# Input that cannot be used.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_impossible_positions(value):
    positions = np.zeros((4, 3))
    positions[2, 1] = value
    with pytest.raises(StructureError, match="atom 2 is at"):
        built(positions, np.eye(3) * 5, ALL_PERIODIC, 3.0)


def test_wrong_number_of_positions():
    neighbours = VerletList(3.0, 0.5, np.eye(3) * 5, ALL_PERIODIC, np.zeros(4, dtype=np.int32))
    with pytest.raises(StructureError, match=r"\(5, 3\).*\(4, 3\)"):
        neighbours.build(np.zeros((5, 3)))
    with pytest.raises(StructureError, match=r"\(5, 3\).*4 atoms"):
        neighbours.update(np.zeros((5, 3)))


def test_negative_type():
    with pytest.raises(StructureError, match="atom 1 has type -1"):
        VerletList(3.0, 0.5, np.eye(3), ALL_PERIODIC, np.array([0, -1], dtype=np.int32))


def test_absurdly_small_cell():
    with pytest.raises(StructureError, match=r"too small.*images"):
        built(np.zeros((1, 3)), np.eye(3) * 1e-3, ALL_PERIODIC, 8.0)


@pytest.mark.parametrize(("cutoff", "skin"), [(0.0, 1.0), (np.nan, 1.0), (5.0, -0.1), (5.0, np.inf)])
def test_impossible_reach(cutoff, skin):
    with pytest.raises(InputError, match=r"cutoff .* must be positive"):
        VerletList(cutoff, skin, np.eye(3), ALL_PERIODIC, np.zeros(1, dtype=np.int32))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("distance", [5.0 - 1e-7, 5.0 + 1e-7])
def test_an_image_at_the_very_reach(axis, distance):
    positions = np.full((2, 3), 1.0)
    positions[:, axis] = 0.0, 12.0 - distance
    found = built(positions, np.eye(3) * 12.0, ALL_PERIODIC, 5.0)
    assert np.diff(found.first).tolist() == ([1, 1] if distance < 5.0 else [0, 0])
