"""The importer's proof: the description must give the energies that the graph itself computes.

Random environment rows go through both. Whatever a version of DeePMD-kit does differently (a shortcut, a
normaliser, an exclusion, a shift) and the importer did not notice shows here, and the model is refused.
"""

from __future__ import annotations

import numpy as np

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import Array, DeepPotential
from fastdp.model.fitting import fitting_energy_and_gradient
from fastdp.model.networks import forward
from fastdp.model.radial_functions import switch_and_derivative
from fastdp.model.readers.energy_graph import EnergyGraph
from fastdp.model.readers.graph_evaluation import evaluate

RELATIVE_TOLERANCE = {"float64": 1e-11, "float32": 1e-6}
"""Of the energy, or of 1 eV if it is smaller. Both sides compute in float64, but some constants inside the
activation functions of a float32 graph are rounded."""


def check_energies(model: EnergyGraph, description: DeepPotential) -> None:
    """Compare energies of one atom of each type in a random environment.

    Parameters
    ----------
    model : EnergyGraph
    description : DeepPotential
        What was read from it.

    Raises
    ------
    UnsupportedModelError
        If they differ, or the graph has an operation that is not known.
    ModelError
        If the graph is not consistent, or its energies are not finite.
    """
    graph = model.graph
    n_types = description.n_types
    rows = _random_rows(description)
    feeds = {
        model.environment.name: rows.reshape(1, -1),
        "t_natoms": np.array([n_types, n_types] + [1] * n_types),
        "t_type": np.arange(n_types),
        "t_coord": np.zeros(3 * n_types),
        "t_box": np.zeros(9),
        "t_mesh": np.zeros(0, dtype=np.int64),
    }
    feeds = {name: value for name, value in feeds.items() if name in graph}
    values = evaluate(graph, (model.atom_energy, model.energy), feeds)
    theirs = values[model.atom_energy].ravel()
    ours = np.array([_energy(description, alpha, rows[alpha]) for alpha in range(n_types)])
    if not np.isfinite(ours).all():
        raise ModelError(f"{graph.source}: damaged: its energies in an ordinary environment are not finite")
    tolerance = RELATIVE_TOLERANCE[description.precision] * np.maximum(1.0, np.abs(ours))
    if theirs.shape != ours.shape or not np.all(np.abs(theirs - ours) <= tolerance):
        raise UnsupportedModelError(
            f"{graph.source}: in the same environment the graph itself gives the atoms' energies "
            f"{theirs.tolist()} eV, and the se_e2_a model that fastdp read from it {ours.tolist()} eV; it "
            "has a part that fastdp does not know, please report it"
        )
    total = values[model.energy].ravel()
    if total.shape != (1,) or not abs(total[0] - theirs.sum()) <= tolerance.sum():
        raise UnsupportedModelError(
            f"{graph.source}: the energy of this graph is not the sum of its atoms' energies; it has a part "
            "that fastdp does not know, please report it"
        )


def _random_rows(description: DeepPotential) -> Array:
    """Return environment rows (n_types, n_slots, 4) as the environment op gives them, some slots empty."""
    descriptor = description.descriptor
    generator = np.random.default_rng(20240229)
    slots = np.repeat(np.arange(descriptor.n_types), descriptor.selection)
    shape = (descriptor.n_types, len(slots))
    r = descriptor.cutoff * generator.uniform(0.2, 1.2, shape)
    direction = generator.normal(size=(*shape, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    s = switch_and_derivative(descriptor.switch, r)[0] / r
    rows = np.concatenate((s[..., None], s[..., None] * direction), axis=-1)
    return (rows - descriptor.mean[:, slots]) / descriptor.spread[:, slots]


def _energy(description: DeepPotential, alpha: int, rows: Array) -> float:
    """Return the energy of an atom from all its slots, filled and empty, without any shortcut."""
    descriptor = description.descriptor
    slots = np.repeat(np.arange(descriptor.n_types), descriptor.selection)
    total = np.zeros((descriptor.n_channels, 4))
    for beta, network in enumerate(descriptor.embedding[alpha]):
        if network is not None:
            section = rows[slots == beta]
            total += forward(network, section[:, :1]).T @ section
    environment = total[None] / descriptor.normaliser
    return float(fitting_energy_and_gradient(description, alpha, environment)[0][0])
