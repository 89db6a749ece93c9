"""The part of a frozen graph that the readers look at: from the environment op to the energies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastdp.errors import ModelError
from fastdp.model.readers.graph_def import Graph, Node

ENERGY_NAMES = (("o_atom_energy", "o_energy"), ("atom_energy_test", "energy_test"))
"""Names of the outputs: since 1.0, and in 0.x."""


@dataclass(frozen=True)
class EnergyGraph:
    """A frozen graph of an energy model with one descriptor.

    Attributes
    ----------
    graph : Graph
    environment : Node
        The operation that makes the normalised environment rows.
    atom_energy, energy : str
        Names of the outputs.
    path : frozenset of str
        Every node that the energies depend on, back to `environment` and not beyond.
    training : dict
        Section "model" of the training input, empty if the file does not hold it.
    """

    graph: Graph
    environment: Node
    atom_energy: str
    energy: str
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


def energy_outputs(graph: Graph) -> tuple[str, str]:
    """Return the names of the nodes that hold the atoms' energies and their sum.

    Raises
    ------
    ModelError
        If the graph has none.
    """
    for atom_energy, energy in ENERGY_NAMES:
        if atom_energy in graph and energy in graph:
            return atom_energy, energy
    raise ModelError(
        f"{graph.source}: the graph has no energy output (o_energy, o_atom_energy); the file is truncated, "
        "or is not an energy model frozen by DeePMD-kit (dp freeze)"
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
