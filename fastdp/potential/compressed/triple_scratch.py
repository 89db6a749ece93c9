"""What the kernels take for three-body moments besides that for pairs: tables and buffers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdp.potential.compressed.packing import PackedModel
from fastdp.potential.compressed.triple_basis import TripleForm
from fastdp.potential.compressed.triple_kernels import COPIES, TILE, TILE_REALS
from fastdp.potential.compressed.triple_neighbours import TRIPLE_REALS


class TripleScratch:
    """The further arguments of `triple_step_kernels.evaluate_chunks`.

    Parameters
    ----------
    form : TripleForm
    packed : PackedModel
        Of the model, in the precision of the buffers.
    """

    def __init__(self, form: TripleForm, packed: PackedModel) -> None:
        self._form = form
        self._packed = packed
        self.arguments: tuple[Any, ...] = ()

    def allocate(self, threads: int, largest: int, capacity: int) -> None:
        """Make the buffers.

        Parameters
        ----------
        threads : int
        largest : int
            Atoms of the largest chunk.
        capacity : int
            Neighbours of an atom, at most.
        """
        packed, dtype = self._packed, self._packed.parameters.dtype
        n_types, n_functions = len(packed.scales), self._form.n_functions
        self.arguments = (
            packed.switch,
            packed.scales,
            n_functions,
            packed.triple_tables,
            np.zeros((threads, largest, n_types + 1), np.int64),
            np.zeros((threads, largest, capacity), np.int32),
            np.zeros((threads, largest, TRIPLE_REALS, capacity), dtype),
            np.zeros((threads, capacity, 4), dtype),
            np.zeros((threads, capacity, 4), dtype),
            np.zeros((threads, TILE_REALS, TILE), dtype),
            np.zeros((threads, TILE), np.int32),
            np.zeros((threads, TILE, 3), np.int64),
            np.zeros((threads, COPIES * n_functions), dtype),
        )
