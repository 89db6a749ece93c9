"""Networks of a model: layers, the tables that stand in for them, and embeddings made of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Shortcut = Literal["none", "identity", "doubling"]


@dataclass(frozen=True, eq=False)
class DenseLayer:
    """One layer y = shortcut(x) + φ(x W + b) · t.

    Attributes
    ----------
    weight : (n_in, n_out) float64
    bias : (n_out,) float64
    timestep : (n_out,) float64 or None
        Factor t of the residual branch ("idt"); None means 1.
    activation : str
        A name in `fastdp.model.activations.ACTIVATIONS`.
    shortcut : {"none", "identity", "doubling"}
        What is added: nothing, x, or x concatenated with itself.
    """

    weight: Array
    bias: Array
    timestep: Array | None
    activation: str
    shortcut: Shortcut

    @property
    def n_in(self) -> int:
        """Width of the input."""
        return int(self.weight.shape[0])

    @property
    def n_out(self) -> int:
        """Width of the output."""
        return int(self.weight.shape[1])


@dataclass(frozen=True, eq=False)
class Network:
    """A feed-forward network: its layers in order."""

    layers: tuple[DenseLayer, ...]

    @property
    def n_in(self) -> int:
        """Width of the input."""
        return self.layers[0].n_in

    @property
    def n_out(self) -> int:
        """Width of the output."""
        return self.layers[-1].n_out

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(
            layer.weight.size + layer.bias.size + (0 if layer.timestep is None else layer.timestep.size)
            for layer in self.layers
        )


@dataclass(frozen=True, eq=False)
class TabulatedNetwork:
    """A network of one number, kept as piecewise polynomials of fifth order (`dp compress`).

    y_k(x) = Σ_n c_kn (x − knot)^n; outside the table it goes on linearly, as in DeePMD-kit since 3.2.

    Attributes
    ----------
    knots : (n_intervals + 1,) float64
        Ascending.
    coefficients : (n_intervals, n_out, 6) float64
    """

    knots: Array
    coefficients: Array

    @property
    def n_out(self) -> int:
        """Width of the output."""
        return int(self.coefficients.shape[1])

    @property
    def n_parameters(self) -> int:
        """Number of coefficients."""
        return int(self.coefficients.size)


TypeSwitch = Literal["none", "cubic", "smooth"]


@dataclass(frozen=True, eq=False)
class StrippedEmbedding:
    """An embedding G(ŝ) (1 + f v): one network of the distance, and factors f of the pair of types.

    Attributes
    ----------
    network : Network or TabulatedNetwork
        G(ŝ), shared by all pairs.
    factor : (n_out,) float64
        f, the network of the type embeddings evaluated for this pair.
    switch : {"none", "cubic", "smooth"}
        v: 1; or clip(1 − (1 − r_s s)³, 0, 1) (TensorFlow); or w(r) (all other backends).
    inner : float
        r_s of the cubic switch, Å.
    mean, spread : float
        μ and σ that take ŝ back to s in the cubic switch.
    """

    network: Network | TabulatedNetwork
    factor: Array
    switch: TypeSwitch = "none"
    inner: float = 0.0
    mean: float = 0.0
    spread: float = 1.0

    @property
    def n_out(self) -> int:
        """Width of the output."""
        return self.network.n_out

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the shared network."""
        return self.network.n_parameters


Embedding = Network | TabulatedNetwork | StrippedEmbedding
"""A function from ŝ (and w) to the K channels of a pair of types."""

EmbeddingTable = tuple[tuple[Embedding | None, ...], ...]
