"""Tables of compressed frozen graphs (`dp compress`).

A table holds polynomials of fifth order that match value, slope and curvature at the knots. In DeePMD-kit
(up to
3.2) two intervals of the tables of se_e3 are built with the neighbouring range's spacing, and are wrong by
orders
of magnitude; value, slope and curvature at their left knots are right. Such an interval is built anew from
those
of its two knots.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdp.errors import ModelError
from fastdp.model.description import Array, TabulatedNetwork
from fastdp.model.embeddings import embed
from fastdp.model.readers.graph_def import Node
from fastdp.model.readers.graph_operations import Values, operation
from fastdp.model.readers.model_graph import ModelGraph

MAX_INTERVALS = 2**22

THREE_BODY = "TabulateFusionSeT"
"""The operation whose tables are symmetric about zero."""

WHOLE = 1e-3
"""Quotients of range and step this close to a whole number are one; float32 tables round their steps."""

MATCH = {8: 1e-7, 4: 1e-2}
"""How well the end of an interval must meet the next, of the table's values, by the bytes of a number."""


def tables_of(model: ModelGraph, scope: str, *operations: str) -> list[TabulatedNetwork]:
    """Return the tables that a scope looks up, in the order of its operations.

    Parameters
    ----------
    model : ModelGraph
    scope : str
    operations : str
        Names of the look-up operation in different versions.

    Raises
    ------
    ModelError
        If a table is not sound.
    """
    found: list[TabulatedNetwork] = []
    for kind in operations:
        while True:
            name = f"{scope}/{kind}" + (f"_{len(found)}" if found else "")
            if name not in model.graph or not model.graph[name].operation.startswith("TabulateFusion"):
                break
            found.append(_table(model, name))
        if found:
            break
    return found


def _table(model: ModelGraph, name: str) -> TabulatedNetwork:
    graph = model.graph
    node = graph[name]
    if len(node.inputs) < 3:
        raise ModelError(f"{graph.source}: damaged: the node {name!r} has {len(node.inputs)} inputs")
    precision = graph.constant(node.inputs[0][0]).dtype.itemsize
    values, info = graph.numbers(node.inputs[0][0]), graph.numbers(node.inputs[1][0]).ravel()
    return _tabulated(
        f"{graph.source}: damaged: the table of {name!r}",
        values,
        info,
        node.operation == THREE_BODY,
        precision,
    )


def _tabulated(what: str, values: Array, info: Array, symmetric: bool, precision: int) -> TabulatedNetwork:
    if values.ndim != 2 or values.shape[1] % 6 or values.shape[1] == 0 or len(info) < 5:
        raise ModelError(f"{what} has the shape {values.shape}")
    lower, upper, largest, fine, coarse = (float(number) for number in info[:5])
    ranges = [(lower, upper, fine), (upper, largest, coarse)]
    if symmetric:
        ranges.insert(0, (-largest, lower, coarse))
    knots = []
    for start, stop, step in ranges:
        if not (step > 0.0 and stop > start and (stop - start) / step < MAX_INTERVALS):
            raise ModelError(f"{what} has the ranges {info[:5].tolist()}")
        knots.append(start + step * np.arange(_count(start, stop, step)))
    # What is left of a range that is no multiple of its step belongs to the last interval.
    edges = np.concatenate((*knots, [ranges[-1][1]]))
    if len(edges) != len(values) + 1 or np.any(np.diff(edges) <= 0.0):
        raise ModelError(f"{what} has {len(values)} rows for {len(edges) - 1} intervals")
    coefficients = values.reshape(len(values), -1, 6)
    return TabulatedNetwork(edges, _sound(what, edges, coefficients, MATCH.get(precision, 1e-2), symmetric))


def _count(start: float, stop: float, step: float) -> int:
    """Return how many intervals DeePMD-kit makes; quotients that are whole but for rounding count as such."""
    quotient = (stop - start) / step
    return round(quotient) if abs(quotient - round(quotient)) < WHOLE else math.floor(quotient) + 1


