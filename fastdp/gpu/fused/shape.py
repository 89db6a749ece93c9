"""What a fitting network looks like to `network.cu`, and where its numbers are in shared memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from fastdp.potential.compressed.compressed_model import CompressedCentre

ROWS = (16, 32, 48, 64)
"""Atoms that a block may take: four warps for each 16."""

CHUNK = 32
"""Features that are made and used at a time; two buffers of them."""

TILE = 4
"""Products τ_p · T_l are made for blocks of 4 × 4 pairs."""

KIB = 1024

LARGEST_SHARED = {
    (8, 0): 163 * KIB,
    (8, 7): 163 * KIB,
    (9, 0): 227 * KIB,
    (10, 0): 227 * KIB,
    (10, 3): 227 * KIB,
}
"""Bytes of shared memory that a block may have, by compute capability.

https://docs.nvidia.com/cuda/cuda-c-programming-guide, "Technical specifications per compute capability".
"""

SMALL_SHARED = 99 * KIB
"""The same of cards that are not for computing centres (8.6, 8.9, 12.0)."""


def largest_shared(capability: tuple[int, int]) -> int:
    """Return the bytes of shared memory that a block may have on a card."""
    return LARGEST_SHARED.get(capability, SMALL_SHARED)


def rounded_up(number: int, step: int) -> int:
    """Return the next multiple of a step."""
    return -(-number // step) * step


@dataclass(frozen=True)
class LayerShape:
    """A hidden layer.

    Attributes
    ----------
    n_in, n_out : int
    rank : int
        Between the two factors of the matrix; 0 if it is whole.
    shortcut : bool
        Whether the input is added.
    timestep : bool
    """

    n_in: int
    n_out: int
    rank: int
    shortcut: bool
    timestep: bool

    @property
    def kept(self) -> int:
        """Numbers of an atom that the way back starts from."""
        return self.rank or self.n_out


@dataclass(frozen=True)
class NetworkShape:
    """A fitting network.

    Attributes
    ----------
    columns : int
        P, moments of each component.
    q : int
        Channels of τ.
    right : int
        M, channels of T; 0 if the network takes the upper triangle of τ τᵀ.
    layers : tuple of LayerShape
        But for the last, which has one output and no activation.
    """

    columns: int
    q: int
    right: int
    layers: tuple[LayerShape, ...]

    @cached_property
    def tiles(self) -> tuple[tuple[int, int], ...]:
        """Blocks of 4 × 4 products, in the order of the inputs; an even number, the last may be spare."""
        left = rounded_up(self.q, TILE) // TILE
        right = rounded_up(self.right, TILE) // TILE if self.right else left
        found = [(a, b) for a in range(left) for b in range(right) if self.right or a <= b]
        return tuple(found + found[-1:] * (len(found) % 2))

    @property
    def n_blocks_of_products(self) -> int:
        """Blocks that are not spare."""
        return len(dict.fromkeys(self.tiles))

    @property
    def inputs(self) -> int:
        """Inputs of the network, with those that are there for whole blocks only."""
        return TILE * TILE * len(self.tiles)

    @property
    def multiply_adds(self) -> int:
        """Of an atom, there and back: products of matrices, with the second factors of layers made twice."""
        mixed = 4 * (self.columns * self.q + self.q * self.right)
        pairs = self.q * self.right if self.right else self.q * (self.q + 1) // 2
        layers = sum(
            width * layer.kept + layer.rank * layer.n_out
            for width, layer in zip((pairs, *(one.n_in for one in self.layers[1:])), self.layers, strict=True)
        )
        again = sum(layer.rank * layer.n_out for layer in self.layers)
        # Products of channels there, and twice back.
        return 2 * (mixed + layers) + again + 12 * pairs

    @property
    def parked(self) -> int:
        """Numbers of τ and T of an atom, in whole blocks."""
        return 4 * (rounded_up(self.q, TILE) + rounded_up(self.right, TILE))


def why_not(centre: CompressedCentre) -> str | None:
    """Return why `network.cu` cannot evaluate a network, or None if it can.

    Parameters
    ----------
    centre : CompressedCentre
    """
    *hidden, last = centre.layers
    if not hidden:
        return "there is no hidden layer"
    if len(last.bias) != 1 or last.shortcut != "none" or last.activation != "linear":
        return "the last layer is not linear with one output"
    if last.right is not None or last.timestep is not None:
        return "the last layer has two factors or time steps"
    for number, layer in enumerate(hidden):
        if layer.activation != "tanh":
            return f"layer {number} has the activation {layer.activation}, not tanh"
        if layer.shortcut == "doubling" or (layer.shortcut == "identity" and number == 0):
            return f"layer {number} has the shortcut {layer.shortcut}"
    return None


def shape_of(centre: CompressedCentre) -> NetworkShape:
    """Return the shape of a network of products, of which `why_not` says nothing.

    Parameters
    ----------
    centre : CompressedCentre
    """
    return NetworkShape(
        columns=len(centre.radial),
        q=centre.rank,
        right=0 if centre.axis_matrix is None else centre.axis_matrix.shape[1],
        layers=tuple(
            LayerShape(
                n_in=len(layer.left),
                n_out=len(layer.bias),
                rank=0 if layer.right is None else len(layer.right),
                shortcut=layer.shortcut == "identity",
                timestep=layer.timestep is not None,
            )
            for layer in centre.layers[:-1]
        ),
    )


@dataclass(frozen=True)
class Plan:
    """Where what is in shared memory, in features of `stride` numbers each.

    What is needed at different times shares places: τ and T wait in the card's memory while the layers are
    passed through, if there is no room for both (`is_parked`).

    Attributes
    ----------
    rows : int
        Atoms of a block.
    stride : int
        Numbers from one feature to the next: so many that lanes meet different banks, see `network.cu`.
    kept : (n_layers,) tuple of int
    tau, right, z, chunks, products, gradients, d_left, d_right : int
        z: outputs of the layers, and their gradients; chunks: buffers on the way through the layers;
        products, gradients: buffers of D and of its gradient; d_left, d_right: gradients of τ and T.
    is_parked : bool
    features : int
        All of them.
    """

    rows: int
    stride: int
    kept: tuple[int, ...]
    tau: int
    right: int
    z: int
    chunks: int
    products: int
    gradients: int
    d_left: int
    d_right: int
    is_parked: bool
    features: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return 8 * self.rows

    def bytes(self, itemsize: int) -> int:
        """Return the shared memory of a block."""
        return self.features * self.stride * itemsize


def plan(shape: NetworkShape, rows: int, itemsize: int, *, is_parked: bool) -> Plan:
    """Return where things are.

    Parameters
    ----------
    shape : NetworkShape
    rows : int
    itemsize : {4, 8}
    is_parked : bool
    """
    widest = max(layer.n_out for layer in shape.layers)
    # What the first layer keeps is needed to the end, what others keep is not.
    kept = (0, *accumulate(layer.kept for layer in shape.layers))
    tau = kept[1]
    left = 4 * rounded_up(shape.q, TILE)
    both = 2 * left if shape.right == 0 else shape.parked
    if not is_parked:
        tau = kept[-1]
    behind = tau + shape.parked
    d_left = behind
    d_right = d_left + left
    gradients = d_left + both
    z = kept[-1] if is_parked else behind
    chunks = z + widest
    products = behind
    features = max(gradients, chunks, products) + 2 * CHUNK
    return Plan(
        rows=rows,
        stride=rows + (4 if itemsize == 8 else 8),
        kept=kept[:-1],
        tau=tau,
        right=tau if shape.right == 0 else tau + left,
        z=z,
        chunks=chunks,
        products=products,
        gradients=gradients,
        d_left=d_left,
        d_right=d_right,
        is_parked=is_parked,
        features=features,
    )


def plans(shape: NetworkShape, itemsize: int, shared: int) -> tuple[Plan, ...]:
    """Return the plans that fit into shared memory, one for each number of rows.

    Parameters
    ----------
    shape : NetworkShape
    itemsize : {4, 8}
    shared : int
        Bytes that a block may have.
    """
    found = []
    for rows in ROWS:
        both = [plan(shape, rows, itemsize, is_parked=parked) for parked in (False, True)]
        found += [one for one in both if one.bytes(itemsize) <= shared][:1]
    return tuple(found)


OVERHEAD = 16
"""What a block costs besides its atoms, in atoms; a guess, to be settled by measurement."""


def best_rows(possible: Sequence[int], counts: Sequence[int], multiprocessors: int) -> int:
    """Return the number of rows by which atoms take the fewest turns; results are the same with all.

    Parameters
    ----------
    possible : sequence of int
        Numbers of rows, at least one.
    counts : sequence of int
        Atoms of each type, whose blocks are launched together.
    multiprocessors : int
        Of the card.
    """

    def cost(rows: int) -> int:
        blocks = sum(-(-n // rows) for n in counts)
        return -(-blocks // multiprocessors) * (rows + OVERHEAD)

    return min(possible, key=lambda rows: (cost(rows), -rows))
