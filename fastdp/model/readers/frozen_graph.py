"""Frozen TensorFlow graphs (.pb) of DeePMD-kit 0.x, 1.x, 2.x and 3.x."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Literal

import numpy as np

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import DeepPotential, Origin
from fastdp.model.readers.energy_graph import EnergyGraph, energy_outputs, training_model
from fastdp.model.readers.graph_check import check_energies
from fastdp.model.readers.graph_def import FLOAT, Graph, parse_graph
from fastdp.model.readers.graph_fitting import descriptor_width, read_energy_fitting
from fastdp.model.readers.graph_refusals import USE_SE_E2_A, refuse_unsupported
from fastdp.model.readers.graph_se_e2_a import ENVIRONMENT_OPERATIONS, read_se_e2_a
from fastdp.model.readers.registry import FileStart, reader

FILE_FORMAT = "TensorFlow frozen graph"


def _is_graph_def(start: FileStart) -> bool:
    """Recognise the first field: 0x0a (field 1, a message), its length, then 0x0a (the node's name)."""
    head = start.head
    return len(head) > 2 and head[0] == 0x0A and b"\n" in head[2:7]


@reader(FILE_FORMAT, _is_graph_def)
def read_frozen_graph(path: Path) -> DeepPotential:
    """Read a frozen graph.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ModelError
        If the file is damaged or not a model.
    UnsupportedModelError
        If the model has a part that fastdp does not evaluate.
    """
    data = path.read_bytes()
    graph = parse_graph(data, str(path))
    # Damaged weights overflow; that ends in an error about the energies, not in warnings before it.
    with np.errstate(all="ignore"):
        return describe_graph(graph, FILE_FORMAT, hashlib.sha256(data).hexdigest())


def describe_graph(graph: Graph, file_format: str, sha256: str) -> DeepPotential:
    """Turn a parsed graph into a description, and check it against the graph's own energies.

    Parameters
    ----------
    graph : Graph
    file_format, sha256 : str
        For the description's origin.

    Raises
    ------
    ModelError
        If a part is missing or the parts do not fit together.
    UnsupportedModelError
        If the model has a part that fastdp does not evaluate.
    """
    refuse_unsupported(graph)
    model = _energy_graph(graph)
    descriptor = read_se_e2_a(model, descriptor_width(model))
    n_types = len(descriptor.selection)
    type_names, name_notes = _type_names(graph, n_types)
    version, version_notes = _version(model)
    description = DeepPotential(
        type_names=type_names,
        descriptor=descriptor,
        fitting=read_energy_fitting(model, n_types),
        precision=_precision(model),
        shortest_trained_distance=_shortest_distance(graph),
        origin=Origin(graph.source, file_format, version, sha256, (*version_notes, *name_notes)),
    )
    check_energies(model, description)
    return description


def _energy_graph(graph: Graph) -> EnergyGraph:
    environments = [node for node in graph if node.operation in ENVIRONMENT_OPERATIONS]
    atom_energy, energy = energy_outputs(graph)
    if not environments:
        raise UnsupportedModelError(
            f"{graph.source}: the graph has none of the operations that make the environment of se_e2_a "
            f"({', '.join(ENVIRONMENT_OPERATIONS)}); {USE_SE_E2_A}"
        )
    environment = environments[0]
    path = graph.ancestors((atom_energy, energy), stop=frozenset((environment.name,)))
    if environment.name not in path:
        raise ModelError(f"{graph.source}: damaged: the energy does not depend on {environment.name!r}")
    return EnergyGraph(graph, environment, atom_energy, energy, frozenset(path), training_model(graph))


def _type_names(graph: Graph, n_types: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the types, and a note if the file has none."""
    name = "model_attr/tmap"
    names = tuple(graph.text(name).split()) if name in graph else ()
    if not names:
        numbers = tuple(str(t) for t in range(n_types))
        return numbers, (f"the file names no atom types; they are called {', '.join(numbers)}",)
    if len(names) != n_types or len(set(names)) != n_types:
        raise ModelError(f"{graph.source}: damaged: {n_types} atom types are called {', '.join(names)}")
    return names, ()


def _version(model: EnergyGraph) -> tuple[str, tuple[str, ...]]:
    """Return the graph version, and a note if it was inferred from what the graph has."""
    graph = model.graph
    name = "model_attr/model_version"
    if name in graph:
        return graph.text(name), ()
    if model.environment.operation == "DescrptNorot":
        inferred = "0.12"
    elif "fitting_attr/daparam" not in graph:
        inferred = "1.0"
    else:
        inferred = "1.3" if "T" in model.environment.attributes else "1.1"
    return "0.x", (f"the file has no version; it looks like one of DeePMD-kit {inferred}",)


def _precision(model: EnergyGraph) -> Literal["float64", "float32"]:
    products = (model.graph[name] for name in model.path if model.graph[name].operation == "MatMul")
    single = any(node.attributes["T"].type == FLOAT for node in products if "T" in node.attributes)
    return "float32" if single else "float64"


def _shortest_distance(graph: Graph) -> float | None:
    name = "train_attr/min_nbor_dist"
    if name not in graph:
        return None
    distance = float(graph.constant(name).ravel()[0]) if graph.constant(name).size == 1 else math.nan
    return distance if math.isfinite(distance) and distance > 0.0 else None
