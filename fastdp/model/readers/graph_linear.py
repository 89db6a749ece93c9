"""Linear combinations of models in a frozen graph (`linear_ener`): one network, and tables of pairs.

Every node of part m has "_model<m>" in its name; without that, they are those of a model by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import Array, DeepPotential, EnergyFitting
from fastdp.model.pair_part import PairPart
from fastdp.model.pair_table import PairTableData
from fastdp.model.readers.graph_def import Graph, Node
from fastdp.model.readers.graph_evaluation import evaluate
from fastdp.model.readers.graph_pair_table import TABLE, read_table, table_notes
from fastdp.model.scaling import scaled

PART = re.compile(r"o_atom_energy_model(\d{1,3})")

SHARED = ("model_attr/", "train_attr/min_nbor_dist")
"""What names begin with that all parts have in common."""

Describe = Callable[[Graph], DeepPotential]


def parts_of(graph: Graph) -> list[int]:
    """Return the numbers of the parts of a linear combination; none if the graph is no such."""
    return sorted(int(match[1]) for name in graph.nodes if (match := PART.fullmatch(name)))


def describe_linear(graph: Graph, describe: Describe) -> DeepPotential:
    """Turn a graph of a linear combination into a description.

    Parameters
    ----------
    graph : Graph
    describe : callable
        From the graph of a single network to its description.

    Raises
    ------
    ModelError
        If a part is damaged.
    UnsupportedModelError
        If there is anything but one network and tables.
    """
    numbers = parts_of(graph)
    weights = _weights(graph, numbers)
    tables = {number: node for number in numbers if (node := _table_node(graph, number)) is not None}
    networks = [number for number in numbers if number not in tables]
    if len(networks) != 1:
        raise UnsupportedModelError(
            f"{graph.source}: found a linear combination of {len(networks)} networks, which fastdp does not "
            "evaluate; it evaluates one, with any number of tables of pairs (several models of the same "
            "system: [committee])"
        )
    network = describe(Graph(_part(graph, networks[0]), graph.source))
    if not isinstance(network.fitting, EnergyFitting) or network.pair_part is not None:
        raise UnsupportedModelError(
            f"{graph.source}: found a linear combination with a part that has a table itself, or gives no "
            "energies, which fastdp does not evaluate"
        )
    found = scaled(network, weights[networks[0]])
    if not tables:
        return found
    read = {number: _table(graph, number, node, network.n_types) for number, node in tables.items()}
    notes = (*found.origin.notes, *table_notes(1, network.n_types))
    return replace(
        found,
        origin=replace(found.origin, notes=notes),
        pair_part=PairPart(
            tuple(
                replace(table, coefficients=weights[number] * table.coefficients)
                for number, (table, _) in read.items()
            ),
            np.zeros(network.n_types),
            None,
            np.array([max(selection for _, selection in read.values())]),
            "nearest_of_any_type",
        ),
    )


def _weights(graph: Graph, numbers: list[int]) -> dict[int, float]:
    """Return the weight of each part: the sum of the graph, evaluated for energies of one and of zero."""
    weights = {}
    for number in numbers:
        values = []
        for name, shape in (("o_atom_energy", (1, 3)), ("o_energy", (1,))):
            feeds = {f"{name}_model{other}": np.full(shape, float(other == number)) for other in numbers}
            values.append(evaluate(graph, [name], feeds)[name].ravel())
        every: Array = np.concatenate(values)
        if len(every) != 4 or not np.isfinite(every).all() or np.any(every != every[0]):
            raise UnsupportedModelError(
                f"{graph.source}: found parts that are combined by more than constant weights, which fastdp "
                "does not evaluate"
            )
        weights[number] = float(every[0])
    return weights


def _table_node(graph: Graph, number: int) -> Node | None:
    """Return the table of a part, or None if it is a network."""
    name = f"o_atom_energy_model{number}"
    stop = frozenset(node.name for node in graph if node.operation in (TABLE, "SoftMinSwitch"))
    path = graph.ancestors([name], stop=stop)
    tables = [graph[found] for found in path if graph[found].operation == TABLE]
    if len(tables) != 1 or any(graph[found].operation.startswith("MatMul") for found in path):
        return None
    (table,) = tables
    shown = np.array([[1.0, -2.0, 0.5]])
    feeds = {table.name: shown, "t_natoms": np.array([3, 3, 3])}
    values = evaluate(graph, [name], feeds)[name]
    if not np.array_equal(values.ravel(), shown.ravel()):
        raise UnsupportedModelError(
            f"{graph.source}: found a table of pairs that something is done to, which fastdp does not know"
        )
    return table


def _table(graph: Graph, number: int, node: Node, n_types: int) -> tuple[PairTableData, int]:
    """Return a table with how many neighbours it sees."""
    environment = graph[node.inputs[3][0]] if len(node.inputs) > 3 else None
    attributes = {} if environment is None else environment.attributes
    if "rcut_r" not in attributes or "sel_a" not in attributes:
        raise ModelError(f"{graph.source}: damaged: the table of part {number} has no cutoff or no sel")
    cutoff, selection = float(attributes["rcut_r"].f), list(attributes["sel_a"].list.i)
    if not (0.0 < cutoff < np.inf and len(selection) == 1 and 0 < selection[0] < 2**31):
        raise ModelError(
            f"{graph.source}: damaged: the table of part {number} has the cutoff {cutoff} Å, sel {selection}"
        )
    return read_table(graph, node, n_types, cutoff, n_sections=1), selection[0]


def _part(graph: Graph, number: int) -> Iterator[Node]:
    """Yield the nodes of a part, named as those of a model by itself."""
    mark = re.compile(rf"_model{number}(?=/|$)")
    needed = graph.ancestors([f"o_atom_energy_model{number}", f"o_energy_model{number}"])
    for node in graph:
        if node.name in needed or mark.search(node.name) or node.name.startswith(SHARED):
            inputs = tuple((mark.sub("", name), port) for name, port in node.inputs)
            yield replace(node, name=mark.sub("", node.name), inputs=inputs)
