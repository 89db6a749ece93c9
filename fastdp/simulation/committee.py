"""A committee of models: the first drives the run, the others tell now and then how far they are apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import ModelDeviationError
from fastdp.output.table import TextTable
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.potential.deviation import Deviation, atomic_deviation, header, row, virial_deviation
from fastdp.simulation.candidate_frames import save_frame
from fastdp.simulation.collected import CollectedSystem
from fastdp.simulation.members import Members

AboveLimit = Literal["continue", "pause", "stop"]


@dataclass(frozen=True)
class CommitteeSettings:
    """What is evaluated, and what is done where the models disagree.

    Attributes
    ----------
    every : int
        Steps between evaluations.
    file : str
        Of the deviations, within the output directory.
    atomic : bool
        Whether each atom's deviation is written.
    relative_force, relative_virial : float or None
        Levels of relative deviations, eV/Å and eV.
    limit : float or None
        Largest deviation of a force, eV/Å (or relative), above which something is done.
    frames : pathlib.Path or None
        Folder that such frames are saved in.
    above_limit : {"continue", "pause", "stop"}
        What the run does at such a frame.
    """

    every: int = 100
    file: str = "model_devi.out"
    atomic: bool = False
    relative_force: float | None = None
    relative_virial: float | None = None
    limit: float | None = None
    frames: Path | None = None
    above_limit: AboveLimit = "continue"


class Committee(TextTable):
    """Evaluates the other models on the run's neighbour list, and writes `model_devi.out`.

    At each step that is due, `measure`, `write` and `act` are called in turn; with several ranks, `measure`
    and `act` on all of them together.

    Parameters
    ----------
    path : pathlib.Path
        Of the table.
    members : Members
        All but the model that drives.
    n_atoms : int
        On all ranks.
    settings : CommitteeSettings
    warn : callable
        Told of the first frame above the limit.
    communicator : Communicator
        Ranks that have other atoms.
    """

    def __init__(
        self,
        path: Path,
        members: Members,
        n_atoms: int,
        settings: CommitteeSettings,
        warn: Callable[[str], None],
        communicator: Communicator = SERIAL,
    ) -> None:
        super().__init__(path)
        self._members = members
        self._n_atoms = n_atoms
        self._settings = settings
        self._warn = warn
        self._communicator = communicator
        self._warned = False
        self._frames_above = 0
        self._frames_saved = 0
        self._reason: str | None = None

    def header(self) -> str:
        """Return the first line of `model_devi.out`."""
        return header(self._n_atoms if self._settings.atomic else None)

    def beginning(self, step: int) -> str:
        """Return what the line of a step begins with."""
        return f"{step:12d} "

    def measure(self, snapshot: Snapshot, collected: CollectedSystem) -> None:
        """Find the deviation of all models at the present step; the virial must be current."""
        answers = self._members.evaluate(snapshot)
        settings, state = self._settings, snapshot.state
        atomic = atomic_deviation(answers.forces, settings.relative_force)
        farthest = int(np.argmax(atomic)) if len(atomic) else 0
        # The number of the atom that is farthest off goes with its deviation; numbers are exact in float64.
        ends = self._communicator.all_gather(
            np.array(
                [atomic[farthest], atomic.min(), float(state.identifiers[farthest])]
                if len(atomic)
                else [-np.inf, np.inf, -1.0]
            )
        )
        total = float(self._communicator.sum(np.array([atomic.sum()]))[0])
        first = int(np.argmax(ends[:, 0]))
        self._atom = int(ends[first, 2])
        whole = collected.rows("model deviation", atomic, state) if settings.atomic else None
        self._last = Deviation(
            virial_deviation(answers.virials, self._n_atoms, settings.relative_virial),
            np.array([ends[first, 0], ends[:, 1].min(), total / self._n_atoms]),
            float(np.std(answers.energies / self._n_atoms)),
            np.zeros(0) if whole is None else whole,
        )

    def row(self, snapshot: Snapshot) -> str:
        """Return the line of the step that was measured."""
        return row(snapshot.state.step, self._last, atomic=self._settings.atomic)

    def act(self, snapshot: Snapshot, collected: CollectedSystem) -> None:
        """Do what is asked for where the deviation is above the limit.

        Raises
        ------
        ModelDeviationError
            On all ranks, if the run is to stop there.
        """
        limit, largest = self._settings.limit, float(self._last.forces[0])
        if limit is None or not largest > limit:
            return
        step = snapshot.state.step
        self._frames_above += 1
        saved = ""
        frames = self._settings.frames
        if frames is not None:
            folder = frames / f"step_{step}"
            whole = collected.state(snapshot.state)
            self._communicator.on_root(lambda: None if whole is None else save_frame(whole, folder))
            self._frames_saved += 1
            saved = f"; the frame is in {folder}"
        message = (
            f"the models of the committee are {largest:.3g} apart in the force on atom {self._atom}, above "
            f"the limit of {limit:g}{saved}"
        )
        if self._settings.above_limit == "stop":
            error = ModelDeviationError(message, atoms=(self._atom,))
            error.on_all_ranks = True
            raise error
        if self._settings.above_limit == "pause":
            self._reason = message
        elif not self._warned:
            self._warned = True
            self._warn(f"step {step}: {message} (further frames are not announced)")

    def reason_to_pause(self) -> str | None:
        """Return why the run is to pause before its next step, None if it is not."""
        return self._reason

    def lines(self) -> list[str]:
        """Return what was found, for the end of a run."""
        if self._settings.limit is None or self._frames_above == 0:
            return []
        saved = f", {self._frames_saved} saved in {self._settings.frames}" if self._frames_saved else ""
        return [f"committee: {self._frames_above} frames above the limit of {self._settings.limit:g}{saved}"]
