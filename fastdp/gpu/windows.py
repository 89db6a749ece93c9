"""A window that slides over the atoms and holds Q of those in it, where memory would not do for all.

Forces on an atom need Q of itself and of its neighbours. Sorted atoms of a type stand layer by layer along
the third direction of the cells, so tiles that follow each other are layers on each other, and types that
are mixed reach the same height with the same share of their atoms. All tiles are cut into pieces by such
shares; when Q of a piece and of the two beside it is there, forces on the atoms of that piece are gathered.

The host does not know how high a piece reaches: the kernel of the forces finds a neighbour whose Q is not
there, and halts the run (NOT_HELD); the host then takes half as many pieces, in the end all atoms at once,
and the steps are done again. Tiles are the same with a window and without, and so are all sums and bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.gpu.kernels.pairs import HIGH, LOW, PLACE_COLUMNS, SHIFT
from fastdp.gpu.tiles import Tile

HELD = 3
"""Pieces in the window."""

FEWEST, MOST = 4, 64
"""Pieces: with three all atoms are in the window; two of `MOST` are evaluated twice, which is 3 % more."""

REACHES_OF_A_PIECE = 3.0
"""Least thickness of a piece: one for its neighbours, two for types that are not mixed evenly."""

TILES_OF_A_PIECE = 2
"""Least number of tiles of each type, so that pieces of different types begin at about the same height."""

RESERVE = 512 * 2**20
"""Bytes left free for recorded steps, cuBLAS and what does not fit into gaps."""


@dataclass(frozen=True)
class Target:
    """Sorted atoms `start` to `stop` of one type, on which forces act; Q of the first is in row `row`."""

    start: int
    stop: int
    type: int
    row: int


@dataclass(frozen=True, eq=False)
class Pass:
    """What is done before the window moves on.

    Attributes
    ----------
    tiles : tuple of (Tile, int, bool)
        Tiles whose Q is made, the row where each begins, and whether forces on it were gathered already:
        its energies must not be stored again.
    targets : tuple of Target
    places : (n_types, HELD, PLACE_COLUMNS) int64
        Where Q of the atoms of each type is: that of sorted atom LOW ≤ j < HIGH is in row j + SHIFT.
    """

    tiles: tuple[tuple[Tile, int, bool], ...]
    targets: tuple[Target, ...]
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Window:
    """How Q is made and used piece by piece.

    Attributes
    ----------
    rows : int
        Atoms that there is room for.
    passes : tuple of Pass
    """

    rows: int
    passes: tuple[Pass, ...]


def most_pieces(tiles: Sequence[Tile], height: float, reach: float) -> int:
    """Return into how many pieces tiles may be cut; less than `FEWEST`: not at all.

    Parameters
    ----------
    tiles : sequence of Tile
        Of one stage.
    height : float
        Å, of the system across the layers.
    reach : float
        Å, of the neighbour list.
    """
    counts = np.bincount([tile.centre_type for tile in tiles])
    fewest = min((int(n) for n in counts if n > 0), default=0)
    return min(MOST, fewest // TILES_OF_A_PIECE, int(height / (REACHES_OF_A_PIECE * reach)))


def sliding_window(tiles: Sequence[Tile], n_types: int, pieces: int) -> Window:
    """Return a window over tiles that are cut into pieces.

    The first and the last piece are beside each other, as in a periodic cell; they are made twice.

    Parameters
    ----------
    tiles : sequence of Tile
        Of one stage, in the sorted order.
    n_types : int
    pieces : int
        Three or more.
    """
    by_type = [[tile for tile in tiles if tile.centre_type == t] for t in range(n_types)]

    def piece(kind: int, number: int) -> list[Tile]:
        of_type, p = by_type[kind], number % pieces
        return of_type[len(of_type) * p // pieces : len(of_type) * (p + 1) // pieces]

    def size(some: Sequence[Tile]) -> int:
        return sum(tile.size for tile in some)

    longest = [max(size(piece(kind, p)) for p in range(pieces)) for kind in range(n_types)]
    first_row = np.concatenate([[0], np.cumsum(longest)]) * HELD

    def shift(kind: int, number: int) -> int:
        """Return what makes a row of a sorted atom in a piece, which may be number −1 or `pieces`."""
        room = int(first_row[kind]) + (number + 1) % HELD * longest[kind]
        return room - piece(kind, number)[0].start

    passes = []
    for number in range(pieces):
        made = (-1, 0, 1) if number == 0 else (number + 1,)
        targets = []
        places = np.zeros((n_types, HELD, PLACE_COLUMNS), np.int64)
        for kind in range(n_types):
            own = piece(kind, number)
            if own:
                start = own[0].start
                targets.append(Target(start, own[-1].stop, kind, start + shift(kind, number)))
            for beside in range(HELD):
                held = piece(kind, number + beside - 1)
                if held:
                    places[kind, beside, LOW] = held[0].start
                    places[kind, beside, HIGH] = held[-1].stop
                    places[kind, beside, SHIFT] = shift(kind, number + beside - 1)
        passes.append(
            Pass(
                tuple(
                    (tile, tile.start + shift(kind, other), other == pieces)
                    for other in made
                    for kind in range(n_types)
                    for tile in piece(kind, other)
                ),
                tuple(targets),
                places,
            )
        )
    return Window(int(first_row[-1]), tuple(passes))
