"""Frozen TensorFlow graphs (.pb) of DeePMD-kit 0.x, 1.x, 2.x and 3.x."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import DeepPotential, Origin, Precision
from fastdp.model.readers.graph_check import check_values
from fastdp.model.readers.graph_def import BFLOAT16, FLOAT, HALF, Graph, parse_graph
from fastdp.model.readers.graph_descriptors import environment_operations, read_graph_descriptor
from fastdp.model.readers.graph_embeddings import number_of_types
from fastdp.model.readers.graph_fitting import GRAPH_FITTINGS, descriptor_width
from fastdp.model.readers.graph_linear import describe_linear, parts_of
from fastdp.model.readers.graph_pair_table import read_pair_part
from fastdp.model.readers.graph_pair_table import table_notes as notes_on_tables
from fastdp.model.readers.graph_refusals import refuse_unsupported
from fastdp.model.readers.model_graph import ModelGraph, model_outputs, training_model
from fastdp.model.readers.registry import FileStart, reader
from fastdp.model.spin import SpinPart

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
    return describe_graph(parse_graph(data, str(path)), FILE_FORMAT, data)


def describe_graph(graph: Graph, file_format: str, data: bytes) -> DeepPotential:
    """Turn a parsed graph into a description, and check it against the graph's own energies.

    Parameters
    ----------
    graph : Graph
    file_format : str
    data : bytes
        The file, for its checksum.

    Raises
    ------
    ModelError
        If a part is missing or the parts do not fit together.
    UnsupportedModelError
        If the model has a part that fastdp does not evaluate.
    """
    # Damaged weights overflow; that ends in an error about the energies, not in warnings before it.
    with np.errstate(all="ignore"):
        return _describe(graph, file_format, hashlib.sha256(data).hexdigest())


def _describe(graph: Graph, file_format: str, sha256: str) -> DeepPotential:
    refuse_unsupported(graph)
    if parts_of(graph):
        return describe_linear(graph, lambda part: _describe(part, file_format, sha256))
    model = _model_graph(graph)
    n_types = _number_of_types(model)
    descriptor = read_graph_descriptor(model, descriptor_width(model, n_types))
    spin = _spin(graph, n_types)
    if spin is not None:
        # Types of the partners have no names and no fitting.
        n_types -= spin.n_magnetic
        if model.kind != "ener":
            raise UnsupportedModelError(f"{graph.source}: found spins in a model of {model.kind}")
    type_names, name_notes = _type_names(graph, n_types)
    version, version_notes = _version(model)
    tabulated = any(node.operation.startswith("TabulateFusion") for node in graph)
    table_notes = ("compressed by dp compress: the embedding networks are tables",) if tabulated else ()
    pair_part = read_pair_part(model, descriptor, n_types)
    if pair_part is not None:
        table_notes = (*table_notes, *notes_on_tables(len(descriptor.selection), n_types))
    description = DeepPotential(
        type_names=type_names,
        descriptor=descriptor,
        fitting=GRAPH_FITTINGS[model.kind](model, n_types),
        precision=_precision(model),
        shortest_trained_distance=_shortest_distance(graph),
        origin=Origin(
            graph.source,
            file_format,
            version,
            sha256,
            (*version_notes, *name_notes, *table_notes),
            None if tabulated else _number_of_parameters(graph),
        ),
        pair_part=pair_part,
    )
    if spin is not None:
        description = replace(description, spin=spin)
    check_values(model, description)
    return description


def _spin(graph: Graph, n_types: int) -> SpinPart | None:
    """Return what the graph says of spins; `n_types` includes the types of partners."""
    if "spin_attr/ntypes_spin" not in graph:
        return None
    numbers = {name: graph.numbers(f"spin_attr/{name}").ravel() for name in ("virtual_len", "spin_norm")}
    count = graph.constant("spin_attr/ntypes_spin").ravel()
    n = int(count[0]) if count.size == 1 and count.dtype.kind in "iu" else 0
    lengths, norms = numbers["virtual_len"], numbers["spin_norm"]
    if not 0 < n <= n_types // 2 or len(lengths) != n or len(norms) != n:
        raise ModelError(
            f"{graph.source}: damaged: {n} magnetic types of {n_types} with partners, {len(lengths)} lengths "
            f"and {len(norms)} norms"
        )
    if not (np.all(lengths > 0.0) and np.all(norms > 0.0)):
        raise ModelError(
            f"{graph.source}: damaged: virtual_len {lengths.tolist()}, spin_norm {norms.tolist()}"
        )
    return SpinPart(lengths / norms)


TRAINED = re.compile(
    r"(filter_type_|DS_layer_type_|layer_|final_layer|type_embed_net)[^/]*/(matrix|bias|idt)(_\w+)?"
)
"""Names of the constants that are a network's weights."""


