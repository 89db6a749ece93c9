"""The energy fitting networks of a frozen graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import Array, EnergyFitting, Network
from fastdp.model.readers.energy_graph import EnergyGraph
from fastdp.model.readers.graph_networks import fitting_shortcut, read_layers, read_linear_layer


def descriptor_width(model: EnergyGraph) -> int:
    """Return the width of the fitting networks' input.

    Raises
    ------
    ModelError
        If the first fitting layer is missing.
    """
    suffix = _suffix(model, 0)
    shape = model.graph.constant(f"layer_0{suffix}/matrix").shape
    if len(shape) != 2:
        raise ModelError(f"{model.graph.source}: damaged: layer_0{suffix}/matrix has the shape {shape}")
    return int(shape[0])


def read_energy_fitting(model: EnergyGraph, n_types: int) -> EnergyFitting:
    """Read the networks, the bias of each type and whether the energy in vacuum is subtracted.

    Since 3.1 the graph ends with E_i → E_i · out_std + out_bias; both go into the last layer and the bias.

    Parameters
    ----------
    model : EnergyGraph
    n_types : int

    Raises
    ------
    ModelError
        If a part is missing or the parts do not fit together.
    UnsupportedModelError
        If a network is used in a way that fastdp does not know.
    """
    width = descriptor_width(model)
    bias = _of_each_type(model, ("fitting_attr/t_bias_atom_e",), n_types, 0.0)
    scale = _of_each_type(model, ("model_attr/model_attr/t_out_std", "model_attr/t_out_std"), n_types, 1.0)
    shift = _of_each_type(model, ("model_attr/model_attr/t_out_bias", "model_attr/t_out_bias"), n_types, 0.0)
    networks = tuple(_scaled(_network(model, t, width), float(scale[t])) for t in range(n_types))
    vacuum = np.array([_subtracts_vacuum(model, t) for t in range(n_types)])
    return EnergyFitting(networks=networks, bias=bias * scale + shift, subtract_vacuum=vacuum)


def _suffix(model: EnergyGraph, centre_type: int) -> str:
    """Return what follows the names of layers: the type, or nothing if one network serves all types."""
    return "" if "layer_0/matrix" in model.graph else f"_type_{centre_type}"


def _network(model: EnergyGraph, centre_type: int, width: int) -> Network:
    suffix = _suffix(model, centre_type)
    names: list[tuple[str, str, str]] = []
    while not names or f"layer_{len(names)}{suffix}/matrix" in model.graph:
        scope = f"layer_{len(names)}{suffix}"
        names.append((f"{scope}/matrix", f"{scope}/bias", f"{scope}/idt"))
    layers = read_layers(model, names, width, fitting_shortcut)
    scope = f"final_layer{suffix}"
    last = read_linear_layer(model, f"{scope}/matrix", f"{scope}/bias", layers[-1].n_out)
    if last.n_out != 1:
        raise ModelError(f"{model.graph.source}: {scope} gives {last.n_out} numbers; an energy is one")
    return Network((*layers, last))


def _scaled(network: Network, scale: float) -> Network:
    last = network.layers[-1]
    return Network((*network.layers[:-1], replace(last, weight=last.weight * scale, bias=last.bias * scale)))


def _subtracts_vacuum(model: EnergyGraph, centre_type: int) -> bool:
    """Return whether the graph applies the network twice, the second time to an empty environment."""
    name = f"layer_0{_suffix(model, centre_type)}/matrix"
    uses = sum(node.operation == "MatMul" for node in model.users(name))
    if uses not in (1, 2):
        raise UnsupportedModelError(
            f"{model.graph.source}: the energy uses the fitting layer {name!r} {uses} times; fastdp knows "
            "what one or two uses mean"
        )
    return uses == 2


def _of_each_type(model: EnergyGraph, names: tuple[str, ...], n_types: int, default: float) -> Array:
    for name in names:
        if name in model.path:
            values = model.graph.numbers(name).ravel()
            if len(values) != n_types:
                raise ModelError(
                    f"{model.graph.source}: {name!r} has {len(values)} numbers for {n_types} types"
                )
            return values
    return np.full(n_types, default)