def _sound(what: str, edges: Array, coefficients: Array, tolerance: float, repair: bool) -> Array:
    """Return the coefficients, with intervals that do not meet the next built anew where that is known of."""
    width = np.diff(edges)[:-1, None, None]
    ends = np.sum(coefficients[:-1] * width ** np.arange(6), axis=2)
    scale = np.median(np.abs(coefficients[:, :, 0]).max(axis=1)) + 1e-3
    wrong = np.flatnonzero(np.abs(ends - coefficients[1:, :, 0]).max(axis=1) > tolerance * scale)
    if len(wrong) == 0:
        return coefficients
    if not repair or len(wrong) > 2:
        raise ModelError(
            f"{what} has {len(wrong)} intervals that do not meet the next; give the model as it was before "
            "dp compress"
        )
    coefficients = coefficients.copy()
    for row in wrong:
        left, right, step = coefficients[row], coefficients[row + 1], float(edges[row + 1] - edges[row])
        rise, slope, slope_right = right[:, 0] - left[:, 0], left[:, 1], right[:, 1]
        bend, bend_right = 2.0 * left[:, 2], 2.0 * right[:, 2]
        left[:, 3] = (
            20 * rise - (8 * slope_right + 12 * slope) * step - (3 * bend - bend_right) * step**2
        ) / (2 * step**3)
        left[:, 4] = (
            -30 * rise + (14 * slope_right + 16 * slope) * step + (3 * bend - 2 * bend_right) * step**2
        ) / (2 * step**4)
        left[:, 5] = (12 * rise - 6 * (slope_right + slope) * step + (bend_right - bend) * step**2) / (
            2 * step**5
        )
    return coefficients


def stripped_table(model: ModelGraph, scope: str, n_types: int, width: int) -> Array:
    """Return the factors of type embeddings of a compressed model, (n_types or 1, n_types + 1, width).

    Parameters
    ----------
    model : ModelGraph
    scope : str
    n_types : int
    width : int
        Channels of the embedding.

    Raises
    ------
    ModelError
        If the table is missing or of another shape.
    """
    graph = model.graph
    name = f"{scope}/embedding_lookup/params_0"
    values = graph.numbers(name)
    n_rows = n_types + 1
    if values.shape == (n_rows**2, width):
        return values.reshape(n_rows, n_rows, width)[:n_types]
    if values.shape == (n_rows, width):
        return values[None]
    raise ModelError(f"{graph.source}: damaged: {name!r} has the shape {values.shape} for {n_types} types")


def _lookup(node: Node, inputs: Values) -> tuple[Array, Array]:
    """Return the numbers that are looked up, and the channels (n, width) that the table gives for them."""
    # The importer has judged the table by its own bytes; here the numbers are float64 already.
    table = _tabulated(
        f"the table of {node.name!r}", inputs[0], inputs[1].ravel(), node.operation == THREE_BODY, 4
    )
    x = inputs[2].ravel()
    return x, embed(table, x, x)[0]


def _sum_size(node: Node, inputs: Values) -> int:
    return inputs[3].shape[0] * 4 * (inputs[0].shape[1] // 6)


def _lookup_work(node: Node, inputs: Values) -> int:
    return inputs[2].size * inputs[0].shape[1] + inputs[0].size


@operation("TabulateFusion", "TabulateFusionSeA", "TabulateFusionSeAtten", size=_sum_size, work=_lookup_work)
def _tabulate_two_body(node: Node, inputs: Values) -> Any:
    rows = inputs[3]
    _, g = _lookup(node, inputs)
    if len(inputs) > 4:
        g = g * (1.0 + inputs[4].reshape(g.shape))
    return np.einsum("njc,njk->nck", rows, g.reshape(*rows.shape[:2], -1))


@operation("TabulateFusionSeR", size=_lookup_work, work=_lookup_work)
def _tabulate_distances(node: Node, inputs: Values) -> Any:
    _, g = _lookup(node, inputs)
    return g.reshape(*inputs[2].shape[:2], -1)


@operation(THREE_BODY, size=_lookup_work, work=_lookup_work)
def _tabulate_angles(node: Node, inputs: Values) -> Any:
    _, g = _lookup(node, inputs)
    e = inputs[3]
    return np.einsum("njl,njlk->nk", e, g.reshape(*e.shape, -1))
