"""The whole system where it is written: on rank 0, which in a run of one process is all there is."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State, SymbolTable
from fastdp.parallel.domain import Collection
from fastdp.potential.base import Evaluation

MOVING = ("positions", "velocities", "images")
LASTING = ("masses", "types", "species")


class CollectedSystem:
    """Brings the atoms of all ranks together for outputs; without other ranks it passes them on as they are.

    All methods are called on all ranks together, and return None on all but rank 0. What they return there
    is in the order of the input, and valid until the next call.

    Parameters
    ----------
    state : State
        The atoms of this rank.
    """

    def __init__(self, state: State) -> None:
        self._communicator = state.communicator
        self._collection = Collection(state.communicator, state.n_total)
        self._whole: State | None = None
        self._evaluation: Evaluation | None = None

    def state(self, state: State) -> State | None:
        """Return all atoms."""
        if self._communicator.size == 1:
            return state
        own = state.atom_arrays()
        lasting = self._collection.arrays(
            {name: own[name] for name in LASTING}, state.identifiers, again=False
        )
        moving = self._collection.arrays({name: own[name] for name in MOVING}, state.identifiers)
        if lasting is None or moving is None:
            return None
        assert isinstance(state.symbols, SymbolTable)
        if self._whole is None:
            self._whole = State(
                positions=moving["positions"],
                velocities=moving["velocities"],
                images=moving["images"],
                masses=lasting["masses"],
                types=lasting["types"],
                cell=state.cell,
                periodic=state.periodic,
                symbols=tuple(SymbolTable(state.symbols.names, lasting["species"])),
                degrees_of_freedom=state.degrees_of_freedom,
            )
        whole = self._whole
        for name in MOVING:
            # In place of a copy: there is one frame in memory, and it is the one that was received.
            setattr(whole, name, moving[name])
        whole.cell[:] = state.cell
        whole.step, whole.time_ps = state.step, state.time_ps
        return whole

    def evaluation(self, evaluation: Evaluation, state: State) -> Evaluation | None:
        """Return energies and forces of all atoms."""
        if self._communicator.size == 1:
            return evaluation
        arrays = self._collection.arrays(
            {"atomic_energies": evaluation.atomic_energies, "forces": evaluation.forces}, state.identifiers
        )
        if arrays is None:
            return None
        return Evaluation(
            arrays["atomic_energies"],
            arrays["forces"],
            virial=evaluation.virial,
            energy=evaluation.energy,
            virial_is_current=evaluation.virial_is_current,
        )

    def rows(self, name: str, array: NDArray[Any], state: State) -> NDArray[Any] | None:
        """Return an array that has a row for each atom."""
        if self._communicator.size == 1:
            return array
        arrays = self._collection.arrays({name: array}, state.identifiers)
        return None if arrays is None else arrays[name]

    def snapshot(self, snapshot: Snapshot, *, atoms: bool) -> Snapshot | None:
        """Return a snapshot, with all atoms if `atoms` is set."""
        if self._communicator.size == 1:
            return snapshot
        state = self.state(snapshot.state) if atoms else snapshot.state
        if not self._communicator.is_root or state is None:
            return None
        return snapshot.seen_with(state, snapshot.evaluation)
