"""The fitting networks of a frozen graph, by the kind of model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import (
    NO_PARAMETERS,
    Array,
    DipoleFitting,
    EnergyFitting,
    Network,
    ParameterInput,
    PolarFitting,
    PropertyFitting,
)
from fastdp.model.networks import with_constant_inputs
from fastdp.model.readers.graph_networks import fitting_shortcut, read_layers, read_linear_layer
from fastdp.model.readers.graph_se_e2_a import type_embedding
from fastdp.model.readers.model_graph import ModelGraph

ReadFitting = Callable[[ModelGraph, int], Any]
GRAPH_FITTINGS: dict[str, ReadFitting] = {}
"""By `model_attr/model_type`: from the graph and the number of types to the fitting."""

OUT_BIAS = ("model_attr/model_attr/t_out_bias", "model_attr/t_out_bias")
OUT_SPREAD = ("model_attr/model_attr/t_out_std", "model_attr/t_out_std")


def graph_fitting(kind: str) -> Callable[[ReadFitting], ReadFitting]:
    """Register a function as the reader of fittings of a kind of model."""

    def register(function: ReadFitting) -> ReadFitting:
        GRAPH_FITTINGS[kind] = function
        return function

    return register


def descriptor_width(model: ModelGraph, n_types: int) -> int:
    """Return how many numbers of descriptors the fitting networks take.

    Raises
    ------
    ModelError
        If the first fitting layer is missing, or narrower than its other inputs.
    """
    graph = model.graph
    names = [
        f"{layer}{suffix}/matrix"
        for suffix in ("", *(f"_type_{t}" for t in range(n_types)))
        for layer in ("layer_0", "final_layer")
    ]
    name = next((name for name in names if name in graph), None)
    if name is None:
        raise ModelError(
            f"{graph.source}: the fitting networks (layer_0_type_…/matrix) are missing; the file is "
            f"truncated, or "
            "is not a model frozen by DeePMD-kit"
        )
    shape = graph.constant(name).shape
    if len(shape) != 2:
        raise ModelError(f"{graph.source}: damaged: {name} has the shape {shape}")
    frame, atom = parameter_inputs(model)
    width = int(shape[0]) - len(_type_inputs(model, n_types)[0]) - frame.size - atom.size
    if width <= 0:
        raise ModelError(f"{graph.source}: damaged: {name} takes no descriptor")
    return width


def parameter_inputs(model: ModelGraph) -> tuple[ParameterInput, ParameterInput]:
    """Return what the networks take of the frame's and the atoms' parameters.

    Raises
    ------
    ModelError
        If their numbers or statistics are not sound.
    """
    found = []
    for count, what in (("dfparam", "fparam"), ("daparam", "aparam")):
        name = f"fitting_attr/{count}"
        number = model.graph.integer(name) if name in model.graph else 0
        if not 0 <= number < 2**16:
            raise ModelError(f"{model.graph.source}: damaged: {name} is {number}")
        if number == 0 or (what == "aparam" and _is_mask(model)):
            found.append(NO_PARAMETERS)
            continue
        mean = model.graph.numbers(f"fitting_attr/t_{what}_avg").ravel()
        scale = model.graph.numbers(f"fitting_attr/t_{what}_istd").ravel()
        if len(mean) != number or len(scale) != number:
            raise ModelError(
                f"{model.graph.source}: damaged: t_{what}_avg has {len(mean)} numbers, not {number}"
            )
        found.append(ParameterInput(mean, scale, _default(model, number) if what == "fparam" else None))
    return found[0], found[1]


def _fitting_settings(model: ModelGraph) -> dict[str, Any]:
    settings = model.training.get("fitting_net")
    return settings if isinstance(settings, dict) else {}


def _is_mask(model: ModelGraph) -> bool:
    return _fitting_settings(model).get("use_aparam_as_mask") is True


def _default(model: ModelGraph, number: int) -> Array | None:
    values = _fitting_settings(model).get("default_fparam")
    if not isinstance(values, list) or len(values) != number:
        return None
    if not all(isinstance(value, (int, float)) for value in values):
        return None
    return np.array(values, dtype=np.float64)


def _is_mixed(model: ModelGraph) -> bool:
    return "final_layer/matrix" in model.graph


def _type_inputs(model: ModelGraph, n_types: int) -> Array:
    """Return the types' embeddings where the networks take them, (n_types, n), else (n_types, 0)."""
    if _is_mixed(model) and "t_typeebd" in model.graph:
        return type_embedding(model, n_types)
    return np.zeros((n_types, 0))


def _suffix(model: ModelGraph, centre_type: int) -> str:
    """Return what follows the names of layers: the type, or nothing if one network serves all types."""
    return "" if _is_mixed(model) else f"_type_{centre_type}"


