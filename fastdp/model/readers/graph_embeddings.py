"""Embedding networks of frozen graphs by pair of types: weights, or the tables of compressed models."""

from __future__ import annotations

from fastdp.errors import ModelError
from fastdp.model.description import Embedding, EmbeddingTable, Network
from fastdp.model.readers.graph_environment import excluded_pairs
from fastdp.model.readers.graph_networks import embedding_shortcut, hidden_network
from fastdp.model.readers.graph_tables import tables_of
from fastdp.model.readers.model_graph import MEAN_INPUT, ModelGraph

TWO_SIDED_SCOPES = ("filter_type_{}", "DS_layer_type_{}")
"""Scope of the embedding networks of one type of centre: since 1.0, in 0.x."""


def number_of_types(model: ModelGraph) -> int:
    """Return the number of types, of descriptors whose `sel` does not tell.

    Raises
    ------
    ModelError
        If the graph does not tell either.
    """
    for name in (f"descrpt_attr{model.suffix}/ntypes", "descrpt_attr/ntypes"):
        if name in model.graph:
            number = model.graph.integer(name)
            if 0 < number < 1000:
                return number
            raise ModelError(f"{model.graph.source}: damaged: {name} is {number}")
    shape = model.graph.constant(model.environment.inputs[MEAN_INPUT][0]).shape
    return int(shape[0])


def embedding_network(model: ModelGraph, scope: str, tail: str, n_in: int) -> Network:
    """Read the network whose layers are called `scope`/matrix_1`tail` and so on.

    Parameters
    ----------
    model : ModelGraph
    scope, tail : str
    n_in : int
        Width of the input.

    Raises
    ------
    ModelError
        If weights are missing or do not fit together.
    """
    names: list[tuple[str, str, str]] = []
    while not names or f"{scope}/matrix_{len(names) + 1}{tail}" in model.graph:
        ending = f"{len(names) + 1}{tail}"
        names.append((f"{scope}/matrix_{ending}", f"{scope}/bias_{ending}", f"{scope}/idt_{ending}"))
    return hidden_network(model, names, n_in, embedding_shortcut)


def pair_networks(model: ModelGraph, n_types: int, *table_operations: str) -> tuple[EmbeddingTable, bool]:
    """Return the networks by types of centre and neighbour, and whether the centre's type is ignored.

    Parameters
    ----------
    model : ModelGraph
    n_types : int
    table_operations : str
        Operations that look up a compressed model's tables.

    Raises
    ------
    ModelError
        If networks are missing.
    """
    graph, suffix = model.graph, model.suffix
    shared = f"filter_type_all{suffix}"
    one_sided = f"{shared}/matrix_1_0" in graph
    tables = [] if one_sided else tables_of(model, shared, *table_operations)
    if one_sided or tables:
        networks: list[Embedding] = (
            list(tables)
            if tables
            else [embedding_network(model, shared, f"_{beta}", 1) for beta in range(n_types)]
        )
        if len(networks) != n_types:
            raise ModelError(
                f"{graph.source}: the compressed model has {len(networks)} tables for {n_types} types; "
                f"give the "
                "model as it was before dp compress"
            )
        excluded = excluded_pairs(model, n_types)
        return tuple(
            tuple(None if (alpha, beta) in excluded else networks[beta] for beta in range(n_types))
            for alpha in range(n_types)
        ), True
    scopes = [pattern.format(f"{{}}{suffix}") for pattern in TWO_SIDED_SCOPES]
    scopes = [
        scope
        for scope in scopes
        if any(f"{scope.format(a)}/matrix_1_{b}" in graph for a in range(n_types) for b in range(n_types))
    ]
    if len(scopes) == 1:
        # A network that is absent belongs to a pair that was excluded.
        return tuple(
            tuple(
                embedding_network(model, scopes[0].format(alpha), f"_{beta}", 1)
                if f"{scopes[0].format(alpha)}/matrix_1_{beta}" in graph
                else None
                for beta in range(n_types)
            )
            for alpha in range(n_types)
        ), False
    return _two_sided_tables(model, n_types, *table_operations), False


def _two_sided_tables(model: ModelGraph, n_types: int, *table_operations: str) -> EmbeddingTable:
    """Return the tables of each type of centre, which stand for its neighbour types that are not excluded."""
    graph = model.graph
    excluded = excluded_pairs(model, n_types)
    rows: list[tuple[Embedding | None, ...]] = []
    for alpha in range(n_types):
        tables = tables_of(model, f"filter_type_{alpha}{model.suffix}", *table_operations)
        wanted = [beta for beta in range(n_types) if (alpha, beta) not in excluded]
        if not tables and alpha == 0 and wanted:
            raise ModelError(
                f"{graph.source}: the embedding networks (filter_type_…/matrix_1_…) are missing; the file "
                "is truncated, or is not a model frozen by DeePMD-kit"
            )
        if len(tables) != len(wanted):
            raise ModelError(
                f"{graph.source}: the compressed model has {len(tables)} tables for {len(wanted)} pairs "
                f"of type "
                f"{alpha}; give the model as it was before dp compress"
            )
        of_type: dict[int, Embedding] = dict(zip(wanted, tables, strict=True))
        rows.append(tuple(of_type.get(beta) for beta in range(n_types)))
    return tuple(rows)
