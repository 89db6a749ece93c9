"""The loc_frame descriptor of a frozen graph."""

from __future__ import annotations

import math

import numpy as np

from fastdp.errors import ModelError
from fastdp.model.description import AxisRule, LocFrameDescriptor
from fastdp.model.readers.graph_descriptors import GraphDescriptor, graph_descriptor
from fastdp.model.readers.graph_environment import attribute
from fastdp.model.readers.model_graph import MEAN_INPUT, SPREAD_INPUT, ModelGraph

NUMBERS_OF_A_RULE = 3


@graph_descriptor("Descrpt")
def _loc_frame(model: ModelGraph) -> GraphDescriptor:
    source = model.graph.source
    full, radial = (np.array(attribute(model, key).list.i, dtype=np.int64) for key in ("sel_a", "sel_r"))
    sound = len(full) == len(radial) > 0 and min(full.min(), radial.min()) >= 0
    if not sound or not 0 < full.sum() + radial.sum() < 2**31:
        raise ModelError(f"{source}: damaged: sel_a is {full.tolist()} and sel_r {radial.tolist()}")
    n_types = len(full)
    cutoff = float(np.float32(attribute(model, "rcut_r").f))
    if not (math.isfinite(cutoff) and cutoff > 0.0):
        raise ModelError(f"{source}: damaged: rcut is {cutoff} Å")
    width = int(4 * full.sum() + radial.sum())
    if len(model.environment.inputs) != 7:
        raise ModelError(f"{source}: damaged: the node {model.environment.name!r} should have 7 inputs")
    statistics = [model.graph.numbers(model.environment.inputs[n][0]) for n in (MEAN_INPUT, SPREAD_INPUT)]
    if any(values.size != n_types * width for values in statistics) or np.any(statistics[1] <= 0.0):
        raise ModelError(
            f"{source}: damaged: its statistics do not fit {n_types} types and {width} components"
        )
    mean, spread = (values.reshape(n_types, width) for values in statistics)
    axes = _axes(model, list(attribute(model, "axis_rule").list.i), full, radial)

    def complete(given: int) -> LocFrameDescriptor:
        if given != width:
            raise ModelError(
                f"{source}: the fitting network takes {given} numbers of a descriptor with {width}"
            )
        return LocFrameDescriptor(cutoff, full, radial, axes, mean, spread)

    return GraphDescriptor(complete, width)


def _axes(
    model: ModelGraph, numbers: list[int], full: np.ndarray, radial: np.ndarray
) -> tuple[tuple[AxisRule, AxisRule], ...] | None:
    if not numbers:
        return None
    n_types = len(full)
    if len(numbers) != 2 * NUMBERS_OF_A_RULE * n_types:
        raise ModelError(f"{model.graph.source}: damaged: axis_rule has {len(numbers)} numbers")
    rules = []
    for start in range(0, len(numbers), NUMBERS_OF_A_RULE):
        kind, neighbour_type, index = (int(n) for n in numbers[start : start + NUMBERS_OF_A_RULE])
        excluding = neighbour_type < 0
        if excluding:
            # Class 0 counts from −1 and class 1 from 0: so it is in DeePMD-kit's code.
            neighbour_type = -(neighbour_type + 1) if kind == 0 else -neighbour_type
        if kind not in (0, 1) or not 0 <= neighbour_type < max(n_types, 1) or not 0 <= index < 1000:
            raise ModelError(f"{model.graph.source}: damaged: axis_rule is {numbers}")
        rules.append(AxisRule(kind == 1, neighbour_type, excluding, index))
    return tuple((rules[2 * t], rules[2 * t + 1]) for t in range(n_types))
