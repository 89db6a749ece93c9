"""The se_e2_a descriptor of a frozen graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import Array, Network, SeE2ADescriptor, SmoothSwitch
from fastdp.model.readers.energy_graph import EnergyGraph
from fastdp.model.readers.graph_networks import embedding_shortcut, hidden_network

ENVIRONMENT_OPERATIONS = ("ProdEnvMatA", "DescrptSeA", "DescrptNorot")
"""The op that makes environment rows: since 2.0, in 1.x, in 0.x."""

TWO_SIDED_SCOPES = ("filter_type_{}", "DS_layer_type_{}")
"""Scope of the embedding networks of one type of centre: since 1.0, in 0.x."""

ONE_SIDED_SCOPE = "filter_type_all"

MEAN_INPUT, SPREAD_INPUT = 5, 6


def read_se_e2_a(model: EnergyGraph, descriptor_width: int) -> SeE2ADescriptor:
    """Read the descriptor.

    Parameters
    ----------
    model : EnergyGraph
    descriptor_width : int
        Width of the fitting networks' input; the number of axis neurons follows from it.

    Raises
    ------
    ModelError
        If a part is missing or the parts do not fit together.
    UnsupportedModelError
        If the statistics are not the same for all neighbours of a type, or not isotropic.
    """
    source = model.graph.source
    selection = _selection(model)
    mean, spread = _statistics(model, selection)
    embedding, one_sided = _embedding(model, len(selection))
    widths = {network.n_out for row in embedding for network in row if network is not None}
    if len(widths) != 1:
        raise ModelError(f"{source}: the embedding networks should be of one width, but are {sorted(widths)}")
    axis_neurons, remainder = divmod(descriptor_width, widths.pop())
    if remainder or axis_neurons == 0:
        raise ModelError(
            f"{source}: the fitting network takes {descriptor_width} numbers, which is not a multiple of the "
            "embedding's width"
        )
    return SeE2ADescriptor(
        switch=_switch(model),
        selection=selection,
        normaliser=_normaliser(model, selection),
        axis_neurons=axis_neurons,
        mean=mean,
        spread=spread,
        embedding=embedding,
        type_one_side=one_sided,
    )


def _attribute(model: EnergyGraph, key: str) -> Any:
    if key not in model.environment.attributes:
        raise ModelError(
            f"{model.graph.source}: damaged: the node {model.environment.name!r} has no attribute {key!r}"
        )
    return model.environment.attributes[key]


def _selection(model: EnergyGraph) -> NDArray[np.int64]:
    selection = np.array(_attribute(model, "sel_a").list.i, dtype=np.int64)
    if len(selection) == 0 or selection.min() < 0 or not 0 < selection.sum() < 2**31:
        raise ModelError(f"{model.graph.source}: damaged: sel is {selection.tolist()}")
    radial = np.array(_attribute(model, "sel_r").list.i)
    if np.any(radial != 0):
        raise UnsupportedModelError(
            f"{model.graph.source}: found neighbours with radial information only (sel_r {radial.tolist()}), "
            "which fastdp does not evaluate; train with a se_e2_a descriptor"
        )
    return selection


def _normaliser(model: EnergyGraph, selection: NDArray[np.int64]) -> int:
    name = "descrpt_attr/original_sel"
    total = int(model.graph.constant(name).sum()) if name in model.graph else int(selection.sum())
    if total <= 0:
        raise ModelError(f"{model.graph.source}: damaged: {name} adds up to {total}")
    return total


def _switch(model: EnergyGraph) -> SmoothSwitch:
    # The op keeps the radii in float32, and their difference too.
    cutoff, inner = np.float32(_attribute(model, "rcut_r").f), np.float32(_attribute(model, "rcut_r_smth").f)
    if not (math.isfinite(cutoff) and 0.0 <= inner < cutoff):
        raise ModelError(f"{model.graph.source}: damaged: rcut is {cutoff} Å and rcut_smth {inner} Å")
    return SmoothSwitch(inner=float(inner), cutoff=float(cutoff), width=float(cutoff - inner))


def _statistics(model: EnergyGraph, selection: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return mean and spread by types of centre and neighbour."""
    source = model.graph.source
    if len(model.environment.inputs) != 7:
        raise ModelError(f"{source}: damaged: the node {model.environment.name!r} should have 7 inputs")
    mean = _by_neighbour_type(model, model.environment.inputs[MEAN_INPUT][0], selection)
    spread = _by_neighbour_type(model, model.environment.inputs[SPREAD_INPUT][0], selection)
    if np.any(mean[..., 1:] != 0.0) or np.any(spread[..., 2:] != spread[..., 1:2]):
        raise UnsupportedModelError(
            f"{source}: the statistics t_avg and t_std treat x, y and z differently, so that the energy "
            "would depend on the orientation; fastdp does not evaluate such a model"
        )
    if np.any(spread <= 0.0):
        raise ModelError(f"{source}: damaged: t_std has values that are not positive")
    return mean, spread


