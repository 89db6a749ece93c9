"""The compressed form of a Deep Potential: spline coefficients, projector, fitting network.

    τ_c = (A L)ᵀ M_0 + Lᵀ const (c = 0),  (B L)ᵀ M_c (c = 1…3)
    E_α = F'_α( τ_p · T_l )        or        F'_α( upper triangle of τ τᵀ )        or        F'_α( τ_p0 )

with M the spline moments of the neighbours, A and B the spline coefficients of the radial functions, L
and R the oblique projector T → R Lᵀ T, and R absorbed by the first layer of F'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import CheckpointError
from fastdp.model.description import Array, Shortcut
from fastdp.potential.compressed.splines import RadialBasis
from fastdp.potential.compressed.triple_basis import TripleForm


@dataclass(frozen=True, eq=False)
class FactoredLayer:
    """A layer of the fitting network, its matrix whole or as two thin factors.

    Attributes
    ----------
    left : (n_in, n_out) float64, or (n_in, rank) if `right` is given
    right : (rank, n_out) float64 or None
    bias : (n_out,) float64
    timestep : (n_out,) float64 or None
    activation : str
    shortcut : {"none", "identity", "doubling"}
    """

    left: Array
    right: Array | None
    bias: Array
    timestep: Array | None
    activation: str
    shortcut: Shortcut


@dataclass(frozen=True, eq=False)
class CompressedCentre:
    """What is needed for centres of one type.

    Attributes
    ----------
    radial, angular : (columns, q) float64
        A L and B L, divided by N_sel; rows run over neighbour type, then basis function, then over those of
        triples.
    constant : (q,) float64
        Lᵀ const.
    axis_matrix : (q, M) float64 or None
        Row p, column l: R_lp, so that T_l = Σ_p R_lp τ_p; None if the network takes the Gram matrix.
    layers : tuple of FactoredLayer
        The first takes τ_p·T_l (p slow, l fast), or the upper triangle of τ τᵀ row by row, or τ_p0.
    bias : float
        eV.
    sums : bool
        Whether the network takes τ_p0, without any product: descriptors of distances only. `angular` is zero.
    """

    radial: Array
    angular: Array
    constant: Array
    axis_matrix: Array | None
    layers: tuple[FactoredLayer, ...]
    bias: float
    sums: bool = False

    @property
    def rank(self) -> int:
        """q, the number of channels kept."""
        return int(self.radial.shape[1])

    def as_products(self) -> CompressedCentre | None:
        """Return the same with products: sums are those with a channel that is always (1, 0, 0, 0).

        None if the first layer adds its own input, which then has one number more.
        """
        if not self.sums:
            return self
        first, *rest = self.layers
        if first.shortcut != "none":
            return None
        nothing = np.zeros((len(self.radial), 1))
        first = replace(first, left=np.vstack((first.left, np.zeros((1, first.left.shape[1])))))
        return CompressedCentre(
            np.hstack((self.radial, nothing)),
            np.hstack((self.angular, nothing)),
            np.append(self.constant, 1.0),
            np.eye(self.rank + 1)[:, -1:],
            (first, *rest),
            self.bias,
        )


@dataclass(frozen=True, eq=False)
class CompressedModel:
    """A compressed Deep Potential, complete.

    Attributes
    ----------
    cutoff : float
        Å.
    bases : (n_types) tuple of (n_types) tuples of RadialBasis
        Symmetric: the pair (α, β) and (β, α) share a basis. All have the same degree and size.
    centres : tuple of CompressedCentre
        By type.
    triples : TripleForm or None
        Of a three-body part; its moments come behind those of pairs.
    """

    cutoff: float
    bases: tuple[tuple[RadialBasis, ...], ...]
    centres: tuple[CompressedCentre, ...]
    triples: TripleForm | None = None

    @property
    def n_types(self) -> int:
        """Number of atom types."""
        return len(self.centres)

    @property
    def degree(self) -> int:
        """Degree of the splines."""
        return self.bases[0][0].degree

    @property
    def n_functions(self) -> int:
        """N, number of basis functions for each neighbour type; 0 if there are triples only."""
        return self.bases[0][0].n_functions

    @property
    def columns(self) -> int:
        """Number of moments, for each component."""
        of_triples = 0 if self.triples is None else self.triples.columns
        return self.n_types * self.n_functions + of_triples

    @property
    def multiply_adds(self) -> Array:
        """Multiply-adds of the GEMMs for one atom of each type, forwards and backwards, (n_types,)."""
        totals = []
        for centre in self.centres:
            of_pairs = self.n_types * self.n_functions * centre.rank
            total = 2 * (centre.radial.size + (0 if centre.sums else 3 * of_pairs))
            if centre.axis_matrix is not None:
                total += 2 * 4 * centre.axis_matrix.size
            for layer in centre.layers:
                total += 2 * (layer.left.size + (0 if layer.right is None else layer.right.size))
            totals.append(total)
        return np.array(totals, dtype=np.float64)

    def arrays(self) -> dict[str, NDArray]:
        """Return the model as named arrays, for a cache or a checkpoint."""
        result: dict[str, NDArray] = {
            "cutoff": np.array(self.cutoff),
            "degree": np.array(self.degree),
            "n_functions": np.array(self.n_functions),
            "shortest": np.array([[b.shortest for b in row] for row in self.bases]),
            "softness": np.array([[b.softness for b in row] for row in self.bases]),
        }
        if self.triples is not None:
            result |= self.triples.arrays()
        for alpha, centre in enumerate(self.centres):
            prefix = f"centre_{alpha}/"
            result[prefix + "radial"] = centre.radial
            result[prefix + "angular"] = centre.angular
            result[prefix + "constant"] = centre.constant
            result[prefix + "bias"] = np.array(centre.bias)
            if centre.sums:
                result[prefix + "sums"] = np.array(True)
            if centre.axis_matrix is not None:
                result[prefix + "axis_matrix"] = centre.axis_matrix
            for k, layer in enumerate(centre.layers):
                name = f"{prefix}layer_{k}/"
                result[name + "left"] = layer.left
                result[name + "bias"] = layer.bias
                result[name + "rules"] = np.array([layer.activation, layer.shortcut], dtype="S16")
                if layer.right is not None:
                    result[name + "right"] = layer.right
                if layer.timestep is not None:
                    result[name + "timestep"] = layer.timestep
        return result

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> CompressedModel:
        """Rebuild a model from `arrays()`.

        Raises
        ------
        CheckpointError
            If something is missing.
        """
        try:
            degree, n_functions = int(arrays["degree"]), int(arrays["n_functions"])
            cutoff = float(arrays["cutoff"])
            shortest, softness = arrays["shortest"], arrays["softness"]
            n_types = len(shortest)
            bases = tuple(
                tuple(
                    RadialBasis(degree, n_functions, float(shortest[a, b]), cutoff, float(softness[a, b]))
                    for b in range(n_types)
                )
                for a in range(n_types)
            )
            centres = tuple(_centre(arrays, f"centre_{a}/") for a in range(n_types))
            return cls(cutoff, bases, centres, TripleForm.from_arrays(arrays, degree))
        except KeyError as error:
            raise CheckpointError(f"the compressed potential lacks {error}") from error


def _centre(arrays: Mapping[str, NDArray], prefix: str) -> CompressedCentre:
    layers: list[FactoredLayer] = []
    while f"{prefix}layer_{len(layers)}/left" in arrays:
        name = f"{prefix}layer_{len(layers)}/"
        activation, shortcut = (item.decode() for item in arrays[name + "rules"])
        layers.append(
            FactoredLayer(
                arrays[name + "left"],
                arrays.get(name + "right"),
                arrays[name + "bias"],
                arrays.get(name + "timestep"),
                activation,
                shortcut,
            )
        )
    return CompressedCentre(
        arrays[prefix + "radial"],
        arrays[prefix + "angular"],
        arrays[prefix + "constant"],
        arrays.get(prefix + "axis_matrix"),
        tuple(layers),
        float(arrays[prefix + "bias"]),
        prefix + "sums" in arrays,
    )
