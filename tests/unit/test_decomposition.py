"""Dividing space: shapes of the grid, planes by work, owners, and what a launcher says."""

from __future__ import annotations

import numpy as np
import pytest

from fastdp.errors import InputError, LostAtomsError, PairTooCloseError
from fastdp.parallel.communicator import SERIAL
from fastdp.parallel.grid import choose_shape
from fastdp.parallel.launch import Launch, launched
from fastdp.parallel.migration import migrate, pack, unpack
from fastdp.parallel.regions import divide
from fastdp.parallel.space import Space

PERIODIC = np.array([True, True, True])
OPEN = np.array([False, False, False])


@pytest.mark.parametrize(
    ("n", "extents", "periodic", "expected"),
    [
        (64, [1, 1, 1], PERIODIC, (4, 4, 4)),
        # As much surface as 2 × 2 × 2, but images along the third axis are the rank's own.
        (8, [1, 1, 1], PERIODIC, (4, 2, 1)),
        (4, [10, 1, 1], PERIODIC, (4, 1, 1)),
        (4, [1, 1, 10], PERIODIC, (1, 1, 4)),
        # Four cuts of 10 × 10, or two of 10 × 12 across each of two axes.
        (4, [10, 10, 12], PERIODIC, (1, 1, 4)),
        (16, [10, 10, 5], PERIODIC, (4, 4, 1)),
        # One cut across an open axis, two across a periodic one.
        (2, [10, 10, 9], np.array([True, True, False]), (1, 1, 2)),
        (7, [3, 1, 1], OPEN, (7, 1, 1)),
        (1, [1, 1, 1], PERIODIC, (1, 1, 1)),
    ],
)
def test_the_grid_has_the_least_surface(n, extents, periodic, expected) -> None:
    assert choose_shape(n, np.array(extents, dtype=float), periodic) == expected


def test_a_wanted_grid_must_fit() -> None:
    assert choose_shape(6, np.ones(3), PERIODIC, (1, 6, 1)) == (1, 6, 1)
    with pytest.raises(InputError, match=r"grid = \[2, 2, 1\] is for 4 ranks, but there are 6"):
        choose_shape(6, np.ones(3), PERIODIC, (2, 2, 1))


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 2, 2), (1, 5, 3), (4, 4, 4)])
@pytest.mark.parametrize("kind", ["uniform", "droplet", "far atom"])
def test_all_regions_get_the_same_number_of_atoms(shape, kind, generator) -> None:
    points = generator.uniform(size=(4000, 3))
    if kind == "droplet":
        points = 0.8 + 0.02 * generator.normal(size=(4000, 3))
    if kind == "far atom":
        points[17] = 1e6
    regions = divide(points, 1.0, shape, SERIAL)
    assert regions.shape == shape
    counts = np.bincount(regions.ranks_of(points), minlength=np.prod(shape))
    # Thirds and fifths are rounded at each of three cuts.
    assert counts.max() - counts.min() <= 6


def test_planes_lie_between_planes_of_a_crystal() -> None:
    """In the middle of the gap, where vibrations do not carry atoms across."""
    points = np.array([(x, 0.5, 0.5) for x in np.repeat(np.arange(8) / 8, 10)])
    regions = divide(points, 1.0, (4, 1, 1), SERIAL)
    np.testing.assert_allclose(regions.first, np.array([1.5, 3.5, 5.5]) / 8, atol=1e-6)


def test_owners_follow_planes_from_slab_to_column_to_region(generator) -> None:
    points = generator.uniform(size=(500, 3))
    regions = divide(points, 1.0, (2, 3, 2), SERIAL)
    for point, rank in zip(points, regions.ranks_of(points), strict=True):
        u = int((regions.first <= point[0]).sum())
        v = int((regions.second[u] <= point[1]).sum())
        w = int((regions.third[u, v] <= point[2]).sum())
        assert rank == (u * 3 + v) * 2 + w


def test_fewer_atoms_than_ranks_leave_some_without() -> None:
    points = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    ranks = divide(points, 1.0, (2, 2, 2), SERIAL).ranks_of(points)
    assert len(set(ranks)) == 2


def test_space_completes_open_directions(generator) -> None:
    cell = np.array([[7.0, 0.0, 0.0], [6.0, 5.0, 0.0], [0.0, 0.0, 0.0]])
    space = Space.of(cell, [True, True, False])
    points = generator.uniform(-30, 30, size=(200, 3))
    images, wrapped = space.wrapped(points)
    np.testing.assert_allclose(points + images @ cell, wrapped, atol=1e-12)
    coordinates = wrapped @ space.axes
    assert ((coordinates[:, :2] >= -1e-12) & (coordinates[:, :2] < 1.0)).all()
    np.testing.assert_allclose(np.abs(coordinates[:, 2]), np.abs(points[:, 2]), atol=1e-12)


def test_atoms_keep_all_that_is_theirs(generator) -> None:
    arrays = {
        "identifiers": np.array([4, 1, 7], dtype=np.int64),
        "positions": generator.normal(size=(3, 3)),
        "images": generator.integers(-5, 5, (3, 3)).astype(np.int32),
        "flag": np.array([True, False, True]),
    }
    back = unpack(pack(arrays, np.array([2, 0, 1])), arrays)
    order = np.array([1, 0, 2])
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array[order])
        assert back[name].dtype == array.dtype
    moved = migrate(arrays, np.zeros(3, dtype=np.int32), SERIAL)
    np.testing.assert_array_equal(moved["positions"], back["positions"])


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch()),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, Launch(4, 3, "mpirun or mpiexec")),
        (
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"},
            Launch(2, 0, "mpirun of Open MPI"),
        ),
        # A batch script is one process, whatever its job may start.
        ({"SLURM_NTASKS": "64", "SLURM_PROCID": "0"}, Launch()),
        ({"SLURM_STEP_NUM_TASKS": "64", "SLURM_PROCID": "5"}, Launch(64, 5, "srun")),
    ],
)
def test_launchers_are_recognised(environment, expected) -> None:
    assert launched(environment) == expected


def test_errors_survive_the_way_to_another_rank() -> None:
    import pickle

    from fastdp.errors import ConfigurationError

    first = pickle.loads(pickle.dumps(ConfigurationError("input.toml", ["one", "two"])))
    assert (str(first), first.problems) == (
        str(ConfigurationError("input.toml", ["one", "two"])),
        ("one", "two"),
    )
    error = PairTooCloseError("too close", step=4, atoms=(1, 2))
    error.on_all_ranks = True
    second = pickle.loads(pickle.dumps(error))
    assert type(second) is PairTooCloseError
    assert (str(second), second.atoms, second.step, second.on_all_ranks) == (
        "step 4: too close",
        (1, 2),
        4,
        True,
    )
    assert LostAtomsError.exit_code == 3
