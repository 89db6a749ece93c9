"""Tables of pairs inside a model: added to it, or taking its place where atoms come close.

E_i = (1 − w_i) E_i^network + w_i (½ Σ_j φ(r_ij) + bias),   or, without a switch, the plain sum.

w goes from 1 to 0 with the soft minimum σ_i of the distances to the neighbours (H. Wang, X. Guo, L. Zhang,
H. Wang, J. Xue, Appl. Phys. Lett. 114, 244101 (2019), DOI 10.1063/1.5098061), DeePMD-kit's `use_srtab`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.model.neighbourhood import OverflowRule, nearest
from fastdp.model.pair_table import Array, PairTableData


@dataclass(frozen=True, eq=False)
class NearestSwitch:
    """w(σ) = 1 − 10u³ + 15u⁴ − 6u⁵, u = (σ − inner)/(outer − inner) in [0, 1].

    σ_i = Σ_j r_ij exp(−r_ij/softness) / Σ_j exp(−r_ij/softness)

    Attributes
    ----------
    softness : float
        Å ("smin_alpha").
    inner, outer : float
        Å ("sw_rmin", "sw_rmax").
    reach : float
        Å, of the neighbours that count.
    """

    softness: float
    inner: float
    outer: float
    reach: float

    @property
    def network_ends(self) -> float:
        """Distance of the nearest neighbour below which the network has no part any more, Å.

        σ is larger than the smallest distance, but where a dozen neighbours are as close as can be by 1.3
        times the softness only.
        """
        return max(self.inner - 2.0 * self.softness, 0.5 * self.inner)

    def weight(self, sigma: Array) -> tuple[Array, Array]:
        """Return w and dw/dσ; both are 0 where there is no neighbour (σ infinite)."""
        width = self.outer - self.inner
        u = np.clip((sigma - self.inner) / width, 0.0, 1.0)
        return 1.0 - u**3 * (10.0 - u * (15.0 - 6.0 * u)), -30.0 * u**2 * (1.0 - u) ** 2 / width


@dataclass(frozen=True, eq=False)
class PairPart:
    """Tables of pairs that belong to a model.

    Attributes
    ----------
    tables : tuple of PairTableData
    bias : (n_types,) float64
        eV, added to the atoms' energies of the tables.
    switch : NearestSwitch or None
        None for the plain sum.
    selection : (n_types,) int64, or (1,)
        Neighbours that the trainer's tables see, and
    overflow_rule : {"nearest_of_each_type", "nearest_of_all_types", "nearest_of_any_type"}
        which they are; see `SeE2ADescriptor`.
    """

    tables: tuple[PairTableData, ...]
    bias: Array
    switch: NearestSwitch | None
    selection: NDArray[np.int64]
    overflow_rule: OverflowRule

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        reach = 0.0 if self.switch is None else self.switch.reach
        return max(reach, *(table.end for table in self.tables))

    @property
    def shortest(self) -> float:
        """Distance below which there is no table, Å."""
        return max(table.start for table in self.tables)


@dataclass(frozen=True)
class PairPartValues:
    """Tables and switch evaluated on a batch of atoms.

    Attributes
    ----------
    energies : (n_atoms,) float64
        eV, of the tables with bias.
    slopes : (n_pairs,) float64
        ∂energies_i/∂r_ij, eV/Å.
    weights : (n_atoms,) float64
        w.
    weight_slopes : (n_pairs,) float64
        ∂w_i/∂r_ij, 1/Å.
    switched : bool
        Whether the network gets what the tables leave.
    """

    energies: Array
    slopes: Array
    weights: Array
    weight_slopes: Array
    switched: bool

    @property
    def network_weights(self) -> Array:
        """Share of the network's energy of each atom: 1 − w, or 1 in a plain sum."""
        return 1.0 - self.weights if self.switched else np.ones(len(self.weights))

    def combined(self, network_energies: Array, centre: NDArray[np.integer]) -> tuple[Array, Array]:
        """Return the energies of both together, and ∂E_i/∂r_ij without what the network gives.

        Parameters
        ----------
        network_energies : (n_atoms,) float64
            eV.
        centre : (n_pairs,) int
            Atom of each pair.
        """
        energies = self.network_weights * network_energies + self.weights * self.energies
        slopes = self.weights[centre] * self.slopes
        if self.switched:
            slopes = slopes + (self.energies - network_energies)[centre] * self.weight_slopes
        return energies, slopes


def evaluate_pair_part(
    part: PairPart,
    atom_types: NDArray[np.integer],
    centre: NDArray[np.integer],
    neighbour_types: NDArray[np.integer],
    vectors: Array,
    *,
    truncate: bool,
) -> PairPartValues:
    """Evaluate tables and switch.

    Parameters
    ----------
    part : PairPart
    atom_types : (n_atoms,) int
    centre : (n_pairs,) int
        Within the atoms, ascending.
    neighbour_types : (n_pairs,) int
    vectors : (n_pairs, 3) float64
        Å; pairs beyond the cutoff may be there, none below `part.shortest`.
    truncate : bool
        Whether the tables see as many neighbours as the trainer's only. The switch sees all: those that are
        farthest weigh nothing.
    """
    n = len(atom_types)
    r = np.linalg.norm(vectors, axis=1)
    energies, slopes = part.bias[atom_types], np.zeros(len(r))
    for table in part.tables:
        near = np.flatnonzero(r < table.end)
        if truncate:
            rule, selection = part.overflow_rule, part.selection
            near = near[nearest(rule, selection, centre[near], neighbour_types[near], vectors[near])]
        phi, slope = table.energy_and_slope(atom_types[centre[near]], neighbour_types[near], r[near])
        energies = energies + np.bincount(centre[near], 0.5 * phi, n)
        slopes[near] += 0.5 * slope
    if part.switch is None:
        return PairPartValues(energies, slopes, np.ones(n), np.zeros(len(r)), switched=False)
    weights, weight_slopes = _weights(part.switch, n, centre, r)
    return PairPartValues(energies, slopes, weights, weight_slopes, switched=True)


def _weights(switch: NearestSwitch, n: int, centre: NDArray[np.integer], r: Array) -> tuple[Array, Array]:
    """Return w_i and ∂w_i/∂r_ij."""
    near = np.flatnonzero(r <= switch.reach)
    i, distance = centre[near], r[near]
    closest = np.full(n, np.inf)
    np.minimum.at(closest, i, distance)
    # Relative to the closest neighbour, so that nothing underflows.
    x = np.exp(-(distance - closest[i]) / switch.softness)
    total = np.bincount(i, x, n)
    has = total > 0.0
    sigma = np.full(n, np.inf)
    sigma[has] = np.bincount(i, distance * x, n)[has] / total[has]
    weights, slope = switch.weight(sigma)
    weights[~has], slope[~has] = 0.0, 0.0
    slopes = np.zeros(len(r))
    slopes[near] = slope[i] * x / total[i] * (1.0 - (distance - sigma[i]) / switch.softness)
    return weights, slopes
