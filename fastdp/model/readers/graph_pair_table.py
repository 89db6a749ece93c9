"""The pair table of a frozen graph (`use_srtab`), and how the graph goes from the network to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import Array
from fastdp.model.pair_part import NearestSwitch, PairPart
from fastdp.model.pair_table import PairTableData
from fastdp.model.readers.graph_def import Graph, Node
from fastdp.model.readers.model_graph import ModelGraph

SWITCH, TABLE = "SoftMinSwitch", "PairTab"
"""Operations of DeePMD-kit."""

BIAS = "fitting_attr/t_bias_atom_e"


def read_pair_part(model: ModelGraph, descriptor: Any, n_types: int) -> PairPart | None:
    """Return the table that takes the network's place where atoms come close, or None if there is none.

    Parameters
    ----------
    model : ModelGraph
    descriptor : Descriptor
        Read from it; its neighbours are the table's.
    n_types : int

    Raises
    ------
    ModelError
        If the table is damaged.
    UnsupportedModelError
        If table and network are put together in a way that is not known.
    """
    graph = model.graph
    switches, tables = (
        [graph[name] for name in model.path if graph[name].operation == operation]
        for operation in (SWITCH, TABLE)
    )
    if not switches and not tables:
        return None
    if len(switches) != 1 or len(tables) != 1 or not hasattr(descriptor, "selection"):
        raise UnsupportedModelError(
            f"{graph.source}: found {len(tables)} pair tables and {len(switches)} switches to them, and "
            "fastdp evaluates one of each (use_srtab) beside one descriptor"
        )
    (switch,), (table,) = switches, tables
    softness, inner, outer = (_real(graph, switch, name) for name in ("alpha", "rmin", "rmax"))
    if not (softness > 0.0 and 0.0 <= inner < outer < np.inf):
        raise ModelError(
            f"{graph.source}: damaged: {switch.name} has alpha {softness}, rmin {inner}, rmax {outer}"
        )
    return PairPart(
        tables=(read_table(graph, table, n_types, descriptor.cutoff, len(descriptor.selection)),),
        bias=_bias(model, table, n_types),
        switch=NearestSwitch(softness, inner, outer, descriptor.cutoff),
        selection=descriptor.selection,
        overflow_rule=descriptor.overflow_rule,
    )


def pair_nodes(model: ModelGraph) -> tuple[str, str]:
    """Return the names of the nodes of the switch and of the table."""
    graph = model.graph
    found = {graph[name].operation: name for name in model.path if graph[name].operation in (SWITCH, TABLE)}
    return found[SWITCH], found[TABLE]


def table_notes(n_sections: int, n_types: int) -> tuple[str, ...]:
    """Return what to tell the user of a table, see `read_table`."""
    if n_sections == n_types:
        return ()
    return (
        "the tables of pairs take every neighbour for one of the first type, as DeePMD-kit's TensorFlow does "
        "where `sel` is one number",
    )


def read_table(graph: Graph, node: Node, n_types: int, cutoff: float, n_sections: int) -> PairTableData:
    """Return the table of a node.

    Parameters
    ----------
    graph : Graph
    node : Node
        Of the operation `TABLE`.
    n_types : int
    cutoff : float
        Å.
    n_sections : int
        Parts of `sel`. The operation takes the section of a neighbour for its type: with one section, all
        neighbours are of the first.

    Raises
    ------
    ModelError
        If it is damaged.
    """
    info, data = (_constant(graph, node, number) for number in (0, 1))
    if info.size != 4 or not np.isfinite(info).all():
        raise ModelError(f"{graph.source}: damaged: the pair table is described by {info.tolist()}")
    start, spacing, n_intervals = float(info[0]), float(info[1]), int(info[2] + 0.1)
    sound = n_intervals > 0 and start >= 0.0 and spacing > 0.0 and start < cutoff
    if not sound or int(info[3] + 0.1) != n_types or data.size != n_types**2 * n_intervals * 4:
        raise ModelError(
            f"{graph.source}: damaged: the pair table has {data.size} numbers and is described by "
            f"{info.tolist()}, for {n_types} types"
        )
    coefficients = data.reshape(n_types, n_types, n_intervals, 4)[..., ::-1].copy()
    if not np.isfinite(coefficients).all():
        raise ModelError(f"{graph.source}: damaged: the pair table has numbers that are not finite")
    if n_sections != n_types:
        coefficients = np.repeat(coefficients[:, :1], n_types, axis=1)
    return PairTableData(start, spacing, coefficients, cutoff)


def _constant(graph: Graph, node: Node, number: int) -> Array:
    """Return the constant that an input of a node comes from."""
    source = graph[node.inputs[number][0]] if len(node.inputs) > number else None
    while source is not None and source.operation in ("Identity", "Cast") and source.inputs:
        source = graph[source.inputs[0][0]]
    if source is None or source.operation != "Const":
        raise ModelError(f"{graph.source}: damaged: input {number} of {node.name!r} is no constant")
    return graph.numbers(source.name).ravel().astype(np.float64)


def _bias(model: ModelGraph, table: Node, n_types: int) -> Array:
    """Return what is added to the table's energies: the network's shifts, or nothing (`srtab_add_bias`)."""
    graph = model.graph
    added = any(
        node.name in model.path and node.operation in ("Add", "AddV2") for node in graph.consumers[table.name]
    )
    if not added or BIAS not in graph:
        return np.zeros(n_types)
    bias = graph.numbers(BIAS).ravel().astype(np.float64)
    if bias.shape != (n_types,):
        raise ModelError(f"{graph.source}: damaged: {BIAS} has {bias.size} numbers for {n_types} types")
    return bias


def _real(graph: Graph, node: Node, name: str) -> float:
    if name not in node.attributes:
        raise ModelError(f"{graph.source}: damaged: {node.name!r} has no {name}")
    return float(node.attributes[name].f)
