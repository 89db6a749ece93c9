"""se_e2_r: distances only.

D_k = (1/(5 N_sel)) [Σ_j G_k(ŝ_j) + Σ_β (sel_β − n_β) G_k(ŝ₀)]

https://docs.deepmodeling.com/projects/deepmd, "Descriptor se_e2_r". The factor 1/5 is in DeePMD-kit's code.
"""

from __future__ import annotations

import numpy as np

from fastdp.model.description import Array, SeE2RDescriptor
from fastdp.model.descriptors.registry import Described, descriptor, expanded
from fastdp.model.descriptors.selection import chosen
from fastdp.model.embeddings import embed
from fastdp.model.neighbourhood import Neighbourhood
from fastdp.model.radial_functions import inverse_distance


@descriptor(SeE2RDescriptor)
def _describe(part: SeE2RDescriptor, neighbourhood: Neighbourhood, truncate: bool) -> Described:
    mine, pairs = chosen(part, neighbourhood, truncate)
    alpha = mine.centre_type
    factor = 1.0 / (5.0 * part.normaliser)
    d = np.zeros((mine.n_centres, part.width))
    slopes = np.zeros((len(mine.vectors), part.width))
    r = np.linalg.norm(mine.vectors, axis=1)
    direction = mine.vectors / r[:, None]
    for beta in range(part.n_types):
        of_type = np.flatnonzero(mine.neighbour_types == beta)
        counts = np.bincount(mine.centre[of_type], minlength=mine.n_centres)
        d += (part.selection[beta] - counts)[:, None] * part.empty_term[alpha, beta]
        network = part.embedding[alpha][beta]
        if network is None:
            d += counts[:, None] * part.excluded_term[alpha, beta]
            continue
        inverse = inverse_distance(part.switch, r[of_type], part.protection)
        spread = part.spread[alpha, beta]
        g, by_s_hat, _ = embed(network, (inverse.s - part.mean[alpha, beta]) / spread, inverse.w)
        np.add.at(d, mine.centre[of_type], g)
        slopes[of_type] = by_s_hat * (inverse.s_derivative / spread)[:, None]

    def pullback(by_d: Array, by_rotation: Array | None) -> Array:
        by_r = factor * np.sum(slopes * by_d[mine.centre], axis=1)
        return expanded(by_r[:, None] * direction, pairs, len(neighbourhood.vectors))

    return Described(factor * d, None, pullback)
