"""From the neighbours of atoms to their environment matrices T, and from ∂E/∂T back to the neighbours.

Centre i of type α, neighbour j of type β at r = r_j − r_i, r̂ = r/r, s = w(r)/r:

    ŝ = (s − μ)/σ_r,  R̂ = (ŝ, s r̂/σ_a)                       the normalised environment row
    T_kc = (1/N_sel) Σ_slots G_k(ŝ) R̂_c,  c = 0…3

The trainer gives every neighbour type a fixed number of slots. An empty slot has s = 0, hence ŝ₀ = −μ/σ_r,
and adds the constant G_k(ŝ₀) ŝ₀ to T_k0 and nothing else; so the sum over slots is one over the neighbours
that are there plus (sel_β − n_β) such constants.

Zhang et al., NeurIPS 2018 (arXiv:1805.09003).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array, DeepPotential
from fastdp.model.networks import forward_with_tangent
from fastdp.model.radial_functions import padding_term, switch_and_derivative


@dataclass(frozen=True)
class Neighbourhood:
    """The neighbours of a batch of atoms that are all of one type.

    Attributes
    ----------
    centre_type : int
        α.
    n_centres : int
    centre : (n_pairs,) int64
        Number of the centre within the batch, ascending.
    neighbour_types : (n_pairs,) int
        β.
    vectors : (n_pairs, 3) float64
        r_j − r_i, Å, shorter than the cutoff.
    """

    centre_type: int
    n_centres: int
    centre: NDArray[np.int64]
    neighbour_types: NDArray[np.integer]
    vectors: Array


@dataclass(frozen=True)
class PairBlock:
    """What T and its derivative need of the pairs (α, β) of a `Neighbourhood`.

    Attributes
    ----------
    pairs : (p,) int64
        Which pairs of the neighbourhood these are.
    slices : tuple of (int, slice)
        Centre and its range within the block, for centres that have such neighbours.
    rows : (p, 4) float64
        R̂.
    embedding, embedding_derivative : (p, K) float64
        G(ŝ) and G'(ŝ).
    s, s_derivative, r : (p,) float64
        1/Å, 1/Å², Å.
    direction : (p, 3) float64
        r̂.
    spread : (2,) float64
        σ_r and σ_a.
    """

    pairs: NDArray[np.int64]
    slices: tuple[tuple[int, slice], ...]
    rows: Array
    embedding: Array
    embedding_derivative: Array
    s: Array
    s_derivative: Array
    r: Array
    direction: Array
    spread: Array


def environment_matrices(description: DeepPotential, neighbourhood: Neighbourhood) -> Array:
    """Return T of each centre; every neighbour counts, whatever the trainer's limit on their number.

    Parameters
    ----------
    description : DeepPotential
    neighbourhood : Neighbourhood

    Returns
    -------
    (n_centres, K, 4) float64
    """
    return sum_environment(description, neighbourhood, list(pair_blocks(description, neighbourhood)))


def pair_blocks(description: DeepPotential, neighbourhood: Neighbourhood) -> Iterator[PairBlock]:
    """Yield the radial and angular parts of the pairs, one block for each neighbour type not excluded.

    Parameters
    ----------
    description : DeepPotential
    neighbourhood : Neighbourhood
    """
    descriptor = description.descriptor
    alpha = neighbourhood.centre_type
    for beta in range(descriptor.n_types):
        network = descriptor.embedding[alpha][beta]
        pairs = np.flatnonzero(neighbourhood.neighbour_types == beta)
        if network is None or len(pairs) == 0:
            continue
        vectors = neighbourhood.vectors[pairs]
        r = np.linalg.norm(vectors, axis=1)
        direction = vectors / r[:, None]
        w, w_derivative = switch_and_derivative(descriptor.switch, r)
        s = w / r
        s_derivative = w_derivative / r - w / r**2
        mean, spread = descriptor.mean[alpha, beta, 0], descriptor.spread[alpha, beta, :2]
        s_hat = (s - mean) / spread[0]
        rows = np.column_stack((s_hat, (s / spread[1])[:, None] * direction))
        g, g_derivative = forward_with_tangent(network, s_hat[:, None], np.ones((len(s_hat), 1)))
        slices = _slices(neighbourhood.centre[pairs])
        yield PairBlock(
            pairs, slices, rows, g, g_derivative, s, s_derivative, r, direction, np.asarray(spread)
        )


def sum_environment(
    description: DeepPotential, neighbourhood: Neighbourhood, blocks: list[PairBlock]
) -> Array:
    """Return T_kc = (1/N_sel) [Σ_j G_k(ŝ_j) R̂_jc + δ_c0 Σ_β (sel_β − n_β) G_k(ŝ₀) ŝ₀].

    Parameters
    ----------
    description : DeepPotential
    neighbourhood : Neighbourhood
    blocks : list of PairBlock
        Of this neighbourhood.

    Returns
    -------
    (n_centres, K, 4) float64
    """
    descriptor = description.descriptor
    n_centres = neighbourhood.n_centres
    total = np.zeros((n_centres, descriptor.n_channels, 4))
    for block in blocks:
        for i, rows in block.slices:
            total[i] += block.embedding[rows].T @ block.rows[rows]
    for beta in range(descriptor.n_types):
        counts = np.bincount(neighbourhood.centre[neighbourhood.neighbour_types == beta], minlength=n_centres)
        empty = descriptor.selection[beta] - counts
        total[:, :, 0] += empty[:, None] * padding_term(description, neighbourhood.centre_type, beta)
    return total / descriptor.normaliser


def pair_gradients(
    description: DeepPotential, neighbourhood: Neighbourhood, blocks: list[PairBlock], gradient: Array
) -> Array:
    """Return g_ij = ∂E_i/∂r_ij of every pair, from ∂E_i/∂T.

    With Q = (1/N_sel) ∂E_i/∂T, q_c = Σ_k G_k Q_kc and h = Σ_kc G'_k Q_kc R̂_c:

        ∂E_i/∂s = (q_0 + h)/σ_r + Σ_c q_c r̂_c/σ_a
        g = (∂E_i/∂s) s' r̂ + (s/σ_a) (q − (q·r̂) r̂)/r                    q = (q_1, q_2, q_3)

    Parameters
    ----------
    description : DeepPotential
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
        h = np.empty(len(block.pairs))
        for i, rows in block.slices:
            scaled = gradient[i] / description.descriptor.normaliser
            q[rows] = block.embedding[rows] @ scaled
            h[rows] = np.sum((block.embedding_derivative[rows] @ scaled) * block.rows[rows], axis=1)
        radial = np.sum(q[:, 1:] * block.direction, axis=1)
        s_gradient = (q[:, 0] + h) / block.spread[0] + radial / block.spread[1]
        across = q[:, 1:] - radial[:, None] * block.direction
        g[block.pairs] = (s_gradient * block.s_derivative)[:, None] * block.direction
        g[block.pairs] += (block.s / (block.spread[1] * block.r))[:, None] * across
    return g


