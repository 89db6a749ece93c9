"""Descriptors of frozen graphs by the operation that makes their environment."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import HybridDescriptor
from fastdp.model.readers.model_graph import ModelGraph

DESCRIPTOR_MODULES = ("graph_loc_frame", "graph_se_e2_a", "graph_se_e2_r", "graph_se_e3")
"""Modules of this package that register functions."""


@dataclass(frozen=True)
class GraphDescriptor:
    """A descriptor whose width is not always in its own part of the graph.

    Attributes
    ----------
    complete : callable
        From the width to the description.
    width : int or None
        If it is known.
    """

    complete: Callable[[int], Any]
    width: int | None


ReadPart = Callable[[ModelGraph], GraphDescriptor | None]
GRAPH_DESCRIPTORS: dict[str, list[ReadPart]] = {}
"""By operation: functions that return None where a descriptor is not their own."""


def graph_descriptor(*operations: str) -> Callable[[ReadPart], ReadPart]:
    """Register a function as a reader of descriptors that begin with one of these operations."""

    def register(function: ReadPart) -> ReadPart:
        for name in operations:
            GRAPH_DESCRIPTORS.setdefault(name, []).append(function)
        return function

    return register


def environment_operations() -> frozenset[str]:
    """Return the operations that begin a descriptor which is read."""
    for module in DESCRIPTOR_MODULES:
        importlib.import_module(f"fastdp.model.readers.{module}")
    return frozenset(GRAPH_DESCRIPTORS)


def read_graph_descriptor(model: ModelGraph, width: int) -> Any:
    """Read the descriptor of a graph, or all of a hybrid.

    Parameters
    ----------
    model : ModelGraph
    width : int
        Of all descriptors together, from the fitting networks' input.

    Raises
    ------
    ModelError
        If a part is missing or the parts do not fit together.
    UnsupportedModelError
        If no function reads the descriptor.
    """
    environment_operations()
    parts = [_read_part(model.part(number)) for number in range(len(model.environments))]
    unknown = [part for part in parts if part.width is None]
    if len(parts) == 1:
        return parts[0].complete(width)
    known = sum(part.width or 0 for part in parts)
    if len(unknown) > 1 or known > width or (not unknown and known != width):
        raise ModelError(
            f"{model.graph.source}: the fitting network takes {width} numbers of descriptors, which have "
            f"{', '.join('?' if part.width is None else str(part.width) for part in parts)}"
        )
    return HybridDescriptor(
        tuple(part.complete(width - known if part.width is None else part.width) for part in parts)
    )


def _read_part(model: ModelGraph) -> GraphDescriptor:
    for read in GRAPH_DESCRIPTORS[model.environment.operation]:
        found = read(model)
        if found is not None:
            return found
    raise UnsupportedModelError(
        f"{model.graph.source}: found a descriptor that begins with the operation "
        f"{model.environment.operation!r}, which fastdp does not know"
    )