def _by_neighbour_type(model: EnergyGraph, name: str, selection: NDArray[np.int64]) -> Array:
    n_types, n_slots = len(selection), int(selection.sum())
    values = model.graph.numbers(name)
    if values.size != n_types * n_slots * 4:
        raise ModelError(
            f"{model.graph.source}: damaged: {name!r} has {values.size} numbers, not {n_types}·{n_slots}·4"
        )
    values = values.reshape(n_types, n_slots, 4)
    result = np.empty((n_types, n_types, 4))
    for beta, stop in enumerate(np.cumsum(selection)):
        start = stop - selection[beta]
        # A type without slots has no statistics, and nothing ever asks for them.
        first = values[:, min(start, n_slots - 1)]
        if np.any(values[:, start:stop] != first[:, None]):
            raise UnsupportedModelError(
                f"{model.graph.source}: the statistics in {name!r} differ between neighbours of the same "
                "type; fastdp does not evaluate such a model (DeePMD-kit's own training never gives one)"
            )
        result[:, beta] = first
    return result


def _embedding(model: EnergyGraph, n_types: int) -> tuple[tuple[tuple[Network | None, ...], ...], bool]:
    """Return the networks by types of centre and neighbour, and whether the centre's type is ignored."""
    if f"{ONE_SIDED_SCOPE}/matrix_1_0" in model.graph:
        networks = [_network(model, ONE_SIDED_SCOPE, beta) for beta in range(n_types)]
        excluded = _excluded_pairs(model, n_types)
        return tuple(
            tuple(None if (alpha, beta) in excluded else networks[beta] for beta in range(n_types))
            for alpha in range(n_types)
        ), True
    scopes = [
        scope
        for scope in TWO_SIDED_SCOPES
        if any(
            f"{scope.format(a)}/matrix_1_{b}" in model.graph for a in range(n_types) for b in range(n_types)
        )
    ]
    if len(scopes) != 1:
        raise ModelError(
            f"{model.graph.source}: the embedding networks (filter_type_…/matrix_1_…) are missing; the file "
            "is truncated, or is not a se_e2_a model frozen by DeePMD-kit"
        )
    # A network that is absent belongs to a pair that was excluded.
    return tuple(
        tuple(
            _network(model, scopes[0].format(alpha), beta)
            if f"{scopes[0].format(alpha)}/matrix_1_{beta}" in model.graph
            else None
            for beta in range(n_types)
        )
        for alpha in range(n_types)
    ), False


def _network(model: EnergyGraph, scope: str, neighbour_type: int) -> Network:
    names: list[tuple[str, str, str]] = []
    while not names or f"{scope}/matrix_{len(names) + 1}_{neighbour_type}" in model.graph:
        tail = f"{len(names) + 1}_{neighbour_type}"
        names.append((f"{scope}/matrix_{tail}", f"{scope}/bias_{tail}", f"{scope}/idt_{tail}"))
    return hidden_network(model, names, 1, embedding_shortcut)


def _excluded_pairs(model: EnergyGraph, n_types: int) -> set[tuple[int, int]]:
    """Return the pairs that the training input excludes, in both directions."""
    descriptor = model.training.get("descriptor")
    pairs = descriptor.get("exclude_types") if isinstance(descriptor, dict) else None
    excluded = set()
    for pair in pairs or ():
        valid = isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, int) for t in pair)
        if not valid or not all(0 <= t < n_types for t in pair):
            raise ModelError(f"{model.graph.source}: damaged: exclude_types holds {pair!r}")
        excluded |= {(pair[0], pair[1]), (pair[1], pair[0])}
    return excluded
