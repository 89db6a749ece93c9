"""Running statistics of a stage: drift of the conserved quantity, mean temperature and its error.

Every number that comes in is folded into a few sums, which are exact in a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST_NUMBER_OF_BLOCKS = 16


class StraightLine:
    """Least-squares line through points that come one at a time.

    Works with deviations from the first point, so that a small drift of a large number keeps its digits.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(8)

    def add(self, x: float, y: float) -> None:
        """Take in a point."""
        sums = self._sums
        if sums[0] == 0:
            sums[6], sums[7] = x, y
        x, y = x - sums[6], y - sums[7]
        sums[:6] += (1.0, x, y, x * x, x * y, y * y)

    @property
    def slope(self) -> float:
        """Slope of the line; NaN with fewer than two distinct x."""
        _, xx, xy, _ = self._centred()
        return xy / xx if xx > 0.0 else math.nan

    @property
    def scatter(self) -> float:
        """Root mean square distance in y from the line; NaN without a line."""
        count, xx, xy, yy = self._centred()
        return math.sqrt(max(yy - xy * xy / xx, 0.0) / count) if xx > 0.0 else math.nan

    def _centred(self) -> tuple[float, float, float, float]:
        """Return the number of points, and the sums of x², xy and y² about the means."""
        n, x, y, xx, xy, yy = (float(value) for value in self._sums[:6])
        if n == 0:
            return 0.0, 0.0, 0.0, 0.0
        return n, xx - x * x / n, xy - x * y / n, yy - y * y / n

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the sums."""
        return {"sums": self._sums.copy()}

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state_dict` returned."""
        self._sums[:] = arrays["sums"]


class BlockAverage:
    """Mean of a correlated series, and the standard error of that mean by blocking.

    Neighbours are averaged pairwise again and again; at each level the variance of the block means over
    their number estimates the squared error, from below while blocks are shorter than the correlation
    (H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480). The largest
    estimate from levels with at least 16 blocks is taken.
    """

    _LEVELS = 48

    def __init__(self) -> None:
        # For each level: blocks so far, their mean, sum of squared deviations; and the block that waits
        # for its partner.
        self._count = np.zeros(self._LEVELS)
        self._mean = np.zeros(self._LEVELS)
        self._squares = np.zeros(self._LEVELS)
        self._waiting = np.full(self._LEVELS, np.nan)

    def add(self, value: float) -> None:
        """Take in the next value of the series."""
        for level in range(self._LEVELS):
            self._count[level] += 1.0
            deviation = value - self._mean[level]
            self._mean[level] += deviation / self._count[level]
            self._squares[level] += deviation * (value - self._mean[level])
            if math.isnan(self._waiting[level]):
                self._waiting[level] = value
                return
            value = 0.5 * (self._waiting[level] + value)
            self._waiting[level] = math.nan

    @property
    def mean(self) -> float:
        """Mean of all values; NaN without any."""
        return float(self._mean[0]) if self._count[0] else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN with fewer than 16 values."""
        count = self._count[self._count >= SMALLEST_NUMBER_OF_BLOCKS]
        if len(count) == 0:
            return math.nan
        return float(np.sqrt(self._squares[: len(count)] / (count * (count - 1.0))).max())

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return all levels."""
        return {"levels": np.stack([self._count, self._mean, self._squares, self._waiting])}

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state_dict` returned."""
        self._count, self._mean, self._squares, self._waiting = np.array(arrays["levels"])
