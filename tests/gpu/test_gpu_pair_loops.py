"""The two loops over neighbours on their own: splines of any degree, and lists of any length."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from fastdp.gpu.device.base import Device, DeviceArray
from fastdp.gpu.kernels.forces import force_kernel, is_wide
from fastdp.gpu.kernels.moments import moment_kernel
from fastdp.gpu.kernels.pairs import (
    INVERSE_SPACING,
    ORIGIN,
    PAIR_COLUMNS,
    PLACE_COLUMNS,
    SHORTEST_SQUARED,
    SOFTNESS,
    WARP,
    moment_stride,
)
from fastdp.gpu.kernels.status import SIZE
from fastdp.potential.compressed.splines import RadialBasis

OF_TYPE = (64, 24)
"""Atoms of each type, in this order; more than 32 of the first are within the cutoff."""
CUTOFF, SHORTEST, N_FUNCTIONS = 4.0, 0.5, 13
BITS = 8
"""Of the atom in an entry of the list."""

Array = NDArray[Any]


class Cloud:
    """Atoms at random in the open, most of them far from the first; each has all others in its row."""

    def __init__(self, degree: int) -> None:
        random = np.random.default_rng(5)
        n = sum(OF_TYPE)
        directions = random.normal(size=(n, 3))
        directions /= np.linalg.norm(directions, axis=1)[:, None]
        # The atoms that are evaluated are in the middle, and beside them everything is at least 1 Å away.
        self.positions = directions * random.uniform(1.5, 1.6 * CUTOFF, n)[:, None]
        self.types = np.repeat(np.arange(2), OF_TYPE)
        self.centres = (0, OF_TYPE[0])
        self.positions[list(self.centres)] = [[0.1, 0.0, 0.2], [-0.3, 0.4, 0.0]]
        self.bases = [
            [RadialBasis(degree, N_FUNCTIONS, SHORTEST, CUTOFF, 1.0 + 0.5 * (a == b)) for b in range(2)]
            for a in range(2)
        ]
        self.q = random.normal(size=(n, 4, 2 * N_FUNCTIONS))

    def near(self, i: int) -> tuple[Array, Array]:
        """Return the neighbours of an atom within the cutoff, and the vectors to them."""
        vectors = self.positions - self.positions[i]
        distances = np.linalg.norm(vectors, axis=1)
        found = np.flatnonzero((distances > 0) & (distances < CUTOFF))
        return found, vectors[found]

    def numbers(self, a: int, b: int, vectors: Array) -> Array:
        """Return what neighbours add to the moments, (n, 4, N)."""
        distances = np.linalg.norm(vectors, axis=1)
        values, _ = self.bases[a][b].evaluate(distances)
        units = np.column_stack([np.ones(len(vectors)), vectors / distances[:, None]])
        return units[:, :, None] * values[:, None, :]

    def moments(self, i: int) -> Array:
        """Return M of an atom, (4, 2 N)."""
        others, vectors = self.near(i)
        result = np.zeros((4, 2 * N_FUNCTIONS))
        for b in range(2):
            chosen = vectors[self.types[others] == b]
            result[:, b * N_FUNCTIONS : (b + 1) * N_FUNCTIONS] = self.numbers(self.types[i], b, chosen).sum(
                axis=0
            )
        return result

    def energies(self, i: int, b: int, others: Array, vectors: Array) -> Array:
        """Return Q^i · M of each neighbour of type b, and Q^j · M of this atom as its neighbour."""
        a = self.types[i]
        own = self.q[i, :, b * N_FUNCTIONS : (b + 1) * N_FUNCTIONS]
        other = self.q[others, :, a * N_FUNCTIONS : (a + 1) * N_FUNCTIONS]
        energies: Array = (own * self.numbers(a, b, vectors)).sum(axis=(1, 2))
        return energies + (other * self.numbers(b, a, -vectors)).sum(axis=(1, 2))

    def force(self, i: int) -> tuple[Array, Array]:
        """Return the force and the share of the virial of an atom, by finite differences."""
        all_others, all_vectors = self.near(i)
        force, virial, step = np.zeros(3), np.zeros((3, 3)), 1e-5
        for b in range(2):
            chosen = self.types[all_others] == b
            others, vectors = all_others[chosen], all_vectors[chosen]
            gradient = np.empty_like(vectors)
            for d in range(3):
                shift = step * np.eye(3)[d]
                higher = self.energies(i, b, others, vectors + shift)
                gradient[:, d] = (higher - self.energies(i, b, others, vectors - shift)) / (2 * step)
            force += gradient.sum(axis=0)
            virial -= 0.5 * gradient.T @ vectors
        return force, virial


class Loops:
    """Launches of both kernels, one block each.

    Parameters
    ----------
    device : Device
    cloud : Cloud
    real : numba.types.Float
    only_near : bool
        Whether the list ends at the cutoff.
    """

    def __init__(self, device: Device, cloud: Cloud, real: Any, only_near: bool = False) -> None:
        self.device, self.cloud, self.real = device, cloud, real
        self.dtype = np.dtype(np.float32 if real == numba.float32 else np.float64)
        n = len(cloud.types)
        rows, counts = np.zeros((n, n), np.int32), np.zeros((n, 2), np.int32)
        for i in cloud.centres:
            others = cloud.near(i)[0] if only_near else np.delete(np.arange(n), i)
            rows[i, : len(others)] = others
            counts[i] = np.bincount(cloud.types[others], minlength=2)
        tables = np.zeros((2, 2, PAIR_COLUMNS))
        for a in range(2):
            for b in range(2):
                basis = cloud.bases[a][b]
                tables[a, b, SHORTEST_SQUARED] = basis.shortest**2
                tables[a, b, SOFTNESS] = basis.softness
                tables[a, b, ORIGIN] = basis.origin
                tables[a, b, INVERSE_SPACING] = basis.inverse_spacing
        self.order = cloud.bases[0][0].degree + 1
        self.status = device.zeros(SIZE, np.int32)
        self.shared = (
            2,
            N_FUNCTIONS,
            CUTOFF**2,
            2**BITS - 1,
            BITS,
            device.upload(tables),
            device.zeros((1, 3), np.float64),
            device.upload(cloud.positions),
            device.upload(rows),
            device.upload(counts),
        )

    def kinds(self, i: int) -> DeviceArray:
        """Return where kinds begin: all atoms may be of the type of this one."""
        n = len(self.cloud.types)
        return self.device.upload(np.array([0, 0, n] if self.cloud.types[i] else [0, n, n]))

    def moments(self, i: int) -> Array:
        """Return M of an atom."""
        result = self.device.empty((1, 4, 2 * N_FUNCTIONS), self.dtype)
        stride = moment_stride(N_FUNCTIONS, self.dtype.itemsize)
        arguments = (self.status, i, self.kinds(i), *self.shared, stride, result)
        kernel = moment_kernel(self.real, self.order)
        self.device.launch(kernel, 1, WARP, arguments, 4 * stride * self.dtype.itemsize)()
        return self.device.read(result)[0]

    def force(self, i: int, shift: int | None = None, wide: bool = False) -> tuple[Array, Array]:
        """Return force and virial of an atom; with `shift`, Q is found that many rows further on."""
        device, n = self.device, len(self.cloud.types)
        q = self.cloud.q.astype(self.dtype)
        places = np.zeros((2, 1, PLACE_COLUMNS), np.int64)
        if shift is not None:
            q = np.concatenate([np.full((shift, *q.shape[1:]), np.nan, self.dtype), q])
            places[:] = (0, n, shift)
        forces, virials = device.zeros((n, 3), np.float64), device.zeros((1, 9), np.float64)
        order_of_input: DeviceArray = device.upload(np.arange(n, dtype=np.int32)[::-1].copy())
        arguments = (
            self.status,
            i,
            i + (shift or 0),
            self.kinds(i),
            1,
            *self.shared,
            device.upload(q.reshape(-1)),
            device.upload(places),
            order_of_input,
            forces,
            virials,
        )
        kernel = force_kernel(self.real, self.order, shift is not None, wide)
        device.launch(kernel, 1, WARP, arguments)()
        return device.read(forces)[n - 1 - i], device.read(virials).reshape(3, 3)


@pytest.mark.parametrize("degree", [3, 4, 5])
@pytest.mark.parametrize("real", [numba.float64, numba.float32], ids=str)
def test_any_degree(device: Device, degree: int, real: Any) -> None:
    """Against the basis in NumPy, and energies' differences."""
    cloud = Cloud(degree)
    loops = Loops(device, cloud, real)
    listed_near = [np.bincount(cloud.types[cloud.near(i)[0]], minlength=2) for i in cloud.centres]
    # A full ring, a rest, and a type of which there are few.
    assert all(32 < near[0] < 48 for near in listed_near)
    assert all(0 < near[1] < 32 for near in listed_near)
    # Rounding of some fifty addends; differences of a step of 1e-5 Å are good to 1e-8.
    exact = 1e-13 if real == numba.float64 else 2e-6
    for i in cloud.centres:
        moments, (force, virial) = cloud.moments(i), cloud.force(i)
        largest = np.abs(moments).max()
        np.testing.assert_allclose(loops.moments(i), moments, rtol=0, atol=exact * largest)
        for found, expected in zip(loops.force(i), (force, virial), strict=True):
            tolerance = max(1e-8, 10 * exact) * np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert not device.read(loops.status).any()


def test_bits_do_not_depend_on_what_else_is_listed(device: Device) -> None:
    """Nor on where Q is found, and by how many bits."""
    cloud = Cloud(5)
    long, short = (Loops(device, cloud, numba.float32, only_near) for only_near in (False, True))
    for i in cloud.centres:
        np.testing.assert_array_equal(long.moments(i), short.moments(i))
        expected = long.force(i)
        for found in (short.force(i), long.force(i, 3), long.force(i, wide=True), long.force(i, 3, True)):
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])


def test_indices_of_64_bits_where_32_do_not_do() -> None:
    """A kernel indexes by 32 bits up to 2³² − 1."""
    assert not is_wide(2**32)
    assert is_wide(2**32 + 1)
