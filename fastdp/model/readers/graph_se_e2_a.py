"""se_e2_a of frozen graphs, with and without type embeddings, and se_atten without attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import (
    Array,
    Embedding,
    EmbeddingTable,
    Network,
    SeE2ADescriptor,
    StrippedEmbedding,
    TabulatedNetwork,
)
from fastdp.model.embeddings import value_at
from fastdp.model.networks import forward, with_constant_inputs
from fastdp.model.readers.graph_descriptors import GraphDescriptor, graph_descriptor
from fastdp.model.readers.graph_embeddings import embedding_network, number_of_types, pair_networks
from fastdp.model.readers.graph_environment import (
    excluded_pairs,
    normaliser_of,
    selection_of,
    statistics_of,
    switch_of,
)
from fastdp.model.readers.graph_evaluation import evaluate
from fastdp.model.readers.graph_tables import stripped_table, tables_of
from fastdp.model.readers.model_graph import ModelGraph

STRIP_SUFFIXES = {"_two_side_ebd": False, "_one_side_ebd": True}
"""What follows the names of the networks of type embeddings, and whether the centre's type is ignored."""


@graph_descriptor("ProdEnvMatA", "DescrptSeA", "DescrptNorot")
def _se_e2_a(model: ModelGraph) -> GraphDescriptor | None:
    graph, scope = model.graph, f"filter_type_all{model.suffix}"
    if f"{scope}/matrix_1_0_0" in graph or f"{scope}/TabulateFusionSeT" in graph:
        return None
    selection = selection_of(model)
    n_types = len(selection)
    statistics = statistics_of(model, selection, n_types)
    if f"{scope}/matrix_1" in graph or f"{scope}/TabulateFusionSeAtten" in graph:
        return _with_types(model, selection, n_types, statistics, mixed=False)
    embedding, one_sided = pair_networks(model, n_types, "TabulateFusionSeA", "TabulateFusion")
    return _finished(model, selection, statistics, embedding, one_sided, None, "se_e2_a")


@graph_descriptor("ProdEnvMatAMix")
def _se_atten(model: ModelGraph) -> GraphDescriptor:
    selection = selection_of(model)
    if len(selection) != 1:
        raise ModelError(f"{model.graph.source}: damaged: sel of se_atten is {selection.tolist()}")
    n_types = number_of_types(model)
    return _with_types(model, selection, n_types, statistics_of(model, selection, n_types), mixed=True)


def _finished(
    model: ModelGraph,
    selection: NDArray[np.int64],
    statistics: tuple[Array, Array],
    embedding: EmbeddingTable,
    one_sided: bool,
    empty_term: Array | None,
    kind: str,
) -> GraphDescriptor:
    source = model.graph.source
    widths = {network.n_out for row in embedding for network in row if network is not None}
    if len(widths) != 1:
        raise ModelError(f"{source}: the embedding networks should be of one width, but are {sorted(widths)}")
    switch, normaliser, channels = switch_of(model), normaliser_of(model, selection), widths.pop()

    def complete(width: int) -> SeE2ADescriptor:
        axis_neurons, remainder = divmod(width, channels)
        if remainder or not 0 < axis_neurons <= channels:
            raise ModelError(
                f"{source}: the fitting network takes {width} numbers of a descriptor, which is not a "
                f"multiple of "
                f"the embedding's width, {channels}"
            )
        return SeE2ADescriptor(
            switch=switch,
            selection=selection,
            normaliser=normaliser,
            axis_neurons=axis_neurons,
            mean=statistics[0],
            spread=statistics[1],
            embedding=embedding,
            type_one_side=one_sided,
            overflow_rule="nearest_of_each_type"
            if len(selection) == len(embedding)
            else "nearest_of_any_type",
            empty_term=empty_term,
            kind=kind,
        )

    axis = model.settings.get("axis_neuron")
    return GraphDescriptor(complete, channels * axis if isinstance(axis, int) else None)


def type_embedding(model: ModelGraph, n_types: int) -> Array:
    """Return the embedding of each type, (n_types, n), as the graph computes it.

    Raises
    ------
    ModelError
        If it is missing or of another shape.
    """
    graph = model.graph
    table = np.asarray(evaluate(graph, ("t_typeebd",), {})["t_typeebd"], dtype=np.float64)
    if table.ndim != 2 or table.shape[0] not in (n_types, n_types + 1) or not np.isfinite(table).all():
        raise ModelError(
            f"{graph.source}: damaged: t_typeebd has the shape {table.shape} for {n_types} types"
        )
    return table[:n_types]


