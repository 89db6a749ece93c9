"""Embeddings of a pair of types: value and derivatives of each kind, looked up by the class."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from fastdp.model.description import Array, Network, StrippedEmbedding, TabulatedNetwork
from fastdp.model.networks import forward, forward_with_tangent


@singledispatch
def embed(embedding: object, s_hat: Array, w: Array) -> tuple[Array, Array, Array | None]:
    """Return G(ŝ, w) and its derivatives; a new kind of embedding registers a function here.

    Parameters
    ----------
    embedding : Embedding
    s_hat, w : (n,) float64
        Normalised inverse distance and switch.

    Returns
    -------
    g, by_s_hat : (n, K) float64
        G and ∂G/∂ŝ.
    by_w : (n, K) float64 or None
        ∂G/∂w; None if G does not depend on w.
    """
    raise TypeError(f"no embedding: {type(embedding).__name__}")


@embed.register
def _(embedding: Network, s_hat: Array, w: Array) -> tuple[Array, Array, Array | None]:
    g, by_s_hat = forward_with_tangent(embedding, s_hat[:, None], np.ones((len(s_hat), 1)))
    return g, by_s_hat, None


@embed.register
def _(embedding: TabulatedNetwork, s_hat: Array, w: Array) -> tuple[Array, Array, Array | None]:
    knots, coefficients = embedding.knots, embedding.coefficients
    inside = np.clip(s_hat, knots[0], knots[-1])
    row = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(coefficients) - 1)
    t = (inside - knots[row])[:, None]
    c = coefficients[row]
    g, slope = c[:, :, 5], np.zeros_like(c[:, :, 5])
    for power in range(4, -1, -1):
        slope = slope * t + g
        g = g * t + c[:, :, power]
    return g + slope * (s_hat - inside)[:, None], slope, None


@embed.register
def _(embedding: StrippedEmbedding, s_hat: Array, w: Array) -> tuple[Array, Array, Array | None]:
    g, by_s_hat, _ = embed(embedding.network, s_hat, w)
    factor = embedding.factor
    if embedding.switch == "none":
        return g * (1.0 + factor), by_s_hat * (1.0 + factor), None
    if embedding.switch == "smooth":
        scale = 1.0 + factor * w[:, None]
        return g * scale, by_s_hat * scale, g * factor
    s = s_hat * embedding.spread + embedding.mean
    rest = 1.0 - embedding.inner * s
    v = 1.0 - rest**3
    slope = np.where((v > 0.0) & (v < 1.0), 3.0 * rest**2 * embedding.inner * embedding.spread, 0.0)
    v = np.clip(v, 0.0, 1.0)
    scale = 1.0 + factor * v[:, None]
    return g * scale, by_s_hat * scale + g * factor * slope[:, None], None


def value_at(embedding: object, s_hat: float, w: float = 0.0) -> Array:
    """Return G at one point.

    Parameters
    ----------
    embedding : Embedding
    s_hat, w : float

    Returns
    -------
    (K,) float64
    """
    if isinstance(embedding, Network):
        return forward(embedding, np.array([[s_hat]]))[0]
    return embed(embedding, np.array([s_hat]), np.array([w]))[0][0]
