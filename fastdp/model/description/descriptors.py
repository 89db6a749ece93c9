"""Descriptors: what a model sees of the surroundings of an atom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description.networks import Array, EmbeddingTable

OverflowRule = Literal["nearest_of_each_type", "nearest_of_all_types", "nearest_of_any_type"]


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