def _with_types(
    model: ModelGraph,
    selection: NDArray[np.int64],
    n_types: int,
    statistics: tuple[Array, Array],
    *,
    mixed: bool,
) -> GraphDescriptor:
    """Return a descriptor whose networks take the types' embeddings; they are written into each pair's."""
    te = type_embedding(model, n_types)
    padded = np.vstack((te, np.zeros((1, te.shape[1]))))
    pad = n_types
    excluded = excluded_pairs(model, n_types)
    mean, spread = statistics
    of_pair, one_sided, smooth = _type_networks(model, n_types, padded, statistics)
    # There an excluded neighbour has the rows' mean for each component, not zero.
    if smooth and excluded and np.any(mean != 0.0):
        raise UnsupportedModelError(
            f"{model.graph.source}: found excluded pairs together with smooth_type_embedding and without "
            "set_davg_zero: in such graphs of DeePMD-kit excluded neighbours push along x, y and z alike, "
            "and the energy depends on the orientation; train with set_davg_zero"
        )
    rows: list[list[Embedding | None]] = []
    empty: list[list[Array]] = []
    stripped = isinstance(of_pair(0, 0), StrippedEmbedding)
    for alpha in range(n_types):
        rows.append([None if (alpha, beta) in excluded else of_pair(alpha, beta) for beta in range(n_types)])
        terms = []
        for beta in range(n_types):
            # Concatenated, an empty slot of a section has the section's type; all others have the row of
            # zeros.
            network = of_pair(alpha, pad if mixed or stripped else beta)
            s_hat_0 = float(-mean[alpha, beta, 0] / spread[alpha, beta, 0])
            gone = not mixed and (alpha, beta) in excluded
            terms.append(np.zeros(network.n_out) if gone else value_at(network, s_hat_0) * s_hat_0)
        empty.append(terms)
    kind = "se_atten" if mixed else "se_e2_a with type embedding"
    table = tuple(tuple(row) for row in rows)
    return _finished(model, selection, statistics, table, one_sided, np.array(empty), kind)


PairNetwork = Callable[[int, int], Embedding]


def _type_networks(
    model: ModelGraph, n_types: int, types: Array, statistics: tuple[Array, Array]
) -> tuple[PairNetwork, bool, bool]:
    """Return a pair's embedding (the neighbour may be `n_types`: none), one-sidedness, smoothness."""
    graph, scope = model.graph, f"filter_type_all{model.suffix}"
    width = types.shape[1]
    strip = next((name for name in STRIP_SUFFIXES if f"{scope}/matrix_1{name}" in graph), None)
    table = f"{scope}/TabulateFusionSeAtten" in graph
    if strip is None and not table:
        n_in = int(graph.constant(f"{scope}/matrix_1").shape[0]) - 1
        if n_in not in (width, 2 * width):
            raise ModelError(
                f"{graph.source}: damaged: the embedding network takes {n_in} numbers besides s, and a "
                f"type has "
                f"{width}"
            )
        network = embedding_network(model, scope, "", 1 + n_in)
        one_sided = n_in == width

        def concatenated(alpha: int, beta: int) -> Embedding:
            given = types[beta] if one_sided else np.concatenate((types[beta], types[alpha]))
            return with_constant_inputs(network, 1, given)

        return concatenated, one_sided, False
    smooth = _smooth(model)
    base: Network | TabulatedNetwork
    if table:
        base = tables_of(model, scope, "TabulateFusionSeAtten")[0]
        factors = stripped_table(model, scope, n_types, base.n_out)
    else:
        base = embedding_network(model, scope, "", 1)
        n_in = width * (1 if STRIP_SUFFIXES[str(strip)] else 2)
        given = embedding_network(model, scope, str(strip), n_in)
        if given.n_out != base.n_out:
            raise ModelError(
                f"{graph.source}: damaged: type factors {given.n_out} wide for {base.n_out} channels"
            )
        if n_in == width:
            factors = forward(given, types)[None]
        else:
            factors = np.stack(
                [
                    forward(given, np.hstack((types, np.tile(types[a], (n_types + 1, 1)))))
                    for a in range(n_types)
                ]
            )
    one_sided = len(factors) == 1
    mean, spread = statistics
    inner = model.settings.get("rcut_smth")
    if smooth and not isinstance(inner, (int, float)):
        raise ModelError(
            f"{graph.source}: the training input does not hold the rcut_smth of se_atten's switch"
        )

    def stripped(alpha: int, beta: int) -> Embedding:
        factor = factors[0 if one_sided else alpha][beta]
        if not smooth:
            return StrippedEmbedding(base, factor)
        return StrippedEmbedding(
            base, factor, "cubic", float(inner or 0.0), float(mean[alpha, 0, 0]), float(spread[alpha, 0, 0])
        )

    return stripped, one_sided, smooth


def _smooth(model: ModelGraph) -> bool:
    """Return whether the types' factors fade with the distance: only the training input tells."""
    settings = model.settings
    kind = settings.get("type")
    if kind in ("se_atten_v2", "dpa1_v2"):
        return True
    if kind in ("se_atten", "dpa1", "se_a_ebd_v2", "se_e2_a", "se_a"):
        return bool(settings.get("smooth_type_embedding", False)) and kind in ("se_atten", "dpa1")
    raise UnsupportedModelError(
        f"{model.graph.source}: found stripped type embeddings, and no training input that says whether "
        f"they are "
        "smooth; freeze the model anew with DeePMD-kit 2.0 or later"
    )
