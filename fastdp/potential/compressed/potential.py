"""The compressed potential on the CPU: chunks of atoms over threads, all buffers made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastdp.errors import BackendError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential, Precision
from fastdp.potential.compressed import step_kernels, triple_step_kernels
from fastdp.potential.compressed.chunks import cut_into_chunks
from fastdp.potential.compressed.clock import SECTIONS
from fastdp.potential.compressed.closest_pair import closest_pair_error
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.matrix_kernels import ROWS_PADDED_TO, padded, stored_width
from fastdp.potential.compressed.network_kernels import (
    chunk_energy_and_gradient,
    chunk_work_size,
    load_network,
)
from fastdp.potential.compressed.packing import pack
from fastdp.potential.compressed.pair_kernels import DEGREE, ORDER, group_rows
from fastdp.potential.compressed.simd import BLOCK
from fastdp.potential.compressed.step_kernels import (
    ADD,
    EVALUATE,
    EVALUATE_FIRST,
    PAIR_INTEGERS,
    PAIR_REALS,
    run_parts,
)
from fastdp.potential.compressed.sum_kernels import chunk_of_sums
from fastdp.potential.compressed.triple_kernels import TILE
from fastdp.potential.compressed.triple_scratch import TripleScratch

ATOMS_PER_CHUNK = 48
"""Largest chunk: large enough for the GEMMs to reach their rate, small enough that the arrays of a chunk stay
in the second cache."""

_NO_SHARES = np.zeros(0)

DTYPES = {"double": np.float64, "mixed": np.float32}


class CompressedPotential(Potential):
    """A compressed Deep Potential, evaluated by Numba kernels.

    Parameters
    ----------
    model : CompressedModel
    precision : {"double", "mixed"}
        Of the kernels. In "mixed" they use float32, except that distances are formed and energies, forces
        and the virial are summed in float64.

    Raises
    ------
    BackendError
        If the splines of the model have another degree than the kernels.
    """

    def __init__(self, model: CompressedModel, precision: Precision = "double") -> None:
        if model.degree != DEGREE:
            raise BackendError(
                f"the compressed potential has splines of degree {model.degree}, as earlier versions made; "
                f"this one evaluates degree {DEGREE}: start again from the input file"
            )
        self.model = model
        self.precision = precision
        self._dtype = DTYPES[precision]
        self._packed = pack(model, self._dtype)
        self._triples = None if model.triples is None else TripleScratch(model.triples, self._packed)
        self._network = chunk_of_sums if model.centres[0].sums else chunk_energy_and_gradient
        self._neighbours: VerletList | None = None
        self._build = -1
        self._threads = 0
        self._capacity = 0
        self._loaded = False
        self._kernel = 0
        self._segments = np.zeros((0, 4), np.int64)
        self._energies = np.zeros(0)
        self._starts = np.zeros((0, 0), np.int64)
        self._part_forces = np.zeros((0, 0, 4))
        self._forces = np.zeros((0, 3))
        self._n_sections = 0
        self._clocks = np.zeros((0, 0), np.int64)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.model.cutoff

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the compressed model: it depends on the structure that it was made on."""
        return self.model.arrays()

    def another(self) -> CompressedPotential:
        """Return the same potential with buffers of its own."""
        return CompressedPotential(self.model, self.precision)

    def count_cycles(self, on: bool) -> NDArray[np.int64]:
        """Switch the clock of the kernels on or off, and return what was counted so far.

        Parameters
        ----------
        on : bool

        Returns
        -------
        (n_threads, n_sections or 0) int64
            Cycles of the processor's counter in each of `clock.SECTIONS`.
        """
        counted = self._clocks.copy()
        self._n_sections = len(SECTIONS) if on else 0
        self._clocks = np.zeros((max(1, self._threads), self._n_sections), np.int64)
        self._build = -1  # buffers are made anew, with clocks
        return counted

    @property
    def bytes(self) -> int:
        """Memory held by the parameters and buffers, in bytes."""
        held = [*vars(self).values(), *vars(self._packed).values()]
        return sum(value.nbytes for value in held if isinstance(value, np.ndarray))

    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
        shares: NDArray[np.float64] | None = None,
    ) -> None:
        """Fill `result` for the positions that `neighbours` holds now.

        Parameters
        ----------
        neighbours : VerletList
            Built, and updated to the current positions.
        result : Evaluation
            Filled in place, in input order.
        virial : bool
            Whether the virial is wanted.
        between : callable, optional
            Called when the atoms are through that see no ghost of another rank.
        shares : (n_atoms,) float64, optional
            For each sorted atom, what its energy is multiplied by in forces and virial. Energies are given
            as they are; those of atoms with a share of 0 mean nothing. Shares of atoms that see ghosts of
            other ranks are read after `between`.

        Raises
        ------
        PairTooCloseError
            If a pair is closer than the table begins.
        """
        self._prepare(neighbours)
        packed = self._packed
        n = neighbours.n_atoms
        arguments = (
            self._chunks,
            neighbours.extended_positions,
            neighbours.owner,
            self._starts,
            neighbours.neighbours,
            self.cutoff**2,
            self.model.n_functions,
            packed.polynomials,
            packed.pair_tables,
            packed.type_table,
            packed.layers,
            packed.parameters,
            packed.bias,
            _NO_SHARES if shares is None else shares,
            virial,
            self._counts,
            self._integers,
            self._reals,
            self._weights,
            self._gradients,
            self._moments,
            self._q,
            self._work,
            self._energies,
            self._part_forces,
            self._forces,
            self._virials,
            self._too_close,
            self._clocks,
            *(() if self._triples is None else self._triples.arguments),
        )
        inner, outer = self._bounds
        if not self._loaded:
            load_network(packed.type_table, packed.layers, packed.parameters, self._network)
            kernels = step_kernels if self.model.triples is None else triple_step_kernels
            self._kernel = kernels.load_step_kernel(inner, *arguments)
            self._loaded = True
        run_parts(self._kernel, EVALUATE_FIRST, self._threads, (inner, *arguments))
        if between is not None:
            between()
        if outer[-1] > outer[0]:
            run_parts(self._kernel, EVALUATE, self._threads, (outer, *arguments))
        if self._too_close.max(initial=-1) >= 0:
            raise closest_pair_error(self.model, neighbours, self._too_close[self._too_close >= 0])
        run_parts(self._kernel, ADD, self._threads, (inner, *arguments))
        result.atomic_energies[neighbours.order] = self._energies[:n]
        result.forces[neighbours.order] = self._forces[:n]
        result.ghost_forces = self._forces[n:]
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
            and threads == self._threads
        ):
            return
        self._neighbours = neighbours
        self._build = neighbours.number_of_builds
        segments = neighbours.segments
        if threads != self._threads or not np.array_equal(segments, self._segments):
            self._segments = segments.copy()
            self._chunks, self._bounds = cut_into_chunks(segments, threads, ATOMS_PER_CHUNK, ROWS_PADDED_TO)
            self._too_close = np.full(len(self._chunks), -1, np.int64)
            self._virials = np.zeros((len(self._chunks), 9))
            self._capacity = 0
        self._threads = threads
        if self._clocks.shape != (threads, self._n_sections):
            self._clocks = np.zeros((threads, self._n_sections), np.int64)
        n, n_rows = neighbours.n_atoms, neighbours.n_rows
        if n > len(self._energies):
            self._energies = np.zeros(n)
        if (threads, n_rows) != self._part_forces.shape[:2]:
            self._part_forces = np.zeros((threads, n_rows, 4))
            self._forces = np.zeros((n_rows, 3))
        # One place is spare: gather writes before it knows whether the neighbour counts.
        capacity = int(np.diff(neighbours.first).max(initial=0)) + 1
        if len(self._starts) != n:
            self._starts = np.zeros((n, self.model.n_types + 1), np.int64)
        group_rows(
            neighbours.first,
            neighbours.neighbours,
            neighbours.extended_types,
            self._starts,
            np.empty(capacity, np.int32),
        )
        if capacity > self._capacity:
            self._capacity = padded(capacity + capacity // 8, BLOCK)
            self._allocate_scratch(threads)

    def _allocate_scratch(self, threads: int) -> None:
        """Make the buffers of the threads: for one chunk each, however many atoms there are."""
        n_types, packed = self.model.n_types, self._packed
        largest = max((int(stop - start) for start, stop, _ in self._chunks), default=0)
        work = max(chunk_work_size(largest, row, packed.layers) for row in packed.type_table)
        pairs = (n_types, self._capacity)
        stride = stored_width(self.model.columns, self._dtype)
        rows = padded(largest, ROWS_PADDED_TO)
        weights = self._capacity if self._triples is None else max(self._capacity, TILE)
        self._counts = np.zeros((threads, largest, n_types), np.int64)
        self._integers = np.zeros((threads, largest, PAIR_INTEGERS, *pairs), np.int32)
        self._reals = np.zeros((threads, largest, PAIR_REALS, *pairs), self._dtype)
        self._weights = np.zeros((threads, 2 * ORDER + 1, weights), self._dtype)
        self._gradients = np.zeros((threads, self._capacity, 4), self._dtype)
        self._moments = np.zeros((threads, rows * 4 * stride), self._dtype)
        self._q = np.zeros((threads, stride, 4), self._dtype)
        self._work = np.zeros((threads, work), self._dtype)
        if self._triples is not None:
            self._triples.allocate(threads, largest, self._capacity)
