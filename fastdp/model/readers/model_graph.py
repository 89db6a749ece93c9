"""The part of a frozen graph that the readers look at: from the environment ops to what the model gives."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from fastdp.errors import ModelError
from fastdp.model.readers.graph_def import Graph, Node

OUTPUTS = {
    "ener": (("o_atom_energy", "o_energy"), ("atom_energy_test", "energy_test")),
    "dipole": (("o_dipole", None),),
    "polar": (("o_polar", None),),
    "dos": (("o_atom_dos", "o_dos"),),
}
"""Names of the atoms' values and of their sum by the kind of model; energies have other names in 0.x."""

MEAN_INPUT, SPREAD_INPUT = 5, 6
"""Of the operations that make environments."""


@dataclass(frozen=True)
class ModelGraph:
    """A frozen graph, seen from one of its descriptors.

    Attributes
    ----------
    graph : Graph
    kind : str
        "ener", "dipole", "polar" or "dos".
    environment : Node
        The operation that makes the descriptor's normalised environment rows.
    environments : tuple of Node
        Of all descriptors of a hybrid, in order.
    atomic : str
        Name of the atoms' values.
    total : str or None
        Name of their sum, if the graph has it.
    path : frozenset of str
        Every node that these depend on, back to `environments` and not beyond.
    training : dict
        Section "model" of the training input, empty if the file does not hold it.
    """

    graph: Graph
    kind: str
    environment: Node
    environments: tuple[Node, ...]
    atomic: str
    total: str | None
    path: frozenset[str]
    training: dict[str, Any]

    def users(self, constant: str) -> list[Node]:
        """Return the nodes on the path that use a constant, directly or through copies and casts."""
        found = []
        waiting = [constant]
        while waiting:
            for node in self.graph.consumers.get(waiting.pop(), ()):
                if node.name not in self.path:
                    continue
                if node.operation in ("Identity", "Cast"):
                    waiting.append(node.name)
                else:
                    found.append(node)
        return found

    def part(self, number: int) -> ModelGraph:
        """Return the same graph seen from another of its descriptors."""
        return replace(self, environment=self.environments[number])

    @property
    def suffix(self) -> str:
        """What follows the names of this descriptor's scopes: "_0", "_1", … in a hybrid, else nothing."""
        node = (
            self.graph[self.environment.inputs[MEAN_INPUT][0]] if len(self.environment.inputs) > 5 else None
        )
        while node is not None and node.operation in ("Identity", "Cast") and node.inputs:
            node = self.graph[node.inputs[0][0]]
        scope = "" if node is None else node.name.partition("/")[0]
        return scope.removeprefix("descrpt_attr") if scope.startswith("descrpt_attr") else ""

    @property
    def settings(self) -> dict[str, Any]:
        """The descriptor's part of the training input, or {}."""
        descriptor = self.training.get("descriptor")
        if isinstance(descriptor, dict) and descriptor.get("type") == "hybrid":
            parts = descriptor.get("list")
            number = self.environments.index(self.environment)
            descriptor = parts[number] if isinstance(parts, list) and number < len(parts) else None
        return descriptor if isinstance(descriptor, dict) else {}


def model_outputs(graph: Graph, kind: str) -> tuple[str, str | None]:
    """Return the names of the nodes that hold the atoms' values and their sum.

    Raises
    ------
    ModelError
        If the graph has none.
    """
    for atomic, total in OUTPUTS[kind]:
        if atomic in graph and (total is None or total in graph):
            return atomic, total
    wanted = ", ".join(name for pair in OUTPUTS[kind] for name in pair if name)
    what = "energy" if kind == "ener" else kind
    raise ModelError(
        f"{graph.source}: the graph has no {what} output ({wanted}); the file is truncated, or is not "
        "a model frozen by DeePMD-kit (dp freeze)"
    )


def training_model(graph: Graph) -> dict[str, Any]:
    """Return the section "model" of the training input that the graph holds (2.0 and later), or {}.

    Raises
    ------
    ModelError
        If there is a training input, but it is not JSON.
    """
    name = "train_attr/training_script"
    if name not in graph:
        return {}
    try:
        script = json.loads(graph.text(name))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{graph.source}: damaged: the training input in {name!r} is not JSON") from error
    model = script.get("model") if isinstance(script, dict) else None
    return model if isinstance(model, dict) else {}
