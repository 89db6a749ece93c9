"""What a descriptor knows of one pair: functions of the distance between centre and neighbour.

Symbols: w(r) the switch, s(r) = w/r, ŝ = (s − μ)/σ_r, ŝ₀ = −μ/σ_r its value in an empty slot, G_k the
embedding network of the pair. The sum over all slots, filled or empty, becomes a sum over neighbours:

    a_k(r) = G_k(ŝ) ŝ − G_k(ŝ₀) ŝ₀          b_k(r) = G_k(ŝ) s / σ_a
    T_k0 = (1/N_sel) Σ_j a_k(r_ij) + const_k    const_k = (1/N_sel) Σ_β sel_β G_k(ŝ₀) ŝ₀
    T_kc = (1/N_sel) Σ_j b_k(r_ij) r̂_c

Both functions vanish at the cutoff together with their first two derivatives.
"""

from __future__ import annotations

import numpy as np

from fastdp.errors import UnsupportedModelError
from fastdp.model.description import Array, DeepPotential, SmoothSwitch
from fastdp.model.networks import forward


def switch_and_derivative(switch: SmoothSwitch, r: Array) -> tuple[Array, Array]:
    """Return w(r) = u³(−6u²+15u−10)+1 and w'(r) = −30 u²(1−u)²/width, u = (r − inner)/width in [0, 1].

    Zhang et al., NeurIPS 2018 (arXiv:1805.09003), in the polynomial form of DeePMD-kit since 1.0.

    Parameters
    ----------
    switch : SmoothSwitch
    r : (n,) float64
        Distances, Å.

    Returns
    -------
    w : (n,) float64
    derivative : (n,) float64
        1/Å.
    """
    u = np.clip((r - switch.inner) / switch.width, 0.0, 1.0)
    u = np.where(r >= switch.cutoff, 1.0, u)
    w = np.where(u < 1.0, u**3 * (-6.0 * u**2 + 15.0 * u - 10.0) + 1.0, 0.0)
    return w, -30.0 * (u * (1.0 - u)) ** 2 / switch.width


def radial_functions(
    description: DeepPotential, centre_type: int, neighbour_type: int, r: Array
) -> tuple[Array, Array]:
    """Return a_k(r) and b_k(r) of a pair of types.

    Parameters
    ----------
    description : DeepPotential
    centre_type, neighbour_type : int
    r : (n,) float64
        Distances, Å, > 0.

    Returns
    -------
    a : (n, K) float64
    b : (n, K) float64
        Both are zero for an excluded pair.
    """
    descriptor = description.descriptor
    network = descriptor.embedding[centre_type][neighbour_type]
    if network is None:
        return np.zeros((len(r), descriptor.n_channels)), np.zeros((len(r), descriptor.n_channels))
    mean = descriptor.mean[centre_type, neighbour_type]
    spread = descriptor.spread[centre_type, neighbour_type]
    w, _ = switch_and_derivative(descriptor.switch, r)
    s = w / r
    s_hat = (s - mean[0]) / spread[0]
    g = forward(network, s_hat[:, None])
    a = g * s_hat[:, None] - padding_term(description, centre_type, neighbour_type)
    b = g * (s / spread[1])[:, None]
    return a, b


def radial_constant(description: DeepPotential, centre_type: int) -> Array:
    """Return const_k = (1/N_sel) Σ_β sel_β G_k(ŝ₀) ŝ₀, what T_k0 is when no neighbour is there.

    Parameters
    ----------
    description : DeepPotential
    centre_type : int

    Returns
    -------
    (K,) float64
    """
    descriptor = description.descriptor
    total = np.zeros(descriptor.n_channels)
    for neighbour_type in range(descriptor.n_types):
        term = padding_term(description, centre_type, neighbour_type)
        total += descriptor.selection[neighbour_type] * term
    return total / descriptor.normaliser


def padding_term(description: DeepPotential, centre_type: int, neighbour_type: int) -> Array:
    """Return G_k(ŝ₀) ŝ₀, what one empty slot adds to N_sel T_k0; zero for an excluded pair.

    Parameters
    ----------
    description : DeepPotential
    centre_type, neighbour_type : int

    Returns
    -------
    (K,) float64

    Raises
    ------
    UnsupportedModelError
        If the empty slots of an excluded pair count, which no reader yields.
    """
    descriptor = description.descriptor
    network = descriptor.embedding[centre_type][neighbour_type]
    if network is None:
        if descriptor.excluded_padding != "dropped":
            raise UnsupportedModelError(
                f"{description.origin.path}: the empty slots of an excluded pair count, but it has no network"
            )
        return np.zeros(descriptor.n_channels)
    mean = descriptor.mean[centre_type, neighbour_type, 0]
    spread = descriptor.spread[centre_type, neighbour_type, 0]
    s_hat_0 = -mean / spread
    return forward(network, np.array([[s_hat_0]]))[0] * s_hat_0
