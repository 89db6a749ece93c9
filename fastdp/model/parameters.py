"""Holding a model's parameters (fparam, aparam) at constant values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastdp.model.description import NO_PARAMETERS, Array, DeepPotential, EnergyFitting, Network
from fastdp.model.networks import with_constant_inputs


def bind_parameters(description: DeepPotential, frame: Array, atom: Array) -> DeepPotential:
    """Return the model with parameters written into its networks, which then take the descriptor alone.

    Parameters
    ----------
    description : DeepPotential
        Of energies.
    frame : (n,) float64
        fparam, as the file expects them.
    atom : (m,) float64
        aparam of all atoms alike.
    """
    fitting: EnergyFitting = description.fitting
    given = np.concatenate(
        [
            (values - inputs.mean) * inputs.scale
            for inputs, values in ((fitting.frame_parameters, frame), (fitting.atom_parameters, atom))
        ]
    )
    if len(given) == 0:
        return description

    def bound(networks: tuple[Network, ...]) -> tuple[Network, ...]:
        return tuple(
            with_constant_inputs(network, description.descriptor.width, given) for network in networks
        )

    vacuum = fitting.vacuum_networks
    return replace(
        description,
        fitting=replace(
            fitting,
            networks=bound(fitting.networks),
            vacuum_networks=None if vacuum is None else bound(vacuum),
            frame_parameters=NO_PARAMETERS,
            atom_parameters=NO_PARAMETERS,
        ),
    )