def _number_of_parameters(graph: Graph) -> int:
    return sum(
        int(graph.constant(node.name).size)
        for node in graph
        if node.operation == "Const" and TRAINED.fullmatch(node.name)
    )


def _model_graph(graph: Graph) -> ModelGraph:
    known = environment_operations()
    environments = [node for node in graph if node.operation in known]
    name = "model_attr/model_type"
    kind = graph.text(name) if name in graph else "ener"
    if kind not in GRAPH_FITTINGS:
        raise UnsupportedModelError(
            f"{graph.source}: found a model of something that fastdp does not evaluate ({name} is "
            f"{kind!r}); it "
            f"evaluates {', '.join(GRAPH_FITTINGS)}"
        )
    atomic, total = model_outputs(graph, kind)
    outputs = (atomic,) if total is None else (atomic, total)
    if not environments:
        raise UnsupportedModelError(
            f"{graph.source}: the graph has none of the operations that make the environment of a descriptor "
            f"which fastdp evaluates ({', '.join(sorted(known))})"
        )
    path = graph.ancestors(outputs, stop=frozenset(node.name for node in environments))
    environments = [node for node in environments if node.name in path]
    if not environments:
        raise ModelError(f"{graph.source}: damaged: the model's values depend on no environment")
    model = ModelGraph(
        graph,
        kind,
        environments[0],
        tuple(environments),
        atomic,
        total,
        frozenset(path),
        training_model(graph),
    )
    # The parts of a hybrid are numbered; nothing says that their nodes come in this order.
    suffixes = [model.part(number).suffix for number in range(len(environments))]
    if len(environments) > 1:
        if sorted(suffixes) != sorted(f"_{number}" for number in range(len(environments))):
            raise UnsupportedModelError(
                f"{graph.source}: found several descriptors which are no hybrid (scopes "
                f"{', '.join(suffixes)})"
            )
        ordered = tuple(environments[suffixes.index(f"_{n}")] for n in range(len(environments)))
        model = replace(model, environment=ordered[0], environments=ordered)
    return model


def _number_of_types(model: ModelGraph) -> int:
    environment = model.environment
    for key in ("sel_a", "sel"):
        if environment.operation != "ProdEnvMatAMix" and key in environment.attributes:
            number = len(environment.attributes[key].list.i)
            if number:
                return number
    if len(environment.inputs) != 7:
        raise ModelError(
            f"{model.graph.source}: damaged: the node {environment.name!r} should have 7 inputs and sel"
        )
    return number_of_types(model)


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


def _version(model: ModelGraph) -> tuple[str, tuple[str, ...]]:
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


def _precision(model: ModelGraph) -> Precision:
    nodes = [model.graph[name] for name in model.path]
    targets = {node.attributes["DstT"].type for node in nodes if "DstT" in node.attributes}
    if targets & {HALF, BFLOAT16}:
        return "float16"
    products = (node for node in nodes if node.operation == "MatMul" or node.operation.startswith("Tabulate"))
    single = any(node.attributes["T"].type == FLOAT for node in products if "T" in node.attributes)
    return "float32" if single else "float64"


def _shortest_distance(graph: Graph) -> float | None:
    name = "train_attr/min_nbor_dist"
    if name not in graph:
        return None
    distance = float(graph.constant(name).ravel()[0]) if graph.constant(name).size == 1 else math.nan
    return distance if math.isfinite(distance) and distance > 0.0 else None
