"""The se_e3 descriptor of a frozen graph."""

from __future__ import annotations

from fastdp.errors import ModelError
from fastdp.model.description import Embedding, SeE3Descriptor
from fastdp.model.readers.graph_descriptors import GraphDescriptor, graph_descriptor
from fastdp.model.readers.graph_embeddings import embedding_network
from fastdp.model.readers.graph_environment import excluded_pairs, selection_of, statistics_of, switch_of
from fastdp.model.readers.graph_tables import tables_of
from fastdp.model.readers.model_graph import ModelGraph


@graph_descriptor("ProdEnvMatA", "DescrptSeA")
def _se_e3(model: ModelGraph) -> GraphDescriptor | None:
    graph, scope = model.graph, f"filter_type_all{model.suffix}"
    with_networks = f"{scope}/matrix_1_0_0" in graph
    if not with_networks and f"{scope}/TabulateFusionSeT" not in graph:
        return None
    selection = selection_of(model)
    n_types = len(selection)
    _, spread = statistics_of(model, selection, n_types)
    if excluded_pairs(model, n_types):
        raise ModelError(f"{graph.source}: se_e3 of TensorFlow graphs has no exclude_types, but it is given")
    pairs = [(a, b) for a in range(n_types) for b in range(a, n_types)]
    tables = [] if with_networks else tables_of(model, scope, "TabulateFusionSeT")
    if tables and len(tables) != len(pairs):
        raise ModelError(
            f"{graph.source}: the compressed model has {len(tables)} tables for {len(pairs)} pairs"
        )
    networks: dict[tuple[int, int], Embedding] = (
        dict(zip(pairs, tables, strict=True))
        if tables
        else {(a, b): embedding_network(model, scope, f"_{a}_{b}", 1) for a, b in pairs}
    )
    widths = {network.n_out for network in networks.values()}
    if len(widths) != 1:
        raise ModelError(f"{graph.source}: the embedding networks are of the widths {sorted(widths)}")
    width, switch = widths.pop(), switch_of(model)
    table = tuple(tuple(networks.get((a, b)) for b in range(n_types)) for a in range(n_types))

    def complete(given: int) -> SeE3Descriptor:
        if given != width:
            raise ModelError(
                f"{graph.source}: the fitting network takes {given} numbers of a descriptor with {width}"
            )
        return SeE3Descriptor(switch, selection, selection, spread[..., 1], table)

    return GraphDescriptor(complete, width)
