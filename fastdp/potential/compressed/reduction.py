"""Thin factors for the layers of the fitting network, by the same balance as the radial channels.

A layer z = x W + b sees only some directions of x, and the energy hears only some directions of z. With
C_x the covariance of x and of its tangents ẋ (how x changes when a neighbour moves, so that forces are
covered and not only energies), C_z = ⟨g gᵀ⟩ of g = ∂E/∂z, C_x = A Aᵀ and C_z = B Bᵀ,

    W ≈ A⁻ᵀ [AᵀW B]_k B⁻¹ = left · right,        [·]_k: the k leading singular triplets.

What is left out is known: Σ_{p>k} σ_p² is the mean square of the force that it would have carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastdp.model.activations import ACTIVATIONS
from fastdp.model.description import Array
from fastdp.potential.compressed.compressed_model import FactoredLayer

VALUE_LENGTH = 1.0
"""Å; weight of the values of x against their tangents, which are per Å."""

USUAL_WIDTH = 240
"""Of a hidden layer; only sets the scale of thresholds."""

WORTHWHILE = 0.8
"""Part of its multiply-adds to which a layer must come down for its error to be worth it."""

SINGLE = 0.4
"""Largest σ left out over the root of the sum of squares of all that are, where σ falls by a tenth each."""

FLOOR = 1.0e-9
"""Multiple of the mean of a covariance that is added to its diagonal: directions that were not seen."""


@dataclass(frozen=True)
class LayerStatistics:
    """Balanced factors of one layer, before truncation.

    Attributes
    ----------
    left : (n_in, m) float64
        A⁻ᵀ U Σ.
    right : (m, n_out) float64
        Vᵀ B⁻¹.
    singular_values : (m,) float64
        σ, descending, eV/Å.
    mean : (n_in,) float64
        Mean of x: what the truncation would do to it goes into the bias.
    """

    left: Array
    right: Array
    singular_values: Array
    mean: Array

    def rank(self, threshold: float) -> int:
        """Return the rank for a threshold, eV/Å.

        A direction costs multiply-adds in proportion to n_in + n_out; over all layers, the same error is had
        for least cost if every direction is kept whose σ² for its cost is above the same limit. The threshold
        is what a layer of `USUAL_WIDTH` inputs and outputs leaves out about.
        """
        usual = np.sqrt((self.left.shape[0] + self.right.shape[1]) / (2.0 * USUAL_WIDTH))
        return max(1, int(np.sum(self.singular_values > SINGLE * threshold * usual)))


def input_features(tau: Array, axis_matrix: Array | None) -> Array:
    """Return the input of the first layer.

    Parameters
    ----------
    tau : (n, 4, q) float64
    axis_matrix : (q, M) float64 or None
        As in `CompressedCentre`.

    Returns
    -------
    (n, width) float64
    """
    if axis_matrix is not None:
        return np.einsum("ncp,ncl->npl", tau, tau @ axis_matrix).reshape(len(tau), axis_matrix.size)
    rows, columns = np.triu_indices(tau.shape[2])
    return np.einsum("ncp,nck->npk", tau, tau)[:, rows, columns]


def input_tangents(tau: Array, tau_tangent: Array, axis_matrix: Array | None) -> Array:
    """Return how the input of the first layer changes with τ.

    Parameters
    ----------
    tau, tau_tangent : (n, 4, q) float64
    axis_matrix : (q, M) float64 or None

    Returns
    -------
    (n, width) float64
    """
    if axis_matrix is not None:
        change = np.einsum("ncp,ncl->npl", tau_tangent, tau @ axis_matrix)
        change += np.einsum("ncp,ncl->npl", tau, tau_tangent @ axis_matrix)
        return change.reshape(len(tau), axis_matrix.size)
    rows, columns = np.triu_indices(tau.shape[2])
    change = np.einsum("ncp,nck->npk", tau_tangent, tau)
    return (change + change.transpose(0, 2, 1))[:, rows, columns]


def gather_statistics(
    layers: Sequence[FactoredLayer],
    features: Array,
    weights: Array,
    tangents: Array,
    owner: Array,
    moves: Array,
) -> list[LayerStatistics]:
    """Run an ensemble through a network and balance each of its layers.

    Parameters
    ----------
    layers : sequence of FactoredLayer
        Whole.
    features : (n, width) float64
        Inputs.
    weights : (n,) float64
        How much the squared error at each of them counts.
    tangents : (m, width) float64
        Changes of the inputs, for 1 Å of one neighbour.
    owner : (m,) int
        Which input each tangent belongs to.
    moves : (m,) float64
        How many moves each tangent stands for.

    Returns
    -------
    list of LayerStatistics
        One for each layer but the last.
    """
    inputs, input_changes, slopes = [features], [tangents], []
    for layer in layers:
        activation = ACTIVATIONS[layer.activation]
        z = inputs[-1] @ layer.left + layer.bias
        timestep = 1.0 if layer.timestep is None else layer.timestep
        slope = activation.derivative(z) * timestep
        change = slope[owner] * (input_changes[-1] @ layer.left)
        inputs.append(_add_shortcut(activation.value(z) * timestep, inputs[-1], layer))
        input_changes.append(_add_shortcut(change, input_changes[-1], layer))
        slopes.append(slope)

    statistics = []
    half = np.sqrt(weights)
    gradient = np.ones((len(features), 1))
    for k in reversed(range(len(layers))):
        layer = layers[k]
        at_z = gradient * slopes[k]
        if k < len(layers) - 1:
            # The error of a force is a product of a tangent and a gradient: each carries half of the weight.
            statistics.append(
                _balance_layer(
                    layer,
                    inputs[k],
                    input_changes[k] * np.sqrt(moves * half[owner])[:, None],
                    at_z * np.sqrt(half)[:, None],
                    half,
                )
            )
        below = at_z @ layer.left.T
        if layer.shortcut == "identity":
            below += gradient
        elif layer.shortcut == "doubling":
            below += gradient[:, : layer.left.shape[0]] + gradient[:, layer.left.shape[0] :]
        gradient = below
    return statistics[::-1]


def thin(
    layers: Sequence[FactoredLayer], statistics: Sequence[LayerStatistics], threshold: float
) -> tuple[FactoredLayer, ...]:
    """Return the network with every layer factored that becomes cheaper by it.

    Parameters
    ----------
    layers : sequence of FactoredLayer
        Whole.
    statistics : sequence of LayerStatistics
        Of all but the last.
    threshold : float
        eV/Å, what each layer may leave out.
    """
    result = []
    for layer, found in zip(layers, statistics, strict=False):
        k = found.rank(threshold)
        n_in, n_out = layer.left.shape
        if k * (n_in + n_out) < WORTHWHILE * n_in * n_out:
            left, right = found.left[:, :k], found.right[:k]
            bias = layer.bias + found.mean @ layer.left - (found.mean @ left) @ right
            result.append(replace(layer, left=left, right=right, bias=bias))
        else:
            result.append(layer)
    return (*result, *layers[len(result) :])


def _balance_layer(
    layer: FactoredLayer, x: Array, x_change: Array, gradient: Array, weights: Array
) -> LayerStatistics:
    mean = np.average(x, axis=0, weights=weights)
    centred = (x - mean) * np.sqrt(weights)[:, None]
    c_x = VALUE_LENGTH**-2 * centred.T @ centred + x_change.T @ x_change
    a, a_inverse = _roots(c_x / len(x))
    b, b_inverse = _roots(gradient.T @ gradient / len(x))
    u, sigma, vt = np.linalg.svd(a.T @ layer.left @ b, full_matrices=False)
    return LayerStatistics(a_inverse.T @ (u * sigma), vt @ b_inverse, sigma, mean)


def _roots(covariance: Array) -> tuple[Array, Array]:
    """Return X and its inverse with X Xᵀ equal to a covariance, with a floor."""
    values, vectors = np.linalg.eigh(covariance)
    # A network that nothing varies (a centre whose pairs are all excluded) has no covariance at all.
    floor = FLOOR * np.mean(np.abs(values)) or 1.0
    values = np.clip(values, 0.0, None) + floor
    root = np.sqrt(values)
    return vectors * root, (vectors / root).T


def _add_shortcut(y: Array, x: Array, layer: FactoredLayer) -> Array:
    if layer.shortcut == "identity":
        return x + y
    if layer.shortcut == "doubling":
        return np.concatenate((x, x), axis=1) + y
    return y
