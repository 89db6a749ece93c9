"""What a descriptor knows of one pair: functions of the distance between centre and neighbour.

Symbols: w(r) the switch, s(r) = w/r, ŝ = (s − μ)/σ_r, ŝ₀ = −μ/σ_r its value in an empty slot, G_k the
embedding network of the pair. The sum over all slots, filled or empty, becomes a sum over neighbours:

    a_k(r) = G_k(ŝ) ŝ − G_k(ŝ₀) ŝ₀          b_k(r) = G_k(ŝ) s / σ_a
    T_k0 = (1/N_sel) Σ_j a_k(r_ij) + const_k    const_k = (1/N_sel) Σ_β sel_β G_k(ŝ₀) ŝ₀
    T_kc = (1/N_sel) Σ_j b_k(r_ij) r̂_c

Both functions vanish at the cutoff together with their first two derivatives. In se_e2_r there is only

    D_k = (1/(5 N_sel)) Σ_j a_k(r_ij) + const_k,   a_k(r) = G_k(ŝ) − G_k(ŝ₀),
    const_k = (1/(5 N_sel)) Σ_β sel_β G_k(ŝ₀)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastdp.model.description import Array, DeepPotential, SeE2ADescriptor, SeE2RDescriptor, SmoothSwitch
from fastdp.model.embeddings import embed, value_at


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


@dataclass(frozen=True)
class InverseDistance:
    """Functions of the distance that environment rows are made of, and their derivatives by r.

    Attributes
    ----------
    w, s, t : (n,) float64
        w(r), s = w/(r + p) and t = w r/(r + p)².
    w_derivative, s_derivative, t_derivative : (n,) float64
    """

    w: Array
    s: Array
    t: Array
    w_derivative: Array
    s_derivative: Array
    t_derivative: Array


def inverse_distance(switch: SmoothSwitch, r: Array, protection: float = 0.0) -> InverseDistance:
    """Return w, s and t with their derivatives.

    Parameters
    ----------
    switch : SmoothSwitch
    r : (n,) float64
        Å, > 0.
    protection : float
        p, Å.

    Returns
    -------
    InverseDistance
    """
    w, w_derivative = switch_and_derivative(switch, r)
    distance = r + protection
    s = w / distance
    s_derivative = w_derivative / distance - w / distance**2
    if protection == 0.0:
        return InverseDistance(w, s, s, w_derivative, s_derivative, s_derivative)
    ratio = r / distance
    t_derivative = s_derivative * ratio + s * protection / distance**2
    return InverseDistance(w, s, s * ratio, w_derivative, s_derivative, t_derivative)


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
    absent = descriptor.absent is not None and bool(descriptor.absent[centre_type, neighbour_type])
    if network is None or absent:
        return np.zeros((len(r), descriptor.n_channels)), np.zeros((len(r), descriptor.n_channels))
    mean = descriptor.mean[centre_type, neighbour_type]
    spread = descriptor.spread[centre_type, neighbour_type]
    inverse = inverse_distance(descriptor.switch, r, descriptor.protection)
    s_hat = (inverse.s - mean[0]) / spread[0]
    g, _, _ = embed(network, s_hat, inverse.w)
    a = g * s_hat[:, None] - empty_slot_term(descriptor, centre_type, neighbour_type)
    b = g * (inverse.t / spread[1])[:, None]
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
    # Where all types share the slots, `selection` has one entry, and any type tells what an empty slot adds.
    for neighbour_type, selection in enumerate(descriptor.selection):
        total += selection * empty_slot_term(descriptor, centre_type, neighbour_type)
    return total / descriptor.normaliser


def empty_slot_term(descriptor: SeE2ADescriptor, centre_type: int, neighbour_type: int) -> Array:
    """Return G_k(ŝ₀) ŝ₀, what one empty slot adds to N_sel T_k0; zero for an excluded pair.

    Parameters
    ----------
    descriptor : SeE2ADescriptor
    centre_type : int
    neighbour_type : int
        For which the slot is; the type of the frame's first atom if the slots are for all types.

    Returns
    -------
    (K,) float64
    """
    if descriptor.empty_term is not None:
        return descriptor.empty_term[centre_type, neighbour_type]
    network = descriptor.embedding[centre_type][neighbour_type]
    if network is None:
        return np.zeros(descriptor.n_channels)
    mean = descriptor.mean[centre_type, neighbour_type, 0]
    spread = descriptor.spread[centre_type, neighbour_type, 0]
    s_hat_0 = float(-mean / spread)
    return value_at(network, s_hat_0) * s_hat_0


def distance_functions(descriptor: SeE2RDescriptor, centre_type: int, neighbour_type: int, r: Array) -> Array:
    """Return a_k(r) of a pair of types in se_e2_r.

    Parameters
    ----------
    descriptor : SeE2RDescriptor
    centre_type, neighbour_type : int
    r : (n,) float64
        Distances, Å, > 0.

    Returns
    -------
    (n, K) float64
        For an excluded pair constant, and zero in all models that can be compressed.
    """
    absent = descriptor.absent is not None and bool(descriptor.absent[centre_type, neighbour_type])
    empty = descriptor.empty_term[centre_type, neighbour_type]
    network = descriptor.embedding[centre_type][neighbour_type]
    if absent or network is None:
        excluded = empty if absent else descriptor.excluded_term[centre_type, neighbour_type]
        return np.tile(excluded - empty, (len(r), 1))
    inverse = inverse_distance(descriptor.switch, r, descriptor.protection)
    s_hat = (inverse.s - descriptor.mean[centre_type, neighbour_type]) / descriptor.spread[
        centre_type, neighbour_type
    ]
    return embed(network, s_hat, inverse.w)[0] - empty


def distance_constant(descriptor: SeE2RDescriptor, centre_type: int) -> Array:
    """Return const_k of se_e2_r, what D_k is when no neighbour is there, (K,).

    Parameters
    ----------
    descriptor : SeE2RDescriptor
    centre_type : int
    """
    return descriptor.selection @ descriptor.empty_term[centre_type] / (5.0 * descriptor.normaliser)
