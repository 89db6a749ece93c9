"""Descriptors by their class: from the neighbours of atoms to D, and from ∂E/∂D back to the neighbours."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array
from fastdp.model.neighbourhood import Neighbourhood

DESCRIPTOR_MODULES = ("hybrid", "loc_frame", "se_e2_a", "se_e2_r", "se_e3")
"""Modules of this package; each registers what it evaluates."""

Pullback = Callable[[Array, Array | None], Array]


@dataclass(frozen=True)
class Described:
    """The descriptors of a batch of atoms.

    Attributes
    ----------
    d : (n_centres, width) float64
        D.
    rotation : (n_centres, K, 3) float64 or None
        ρ_k = (T_k1, T_k2, T_k3), where the descriptor has it: vectors that turn with the atoms.
    pullback : callable
        From ∂y_i/∂D (n_centres, width) and ∂y_i/∂ρ (n_centres, K, 3) or None to ∂y_i/∂r_ij (n_pairs, 3),
        for every pair of the neighbourhood that was given.
    """

    d: Array
    rotation: Array | None
    pullback: Pullback


Describe = Callable[[Any, Neighbourhood, bool], Described]
DESCRIPTORS: dict[type, Describe] = {}


def descriptor(kind: type) -> Callable[[Describe], Describe]:
    """Register a function as the mathematics of a class of descriptors."""

    def register(function: Describe) -> Describe:
        DESCRIPTORS[kind] = function
        return function

    return register


def describe(descriptor: object, neighbourhood: Neighbourhood, *, truncate: bool = True) -> Described:
    """Evaluate a descriptor.

    Parameters
    ----------
    descriptor : Descriptor
    neighbourhood : Neighbourhood
        With all pairs closer than the descriptor's cutoff; farther ones may be there.
    truncate : bool
        Whether to keep only the nearest `selection` neighbours, as the trainer does.

    Returns
    -------
    Described
    """
    if not DESCRIPTORS:
        for module in DESCRIPTOR_MODULES:
            importlib.import_module(f"fastdp.model.descriptors.{module}")
    return DESCRIPTORS[type(descriptor)](descriptor, neighbourhood, truncate)


def expanded(gradients: Array, pairs: NDArray[np.int64], n_pairs: int) -> Array:
    """Return gradients of some pairs as those of all, zero elsewhere."""
    result = np.zeros((n_pairs, 3))
    result[pairs] = gradients
    return result
