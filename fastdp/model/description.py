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
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Shortcut = Literal["none", "identity", "doubling"]
OverflowRule = Literal["nearest_of_each_type", "nearest_of_all_types", "nearest_of_any_type"]
Precision = Literal["float64", "float32", "float16"]


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


class Descriptor(Protocol):
    """What every descriptor tells; its mathematics is registered in `fastdp.model.descriptors`."""

    @property
    def kind(self) -> str:
        """DeePMD-kit's name of it."""

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""

    @property
    def n_types(self) -> int:
        """Number of atom types."""

    @property
    def width(self) -> int:
        """Number of components."""


class SmoothDescriptor:
    """What descriptors with a switch and a table of embeddings have in common."""

    switch: SmoothSwitch
    embedding: EmbeddingTable

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.switch.cutoff

    @property
    def n_types(self) -> int:
        """Number of atom types."""
        return len(self.embedding)


@dataclass(frozen=True, eq=False)
class SeE2ADescriptor(SmoothDescriptor):
    """The two-body embedding descriptor with full relative coordinates (DeepPot-SE, "se_e2_a").

    With type embeddings, and se_atten (DPA-1) without attention layers, it is the same: the type embeddings
    are
    constants of a pair of types, and the reader writes them into that pair's embedding.

    Attributes
    ----------
    switch : SmoothSwitch
    selection : (n_types,) int64, or (1,)
        Largest number of neighbours that the trainer keeps ("sel"): of each type, or of all together.
    normaliser : int
        N_sel in T = (1/N_sel) Σ …: the sum of `selection` at training time.
    axis_neurons : int
        M, the number of columns of T in the second factor of D.
    mean, spread : (n_types, n_types, 4) float64
        μ and σ of the environment rows (s, s·x/r, s·y/r, s·z/r), by centre type and neighbour type.
    embedding : tuple of tuples of Embedding or None
        `embedding[centre][neighbour]`; None for an excluded pair. One-sided models repeat the object.
    type_one_side : bool
        Whether the networks depend on the neighbour's type only (for display; `embedding` is explicit).
    overflow_rule : {"nearest_of_each_type", "nearest_of_all_types", "nearest_of_any_type"}
        Which neighbours the trainer keeps when there are more than `selection`: the nearest of each type;
        the nearest of all up to the sum, then of each type; or the nearest of all, whatever their type.
    empty_term : (n_types, n_types, K) float64 or None
        What an empty slot adds to N_sel T_k0, by the centre's type and the type of neighbour that the slot
        is for. None means G(ŝ₀) ŝ₀ of the pair's embedding. With the rule "nearest_of_any_type" slots are
        for no type, and the second index is the type of the frame's first atom (see
        `depends_on_first_atom`).
    absent : (n_types, n_types) bool or None
        Pairs that are taken out after the choice of the nearest, and leave their slots empty.
    protection : float
        Å, p in s = w/(r + p).
    kind : str
        DeePMD-kit's name.
    """

    switch: SmoothSwitch
    selection: NDArray[np.int64]
    normaliser: int
    axis_neurons: int
    mean: Array
    spread: Array
    embedding: EmbeddingTable
    type_one_side: bool
    overflow_rule: OverflowRule = "nearest_of_each_type"
    empty_term: Array | None = None
    absent: NDArray[np.bool_] | None = None
    protection: float = 0.0
    kind: str = "se_e2_a"

    @property
    def n_channels(self) -> int:
        """K, the width of the embedding networks' output."""
        return next(net.n_out for row in self.embedding for net in row if net is not None)

    @property
    def width(self) -> int:
        """Number of components of the descriptor, K·M."""
        return self.n_channels * self.axis_neurons

    @property
    def mixed(self) -> bool:
        """Whether all types share the slots."""
        return self.overflow_rule == "nearest_of_any_type"

    @property
    def depends_on_first_atom(self) -> bool:
        """Whether empty slots take the type of the frame's first atom, as DeePMD-kit's dpa1 does."""
        term = self.empty_term
        return self.mixed and term is not None and bool(np.any(term != term[:, :1]))


@dataclass(frozen=True, eq=False)
class SeE2RDescriptor(SmoothDescriptor):
    """The two-body embedding descriptor of distances only ("se_e2_r").

    D_k = (1/(5 N_sel)) Σ_slots G_k(ŝ)

    Attributes
    ----------
    switch, selection, normaliser, embedding, type_one_side, overflow_rule, absent, protection
        As in `SeE2ADescriptor`.
    mean, spread : (n_types, n_types) float64
        μ and σ of s, by centre type and neighbour type.
    empty_term : (n_types, n_types, K) float64
        What an empty slot adds to 5 N_sel D_k.
    excluded_term : (n_types, n_types, K) float64
        What a neighbour of an excluded pair adds, wherever it is.
    """

    switch: SmoothSwitch
    selection: NDArray[np.int64]
    normaliser: int
    mean: Array
    spread: Array
    embedding: EmbeddingTable
    type_one_side: bool
    empty_term: Array
    excluded_term: Array
    overflow_rule: OverflowRule = "nearest_of_each_type"
    absent: NDArray[np.bool_] | None = None
    protection: float = 0.0
    kind: str = "se_e2_r"

    @property
    def width(self) -> int:
        """Number of components of the descriptor, K."""
        return int(self.empty_term.shape[2])


