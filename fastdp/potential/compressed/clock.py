"""Where the time of an evaluation goes, counted inside the kernels in cycles when asked for."""

from __future__ import annotations

from numba import njit

from fastdp.potential.compressed.simd import read_cycles

SECTIONS = (
    "neighbours",
    "splines",
    "moments",
    "projection",
    "products",
    "layers",
    "activations",
    "transposition",
    "slopes",
    "forces",
)
"""What is told apart, in the order of the columns of a clock."""

NEIGHBOURS, SPLINES, MOMENTS, PROJECTION, PRODUCTS, LAYERS, ACTIVATIONS, TRANSPOSITION, SLOPES, FORCES = (
    range(len(SECTIONS))
)


@njit(inline="always")
def begin(clock):
    """Return the time now, or nothing of worth if the clock is off (has no columns)."""
    return read_cycles() if clock.shape[0] else 0


@njit(inline="always")
def lap(clock, section, since):
    """Add what passed since `since` to a section and return the time now."""
    if clock.shape[0] == 0:
        return since
    now = read_cycles()
    clock[section] += now - since
    return now
