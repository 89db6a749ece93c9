"""What a potential may be asked for; imports nothing heavy, for the schema has the same limits."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal, get_args

from fastdp.errors import InputError

Precision = Literal["double", "mixed"]
"""Of the kernels: float64, or float32 with sums in float64."""

PRECISIONS = get_args(Precision)

LARGEST_TOLERANCE = 0.1
"""eV/Å; more than any error of training."""

SHORTEST = (0.05, 2.0)
"""Å; where tables may be asked to begin."""


def check_options(*, precision: Any, tolerance: Any, shortest: Any, skin: Any = 0.0) -> None:
    """Check what the input file's schema has checked already, but a script has not.

    Parameters
    ----------
    precision, tolerance, shortest
        As for `make_potential`.
    skin
        Of a neighbour list, Å.

    Raises
    ------
    InputError
        That names the option, its value, and what it may be.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}, must be {' or '.join(map(repr, PRECISIONS))}")
    if not (_is_number(tolerance) and 0.0 < tolerance <= LARGEST_TOLERANCE):
        raise InputError(
            f"tolerance is {tolerance!r}, must be a number above 0 and at most {LARGEST_TOLERANCE} eV/Å"
        )
    if shortest is not None and not (_is_number(shortest) and SHORTEST[0] <= shortest <= SHORTEST[1]):
        raise InputError(
            f"shortest_A is {shortest!r}, must be a number from {SHORTEST[0]} to {SHORTEST[1]} Å"
        )
    if not (_is_number(skin) and 0.0 <= skin < math.inf):
        raise InputError(f"skin_A is {skin!r}, must be a number of Å that is not negative")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
