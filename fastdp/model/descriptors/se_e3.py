"""se_e3 (se_t): the angle between two neighbours.

With ρ_j = (t_j/σ) r̂_j and E_jk = ρ_j·ρ_k, over all neighbours j of type a and k of type b ≥ a, both orders
and j = k included where a = b:

    D_m = Σ_{a ≤ b} 1/(N_a N_b) Σ_jk E_jk G^ab_m(E_jk)

An empty slot has ρ = 0 and adds nothing. https://docs.deepmodeling.com/projects/deepmd, "Descriptor se_e3".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import Array, SeE3Descriptor
from fastdp.model.descriptors.registry import Described, descriptor, expanded
from fastdp.model.descriptors.selection import chosen
from fastdp.model.embeddings import embed
from fastdp.model.neighbourhood import Neighbourhood
from fastdp.model.radial_functions import inverse_distance


@descriptor(SeE3Descriptor)
def _describe(part: SeE3Descriptor, neighbourhood: Neighbourhood, truncate: bool) -> Described:
    mine, pairs = chosen(part, neighbourhood, truncate)
    alpha = mine.centre_type
    r = np.linalg.norm(mine.vectors, axis=1)
    direction = mine.vectors / r[:, None]
    inverse = inverse_distance(part.switch, r, part.protection)
    spread = part.spread[alpha][mine.neighbour_types]
    rho = (inverse.t / spread)[:, None] * direction
    d = np.zeros((mine.n_centres, part.width))
    # Of each centre and pair of types: its neighbours, and ∂D/∂E_jk, kept for the way back.
    kept: list[tuple[int, NDArray[np.int64], NDArray[np.int64], Array]] = []
    for i in range(mine.n_centres):
        start, stop = np.searchsorted(mine.centre, (i, i + 1))
        types = mine.neighbour_types[start:stop]
        for a in range(part.n_types):
            of_a = start + np.flatnonzero(types == a)
            for b in range(a, part.n_types):
                of_b = start + np.flatnonzero(types == b)
                network = part.embedding[a][b]
                if network is None or len(of_a) == 0 or len(of_b) == 0:
                    continue
                e = (rho[of_a] @ rho[of_b].T).ravel()
                g, slope, _ = embed(network, e, e)
                scale = 1.0 / float(part.normaliser[a] * part.normaliser[b])
                d[i] += scale * (e @ g)
                kept.append((i, of_a, of_b, scale * (g + e[:, None] * slope)))

    def pullback(by_d: Array, by_rotation: Array | None) -> Array:
        by_rho = np.zeros_like(rho)
        for i, of_a, of_b, by_e in kept:
            gradient = (by_e @ by_d[i]).reshape(len(of_a), len(of_b))
            by_rho[of_a] += gradient @ rho[of_b]
            by_rho[of_b] += gradient.T @ rho[of_a]
        radial = np.sum(by_rho * direction, axis=1)
        across = by_rho - radial[:, None] * direction
        g = (radial * inverse.t_derivative / spread)[:, None] * direction
        g += (inverse.t / (spread * r))[:, None] * across
        return expanded(g, pairs, len(neighbourhood.vectors))

    return Described(d, None, pullback)
