"""The atoms of a run divided among ranks: dealt out, changing ranks, and brought together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.state import State, SymbolTable
from fastdp.errors import LostAtomsError
from fastdp.parallel.balance import Balancer, BalanceSettings
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.parallel.grid import Shape, choose_shape
from fastdp.parallel.migration import gather, migrate, scatter
from fastdp.parallel.regions import Regions, divide
from fastdp.parallel.space import Space

Arrays = Mapping[str, NDArray[Any]]

MOST_ATOMS_NAMED = 16

LIKE: dict[str, NDArray[Any]] = {
    "identifiers": np.zeros(0, dtype=np.int64),
    "positions": np.zeros((0, 3)),
    "velocities": np.zeros((0, 3)),
    "images": np.zeros((0, 3), dtype=np.int32),
    "masses": np.zeros(0),
    "types": np.zeros(0, dtype=np.int32),
    "species": np.zeros(0, dtype=np.int32),
}
"""What every atom has when it is dealt out, as `State.atom_arrays`."""


class Domain:
    """Which rank owns which part of space, and that no atom gets lost on the way.

    Parameters
    ----------
    space : Space
    regions : Regions
    communicator : Communicator
    balance : BalanceSettings

    Attributes
    ----------
    balancer : Balancer
    """

    def __init__(
        self, space: Space, regions: Regions, communicator: Communicator, balance: BalanceSettings
    ) -> None:
        self.space = space
        self.regions = regions
        self.communicator = communicator
        self.balancer = Balancer(balance, communicator)
        self._census: NDArray[np.uint64] | None = None

    def migrate(self, state: State) -> None:
        """Move the planes if they should be, and send every atom to the rank that owns it.

        Raises
        ------
        LostAtomsError
            On all ranks, if there are not the same atoms as before.
        """
        coordinates = self._coordinates(state.positions)
        self.move_planes(lambda: coordinates)
        state.adopt(migrate(state.atom_arrays(), self.regions.ranks_of(coordinates), self.communicator))
        self.check_census(state)

    def move_planes(self, coordinates: Callable[[], NDArray[np.float64]]) -> None:
        """Move the planes if they should be; `coordinates` as in `Balancer.regions`."""
        self.regions = self.balancer.regions(self.regions, coordinates)

    def take_census(self, state: State) -> NDArray[np.uint64]:
        """Return the number of atoms on all ranks and two checksums of their identifiers."""
        own = state.identifiers.astype(np.uint64)
        return self.communicator.sum(
            np.array([len(own), own.sum(dtype=np.uint64), _mixed(own).sum(dtype=np.uint64)], dtype=np.uint64)
        )

    def check_census(self, state: State) -> None:
        """Raise LostAtomsError on all ranks unless they have the atoms that they had at the start."""
        found = self.take_census(state)
        if self._census is None:
            self._census = found
        if (found == self._census).all():
            return
        # Rank 0 may hold as much as the whole system when a run ends.
        everybody = np.concatenate(self.communicator.gather_objects(state.identifiers))
        counts = np.bincount(everybody, minlength=state.n_total)
        wrong = np.flatnonzero(counts != 1)
        error = LostAtomsError(
            f"{int((counts == 0).sum())} atoms are on no rank and {int((counts > 1).sum())} on several, among"
            f" them {wrong[:MOST_ATOMS_NAMED].tolist()}: this is a defect in fastdp, please report it;"
            " --resume continues from the last checkpoint",
            atoms=wrong[:MOST_ATOMS_NAMED].tolist(),
        )
        error.on_all_ranks = True
        raise error

    def _coordinates(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.space.wrapped(positions)[1] @ self.space.axes


def deal_out(
    whole: State | None,
    communicator: Communicator,
    *,
    grid: Shape | None = None,
    balance: BalanceSettings | None = None,
    placed_at: NDArray[np.float64] | None = None,
    planes: Arrays | None = None,
    further: Arrays | None = None,
    further_like: Arrays | None = None,
) -> tuple[State, Domain, dict[str, NDArray[Any]]]:
    """Give each rank its atoms.

    Parameters
    ----------
    whole : State or None
        On rank 0, all atoms; None elsewhere.
    communicator : Communicator
    grid : (3,) tuple of int, optional
        Ranks along each axis; by default those with the least surface.
    balance : BalanceSettings, optional
    placed_at : (n_total, 3) float64, optional
        On rank 0: positions that decide who owns an atom, Å; by default the present ones.
    planes : mapping of str to array, optional
        On rank 0: `Regions.to_arrays()` of an earlier run, used if they are for as many ranks.
    further : mapping of str to (n_total, ...) array, optional
        On rank 0: what else belongs to atoms and is dealt out with them.
    further_like : mapping of str to (any, ...) array, optional
        On all ranks: names, shapes and types of `further`.

    Returns
    -------
    state : State
        The atoms of this rank.
    domain : Domain
    further : dict of str to (n_atoms, ...) array
        For the atoms of this rank.

    Raises
    ------
    InputError
        On all ranks, if `grid` is for another number of ranks.
    """

    def plan() -> tuple[Regions, NDArray[np.int32]]:
        assert whole is not None
        points = whole.positions if placed_at is None else placed_at
        space = Space.of(whole.cell, whole.periodic)
        coordinates = space.wrapped(points)[1] @ space.axes
        extents = space.extents(coordinates.min(axis=0), coordinates.max(axis=0))
        shape = choose_shape(communicator.size, extents, whole.periodic, grid)
        kept = None if planes is None else Regions(planes["first"], planes["second"], planes["third"])
        if kept is not None and kept.shape == shape:
            regions = kept
        else:
            regions = divide(coordinates, 1.0, shape, SERIAL)
        return regions, regions.ranks_of(coordinates)

    planned = communicator.on_root(plan)
    regions, ranks = planned if planned is not None else (None, None)
    about: dict[str, Any] | None = None
    arrays = None
    if communicator.is_root:
        assert whole is not None
        arrays = {**whole.atom_arrays(), **(further or {})}
        assert isinstance(whole.symbols, SymbolTable)
        common = ("cell", "periodic", "step", "time_ps", "degrees_of_freedom", "n_total")
        about = {name: getattr(whole, name) for name in common}
        about |= {"names": whole.symbols.names, "regions": regions}
    told: dict[str, Any] = communicator.broadcast(about)
    mine = scatter(arrays, {**LIKE, **(further_like or {})}, ranks, communicator)
    regions = told.pop("regions")
    symbols = SymbolTable(told.pop("names"), mine["species"])
    own: dict[str, Any] = {name: mine[name] for name in LIKE if name != "species"}
    state = State(**own, symbols=symbols, communicator=communicator, **told)
    domain = Domain(Space.of(state.cell, state.periodic), regions, communicator, balance or BalanceSettings())
    domain.check_census(state)
    return state, domain, {name: mine[name] for name in further_like or {}}


class Collection:
    """Atoms of all ranks on rank 0, where one copy of each array is kept and filled again and again.

    Parameters
    ----------
    communicator : Communicator
    n_total : int
    """

    def __init__(self, communicator: Communicator, n_total: int) -> None:
        self._communicator = communicator
        self._n_total = n_total
        self._arrays: dict[str, NDArray[Any]] = {}

    def arrays(
        self, own: Arrays, identifiers: NDArray[np.int64], *, again: bool = True
    ) -> dict[str, NDArray[Any]] | None:
        """Bring arrays together; on rank 0 they are returned, in the order of the input.

        Called on all ranks together. Floating-point values of atoms that are on no rank are NaN.

        Parameters
        ----------
        own : mapping of str to (n_atoms, ...) array
            Of this rank; a name always stands for the same kind of array.
        identifiers : (n_atoms,) int64
        again : bool
            Whether to bring together what was brought together before; not for what never changes.

        Returns
        -------
        dict of str to (n_total, ...) array, or None
            Valid until the next call.
        """
        if not self._communicator.is_root:
            known = self._arrays.keys()
            wanted = [name for name in own if again or name not in known]
            gather([own[name] for name in wanted], identifiers, None, self._communicator)
            # Names only: what has been sent.
            self._arrays |= dict.fromkeys(wanted, np.zeros(0))
            return None
        wanted = [name for name in own if again or name not in self._arrays]
        for name in wanted:
            if name not in self._arrays:
                shape = (self._n_total, *own[name].shape[1:])
                self._arrays[name] = np.zeros(shape, dtype=own[name].dtype)
            if self._arrays[name].dtype.kind == "f":
                self._arrays[name].fill(np.nan)
        gather(
            [own[name] for name in wanted], identifiers, [self._arrays[n] for n in wanted], self._communicator
        )
        return {name: self._arrays[name] for name in own}


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a hash of each number (the finaliser of splitmix64): other sums than those of the numbers."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
