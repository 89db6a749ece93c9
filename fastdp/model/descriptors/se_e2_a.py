"""se_e2_a, with and without type embeddings, and se_atten (DPA-1) without attention layers.

D_kl = Σ_c T_kc T_lc, l = 1…M, flattened with k slow; ρ_k = (T_k1, T_k2, T_k3).

Zhang et al., NeurIPS 2018 (arXiv:1805.09003); Zhang et al., npj Comput. Mater. 10, 94 (2024).
"""

from __future__ import annotations

import numpy as np

from fastdp.model.description import Array, SeE2ADescriptor
from fastdp.model.descriptors.registry import Described, descriptor, expanded
from fastdp.model.descriptors.selection import chosen
from fastdp.model.environment import pair_blocks, pair_gradients, sum_environment
from fastdp.model.neighbourhood import Neighbourhood


@descriptor(SeE2ADescriptor)
def _describe(part: SeE2ADescriptor, neighbourhood: Neighbourhood, truncate: bool) -> Described:
    mine, pairs = chosen(part, neighbourhood, truncate)
    blocks = list(pair_blocks(part, mine))
    t = sum_environment(part, mine, blocks)
    n_axis = part.axis_neurons
    axis = t[:, :n_axis]
    d = t @ axis.transpose(0, 2, 1)

    def pullback(by_d: Array, by_rotation: Array | None) -> Array:
        p = by_d.reshape(d.shape)
        by_t = p @ axis
        by_t[:, :n_axis] += p.transpose(0, 2, 1) @ t
        if by_rotation is not None:
            by_t[:, :, 1:] += by_rotation
        return expanded(pair_gradients(part, mine, blocks, by_t), pairs, len(neighbourhood.vectors))

    return Described(d.reshape(len(d), -1), np.ascontiguousarray(t[:, :, 1:]), pullback)