def _network(model: ModelGraph, centre_type: int, n_types: int) -> Network:
    suffix = _suffix(model, centre_type)
    names: list[tuple[str, str, str]] = []
    while f"layer_{len(names)}{suffix}/matrix" in model.graph:
        scope = f"layer_{len(names)}{suffix}"
        names.append((f"{scope}/matrix", f"{scope}/bias", f"{scope}/idt"))
    width = descriptor_width(model, n_types)
    types = _type_inputs(model, n_types)
    frame, atom = parameter_inputs(model)
    n_in = width + types.shape[1] + frame.size + atom.size
    layers = read_layers(model, names, n_in, fitting_shortcut)
    scope = f"final_layer{suffix}"
    last = read_linear_layer(model, f"{scope}/matrix", f"{scope}/bias", layers[-1].n_out if layers else n_in)
    network = Network((*layers, last))
    if types.shape[1]:
        network = with_constant_inputs(network, width, types[centre_type])
    return network


@graph_fitting("ener")
def _energy(model: ModelGraph, n_types: int) -> EnergyFitting:
    """Since 3.1 graphs end with E_i → E_i · out_std + out_bias, which go into last layer and bias."""
    bias = _of_each_type(model, ("fitting_attr/t_bias_atom_e",), n_types, 0.0)[:, 0]
    scale = _of_each_type(model, OUT_SPREAD, n_types, 1.0)[:, 0]
    shift = _of_each_type(model, OUT_BIAS, n_types, 0.0)[:, 0]
    networks = tuple(_scaled(_network(model, t, n_types), float(scale[t])) for t in range(n_types))
    for network in networks:
        if network.n_out != 1:
            raise ModelError(
                f"{model.graph.source}: final_layer gives {network.n_out} numbers; an energy is one"
            )
    vacuum = np.array([_subtracts_vacuum(model, t) for t in range(n_types)])
    frame, atom = parameter_inputs(model)
    return EnergyFitting(networks, bias * scale + shift, vacuum, frame, atom)


def _selected_types(model: ModelGraph, n_types: int) -> list[int]:
    """Return the types that have a tensor, in the file's order."""
    name = "model_attr/sel_type"
    if name not in model.graph:
        return list(range(n_types))
    found = [int(t) for t in model.graph.constant(name).ravel()]
    if not found or len(set(found)) != len(found) or not all(0 <= t < n_types for t in found):
        raise ModelError(f"{model.graph.source}: damaged: {name} is {found}")
    return found


def _tensor_networks(model: ModelGraph, n_types: int) -> tuple[tuple[Network | None, ...], int]:
    selected = _selected_types(model, n_types)
    networks = {t: _network(model, t, n_types) for t in selected}
    widths = {network.n_out for network in networks.values()}
    if len(widths) != 1:
        raise ModelError(f"{model.graph.source}: its fitting networks give {sorted(widths)} numbers")
    return tuple(networks.get(t) for t in range(n_types)), widths.pop()


@graph_fitting("dipole")
def _dipole(model: ModelGraph, n_types: int) -> DipoleFitting:
    networks, width = _tensor_networks(model, n_types)
    frame, atom = parameter_inputs(model)
    return DipoleFitting(networks, np.zeros((n_types, width)), frame, atom)


@graph_fitting("polar")
def _polar(model: ModelGraph, n_types: int) -> PolarFitting:
    networks, width = _tensor_networks(model, n_types)
    selected = _selected_types(model, n_types)
    channels = _channels(model)
    if width not in (channels, channels**2):
        raise ModelError(
            f"{model.graph.source}: a polarizability network gives {width} numbers for {channels} channels"
        )
    scale, shift = np.ones(n_types), np.zeros(n_types)
    for position, (factor, constant) in enumerate(_scales_and_shifts(model, len(selected))):
        scale[selected[position]], shift[selected[position]] = factor, constant
    frame, atom = parameter_inputs(model)
    return PolarFitting(networks, width == channels, 1.0, scale, shift, frame, atom)


def _channels(model: ModelGraph) -> int:
    """Return the width of the embedding, from its last matrix or its tables."""
    graph = model.graph
    best, width = 0, 0
    for node in graph:
        scope, _, name = node.name.partition("/")
        parts = name.split("_")
        if (
            scope.startswith("filter_type_")
            and len(parts) > 1
            and parts[0] == "matrix"
            and parts[1].isdigit()
        ):
            if int(parts[1]) >= best and node.operation == "Const":
                best, width = int(parts[1]), int(graph.constant(node.name).shape[-1])
        elif node.operation.startswith("TabulateFusion") and "last_layer_size" in node.attributes:
            width = width or int(node.attributes["last_layer_size"].i)
    if width <= 0:
        raise ModelError(f"{graph.source}: damaged: the embedding networks are missing")
    return width


