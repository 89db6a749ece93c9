"""Atomic polarizabilities: P_i = scale_α ρᵀ Y ρ + shift_α 1, nine numbers, row by row.

Zhang et al., Phys. Rev. B 102, 041121 (2020).
"""

from __future__ import annotations

import numpy as np

from fastdp.model.description import Array, PolarFitting
from fastdp.model.descriptors.registry import Described
from fastdp.model.fittings.registry import Fitted, fitting, network_values
from fastdp.model.fittings.rotation import rotation_of, silent


@fitting(PolarFitting, n_components=lambda _: 9)
def _polar(kind: PolarFitting, alpha: int, described: Described, parameters: Array) -> Fitted:
    network = kind.networks[alpha]
    if network is None:
        return silent(described, 9)
    rho = rotation_of(described)
    n, k, _ = rho.shape
    f, pull = network_values(network, described, parameters)
    if kind.bias is not None:
        f = f + kind.bias[alpha]
    if kind.diagonal:
        y = f[:, :, None] * np.eye(k)
    else:
        y = f.reshape(n, k, k)
        y = kind.symmetrised * (y + y.transpose(0, 2, 1))
    scale = kind.scale[alpha]
    tensor = scale * (rho.transpose(0, 2, 1) @ y @ rho) + kind.shift[alpha] * np.eye(3)

    def pullback(seed: Array) -> tuple[Array, Array | None]:
        s = scale * seed.reshape(n, 3, 3)
        by_y = rho @ s @ rho.transpose(0, 2, 1)
        by_rho = y @ rho @ s.transpose(0, 2, 1) + y.transpose(0, 2, 1) @ rho @ s
        if kind.diagonal:
            by_f = np.diagonal(by_y, axis1=1, axis2=2)
        else:
            by_f = kind.symmetrised * (by_y + by_y.transpose(0, 2, 1)).reshape(n, -1)
        return pull(by_f), by_rho

    return Fitted(tensor.reshape(n, 9), pullback)
