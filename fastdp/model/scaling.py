"""Models of energies multiplied by a number, or shifted by one for each type."""

from __future__ import annotations

from dataclasses import replace

from fastdp.model.description import Array, DeepPotential, EnergyFitting, Network


def shifted(description: DeepPotential, bias: Array) -> DeepPotential:
    """Return a model with a constant added to the energy of each atom.

    Parameters
    ----------
    description : DeepPotential
    bias : (n_types,) float64
        eV.
    """
    fitting: EnergyFitting = description.fitting
    return replace(description, fitting=replace(fitting, bias=fitting.bias + bias))


def scaled(description: DeepPotential, factor: float) -> DeepPotential:
    """Return a model whose energies are multiplied by a number.

    Parameters
    ----------
    description : DeepPotential
    factor : float
    """
    fitting: EnergyFitting = description.fitting
    vacuum = fitting.vacuum_networks
    return replace(
        description,
        fitting=replace(
            fitting,
            networks=tuple(_scaled_network(network, factor) for network in fitting.networks),
            bias=factor * fitting.bias,
            vacuum_networks=None if vacuum is None else tuple(_scaled_network(net, factor) for net in vacuum),
        ),
    )


def _scaled_network(network: Network, factor: float) -> Network:
    last = network.layers[-1]
    last = replace(last, weight=factor * last.weight, bias=factor * last.bias)
    return Network((*network.layers[:-1], last))
