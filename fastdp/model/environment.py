"""From the neighbours of atoms to their environment matrices T, and from ∂E/∂T back to the neighbours.

Centre i of type α, neighbour j of type β at r = r_j − r_i, r̂ = r/r, s = w(r)/r:

    ŝ = (s − μ)/σ_r,  R̂ = (ŝ, s r̂/σ_a)                       the normalised environment row
    T_kc = (1/N_sel) Σ_slots G_k(ŝ) R̂_c,  c = 0…3

With a protection p, s = w/(r + p) and the other three components are t r̂/σ_a with t = w r/(r + p)²;
without it t = s. G may depend on w too.

The trainer gives every neighbour type (or all types together) a fixed number of slots. An empty slot has
s = 0, hence ŝ₀ = −μ/σ_r, and adds the constant G_k(ŝ₀) ŝ₀ to T_k0 and nothing else; so the sum over slots is
one over the neighbours that are there plus (sel − n) such constants.

Zhang et al., NeurIPS 2018 (arXiv:1805.09003).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array, SeE2ADescriptor
from fastdp.model.embeddings import embed
from fastdp.model.neighbourhood import Neighbourhood, slices_of
from fastdp.model.radial_functions import empty_slot_term, inverse_distance

__all__ = ["Neighbourhood", "environment_matrices", "pair_blocks", "pair_gradients", "sum_environment"]


@dataclass(frozen=True)
class PairBlock:
    """What T and its derivative need of the pairs (α, β) of a `Neighbourhood`.

    Attributes
    ----------
    pairs : (p,) int64
        Which pairs of the neighbourhood these are.
    slices : tuple of (int, slice)
        Centre and its range within the block, for centres that have such neighbours.
    rows, rows_derivative : (p, 4) float64
        R̂ and, along r̂, its derivative by r, 1/Å.
    embedding, embedding_derivative : (p, K) float64
        G and dG/dr, 1/Å.
    across : (p,) float64
        t/(σ_a r), 1/Å: how R̂'s direction follows a step across r̂.
    direction : (p, 3) float64
        r̂.
    """

    pairs: NDArray[np.int64]
    slices: tuple[tuple[int, slice], ...]
    rows: Array
    rows_derivative: Array
    embedding: Array
    embedding_derivative: Array
    across: Array
    direction: Array


def environment_matrices(descriptor: SeE2ADescriptor, neighbourhood: Neighbourhood) -> Array:
    """Return T of each centre; every neighbour counts, whatever the trainer's limit on their number.

    Parameters
    ----------
    descriptor : SeE2ADescriptor
    neighbourhood : Neighbourhood

    Returns
    -------
    (n_centres, K, 4) float64
    """
    return sum_environment(descriptor, neighbourhood, list(pair_blocks(descriptor, neighbourhood)))


def pair_blocks(descriptor: SeE2ADescriptor, neighbourhood: Neighbourhood) -> Iterator[PairBlock]:
    """Yield the radial and angular parts of the pairs, one block for each neighbour type not excluded.

    Parameters
    ----------
    descriptor : SeE2ADescriptor
    neighbourhood : Neighbourhood
    """
    alpha = neighbourhood.centre_type
    for beta in range(descriptor.n_types):
        network = descriptor.embedding[alpha][beta]
        pairs = np.flatnonzero(neighbourhood.neighbour_types == beta)
        if network is None or len(pairs) == 0:
            continue
        vectors = neighbourhood.vectors[pairs]
        r = np.linalg.norm(vectors, axis=1)
        direction = vectors / r[:, None]
        inverse = inverse_distance(descriptor.switch, r, descriptor.protection)
        mean, spread = descriptor.mean[alpha, beta, 0], descriptor.spread[alpha, beta, :2]
        s_hat = (inverse.s - mean) / spread[0]
        slope = inverse.s_derivative / spread[0]
        g, g_derivative, by_w = embed(network, s_hat, inverse.w)
        g_derivative = g_derivative * slope[:, None]
        if by_w is not None:
            g_derivative += by_w * inverse.w_derivative[:, None]
        yield PairBlock(
            pairs,
            slices_of(neighbourhood.centre[pairs]),
            np.column_stack((s_hat, (inverse.t / spread[1])[:, None] * direction)),
            np.column_stack((slope, (inverse.t_derivative / spread[1])[:, None] * direction)),
            g,
            g_derivative,
            inverse.t / (spread[1] * r),
            direction,
        )


def sum_environment(
    descriptor: SeE2ADescriptor, neighbourhood: Neighbourhood, blocks: list[PairBlock]
) -> Array:
    """Return T_kc = (1/N_sel) [Σ_j G_k R̂_jc + δ_c0 Σ_β (sel_β − n_β) G_k(ŝ₀) ŝ₀].

    Parameters
    ----------
    descriptor : SeE2ADescriptor
    neighbourhood : Neighbourhood
    blocks : list of PairBlock
        Of this neighbourhood.

    Returns
    -------
    (n_centres, K, 4) float64
    """
    alpha, n_centres = neighbourhood.centre_type, neighbourhood.n_centres
    total = np.zeros((n_centres, descriptor.n_channels, 4))
    for block in blocks:
        for i, rows in block.slices:
            total[i] += block.embedding[rows].T @ block.rows[rows]
    if descriptor.mixed:
        empty = descriptor.selection[0] - np.bincount(neighbourhood.centre, minlength=n_centres)
        total[:, :, 0] += empty[:, None] * empty_slot_term(descriptor, alpha, neighbourhood.first_type)
        return total / descriptor.normaliser
    for beta in range(descriptor.n_types):
        counts = np.bincount(neighbourhood.centre[neighbourhood.neighbour_types == beta], minlength=n_centres)
        empty = descriptor.selection[beta] - counts
        total[:, :, 0] += empty[:, None] * empty_slot_term(descriptor, alpha, beta)
    return total / descriptor.normaliser


def pair_gradients(
    descriptor: SeE2ADescriptor, neighbourhood: Neighbourhood, blocks: list[PairBlock], gradient: Array
) -> Array:
    """Return g_ij = ∂E_i/∂r_ij of every pair, from ∂E_i/∂T.

    With Q = (1/N_sel) ∂E_i/∂T, q_c = Σ_k G_k Q_kc and h_c = Σ_k (dG_k/dr) Q_kc:

        ∂E_i/∂r = Σ_c (h_c R̂_c + q_c ∂R̂_c/∂r)
        g = (∂E_i/∂r) r̂ + (t/(σ_a r)) (q − (q·r̂) r̂)                     q = (q_1, q_2, q_3)

    Parameters
    ----------
    descriptor : SeE2ADescriptor
    neighbourhood : Neighbourhood
    blocks : list of PairBlock
        Of this neighbourhood.
    gradient : (n_centres, K, 4) float64
        ∂E_i/∂T, eV.

    Returns
    -------
    (n_pairs, 3) float64
        eV/Å.
    """
    g = np.zeros((len(neighbourhood.vectors), 3))
    for block in blocks:
        q = np.empty((len(block.pairs), 4))
        h = np.empty((len(block.pairs), 4))
        for i, rows in block.slices:
            scaled = gradient[i] / descriptor.normaliser
            q[rows] = block.embedding[rows] @ scaled
            h[rows] = block.embedding_derivative[rows] @ scaled
        by_r = np.sum(h * block.rows + q * block.rows_derivative, axis=1)
        radial = np.sum(q[:, 1:] * block.direction, axis=1)
        across = q[:, 1:] - radial[:, None] * block.direction
        g[block.pairs] = by_r[:, None] * block.direction + block.across[:, None] * across
    return g
