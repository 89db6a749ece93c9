"""Changes to written graphs, for tests of what the importer notices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from make_models import MODELS, GraphWriter, ModelWriter


def write_edited(model: str, edit: Callable[[Any], None], path: Path) -> Path:
    """Write the model of that name after `edit` has changed its GraphDef message."""
    graph = ModelWriter(MODELS[model]).graph_def()
    edit(graph)
    path.write_bytes(graph.SerializeToString())
    return path


def node_of(graph: Any, name: str) -> Any:
    """Return the node of that name."""
    return next(node for node in graph.node if node.name == name)


def attribute_of(graph: Any, name: str, key: str) -> Any:
    """Return the value of a node's attribute."""
    return next(entry.value for entry in node_of(graph, name).attr if entry.key == key)


def set_constant(graph: Any, name: str, value: Any) -> None:
    """Replace the value of a constant, or add it."""
    remove(graph, name)
    writer = GraphWriter()
    writer.constant(name, value)
    graph.node.extend(writer.graph.node)


def numbers_of(graph: Any, name: str) -> np.ndarray:
    """Return a copy of a float64 constant."""
    tensor = attribute_of(graph, name, "value").tensor
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    return np.frombuffer(tensor.tensor_content).reshape(shape).copy()


def remove(graph: Any, name: str) -> None:
    """Take the node of that name away, if it is there."""
    kept = [node for node in graph.node if node.name != name]
    del graph.node[:]
    graph.node.extend(kept)