def _scales_and_shifts(model: ModelGraph, n_selected: int) -> list[tuple[float, float]]:
    """Return P → scale · P + shift · 1 of each selected type.

    The numbers are constants without names: a shift multiplies a unit matrix ("eye", "eye_1", … in the
    order of     the selected types), and is added to the scaled tensor.
    """
    graph = model.graph

    def scalar(names: list[str]) -> float | None:
        for name in names:
            node = graph[name]
            while node.operation in ("Identity", "Cast") and node.inputs:
                node = graph[node.inputs[0][0]]
            if node.operation == "StridedSlice" or node.operation != "Const":
                continue
            values = graph.constant(node.name)
            if values.size == 1 and values.dtype.kind == "f" and np.isfinite(values).all():
                return float(values.ravel()[0])
        return None

    found = []
    for position in range(n_selected):
        scope = "eye/" if position == 0 else f"eye_{position}/"
        shifted = next(
            (
                node
                for node in graph
                if node.operation == "Mul" and any(name.startswith(scope) for name, _ in node.inputs)
            ),
            None,
        )
        if shifted is None:
            if position == 0 and not any(name.startswith("eye") for name in graph.nodes):
                # Mixed networks look scale and shift up by type.
                return _looked_up(model, n_selected)
            raise ModelError(
                f"{graph.source}: damaged: the constant part of polarizability {position} is missing"
            )
        shift = scalar([name for name, _ in shifted.inputs if not name.startswith(scope)])
        if shift is None and "fitting_attr/t_constant_matrix" in graph:
            constants = graph.numbers("fitting_attr/t_constant_matrix").ravel()
            shift = float(constants[position]) if position < len(constants) else None
        sums = [node for node in graph.consumers[shifted.name] if node.operation in ("Add", "AddV2")]
        products = [graph[name] for node in sums for name, _ in node.inputs if name != shifted.name]
        factor = next(
            (
                value
                for node in products
                if node.operation == "Mul"
                for value in [scalar([name for name, _ in node.inputs])]
                if value is not None
            ),
            None,
        )
        if shift is None or factor is None:
            raise UnsupportedModelError(
                f"{graph.source}: found a polarizability whose scale and constant part fastdp cannot tell"
            )
        found.append((factor, shift))
    return found


def _looked_up(model: ModelGraph, n_selected: int) -> list[tuple[float, float]]:
    raise UnsupportedModelError(
        f"{model.graph.source}: found a polarizability with one network for all types, whose scale "
        f"fastdp cannot tell"
    )


@graph_fitting("dos")
def _dos(model: ModelGraph, n_types: int) -> PropertyFitting:
    networks = tuple(_network(model, t, n_types) for t in range(n_types))
    width = networks[0].n_out
    if any(network.n_out != width for network in networks):
        raise ModelError(f"{model.graph.source}: its fitting networks give different numbers of values")
    bias = _of_each_type(model, ("fitting_attr/t_bias_dos",), n_types, 0.0, width)
    scale = _of_each_type(model, OUT_SPREAD, n_types, 1.0, width)
    shift = _of_each_type(model, OUT_BIAS, n_types, 0.0, width)
    frame, atom = parameter_inputs(model)
    return PropertyFitting(networks, scale, bias * scale + shift, False, frame, atom, kind="dos")


def _scaled(network: Network, scale: float) -> Network:
    last = network.layers[-1]
    return Network((*network.layers[:-1], replace(last, weight=last.weight * scale, bias=last.bias * scale)))


def _subtracts_vacuum(model: ModelGraph, centre_type: int) -> bool:
    """Return whether the graph applies the network twice, the second time to an empty environment."""
    suffix = _suffix(model, centre_type)
    name = f"layer_0{suffix}/matrix"
    if name not in model.graph:
        name = f"final_layer{suffix}/matrix"
    uses = sum(node.operation == "MatMul" for node in model.users(name))
    if uses not in (1, 2):
        raise UnsupportedModelError(
            f"{model.graph.source}: the energy uses the fitting layer {name!r} {uses} times; fastdp knows "
            "what one or two uses mean"
        )
    return uses == 2


def _of_each_type(
    model: ModelGraph, names: tuple[str, ...], n_types: int, default: float, width: int = 1
) -> Array:
    """Return numbers of each type, (n_types, width), or a default where the graph has none on its path."""
    for name in names:
        if name in model.path:
            values = model.graph.numbers(name).ravel()
            if len(values) != n_types * width:
                raise ModelError(
                    f"{model.graph.source}: {name!r} has {len(values)} numbers for {n_types} types"
                )
            return values.reshape(n_types, width)
    return np.full((n_types, width), default)
