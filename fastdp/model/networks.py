"""Feed-forward networks in NumPy float64: value, tangent (forward mode) and gradient (reverse mode)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastdp.model.activations import ACTIVATIONS
from fastdp.model.description import Array, DenseLayer, Network


def forward(network: Network, x: Array) -> Array:
    """Return the network's output.

    Parameters
    ----------
    network : Network
    x : (n, n_in) float64

    Returns
    -------
    (n, n_out) float64
    """
    for layer in network.layers:
        hidden = ACTIVATIONS[layer.activation].value(x @ layer.weight + layer.bias)
        x = _shortcut(layer, x) + hidden * _timestep(layer)
    return x


def forward_with_tangent(network: Network, x: Array, tangent: Array) -> tuple[Array, Array]:
    """Return the network's output y(x) and its derivative along a direction, dy/dx · tangent.

    Parameters
    ----------
    network : Network
    x, tangent : (n, n_in) float64

    Returns
    -------
    y, y_tangent : (n, n_out) float64
    """
    for layer in network.layers:
        activation = ACTIVATIONS[layer.activation]
        z = x @ layer.weight + layer.bias
        slope = activation.derivative(z) * _timestep(layer)
        tangent = _shortcut(layer, tangent) + slope * (tangent @ layer.weight)
        x = _shortcut(layer, x) + activation.value(z) * _timestep(layer)
    return x, tangent


def forward_with_pullback(network: Network, x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Return the network's output, and the function from ∂L/∂y to ∂L/∂x.

    Parameters
    ----------
    network : Network
    x : (n, n_in) float64

    Returns
    -------
    y : (n, n_out) float64
    pullback : callable
        From (n, n_out) to (n, n_in).
    """
    slopes = []
    for layer in network.layers:
        activation = ACTIVATIONS[layer.activation]
        z = x @ layer.weight + layer.bias
        slopes.append(activation.derivative(z) * _timestep(layer))
        x = _shortcut(layer, x) + activation.value(z) * _timestep(layer)

    def pullback(gradient: Array) -> Array:
        for layer, slope in zip(reversed(network.layers), reversed(slopes), strict=True):
            gradient = _shortcut_transposed(layer, gradient) + (gradient * slope) @ layer.weight.T
        return gradient

    return x, pullback


def forward_with_gradient(network: Network, x: Array) -> tuple[Array, Array]:
    """Return the output of a network that is one wide, and its gradient.

    Parameters
    ----------
    network : Network
        With `n_out` = 1.
    x : (n, n_in) float64

    Returns
    -------
    y : (n,) float64
    gradient : (n, n_in) float64
        dy/dx.
    """
    y, pullback = forward_with_pullback(network, x)
    return y[:, 0], pullback(np.ones_like(y))


def with_constant_inputs(network: Network, start: int, values: Array) -> Network:
    """Return the network with the inputs from `start` on held at constant values.

    Parameters
    ----------
    network : Network
    start : int
    values : (n,) float64
    """
    first = network.layers[0]
    stop = start + len(values)
    if first.shortcut == "none":
        weight = np.concatenate((first.weight[:start], first.weight[stop:]))
        bias = first.bias + values @ first.weight[start:stop]
        layer = DenseLayer(weight, bias, first.timestep, first.activation, "none")
        return Network((layer, *network.layers[1:]))
    # The shortcut carries the constants on, so that they must stay an input: a layer puts them there.
    n_in = network.n_in - len(values)
    weight = np.zeros((n_in, network.n_in))
    weight[:start, :start] = np.eye(start)
    weight[start:, stop:] = np.eye(n_in - start)
    bias = np.zeros(network.n_in)
    bias[start:stop] = values
    return Network((DenseLayer(weight, bias, None, "linear", "none"), *network.layers))


def _timestep(layer: DenseLayer) -> Array | float:
    return 1.0 if layer.timestep is None else layer.timestep


def _shortcut(layer: DenseLayer, x: Array) -> Array | float:
    return SHORTCUTS[layer.shortcut](x)


def _shortcut_transposed(layer: DenseLayer, gradient: Array) -> Array | float:
    return SHORTCUTS_TRANSPOSED[layer.shortcut](gradient)


def _no_shortcut(x: Array) -> float:
    return 0.0


def _identity(x: Array) -> Array:
    return x


def _double(x: Array) -> Array:
    return np.concatenate((x, x), axis=1)


def _add_halves(gradient: Array) -> Array:
    half = gradient.shape[1] // 2
    return gradient[:, :half] + gradient[:, half:]


SHORTCUTS: dict[str, Callable[[Array], Array | float]] = {
    "none": _no_shortcut,
    "identity": _identity,
    "doubling": _double,
}
SHORTCUTS_TRANSPOSED: dict[str, Callable[[Array], Array | float]] = {
    "none": _no_shortcut,
    "identity": _identity,
    "doubling": _add_halves,
}