@dataclass(frozen=True, eq=False)
class SeE3Descriptor(SmoothDescriptor):
    """The three-body embedding descriptor ("se_e3", "se_t").

    D_k = Σ_{a ≤ b} 1/(N_a N_b) Σ_jk E_jk G^ab_k(E_jk),  E_jk = (s_j/σ)(s_k/σ) r̂_j·r̂_k

    Attributes
    ----------
    switch, selection, overflow_rule, absent, protection
        As in `SeE2ADescriptor`. Both orders of j ≠ k and j = k count where a = b.
    normaliser : (n_types,) int64
        N_a: `selection` at training time.
    spread : (n_types, n_types) float64
        σ of the components of the environment rows, by centre type and neighbour type.
    embedding : tuple of tuples of Network, TabulatedNetwork or None
        `embedding[a][b]` by the neighbours' types, for a ≤ b; None elsewhere.
    """

    switch: SmoothSwitch
    selection: NDArray[np.int64]
    normaliser: NDArray[np.int64]
    spread: Array
    embedding: EmbeddingTable
    overflow_rule: OverflowRule = "nearest_of_each_type"
    absent: NDArray[np.bool_] | None = None
    protection: float = 0.0
    kind: str = "se_e3"

    @property
    def width(self) -> int:
        """Number of components of the descriptor, K."""
        return next(net.n_out for row in self.embedding for net in row if net is not None)


@dataclass(frozen=True, eq=False)
class AxisRule:
    """How loc_frame finds the atom that gives an axis.

    Attributes
    ----------
    radial : bool
        Whether to look among the neighbours with radial information only.
    neighbour_type : int
        Type to look among, or, with `excluding`, the type to leave out.
    excluding : bool
        Whether to look among all types but `neighbour_type`.
    index : int
        Rank by distance.
    """

    radial: bool
    neighbour_type: int
    excluding: bool
    index: int


@dataclass(frozen=True, eq=False)
class LocFrameDescriptor:
    """The local-frame descriptor of Zhang et al., PRL 120, 143001 (2018) ("loc_frame").

    Attributes
    ----------
    cutoff : float
        Å; a sharp one.
    full_selection, radial_selection : (n_types,) int64
        Neighbours of each type with full and with radial information only.
    axes : tuple of (AxisRule, AxisRule), or None
        By the centre's type. None: the first two neighbours.
    mean, spread : (n_types, width) float64
        Of each component, by the centre's type.
    """

    cutoff: float
    full_selection: NDArray[np.int64]
    radial_selection: NDArray[np.int64]
    axes: tuple[tuple[AxisRule, AxisRule], ...] | None
    mean: Array
    spread: Array
    kind: str = "loc_frame"

    @property
    def n_types(self) -> int:
        """Number of atom types."""
        return len(self.full_selection)

    @property
    def selection(self) -> NDArray[np.int64]:
        """Neighbours of each type that are kept."""
        return self.full_selection + self.radial_selection

    @property
    def width(self) -> int:
        """Number of components."""
        return int(4 * self.full_selection.sum() + self.radial_selection.sum())


@dataclass(frozen=True, eq=False)
class HybridDescriptor:
    """Several descriptors, one after the other.

    Attributes
    ----------
    parts : tuple of descriptors
    shared_selection : (n_types,) or (1,) int64, or None
        Where the trainer makes one list for all parts: its limits for each type, or one for all together. The
        nearest of all up to the sum are kept, then of each type, before each part makes its own choice.
    """

    parts: tuple[Any, ...]
    shared_selection: NDArray[np.int64] | None = None
    kind: str = "hybrid"

    @property
    def cutoff(self) -> float:
        """The largest radius of the parts, Å."""
        return max(part.cutoff for part in self.parts)

    @property
    def depends_on_first_atom(self) -> bool:
        """Whether a part's empty slots take the type of the frame's first atom."""
        return any(getattr(part, "depends_on_first_atom", False) for part in self.parts)

    @property
    def n_types(self) -> int:
        """Number of atom types."""
        return int(self.parts[0].n_types)

    @property
    def width(self) -> int:
        """Number of components."""
        return sum(part.width for part in self.parts)


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
    n_parameters : int or None
        Trained numbers of all networks in the file, type embeddings included; None if it holds tables of
        them.
    """

    path: str
    file_format: str
    version: str
    sha256: str
    notes: tuple[str, ...] = ()
    n_parameters: int | None = None


@dataclass(frozen=True, eq=False)
class DeepPotential:
    """A trained Deep Potential, complete.

    Attributes
    ----------
    type_names : tuple of str
        Name of each atom type, in the model's order; elements are matched by these.
    descriptor : Descriptor
        One of the descriptors of this module.
    fitting : Fitting
        One of the fittings of this module.
    precision : {"float64", "float32", "float16"}
        In which the trainer evaluates the networks. fastdp's reference always uses float64.
    shortest_trained_distance : float or None
        Å, shortest pair in the training data if the file says so.
    origin : Origin
    pair_part : PairPart or None
        Tables of pairs that belong to the model (`fastdp.model.pair_part`).
    spin : SpinPart or None
        What makes it a model of atoms with spins (`fastdp.model.spin`).
    """

    type_names: tuple[str, ...]
    descriptor: Any
    fitting: Any
    precision: Precision
    shortest_trained_distance: float | None
    origin: Origin = field(repr=False)
    pair_part: Any = None
    spin: Any = None

    @property
    def n_types(self) -> int:
        """Number of atom types."""
        return len(self.type_names)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        reach = 0.0 if self.pair_part is None else self.pair_part.cutoff
        return max(self.descriptor.cutoff, reach)

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
            if item.name in ("pair_part", "spin") and getattr(value, item.name) is None:
                # Fingerprints of models without are older than this.
                continue
            yield item.name.encode()
            yield from _parts(getattr(value, item.name))
    elif isinstance(value, tuple):
        yield f"({len(value)}".encode()
        for element in value:
            yield from _parts(element)
    else:
        yield repr(value).encode()
