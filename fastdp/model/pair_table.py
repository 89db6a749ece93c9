"""Energies of pairs as cubic splines over evenly spaced distances, as DeePMD-kit's `PairTab` has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairTableData:
    """φ_αβ(r) = Σ_p c_p t^p in the k-th interval, t = (r − start)/spacing − k.

    Attributes
    ----------
    start, spacing : float
        Å. Below `start` there is no value.
    coefficients : (n_types, n_types, n_intervals, 4) float64
        eV, lowest power first.
    cutoff : float
        Å; the energy is zero from here on, and beyond the last interval.
    """

    start: float
    spacing: float
    coefficients: Array
    cutoff: float

    @property
    def n_intervals(self) -> int:
        """Number of intervals."""
        return int(self.coefficients.shape[2])

    @property
    def end(self) -> float:
        """Distance from which on the energy is zero, Å."""
        return min(self.cutoff, self.start + self.spacing * self.n_intervals)

    def energy_and_slope(
        self, centre: NDArray[np.integer], neighbour: NDArray[np.integer], r: Array
    ) -> tuple[Array, Array]:
        """Return φ and dφ/dr, eV and eV/Å.

        Parameters
        ----------
        centre, neighbour : (n,) int
            Types.
        r : (n,) float64
            Å, not below `start`.
        """
        u = (r - self.start) / self.spacing
        k = np.clip(u.astype(np.int64), 0, self.n_intervals - 1)
        t = u - k
        c0, c1, c2, c3 = np.moveaxis(self.coefficients[centre, neighbour, k], -1, 0)
        inside = r < self.end
        energy = np.where(inside, c0 + t * (c1 + t * (c2 + t * c3)), 0.0)
        slope = np.where(inside, (c1 + t * (2.0 * c2 + t * 3.0 * c3)) / self.spacing, 0.0)
        return energy, slope


def table_of_columns(distances: Array, columns: Array, cutoff: float | None = None) -> PairTableData:
    """Return the splines through columns of energies, with the rules of DeePMD-kit's `tab_file`.

    The spline has slope zero at both ends. Where the cutoff lies beyond the last distance, zeros follow if
    the last energies are all zero; otherwise one cubic goes from the last energy (with the last difference
    as its slope, by Å, as DeePMD-kit has it) to zero at the last grid point before the cutoff.

    Parameters
    ----------
    distances : (n,) float64
        Å, evenly spaced, ascending, at least two.
    columns : (n, n_types (n_types + 1)/2) float64
        eV, for the pairs 00, 01, …, 11, ….
    cutoff : float, optional
        Å; by default the last distance.

    Returns
    -------
    PairTableData
    """
    # Who reads models has no need of it, and it takes a tenth of a second to import.
    from scipy.interpolate import CubicSpline

    spacing = float(distances[1] - distances[0])
    end = float(distances[-1])
    cutoff = end if cutoff is None else cutoff
    if cutoff > end:
        distances, columns = _extended(distances, columns, spacing, cutoff)
    n_types = round((np.sqrt(1 + 8 * columns.shape[1]) - 1) / 2)
    slopes = CubicSpline(distances, columns, bc_type="clamped")(distances, 1) * spacing
    low, high, rise, next_rise = columns[:-1], columns[1:], slopes[:-1], slopes[1:]
    pieces = np.stack(
        [low, rise, 3 * (high - low) - 2 * rise - next_rise, 2 * (low - high) + rise + next_rise], axis=-1
    )
    coefficients = np.zeros((n_types, n_types, len(low), 4))
    for column, (alpha, beta) in enumerate(zip(*np.triu_indices(n_types), strict=True)):
        coefficients[alpha, beta] = coefficients[beta, alpha] = pieces[:, column]
    return PairTableData(float(distances[0]), spacing, coefficients, float(cutoff))


def _extended(distances: Array, columns: Array, spacing: float, cutoff: float) -> tuple[Array, Array]:
    """Return the columns continued to the cutoff."""
    from scipy.interpolate import CubicSpline

    end = float(distances[-1])
    missing = int(np.ceil(cutoff / spacing - distances[0] / spacing)) - (len(distances) - 1)
    if missing <= 0:
        return distances, columns
    new = end + spacing * np.arange(1, missing + 1)
    if not columns[-1].any():
        values = np.zeros((missing, columns.shape[1]))
    else:
        to_the_point_before = new[-1] / spacing - end / spacing >= 2
        last = new[-2] if to_the_point_before else new[-1]
        slope = columns[-1] - columns[-2]
        cubic = CubicSpline(
            np.array([end, last]),
            np.stack([columns[-1], np.zeros_like(slope)]),
            bc_type=((1, slope), (1, np.zeros_like(slope))),
        )
        if to_the_point_before:
            new = new[:-1]
        values = cubic(new)
    return np.concatenate([distances, new]), np.concatenate([columns, values])
