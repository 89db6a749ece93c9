"""A committee of models: the first drives the run, the others tell now and then how far they are apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import InputError, ModelDeviationError, OutputExistsError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.files import writing
from fastdp.output.table import TextTable
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.deviation import Deviation, deviation, header, row


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
    stop : bool
        Whether such a frame ends the run.
    """

    every: int = 100
    file: str = "model_devi.out"
    atomic: bool = False
    relative_force: float | None = None
    relative_virial: float | None = None
    limit: float | None = None
    frames: Path | None = None
    stop: bool = False


class Committee(TextTable):
    """Evaluates the other models on the run's neighbour list, and writes `model_devi.out`.

    Parameters
    ----------
    path : pathlib.Path
        Of the table.
    potentials : sequence of Potential
        All but the one that drives.
    neighbours : VerletList
        Of the run, wide enough for all.
    settings : CommitteeSettings
    warn : callable
        Told of the first frame above the limit.
    """

    def __init__(
        self,
        path: Path,
        potentials: Sequence[Potential],
        neighbours: VerletList,
        settings: CommitteeSettings,
        warn: Callable[[str], None],
    ) -> None:
        super().__init__(path)
        widest = max(potential.cutoff for potential in potentials)
        if widest > neighbours.cutoff:
            raise InputError(
                f"the neighbour list ends at {neighbours.cutoff} Å, and a model needs {widest} Å"
            )
        self._potentials = potentials
        self._neighbours = neighbours
        self._settings = settings
        self._warn = warn
        self._warned = False
        n_models, n_atoms = 1 + len(potentials), neighbours.n_atoms
        self._found = [Evaluation.empty(n_atoms) for _ in potentials]
        self._energies = np.zeros(n_models)
        self._forces = np.zeros((n_models, n_atoms, 3))
        self._virials = np.zeros((n_models, 3, 3))
        self._frames_saved = 0

    def header(self) -> str:
        """Return the first line of `model_devi.out`."""
        return header(self._neighbours.n_atoms if self._settings.atomic else None)

    def beginning(self, step: int) -> str:
        """Return what the line of a step begins with."""
        return f"{step:12d} "

    def create(self, snapshot: Snapshot) -> None:
        """Start the table; the folder for frames must not be there.

        Raises
        ------
        OutputExistsError
            If it is.
        """
        frames = self._settings.frames
        if frames is not None and frames.exists():
            raise OutputExistsError(f"{frames} exists; move the frames of an earlier run away")
        super().create(snapshot)

    def evaluate(self, snapshot: Snapshot) -> Deviation:
        """Return the deviation of all models at the present step; the virial must be current."""
        for potential, result in zip(self._potentials, self._found, strict=True):
            potential.evaluate(self._neighbours, result, virial=True)
        for number, result in enumerate((snapshot.evaluation, *self._found)):
            self._energies[number] = result.energy
            self._forces[number] = result.forces
            self._virials[number] = result.virial
        return deviation(
            self._energies,
            self._forces,
            self._virials,
            relative_force=self._settings.relative_force,
            relative_virial=self._settings.relative_virial,
        )

    def row(self, snapshot: Snapshot) -> str:
        """Return the line of a step."""
        self._last = self.evaluate(snapshot)
        return row(snapshot.state.step, self._last, atomic=self._settings.atomic)

    def write(self, snapshot: Snapshot) -> None:
        """Append a row, and do what is asked for where the deviation is above the limit.

        Raises
        ------
        ModelDeviationError
            If the run is to stop there.
        """
        super().write(snapshot)
        limit, largest = self._settings.limit, float(self._last.forces[0])
        if limit is None or not largest > limit:
            return
        atom = int(np.argmax(self._last.atomic))
        step = snapshot.state.step
        saved = ""
        if self._settings.frames is not None:
            folder = self._settings.frames / f"step_{step}"
            save_frame(snapshot, folder)
            self._frames_saved += 1
            saved = f"; the frame is in {folder}"
        message = (
            f"the models of the committee are {largest:.3g} apart in the force on atom {atom}, above "
            f"the limit of "
            f"{limit:g}{saved}"
        )
        if self._settings.stop:
            raise ModelDeviationError(message, atoms=(atom,))
        if not self._warned:
            self._warned = True
            self._warn(f"step {step}: {message} (further frames are not announced)")

    def lines(self) -> list[str]:
        """Return what was found, for the end of a run."""
        return [f"committee: {self._frames_saved} frames above the limit saved"] if self._frames_saved else []


def save_frame(snapshot: Snapshot, folder: Path) -> None:
    """Save the positions as a system of DeePMD-kit's npy layout, without labels, for a calculation of these.

    Parameters
    ----------
    snapshot : Snapshot
    folder : pathlib.Path
        Made if absent.
    """
    with writing(folder):
        _write_frame(snapshot, folder)


def _write_frame(snapshot: Snapshot, folder: Path) -> None:
    state = snapshot.state
    symbols = list(dict.fromkeys(state.symbols))
    (folder / "set.000").mkdir(parents=True, exist_ok=True)
    (folder / "type_map.raw").write_text("\n".join(symbols) + "\n", encoding="utf-8")
    types = "\n".join(str(symbols.index(symbol)) for symbol in state.symbols)
    (folder / "type.raw").write_text(f"{types}\n", encoding="utf-8")
    np.save(folder / "set.000" / "coord.npy", state.positions.reshape(1, -1))
    if not np.any(state.periodic):
        (folder / "nopbc").touch()
    np.save(folder / "set.000" / "box.npy", np.asarray(state.cell, dtype=np.float64).reshape(1, 9))
