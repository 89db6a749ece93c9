"""Invariant numbers on atoms: y_i = F_α(D_i) · scale_α + bias_α."""

from __future__ import annotations

from fastdp.model.description import Array, PropertyFitting
from fastdp.model.descriptors.registry import Described
from fastdp.model.fittings.registry import Fitted, fitting, network_values
from fastdp.model.fittings.rotation import silent


@fitting(PropertyFitting, n_components=lambda kind: kind.scale.shape[1])
def _property(kind: PropertyFitting, alpha: int, described: Described, parameters: Array) -> Fitted:
    network = kind.networks[alpha]
    if network is None:
        return silent(described, kind.scale.shape[1])
    y, pull = network_values(network, described, parameters)
    scale = kind.scale[alpha]
    return Fitted(y * scale + kind.bias[alpha], lambda seed: (pull(seed * scale), None))
