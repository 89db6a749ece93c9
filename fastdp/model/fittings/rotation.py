"""What tensors on atoms share: the vectors ρ of the descriptor, and types without a tensor."""

from __future__ import annotations

import numpy as np

from fastdp.errors import UnsupportedModelError
from fastdp.model.description import Array
from fastdp.model.descriptors.registry import Described
from fastdp.model.fittings.registry import Fitted


def rotation_of(described: Described) -> Array:
    """Return ρ (n, K, 3).

    Raises
    ------
    UnsupportedModelError
        If the descriptor has none.
    """
    if described.rotation is None:
        raise UnsupportedModelError("a dipole or polarizability needs a descriptor with directions (se_e2_a)")
    return described.rotation


def silent(described: Described, n_components: int) -> Fitted:
    """Return zeros: the values of a type that has no part in the quantity."""
    return Fitted(np.zeros((len(described.d), n_components)), lambda seed: (np.zeros_like(described.d), None))