def nearest_within_selection(
    description: DeepPotential,
    centre: NDArray[np.integer],
    neighbour_types: NDArray[np.integer],
    vectors: Array,
) -> NDArray[np.bool_]:
    """Return which pairs the trainer keeps: of each type the nearest sel_β neighbours of every centre.

    Equal distances are decided by the order in which the pairs are given.

    Parameters
    ----------
    description : DeepPotential
    centre : (n_pairs,) int64
    neighbour_types : (n_pairs,) int
    vectors : (n_pairs, 3) float64
        Å.

    Returns
    -------
    (n_pairs,) bool
    """
    descriptor = description.descriptor
    r_squared = np.einsum("pc,pc->p", vectors, vectors)
    by_type = descriptor.overflow_rule == "nearest_of_each_type"
    keep = np.ones(len(centre), dtype=bool)
    if not by_type:
        keep = _rank(r_squared, centre) < descriptor.selection.sum()
    kept = np.flatnonzero(keep)
    rank = _rank(r_squared[kept], neighbour_types[kept], centre[kept])
    keep[kept] = rank < descriptor.selection[neighbour_types[kept]]
    return keep


def _rank(r_squared: Array, *groups: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return how many members of its own group are nearer than each one."""
    order = np.lexsort((r_squared, *groups))
    new = np.zeros(len(order), dtype=bool)
    new[:1] = True
    for group in groups:
        new[1:] |= np.diff(group[order]) != 0
    position = np.arange(len(order))
    start = np.maximum.accumulate(np.where(new, position, 0))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = position - start
    return rank


def _slices(centre: NDArray[np.int64]) -> tuple[tuple[int, slice], ...]:
    """Return each centre that occurs in the ascending list, with its range."""
    present, start = np.unique(centre, return_index=True)
    stop = np.append(start[1:], len(centre))
    return tuple((int(i), slice(int(a), int(b))) for i, a, b in zip(present, start, stop, strict=True))
