"""loc_frame: neighbours in a frame of axes that two of them give.

Of each type the nearest sel_a neighbours have full, the next sel_r radial information. With unit vectors
e_x = r₁/|r₁|, e_y ∝ r₂ − (r₂·e_x) e_x, e_z = e_x × e_y, a slot holds (1/r, e_z·r/r², e_x·r/r², e_y·r/r²)
or 1/r, zero if it is empty; then mean and spread of each component are taken out. The cutoff is
sharp, so that the energy jumps where a neighbour enters.

Zhang et al., PRL 120, 143001 (2018). The gradient here is that of the energy; DeePMD-kit (all versions up
to 3.2)
books the derivative of some radial slots on the axis atoms too, so that its forces differ where sel_r > 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import SimulationError
from fastdp.model.description import Array, AxisRule, LocFrameDescriptor
from fastdp.model.descriptors.registry import Described, descriptor
from fastdp.model.neighbourhood import Neighbourhood, rank_by_distance

NEAREST_OF_A_TYPE = 3
"""How many of each type are candidates where a rule names the type that it leaves out."""

ANTIPARALLEL = 1e-4
"""Where cos θ of the two axes is closer to −1 than this, the next candidate gives the second axis."""


@dataclass(frozen=True)
class _Frame:
    """One atom's slots: pairs with their first component's column, and the axes."""

    full: NDArray[np.int64]
    full_columns: NDArray[np.int64]
    radial: NDArray[np.int64]
    radial_columns: NDArray[np.int64]
    first: int
    second: int
    axes: Array
    """(3, 3): rows e_z, e_x, e_y."""
    height: float
    """Å, length of the part of r₂ across e_x."""


@descriptor(LocFrameDescriptor)
def _describe(part: LocFrameDescriptor, neighbourhood: Neighbourhood, truncate: bool) -> Described:
    alpha = neighbourhood.centre_type
    vectors = neighbourhood.vectors
    r = np.linalg.norm(vectors, axis=1)
    near = np.flatnonzero(r <= part.cutoff)
    rank = np.full(len(r), -1)
    rank[near] = rank_by_distance(
        r[near] ** 2, neighbourhood.neighbour_types[near], neighbourhood.centre[near]
    )
    raw = np.zeros((neighbourhood.n_centres, part.width))
    frames = []
    for i in range(neighbourhood.n_centres):
        start, stop = np.searchsorted(neighbourhood.centre, (i, i + 1))
        mine = np.arange(start, stop)[rank[start:stop] >= 0]
        frame = _frame(part, alpha, mine, neighbourhood.neighbour_types[mine], rank[mine], vectors, r)
        v = vectors[frame.full]
        inverse = 1.0 / r[frame.full]
        raw[i, frame.full_columns] = inverse
        for axis in range(3):
            raw[i, frame.full_columns + 1 + axis] = v @ frame.axes[axis] * inverse**2
        raw[i, frame.radial_columns] = 1.0 / r[frame.radial]
        frames.append(frame)

    def pullback(by_d: Array, by_rotation: Array | None) -> Array:
        g = np.zeros_like(vectors)
        for frame, seed in zip(frames, by_d / part.spread[alpha], strict=True):
            _pull_back(frame, seed, vectors, r, g)
        return g

    return Described((raw - part.mean[alpha]) / part.spread[alpha], None, pullback)


def _frame(
    part: LocFrameDescriptor,
    alpha: int,
    mine: NDArray[np.int64],
    types: NDArray[np.integer],
    rank: NDArray[np.int64],
    vectors: Array,
    r: Array,
) -> _Frame:
    n_full, n_radial = part.full_selection, part.radial_selection
    full_start = np.concatenate(([0], np.cumsum(n_full)))
    radial_start = np.concatenate(([0], np.cumsum(n_radial)))
    is_full = rank < n_full[types]
    is_radial = ~is_full & (rank < (n_full + n_radial)[types])
    full, radial = mine[is_full], mine[is_radial]
    full_slots = full_start[types[is_full]] + rank[is_full]
    radial_slots = radial_start[types[is_radial]] + (rank - n_full[types])[is_radial]
    slots = (dict(zip(full_slots.tolist(), full.tolist(), strict=True)),
             dict(zip(radial_slots.tolist(), radial.tolist(), strict=True)))  # fmt: skip
    starts, limits = (full_start, radial_start), (n_full, n_radial)

    def candidate(rule: AxisRule) -> int | None:
        table, start, limit = slots[rule.radial], starts[rule.radial], limits[rule.radial]
        if not rule.excluding:
            return table.get(int(start[rule.neighbour_type]) + rule.index)
        found = [
            table[slot]
            for beta in range(part.n_types)
            if beta != rule.neighbour_type
            for slot in range(int(start[beta]), int(start[beta] + min(NEAREST_OF_A_TYPE, limit[beta])))
            if slot in table
        ]
        found.sort(key=lambda pair: r[pair] ** 2)
        return found[rule.index] if rule.index < len(found) else None

    if part.axes is None:
        by_radial = int(n_full.sum()) <= 1
        first, second, backup = (slots[by_radial].get(slot) for slot in (0, 1, 2))
    else:
        one, two = part.axes[alpha]
        first, second = candidate(one), candidate(two)
        backup = candidate(AxisRule(two.radial, two.neighbour_type, two.excluding, two.index + 1))
    if first is not None and second is not None:
        cosine = vectors[first] @ vectors[second] / (r[first] * r[second])
        if abs(cosine + 1.0) < ANTIPARALLEL:
            second = backup
    if first is None or second is None:
        raise SimulationError(
            f"an atom of type {alpha} has too few neighbours within {part.cutoff:g} Å for the axes of "
            f"its local "
            "frame (loc_frame)"
        )
    e_x = vectors[first] / r[first]
    across = vectors[second] - (vectors[second] @ e_x) * e_x
    height = float(np.linalg.norm(across))
    if height == 0.0:
        raise SimulationError(
            f"the axes of the local frame of an atom of type {alpha} are parallel (loc_frame)"
        )
    e_y = across / height
    return _Frame(
        full,
        4 * full_slots,
        radial,
        4 * int(n_full.sum()) + radial_slots,
        first,
        second,
        np.array((np.cross(e_x, e_y), e_x, e_y)),
        height,
    )


def _pull_back(frame: _Frame, seed: Array, vectors: Array, r: Array, g: Array) -> None:
    """Add ∂y/∂r_j of one atom's neighbours to `g`, from ∂y/∂(raw components)."""
    v, inverse = vectors[frame.full], 1.0 / r[frame.full]
    by_distance = seed[frame.full_columns]
    by_local = np.column_stack([seed[frame.full_columns + 1 + axis] for axis in range(3)])
    g[frame.full] -= (by_distance * inverse**3)[:, None] * v
    along = np.sum((v @ frame.axes.T) * by_local, axis=1)
    g[frame.full] += (by_local @ frame.axes) * (inverse**2)[:, None]
    g[frame.full] -= (2.0 * along * inverse**4)[:, None] * v
    g[frame.radial] -= (seed[frame.radial_columns] / r[frame.radial] ** 3)[:, None] * vectors[frame.radial]
    by_z, by_x, by_y = by_local.T @ (v * (inverse**2)[:, None])
    _, e_x, e_y = frame.axes
    second = vectors[frame.second]
    by_x = by_x + np.cross(e_y, by_z)
    by_y = by_y + np.cross(by_z, e_x)
    by_across = (by_y - (by_y @ e_y) * e_y) / frame.height
    by_x = by_x - (second @ e_x) * by_across - (by_across @ e_x) * second
    g[frame.second] += by_across - (by_across @ e_x) * e_x
    g[frame.first] += (by_x - (by_x @ e_x) * e_x) / r[frame.first]
