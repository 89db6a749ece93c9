"""Atomic energies: E_i = F_α(D_i) − [F_α(0)] + bias_α."""

from __future__ import annotations

import numpy as np

from fastdp.model.description import Array, EnergyFitting
from fastdp.model.descriptors.registry import Described
from fastdp.model.fittings.registry import Fitted, fitting, network_values
from fastdp.model.networks import forward


@fitting(EnergyFitting, n_components=lambda _: 1)
def _energy(kind: EnergyFitting, alpha: int, described: Described, parameters: Array) -> Fitted:
    values, pull = network_values(kind.networks[alpha], described, parameters)
    if kind.subtract_vacuum[alpha]:
        network = (kind.vacuum_networks or kind.networks)[alpha]
        values = values - forward(network, np.concatenate((np.zeros_like(described.d), parameters), axis=1))
    return Fitted(values + kind.bias[alpha], lambda seed: (pull(seed), None))
