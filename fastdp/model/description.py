"""The in-memory description of a Deep Potential.

Every reader of a file format yields it and every potential is built from it. It holds numbers and
rules that were already decided: where trainers differ (which layer has a shortcut, how radii are
rounded, what an excluded pair does), the reader writes down the outcome, so that nothing behind it
asks where a model came from.

Symbols as in Zhang et al., NeurIPS 2018 (arXiv:1805.09003).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Shortcut = Literal["none", "identity", "doubling"]
OverflowRule = Literal["nearest_of_each_type", "nearest_of_all_types"]
ExcludedPadding = Literal["dropped", "kept"]


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
class SmoothSwitch:
    """The switch w(r) = u³(−6u²+15u−10)+1, u = (r − inner)/width in [0, 1], 0 from `cutoff` on.

    Attributes
    ----------
    inner, cutoff, width : float
        Å. `width` is cutoff − inner as the trainer rounds it (TensorFlow forms it in float32).
    """

    inner: float
    cutoff: float
    width: float


@dataclass(frozen=True, eq=False)
class SeE2ADescriptor:
    """The two-body embedding descriptor with full relative coordinates (DeepPot-SE, "se_e2_a").

    Attributes
    ----------
    switch : SmoothSwitch
    selection : (n_types,) int64
        Largest number of neighbours of each type that the trainer keeps ("sel").
    normaliser : int
        N_sel in T = (1/N_sel) Σ …: the sum of `selection` at training time.
    axis_neurons : int
        M, the number of columns of T in the second factor of D.
    mean, spread : (n_types, n_types, 4) float64
        μ and σ of the environment rows (s, s·x/r, s·y/r, s·z/r), by centre type and neighbour type.
    embedding : tuple of tuples of Network or None
        `embedding[centre][neighbour]`; None for an excluded pair. One-sided models repeat the object.
    type_one_side : bool
        Whether the networks depend on the neighbour's type only (for display; `embedding` is explicit).
    excluded_padding : {"dropped", "kept"}
        Whether the empty slots of an excluded pair still contribute.
    overflow_rule : {"nearest_of_each_type", "nearest_of_all_types"}
        Which neighbours the trainer keeps when there are more than `selection`.
    """

    switch: SmoothSwitch
    selection: NDArray[np.int64]
    normaliser: int
    axis_neurons: int
    mean: Array
    spread: Array
    embedding: tuple[tuple[Network | None, ...], ...]
    type_one_side: bool
    excluded_padding: ExcludedPadding = "dropped"
    overflow_rule: OverflowRule = "nearest_of_each_type"
    kind: Literal["se_e2_a"] = "se_e2_a"

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.switch.cutoff

    @property
    def n_types(self) -> int:
        """Number of atom types."""
        return len(self.embedding)

    @property
    def n_channels(self) -> int:
        """K, the width of the embedding networks' output."""
        return next(net.n_out for row in self.embedding for net in row if net is not None)

    @property
    def width(self) -> int:
        """Number of components of the descriptor, K·M."""
        return self.n_channels * self.axis_neurons


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
    """

    networks: tuple[Network, ...]
    bias: Array
    subtract_vacuum: NDArray[np.bool_]
    kind: Literal["energy"] = "energy"


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a description came from; shown to the user, never computed with.

    Attributes
    ----------
    path : str
    file_format : str
        For example "TensorFlow frozen graph".
    version : str
        Version of the format as the file gives it, or what was inferred.
    sha256 : str
        Of the file.
    notes : tuple of str
        What the reader inferred or had to decide.
    """

    path: str
    file_format: str
    version: str
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DeepPotential:
    """A trained Deep Potential, complete.

    Attributes
    ----------
    type_names : tuple of str
        Name of each atom type, in the model's order; elements are matched by these.
    descriptor : SeE2ADescriptor
    fitting : EnergyFitting
    precision : {"float64", "float32"}
        In which the trainer evaluates the networks. fastdp's reference always uses float64.
    shortest_trained_distance : float or None
        Å, shortest pair in the training data if the file says so.
    origin : Origin
    """

    type_names: tuple[str, ...]
    descriptor: SeE2ADescriptor
    fitting: EnergyFitting
    precision: Literal["float64", "float32"]
    shortest_trained_distance: float | None
    origin: Origin = field(repr=False)

    @property
    def n_types(self) -> int:
        """Number of atom types."""
        return len(self.type_names)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.descriptor.cutoff

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every number and rule that the energy depends on (not the origin)."""
        digest = hashlib.sha256()
        for part in _parts(self):
            digest.update(part)
        return digest.hexdigest()


def _parts(value: object) -> Iterator[bytes]:
    if isinstance(value, Origin):
        return
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__.encode()
        for item in fields(value):
            yield item.name.encode()
            yield from _parts(getattr(value, item.name))
    elif isinstance(value, tuple):
        yield f"({len(value)}".encode()
        for element in value:
            yield from _parts(element)
    else:
        yield repr(value).encode()
