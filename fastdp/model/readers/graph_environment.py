"""What every descriptor of a frozen graph has: radii, numbers of neighbours, statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import Array, SmoothSwitch
from fastdp.model.readers.model_graph import MEAN_INPUT, SPREAD_INPUT, ModelGraph


def attribute(model: ModelGraph, key: str) -> Any:
    """Return an attribute of the environment op.

    Raises
    ------
    ModelError
        If it has none of this name.
    """
    if key not in model.environment.attributes:
        raise ModelError(
            f"{model.graph.source}: damaged: the node {model.environment.name!r} has no attribute {key!r}"
        )
    return model.environment.attributes[key]


def selection_of(model: ModelGraph, key: str = "sel_a") -> NDArray[np.int64]:
    """Return the largest numbers of neighbours.

    Raises
    ------
    ModelError
        If they are not numbers of neighbours.
    UnsupportedModelError
        If some neighbours have radial information only.
    """
    selection = np.array(attribute(model, key).list.i, dtype=np.int64)
    if len(selection) == 0 or selection.min() < 0 or not 0 < selection.sum() < 2**31:
        raise ModelError(f"{model.graph.source}: damaged: sel is {selection.tolist()}")
    radial = np.array(attribute(model, "sel_r").list.i) if key == "sel_a" else np.zeros(1)
    if np.any(radial != 0):
        raise UnsupportedModelError(
            f"{model.graph.source}: found neighbours with radial information only (sel_r {radial.tolist()}), "
            "which fastdp does not evaluate; train with a se_e2_a descriptor"
        )
    return selection


def normaliser_of(model: ModelGraph, selection: NDArray[np.int64]) -> int:
    """Return the sum of the numbers of neighbours at training time.

    Raises
    ------
    ModelError
        If it is not positive.
    """
    name = f"descrpt_attr{model.suffix}/original_sel"
    total = int(model.graph.constant(name).sum()) if name in model.graph else int(selection.sum())
    if total <= 0:
        raise ModelError(f"{model.graph.source}: damaged: {name} adds up to {total}")
    return total


def switch_of(model: ModelGraph, keys: tuple[str, str] = ("rcut_r", "rcut_r_smth")) -> SmoothSwitch:
    """Return the switch from the op's attributes for the outer and the inner radius.

    Raises
    ------
    ModelError
        If they are not radii.
    """
    # The op keeps the radii in float32, and their difference too.
    cutoff, inner = np.float32(attribute(model, keys[0]).f), np.float32(attribute(model, keys[1]).f)
    if not (math.isfinite(cutoff) and 0.0 <= inner < cutoff):
        raise ModelError(f"{model.graph.source}: damaged: rcut is {cutoff} Å and rcut_smth {inner} Å")
    return SmoothSwitch(inner=float(inner), cutoff=float(cutoff), width=float(cutoff - inner))


def statistics_of(
    model: ModelGraph, selection: NDArray[np.int64], n_types: int, n_columns: int = 4
) -> tuple[Array, Array]:
    """Return mean and spread by types of centre and neighbour, (n_types, n_types, n_columns).

    Parameters
    ----------
    model : ModelGraph
    selection : (n_types,) int64, or (1,) where all types share the slots
    n_types : int
    n_columns : int
        Of an environment row.

    Raises
    ------
    ModelError
        If their number is wrong, or spreads are not positive.
    UnsupportedModelError
        If they are not the same for all neighbours of a type, or not isotropic.
    """
    source = model.graph.source
    if len(model.environment.inputs) != 7:
        raise ModelError(f"{source}: damaged: the node {model.environment.name!r} should have 7 inputs")
    mean, spread = (
        _by_neighbour_type(model, model.environment.inputs[number][0], selection, n_types, n_columns)
        for number in (MEAN_INPUT, SPREAD_INPUT)
    )
    if np.any(mean[..., 1:] != 0.0) or np.any(spread[..., 2:] != spread[..., 1:2]):
        raise UnsupportedModelError(
            f"{source}: the statistics t_avg and t_std treat x, y and z differently, so that the energy "
            "would depend on the orientation; fastdp does not evaluate such a model"
        )
    if np.any(spread <= 0.0):
        raise ModelError(f"{source}: damaged: t_std has values that are not positive")
    return mean, spread


def _by_neighbour_type(
    model: ModelGraph, name: str, selection: NDArray[np.int64], n_types: int, n_columns: int
) -> Array:
    n_slots = int(selection.sum())
    values = model.graph.numbers(name)
    if values.size != n_types * n_slots * n_columns:
        raise ModelError(
            f"{model.graph.source}: damaged: {name!r} has {values.size} numbers, not "
            f"{n_types}·{n_slots}·{n_columns}"
        )
    values = values.reshape(n_types, n_slots, n_columns)
    result = np.empty((n_types, n_types, n_columns))
    mixed = len(selection) != n_types
    stops = np.full(n_types, n_slots) if mixed else np.cumsum(selection)
    widths = np.full(n_types, n_slots) if mixed else selection
    for beta, (stop, width) in enumerate(zip(stops, widths, strict=True)):
        start = int(stop - width)
        # A type without slots has no statistics, and nothing ever asks for them.
        first = values[:, min(start, n_slots - 1)]
        if np.any(values[:, start:stop] != first[:, None]):
            raise UnsupportedModelError(
                f"{model.graph.source}: the statistics in {name!r} differ between neighbours of the same "
                "type; fastdp does not evaluate such a model (DeePMD-kit's own training never gives one)"
            )
        result[:, beta] = first
    return result


def excluded_pairs(model: ModelGraph, n_types: int) -> set[tuple[int, int]]:
    """Return the pairs that the training input excludes, in both directions.

    Raises
    ------
    ModelError
        If they are no pairs of types.
    """
    pairs = model.settings.get("exclude_types")
    excluded = set()
    for pair in pairs or ():
        valid = isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, int) for t in pair)
        if not valid or not all(0 <= t < n_types for t in pair):
            raise ModelError(f"{model.graph.source}: damaged: exclude_types holds {pair!r}")
        excluded |= {(pair[0], pair[1]), (pair[1], pair[0])}
    return excluded
