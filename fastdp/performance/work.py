"""What one step costs one atom, counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array
from fastdp.performance.ceilings import Ceilings
from fastdp.potential.compressed.clock import SECTIONS
from fastdp.potential.compressed.compressed_model import CompressedModel

GEOMETRY_OF_LISTED = 9
"""Operations for each neighbour of the list: a difference, its square, a comparison."""

GEOMETRY_OF_PAIR = 20
"""Operations for each neighbour within the cutoff: distance, inverse, radial map, unit vector; the square
root and the two divisions count as one each."""

GRADIENT_OF_PAIR = 40
"""Operations from the contracted sums of a pair to its gradient, and to the forces on both."""


@dataclass(frozen=True)
class Work:
    """Operations of each section of the kernels, for one atom and step.

    Attributes
    ----------
    operations : dict of str to float
        Floating-point operations by section of `clock.SECTIONS`; a multiply-add counts as two.
    activations : float
        Numbers that go through an activation function.
    bytes_listed : float
        Read from memory whatever the caches hold: the row of the neighbour list.
    """

    operations: dict[str, float]
    activations: float
    bytes_listed: float

    def floors(self, ceilings: Ceilings) -> dict[str, float]:
        """Return the least time of each section on one core, s.

        Operations at the rate of a large matrix product, activations at that of the kernel alone, the list
        at the rate of a copy: what no implementation of this method undercuts on this core.

        Parameters
        ----------
        ceilings : Ceilings
        """
        found = {name: count / ceilings.operations for name, count in self.operations.items()}
        found["activations"] += self.activations * ceilings.tanh_seconds
        found["neighbours"] = max(found["neighbours"], self.bytes_listed / ceilings.bandwidth)
        return found


def count_work(model: CompressedModel, shares: Array, listed: float, within: float) -> Work:
    """Count what the kernels have to do.

    Parameters
    ----------
    model : CompressedModel
    shares : (n_types,) float64
        Part of the atoms that is of each type.
    listed, within : float
        Neighbours of an atom in the list, and within the cutoff.

    Returns
    -------
    Work
    """
    order = model.degree + 1
    operations = dict.fromkeys(SECTIONS, 0.0)
    operations["neighbours"] = GEOMETRY_OF_LISTED * listed
    operations["splines"] = within * (GEOMETRY_OF_PAIR + 2 * order * (order - 1))
    operations["moments"] = within * 2 * 4 * order
    operations["slopes"] = within * (2 * order * (order - 1) + 2 * order * (order - 2) + 2 * order)
    operations["forces"] = within * (2 * 2 * 4 * order + GRADIENT_OF_PAIR)
    activations = 0.0
    for share, centre in zip(shares, model.centres, strict=True):
        q = centre.rank
        operations["projection"] += share * 2 * 2 * (1 if centre.sums else 4) * centre.radial.size
        if centre.sums:
            pass
        elif centre.axis_matrix is None:
            operations["products"] += share * 2 * 3 * 4 * q * (q + 1) / 2
        else:
            size = centre.axis_matrix.size
            operations["products"] += share * (2 * 2 * 4 * size + 2 * 3 * 4 * size)
        for layer in centre.layers:
            size = layer.left.size + (0 if layer.right is None else layer.right.size)
            operations["layers"] += share * 2 * 2 * size
            if layer.activation != "linear":
                activations += share * len(layer.bias)
    return Work(operations, activations, 4.0 * listed)


def mean_neighbours(first: NDArray[np.int64], within: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mean number of neighbours in the list and within the cutoff.

    Parameters
    ----------
    first : (n_atoms + 1,) int64
        Of the neighbour list.
    within : (n_pairs,) bool
        Whether each pair of the list is within the cutoff.
    """
    n = max(1, len(first) - 1)
    return float(first[-1]) / n, float(np.count_nonzero(within)) / n
