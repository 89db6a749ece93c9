"""Fittings: what a model makes of the descriptors of atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description.networks import Array, Network


@dataclass(frozen=True, eq=False)
class ParameterInput:
    """Numbers that networks take besides the descriptor, as z = (x − mean) · scale.

    Attributes
    ----------
    mean, scale : (n,) float64
        The file's averages and inverse standard deviations.
    default : (n,) float64 or None
        What is taken where the user gives none.
    """

    mean: Array
    scale: Array
    default: Array | None = None

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.mean)


NO_PARAMETERS = ParameterInput(np.zeros(0), np.zeros(0))


class Fitting(Protocol):
    """What every kind of fitting tells; its mathematics is registered in `fastdp.model.fittings`.

    Networks take D, then the frame's parameters, then the atom's. Type embeddings are written into each
    type's
    network by the reader.
    """

    @property
    def kind(self) -> str:
        """What it gives."""

    @property
    def networks(self) -> tuple[Network | None, ...]:
        """One for each type of centre, None where the type has no part in it."""

    @property
    def frame_parameters(self) -> ParameterInput:
        """Parameters of the frame (fparam)."""

    @property
    def atom_parameters(self) -> ParameterInput:
        """Parameters of each atom (aparam)."""


@dataclass(frozen=True, eq=False)
class EnergyFitting:
    """Networks from descriptor to atomic energy, E_i = F_α(D_i) − [F_α(0)] + bias_α, eV.

    Attributes
    ----------
    networks : tuple of Network
        One for each type of centre; the last layer is linear, one wide.
    bias : (n_types,) float64
        eV, added to the network's output.
    subtract_vacuum : (n_types,) bool
        Whether F_α(0) is subtracted ("atom_ener").
    frame_parameters, atom_parameters : ParameterInput
        What the networks take besides D.
    vacuum_networks : tuple of Network or None
        F of the vacuum where it is not that of `networks`.
    """

    networks: tuple[Network, ...]
    bias: Array
    subtract_vacuum: NDArray[np.bool_]
    frame_parameters: ParameterInput = NO_PARAMETERS
    atom_parameters: ParameterInput = NO_PARAMETERS
    vacuum_networks: tuple[Network, ...] | None = None
    kind: str = "energy"


@dataclass(frozen=True, eq=False)
class DipoleFitting:
    """Networks from descriptor to a vector on each atom, μ_i = Σ_k (F_αk(D_i) + bias_αk) ρ_ik.

    ρ_ik = (T_k1, T_k2, T_k3) of the descriptor.

    Attributes
    ----------
    networks : tuple of Network or None
        K wide; None for types without a vector.
    bias : (n_types, K) float64
    """

    networks: tuple[Network | None, ...]
    bias: Array
    frame_parameters: ParameterInput = NO_PARAMETERS
    atom_parameters: ParameterInput = NO_PARAMETERS
    kind: str = "dipole"


@dataclass(frozen=True, eq=False)
class PolarFitting:
    """Networks from descriptor to a tensor on each atom, P_i = scale_α · ρᵀ Y ρ + shift_α · 1.

    Attributes
    ----------
    networks : tuple of Network or None
        None for types without a tensor.
    diagonal : bool
        Whether F is K wide and Y = diag(F); otherwise F has K² numbers and Y = `symmetrised` · (F + Fᵀ).
    symmetrised : float
        1 in TensorFlow, ½ elsewhere.
    scale, shift : (n_types,) float64
    bias : (n_types, width of F) float64 or None
        Added to F.
    """

    networks: tuple[Network | None, ...]
    diagonal: bool
    symmetrised: float
    scale: Array
    shift: Array
    frame_parameters: ParameterInput = NO_PARAMETERS
    atom_parameters: ParameterInput = NO_PARAMETERS
    bias: Array | None = None
    kind: str = "polar"


@dataclass(frozen=True, eq=False)
class PropertyFitting:
    """Networks from descriptor to invariant numbers on each atom: densities of states, properties.

    Attributes
    ----------
    networks : tuple of Network or None
    scale, bias : (n_types, n_out) float64
        y_i = F_α(D_i) · scale_α + bias_α.
    intensive : bool
        Whether the frame's value is the mean over its atoms, not the sum.
    kind : str
        DeePMD-kit's name of the quantity.
    """

    networks: tuple[Network | None, ...]
    scale: Array
    bias: Array
    intensive: bool
    frame_parameters: ParameterInput = NO_PARAMETERS
    atom_parameters: ParameterInput = NO_PARAMETERS
    kind: str = "property"
