"""The se_e2_r descriptor of a frozen graph."""

from __future__ import annotations

import numpy as np

from fastdp.errors import ModelError
from fastdp.model.description import SeE2RDescriptor
from fastdp.model.embeddings import value_at
from fastdp.model.readers.graph_descriptors import GraphDescriptor, graph_descriptor
from fastdp.model.readers.graph_embeddings import embedding_network, pair_networks
from fastdp.model.readers.graph_environment import normaliser_of, selection_of, statistics_of, switch_of
from fastdp.model.readers.model_graph import ModelGraph


@graph_descriptor("ProdEnvMatR", "DescrptSeR")
def _se_e2_r(model: ModelGraph) -> GraphDescriptor:
    selection = selection_of(model, "sel")
    n_types = len(selection)
    mean, spread = (values[..., 0] for values in statistics_of(model, selection, n_types, 1))
    embedding, one_sided = pair_networks(model, n_types, "TabulateFusionSeR")
    widths = {network.n_out for row in embedding for network in row if network is not None}
    if len(widths) != 1:
        raise ModelError(f"{model.graph.source}: the embedding networks are of the widths {sorted(widths)}")
    width = widths.pop()
    empty, excluded = np.zeros((n_types, n_types, width)), np.zeros((n_types, n_types, width))
    for alpha in range(n_types):
        for beta in range(n_types):
            network = embedding[alpha][beta]
            if network is not None:
                empty[alpha, beta] = value_at(network, float(-mean[alpha, beta] / spread[alpha, beta]))
            elif one_sided:
                # The networks of all neighbours exist; an excluded one's input is 0, filled or empty.
                shared = next((row[beta] for row in embedding if row[beta] is not None), None)
                if shared is None:
                    shared = embedding_network(model, f"filter_type_all{model.suffix}", f"_{beta}", 1)
                empty[alpha, beta] = excluded[alpha, beta] = value_at(shared, 0.0)
    switch = switch_of(model, ("rcut", "rcut_smth"))
    normaliser = normaliser_of(model, selection)

    def complete(given: int) -> SeE2RDescriptor:
        if given != width:
            raise ModelError(
                f"{model.graph.source}: the fitting network takes {given} numbers of a descriptor with "
                f"{width}"
            )
        return SeE2RDescriptor(
            switch, selection, normaliser, mean, spread, embedding, one_sided, empty, excluded
        )

    return GraphDescriptor(complete, width)
