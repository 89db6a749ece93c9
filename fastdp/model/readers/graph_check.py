"""The importer's proof: the description must give the values that the graph itself computes.

Random surroundings of one atom of each type go through both. Whatever a version of DeePMD-kit does
differently
(a shortcut, a normaliser, an exclusion, a shift, an order of inputs) and the importer did not notice shows
here, and the model is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import (
    Array,
    DeepPotential,
    HybridDescriptor,
    LocFrameDescriptor,
    SeE2RDescriptor,
    SeE3Descriptor,
)
from fastdp.model.descriptors.registry import describe
from fastdp.model.descriptors.selection import chosen
from fastdp.model.fittings.registry import fitting_kind, scaled_parameters
from fastdp.model.neighbourhood import Neighbourhood, slices_of
from fastdp.model.radial_functions import inverse_distance
from fastdp.model.readers.graph_evaluation import evaluate
from fastdp.model.readers.graph_pair_table import pair_nodes
from fastdp.model.readers.model_graph import ModelGraph
from fastdp.model.spin import with_partner_types

RELATIVE_TOLERANCE = {"float64": 1e-11, "float32": 1e-6, "float16": 1e-6}
"""Of the value, or of 1 if it is smaller. Both sides compute in float64, but some constants inside the
activation functions of a float32 graph are rounded."""

TABLE_TOLERANCE = 1e-9
"""Where embeddings are tables: which interval a number at a knot belongs to is a matter of rounding."""

LARGEST_NUMBER_OF_NEIGHBOURS = 30
"""Of each type in the random surroundings; the other slots stay empty."""


def check_values(model: ModelGraph, description: DeepPotential) -> None:
    """Compare the values of one atom of each type in random surroundings.

    Parameters
    ----------
    model : ModelGraph
    description : DeepPotential
        What was read from it.

    Raises
    ------
    UnsupportedModelError
        If they differ, or the graph has an operation that is not known.
    ModelError
        If the graph is not consistent, or its values are not finite.
    """
    n_values = description.n_types
    if description.spin is not None:
        description = with_partner_types(description)
    graph, n_types = model.graph, description.n_types
    fitting = description.fitting
    frame = 0.3 + 0.1 * np.arange(fitting.frame_parameters.size)
    atom = 0.2 + 0.1 * np.arange(n_types * fitting.atom_parameters.size).reshape(n_types, -1)
    hoods = [_random_hood(description, alpha) for alpha in range(n_types)]
    ours = _our_values(description, hoods, frame, atom)
    if not np.isfinite(ours).all():
        raise ModelError(
            f"{graph.source}: damaged: its energies or tensors in an ordinary environment are not finite"
        )
    feeds: dict[str, NDArray[Any]] = {
        "t_natoms": np.array([n_types, n_types] + [1] * n_types),
        "t_type": np.arange(n_types),
        "t_coord": np.zeros(3 * n_types),
        "t_box": np.zeros(9),
        "t_mesh": np.zeros(0, dtype=np.int64),
        "t_fparam": frame,
        "t_aparam": atom.ravel(),
    }
    feeds = {name: value for name, value in feeds.items() if name in graph}
    parts = description.descriptor.parts if isinstance(description.descriptor, HybridDescriptor) else None
    for node, part in zip(model.environments, parts or (description.descriptor,), strict=True):
        feeds |= _fed(node.name, part, hoods)
    if description.pair_part is not None:
        # Table and switch are fed too: what is checked is how they and the network are put together.
        switch, table = pair_nodes(model)
        share, energy = np.linspace(0.2, 0.7, n_types), np.linspace(-1.5, 2.5, n_types)
        feeds |= {switch: share.reshape(1, -1), table: energy.reshape(1, -1)}
        ours = (1.0 - share)[:, None] * ours + (share * (energy + description.pair_part.bias))[:, None]
    outputs = (model.atomic,) if model.total is None else (model.atomic, model.total)
    values = evaluate(graph, outputs, feeds)
    # Nor have spins' partners energies.
    ours = ours[:n_values]
    silent = np.array([network is None for network in fitting.networks[:n_values]])
    # The graph of a tensor holds the selected types' atoms only.
    expected = ours[~silent].ravel() if values[model.atomic].size != ours.size else ours.ravel()
    theirs = values[model.atomic].ravel()
    tolerance = RELATIVE_TOLERANCE[description.precision]
    if any(graph[name].operation.startswith("TabulateFusion") for name in model.path):
        tolerance = max(tolerance, TABLE_TOLERANCE)
    margin = tolerance * np.maximum(1.0, np.abs(expected))
    if theirs.shape != expected.shape or not np.all(np.abs(theirs - expected) <= margin):
        raise UnsupportedModelError(
            f"{graph.source}: in the same environment the graph itself gives the atoms' values "
            f"{theirs[:9].tolist()}, and the {description.descriptor.kind} model that fastdp read from it "
            f"{expected[:9].tolist()}; it has a part that fastdp does not know, please report it"
        )
    if model.total is None:
        return
    total = values[model.total].ravel()
    n_components = ours.shape[1]
    if total.shape != (n_components,) or not np.all(
        np.abs(total - theirs.reshape(-1, n_components).sum(axis=0)) <= margin.sum()
    ):
        raise UnsupportedModelError(
            f"{graph.source}: the energy of this graph is not the sum of its atoms' energies; it has a part "
            "that fastdp does not know, please report it"
        )


def _random_hood(description: DeepPotential, alpha: int) -> Neighbourhood:
    """Return neighbours in random places around one atom, fewer than slots where these are many."""
    generator = np.random.default_rng((20240229, alpha))
    descriptor, n_types = description.descriptor, description.n_types
    types = []
    for part in getattr(descriptor, "parts", (descriptor,)):
        selection = part.selection if len(part.selection) == n_types else np.repeat(part.selection, n_types)
        types.append(selection)
    limits = np.minimum(np.max(types, axis=0), LARGEST_NUMBER_OF_NEIGHBOURS)
    neighbour_types = np.repeat(np.arange(n_types), limits)
    direction = generator.normal(size=(len(neighbour_types), 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    r = descriptor.cutoff * generator.uniform(0.2, 1.1, len(neighbour_types))
    return Neighbourhood(
        alpha, 1, np.zeros(len(r), dtype=np.int64), neighbour_types, direction * r[:, None], first_type=0
    )


def _our_values(description: DeepPotential, hoods: list[Neighbourhood], frame: Array, atom: Array) -> Array:
    fitting = description.fitting
    kind = fitting_kind(fitting)
    values = []
    for alpha, hood in enumerate(hoods):
        parameters = np.concatenate(
            (
                scaled_parameters(fitting.frame_parameters, frame),
                scaled_parameters(fitting.atom_parameters, atom[alpha]),
            )
        )
        described = describe(description.descriptor, hood)
        values.append(kind.fit(fitting, alpha, described, parameters[None]).values[0])
    return np.array(values)


def _fed(name: str, part: Any, hoods: list[Neighbourhood]) -> dict[str, NDArray[Any]]:
    """Return what the operation that makes a descriptor's environment gives in these surroundings."""
    if isinstance(part, LocFrameDescriptor):
        return {name: np.concatenate([describe(part, hood).d for hood in hoods]).reshape(1, -1)}
    columns = 1 if isinstance(part, SeE2RDescriptor) else 4
    n_slots = int(part.selection.sum())
    rows = np.zeros((len(hoods), n_slots, columns))
    # Types of the neighbours for se_atten, whose empty slots have the number of types.
    types = np.full((len(hoods), n_slots), part.n_types)
    mixed = getattr(part, "mixed", False)
    for alpha, hood in enumerate(hoods):
        mine, _ = chosen(part, hood, True)
        r = np.linalg.norm(mine.vectors, axis=1)
        section = np.zeros(len(r), dtype=np.int64) if mixed else mine.neighbour_types
        order = np.lexsort((r, section))
        start = np.concatenate(([0], np.cumsum(part.selection)))[section[order]]
        slots = start.copy()
        for _, members in slices_of(section[order].astype(np.int64)):
            slots[members] += np.arange(members.stop - members.start)
        inverse = inverse_distance(part.switch, r)
        full = np.column_stack((inverse.s, (inverse.t / r)[:, None] * mine.vectors))
        rows[alpha, slots] = full[order][:, :columns]
        types[alpha, slots] = mine.neighbour_types[order]
        slot_types = (
            np.zeros(n_slots, dtype=np.int64) if mixed else np.repeat(np.arange(part.n_types), part.selection)
        )
        rows[alpha] = _normalised(part, rows[alpha], alpha, slot_types)
    # The atom that stands for a neighbour is the one of its type; an empty slot has none.
    fed = {name: rows.reshape(1, -1), f"{name}:3": np.where(types < part.n_types, types, -1).reshape(1, -1)}
    if mixed:
        fed[f"{name}:4"] = types.reshape(1, -1)
        fed[f"{name}:5"] = (types != part.n_types).reshape(1, -1)
    return fed


def _normalised(part: Any, rows: Array, alpha: int, slot_types: NDArray[np.int64]) -> Array:
    if isinstance(part, SeE3Descriptor):
        # Its first component plays no part, and its statistics were not kept.
        return rows / part.spread[alpha, slot_types][:, None]
    if isinstance(part, SeE2RDescriptor):
        return (rows - part.mean[alpha, slot_types][:, None]) / part.spread[alpha, slot_types][:, None]
    result: Array = (rows - part.mean[alpha, slot_types]) / part.spread[alpha, slot_types]
    return result
