"""Atomic dipoles: μ_i = Σ_k (F_αk(D_i) + bias_αk) ρ_ik.

Zhang et al., Phys. Rev. B 102, 041121 (2020).
"""

from __future__ import annotations

import numpy as np

from fastdp.model.description import Array, DipoleFitting
from fastdp.model.descriptors.registry import Described
from fastdp.model.fittings.registry import Fitted, fitting, network_values
from fastdp.model.fittings.rotation import rotation_of, silent


@fitting(DipoleFitting, n_components=lambda _: 3)
def _dipole(kind: DipoleFitting, alpha: int, described: Described, parameters: Array) -> Fitted:
    network = kind.networks[alpha]
    if network is None:
        return silent(described, 3)
    rho = rotation_of(described)
    y, pull = network_values(network, described, parameters)
    y = y + kind.bias[alpha]

    def pullback(seed: Array) -> tuple[Array, Array | None]:
        return pull(np.einsum("nkc,nc->nk", rho, seed)), y[:, :, None] * seed[:, None, :]

    return Fitted(np.einsum("nk,nkc->nc", y, rho), pullback)
