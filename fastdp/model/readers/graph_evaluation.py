"""Evaluation of the part of a frozen graph that leads from environment rows to energies.

The importer uses it to learn which function stands between two nodes, and to check what it has
understood against what the graph itself computes.

Graphs are not trusted: an operation that is not known is refused by name, and sizes and the total amount
of work are bounded before anything is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.readers.graph_def import Graph, Node
from fastdp.model.readers.graph_operations import OPERATIONS, Values

MAX_LIVE_ELEMENTS = 2**27
"""Most numbers that are held at a time: 1 GiB in float64."""

MAX_WORK = 2**34
"""Most elements and multiply-adds altogether; a large published model takes a hundredth."""


def evaluate(
    graph: Graph, outputs: Iterable[str], feeds: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return the values of nodes, given those of others.

    Parameters
    ----------
    graph : Graph
    outputs : iterable of str
        Nodes that are wanted.
    feeds : mapping of str to ndarray
        Values of nodes that are not to be computed; "name:1" is the second output.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    UnsupportedModelError
        If an operation on the way is not known.
    ModelError
        If the graph is not consistent, or much too large.
    """
    outputs = list(outputs)
    order = _in_order(graph, graph.ancestors(outputs, stop=frozenset(feeds)), feeds)
    uses = Counter(source for name in order if name not in feeds for source, _ in graph[name].inputs)
    uses.update(outputs)
    values: dict[str, NDArray[Any]] = {name: np.asarray(value) for name, value in feeds.items()}
    live = work = 0
    for name in order:
        if name in feeds:
            continue
        node = graph[name]
        inputs = []
        for source, port in node.inputs:
            if port != 0 and f"{source}:{port}" not in feeds:
                raise UnsupportedModelError(
                    f"{graph.source}: the node {name!r} ({node.operation}) takes output {port} of "
                    f"{source!r}, "
                    "which no model frozen by DeePMD-kit does that fastdp knows"
                )
            inputs.append(values[source] if port == 0 else np.asarray(feeds[f"{source}:{port}"]))
        values[name], done = _evaluate_node(graph, node, inputs, MAX_LIVE_ELEMENTS - live, MAX_WORK - work)
        live += values[name].size
        work += done
        for source, _ in node.inputs:
            uses[source] -= 1
            if uses[source] == 0:
                live -= values.pop(source).size
    return {name: values[name] for name in outputs}


def _in_order(graph: Graph, needed: Collection[str], feeds: Collection[str]) -> list[str]:
    """Return the needed nodes, each after its inputs."""
    sources = {
        name: () if name in feeds else tuple({source for source, _ in graph[name].inputs}) for name in needed
    }
    followers: dict[str, list[str]] = {name: [] for name in needed}
    for name, of in sources.items():
        for source in of:
            followers[source].append(name)
    waiting = {name: len(of) for name, of in sources.items()}
    ready = [name for name in needed if waiting[name] == 0]
    order = []
    while ready:
        name = ready.pop()
        order.append(name)
        for follower in followers[name]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                ready.append(follower)
    if len(order) != len(needed):
        raise ModelError(f"{graph.source}: damaged: the graph has a loop")
    return order


def _evaluate_node(
    graph: Graph, node: Node, inputs: Values, max_size: int, max_work: int
) -> tuple[NDArray[Any], int]:
    """Return the node's value and the work it took."""
    if node.operation == "Const":
        value = graph.constant(node.name)
        kinds: dict[str, Any] = {"f": np.float64, "i": np.int64}
        return value.astype(kinds.get(value.dtype.kind, value.dtype)), value.size
    if node.operation not in OPERATIONS:
        raise UnsupportedModelError(
            f"{graph.source}: found the operation {node.operation!r} (node {node.name!r}) on the way to the "
            "energy, which fastdp does not evaluate; no model frozen by DeePMD-kit itself has it that "
            "fastdp knows"
        )
    operation = OPERATIONS[node.operation]
    try:
        size, work = operation.size(node, inputs), operation.work(node, inputs)
        if size > max_size or work > max_work or any(value.ndim > 8 for value in inputs):
            raise ValueError(f"{size} numbers are too many")
        with np.errstate(all="ignore"):
            return np.asarray(operation.compute(node, inputs)), work
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise ModelError(
            f"{graph.source}: damaged: the node {node.name!r} ({node.operation}) cannot be evaluated: {error}"
        ) from error
