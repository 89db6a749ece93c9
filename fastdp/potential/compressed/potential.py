"""The compressed potential on the CPU: chunks of atoms over threads, all buffers made once."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential, Precision
from fastdp.potential.compressed.closest_pair import closest_pair_error
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.network_kernels import chunk_work_size
from fastdp.potential.compressed.packing import pack
from fastdp.potential.compressed.step_kernels import (
    evaluate_centres,
    evaluate_forces,
    load_centres,
    load_forces,
)

ATOMS_PER_CHUNK = 96
"""Largest chunk: large enough for the GEMMs to reach their rate, small enough that the arrays of a chunk stay
in the second cache."""

DTYPES = {"double": np.float64, "mixed": np.float32}


class CompressedPotential(Potential):
    """A compressed Deep Potential, evaluated by Numba kernels.

    Parameters
    ----------
    model : CompressedModel
    precision : {"double", "mixed"}
        Of the kernels. In "mixed" they use float32, except that distances are formed and energies, forces
        and the virial are summed in float64.
    """

    def __init__(self, model: CompressedModel, precision: Precision = "double") -> None:
        self.model = model
        self.precision = precision
        self._dtype = DTYPES[precision]
        self._packed = pack(model, self._dtype)
        self._neighbours: VerletList | None = None
        self._build = -1
        self._threads = 0
        self._capacity = 0
        self._loaded = False
        self._energies = np.zeros(0)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.model.cutoff

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the compressed model: it depends on the structure that it was made on."""
        return self.model.arrays()

    @property
    def bytes(self) -> int:
        """Memory held by the parameters and buffers, in bytes."""
        held = [*vars(self).values(), *vars(self._packed).values()]
        return sum(value.nbytes for value in held if isinstance(value, np.ndarray))

    def evaluate(self, neighbours: VerletList, result: Evaluation, *, virial: bool = True) -> None:
        """Fill `result` for the positions that `neighbours` holds now.

        Parameters
        ----------
        neighbours : VerletList
            Built, and updated to the current positions.
        result : Evaluation
            Filled in place, in input order.
        virial : bool
            Whether the virial is wanted.

        Raises
        ------
        PairTooCloseError
            If a pair is closer than the table begins.
        """
        self._prepare(neighbours)
        packed = self._packed
        n = neighbours.n_atoms
        centres = (
            self._chunks,
            neighbours.extended_positions,
            neighbours.extended_types,
            neighbours.first,
            neighbours.neighbours,
            self.cutoff**2,
            self.model.n_functions,
            packed.polynomials,
            packed.pair_tables,
            packed.type_table,
            packed.layers,
            packed.parameters,
            packed.bias,
            self._counts,
            self._indices,
            self._reals,
            self._moments,
            self._work,
            self._q,
            self._energies,
            self._too_close,
        )
        forces = (
            self._chunks,
            neighbours.extended_positions,
            neighbours.extended_types,
            neighbours.owner,
            neighbours.first,
            neighbours.neighbours,
            self.cutoff**2,
            self.model.n_functions,
            packed.polynomials,
            packed.pair_tables,
            self._q,
            virial,
            self._counts,
            self._indices,
            self._reals,
            self._rows,
            self._forces,
            self._virials,
        )
        if not self._loaded:
            load_centres(*centres)
            load_forces(*forces)
            self._loaded = True
        evaluate_centres(*centres)
        if self._too_close.max(initial=-1) >= 0:
            raise closest_pair_error(self.model, neighbours, self._too_close[self._too_close >= 0])
        evaluate_forces(*forces)
        result.atomic_energies[neighbours.order] = self._energies[:n]
        result.forces[neighbours.order] = self._forces[:n]
        result.energy = float(self._energies[:n].sum())
        result.virial_is_current = virial
        if virial:
            result.virial[:] = self._virials.sum(axis=0).reshape(3, 3)

    def _prepare(self, neighbours: VerletList) -> None:
        """Make chunks and buffers fit the list; nothing happens unless it was rebuilt."""
        threads = numba.get_num_threads()
        if (
            neighbours is self._neighbours
            and neighbours.number_of_builds == self._build
            and threads <= self._threads
        ):
            return
        another = neighbours is not self._neighbours
        self._neighbours = neighbours
        self._build = neighbours.number_of_builds
        n, n_types = neighbours.n_atoms, self.model.n_types
        order, n_functions = self.model.degree + 1, self.model.n_functions
        # One place is spare: gather writes before it knows whether the neighbour counts.
        capacity = int(np.diff(neighbours.first).max(initial=0)) + 1
        if another or capacity > self._capacity or threads > self._threads:
            self._capacity = capacity = capacity + capacity // 8
            self._threads = threads
            self._chunks = _chunks(neighbours, threads)
            largest = max((int(stop - start) for start, stop, _ in self._chunks), default=0)
            packed = self._packed
            work = max(chunk_work_size(largest, row, packed.layers) for row in packed.type_table)
            self._counts = np.zeros((threads, n_types), np.int64)
            self._indices = np.zeros((threads, 2, n_types, capacity), np.int32)
            self._reals = np.zeros((threads, 6 + 2 * order, n_types, capacity), self._dtype)
            self._rows = np.zeros((threads, 2, capacity, 4), self._dtype)
            self._moments = np.zeros((threads, 4 * n_types * n_functions * (largest + 1)), self._dtype)
            self._work = np.zeros((threads, work), self._dtype)
            self._q = np.zeros((n_types, n + 1, n_functions, 4), self._dtype)
            self._energies = np.zeros(n)
            self._forces = np.zeros((n, 3))
            self._too_close = np.zeros(len(self._chunks), np.int64)
            self._virials = np.zeros((len(self._chunks), 9))


def _chunks(neighbours: VerletList, threads: int) -> NDArray[np.int64]:
    """Cut the sorted atoms into chunks of one type each, so that every thread gets a share of each type.

    Threads take the chunks in equal contiguous parts, and atoms of different types cost differently.
    """
    parts: list[list[tuple[int, int, int]]] = [[] for _ in range(threads)]
    for alpha, (start, stop) in enumerate(
        zip(neighbours.type_start[:-1], neighbours.type_start[1:], strict=True)
    ):
        n = int(stop - start)
        if n == 0:
            continue
        count = min(n, threads * -(-n // (threads * ATOMS_PER_CHUNK)))
        edges = start + (n * np.arange(count + 1)) // count
        for c in range(count):
            parts[c * threads // count].append((edges[c], edges[c + 1], alpha))
    return np.array([row for part in parts for row in part], dtype=np.int64).reshape(-1, 3)
