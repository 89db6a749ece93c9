"""Networks of a frozen graph: weights by their names, activation functions by what the graph computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.activations import ACTIVATIONS, register_silut
from fastdp.model.description import Array, DenseLayer, Network, Shortcut
from fastdp.model.readers.graph_def import FLOAT, Node
from fastdp.model.readers.graph_evaluation import evaluate
from fastdp.model.readers.graph_operations import OPERATIONS
from fastdp.model.readers.model_graph import ModelGraph

SAMPLES = np.linspace(-20.0, 20.0, 803)
"""Where an activation function is compared with the known ones; all their kinks are well inside."""

ShortcutRule = Callable[[int, int, int], Shortcut]


def embedding_shortcut(layer: int, n_in: int, n_out: int) -> Shortcut:
    """Return what an embedding layer adds to its output; the first layer follows the rule too."""
    return "identity" if n_out == n_in else "doubling" if n_out == 2 * n_in else "none"


def fitting_shortcut(layer: int, n_in: int, n_out: int) -> Shortcut:
    """Return what a fitting layer adds to its output: never in the first layer, never doubling."""
    return "identity" if layer > 0 and n_out == n_in else "none"


def read_layers(
    model: ModelGraph, names: list[tuple[str, str, str]], n_in: int, rule: ShortcutRule
) -> tuple[DenseLayer, ...]:
    """Read hidden layers.

    Parameters
    ----------
    model : ModelGraph
    names : list of (str, str, str)
        Names of each layer's matrix, bias and timestep; the last may be absent from the graph.
    n_in : int
        Width of the first layer's input.
    rule : callable
        Shortcut of a layer from its number and widths.

    Returns
    -------
    tuple of DenseLayer

    Raises
    ------
    ModelError
        If weights are missing or do not fit together.
    UnsupportedModelError
        If the activation function is not known.
    """
    layers = []
    for number, (matrix, bias, timestep) in enumerate(names):
        weight = _matrix(model, matrix, n_in)
        n_out = weight.shape[1]
        shortcut = rule(number, n_in, n_out)
        # The embedding networks of some versions hold timesteps that no shortcut uses, and ignore them.
        factor = _vector(model, timestep, n_out) if timestep in model.path else None
        layers.append(
            DenseLayer(weight, _vector(model, bias, n_out), factor, read_activation(model, bias), shortcut)
        )
        n_in = n_out
    return tuple(layers)


def read_linear_layer(model: ModelGraph, matrix: str, bias: str, n_in: int) -> DenseLayer:
    """Read a layer without activation function or shortcut.

    Raises
    ------
    ModelError
        If weights are missing or do not fit together.
    """
    weight = _matrix(model, matrix, n_in)
    return DenseLayer(weight, _vector(model, bias, weight.shape[1]), None, "linear", "none")


def hidden_network(
    model: ModelGraph, names: list[tuple[str, str, str]], n_in: int, rule: ShortcutRule
) -> Network:
    """Read a network of hidden layers only, as `read_layers`."""
    return Network(read_layers(model, names, n_in, rule))


def read_activation(model: ModelGraph, bias: str) -> str:
    """Return the name of the activation function of the layer that has this bias.

    The name in the training input is not consulted: the nodes between the layer's sum x W + b and the
    next layer are evaluated and compared with the known functions.

    Parameters
    ----------
    model : ModelGraph
    bias : str
        Name of the bias constant.

    Raises
    ------
    UnsupportedModelError
        If the function is not one of `ACTIVATIONS`.
    """
    graph = model.graph
    sums = [node for node in model.users(bias) if node.operation in ("BiasAdd", "Add", "AddV2")]
    if not sums:
        raise UnsupportedModelError(
            f"{graph.source}: the bias {bias!r} is not simply added to a layer; this is not a network that "
            "fastdp knows"
        )
    start = sums[0]
    inside = _elementwise_followers(model, start)
    ends = [name for name in inside if not any(user.name in inside for user in graph.consumers[name])]
    if len(ends) != 1:
        raise UnsupportedModelError(
            f"{graph.source}: cannot tell the activation function behind {start.name!r}"
        )
    value = evaluate(graph, ends, {start.name: SAMPLES})[ends[0]]
    name = _recognise(value, 1e-5 if _is_float32(start) else 1e-11)
    if name is None:
        name = _recognise_silut(model, inside, value)
    if name is None:
        operations = sorted({graph[node].operation for node in inside} - {start.operation})
        raise UnsupportedModelError(
            f"{graph.source}: found an activation function that fastdp does not know behind {start.name!r} "
            f"(made of {', '.join(operations)}); it knows {', '.join(ACTIVATIONS)}"
        )
    return name


def _elementwise_followers(model: ModelGraph, start: Node) -> dict[str, None]:
    """Return `start` and the nodes that compute from it, from scalars and from nothing else."""
    graph = model.graph
    inside = {start.name: None}
    waiting = [start.name]
    while waiting:
        for node in graph.consumers[waiting.pop()]:
            known = node.operation in OPERATIONS and OPERATIONS[node.operation].elementwise
            known = known or node.operation == "Select"
            if not known or node.name in inside or node.name not in model.path:
                continue
            if all(name in inside or _is_scalar(model, name) for name, _ in node.inputs):
                inside[node.name] = None
                waiting.extend(inside)
    return inside


def _is_scalar(model: ModelGraph, name: str) -> bool:
    node = model.graph[name]
    while node.operation in ("Identity", "Cast") and node.inputs:
        node = model.graph[node.inputs[0][0]]
    return node.operation == "Const" and model.graph.constant(node.name).ndim == 0


def _is_float32(node: Node) -> bool:
    return "T" in node.attributes and node.attributes["T"].type == FLOAT


def _recognise(value: Array, tolerance: float) -> str | None:
    errors = {name: np.abs(entry.value(SAMPLES) - value).max() for name, entry in ACTIVATIONS.items()}
    name = min(errors, key=lambda key: errors[key])
    return name if errors[name] < tolerance else None


def _recognise_silut(model: ModelGraph, inside: dict[str, None], value: Array) -> str | None:
    graph = model.graph
    for node in (graph[name] for name in inside):
        for source, _ in node.inputs:
            if node.operation == "Less" and source not in inside:
                name = register_silut(float(graph.constant(source)))
                error = np.abs(ACTIVATIONS[name].value(SAMPLES) - value).max()
                return name if error < 1e-5 else None
    return None


def _matrix(model: ModelGraph, name: str, n_in: int) -> Array:
    weight = model.graph.numbers(name)
    if weight.ndim != 2 or weight.shape[0] != n_in or weight.shape[1] == 0:
        raise ModelError(
            f"{model.graph.source}: damaged: {name!r} has the shape {weight.shape}, but its input is {n_in} "
            "wide"
        )
    return weight


def _vector(model: ModelGraph, name: str, n_out: int) -> Array:
    vector = model.graph.numbers(name).ravel()
    if len(vector) != n_out:
        raise ModelError(
            f"{model.graph.source}: damaged: {name!r} has {len(vector)} numbers for a layer {n_out} wide"
        )
    return vector
