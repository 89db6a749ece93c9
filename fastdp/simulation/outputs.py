"""The files of a run, handled together."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fastdp
from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import InputError, OutputExistsError
from fastdp.output.checkpoint import Checkpoint, previous_path
from fastdp.output.files import reason, refuse_existing, writing
from fastdp.output.h5md import TrajectoryFile
from fastdp.output.output_file import Arrays, OutputFile, Position
from fastdp.output.thermo import ThermoTable
from fastdp.parallel.communicator import Communicator
from fastdp.simulation.collected import CollectedSystem
from fastdp.simulation.settings import OutputSettings, Provenance
from fastdp.simulation.trigger import EverySteps, Operation


def output_paths(settings: OutputSettings) -> tuple[Path, ...]:
    """Return every file that a run with `settings` may write, checkpoints first."""
    checkpoint = settings.directory / settings.checkpoint.file
    files = [table.file for table in (settings.trajectory, settings.thermo) if table is not None]
    return (
        checkpoint,
        previous_path(checkpoint),
        *(settings.directory / file for file in (*files, *settings.further, settings.crash_file)),
    )


def check_paths(settings: OutputSettings) -> None:
    """Check, writing nothing, that files of these names can be there.

    Raises
    ------
    InputError
        If two files have the same name, a name is too long, or belongs to a folder.
    """
    paths = output_paths(settings)
    twice = sorted({path.name for path in paths if paths.count(path) > 1})
    if twice:
        raise InputError(f"two outputs have the same name: {', '.join(twice)}; give each its own")
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # absent, or behind what `check_outputs` looks at
        except OSError as error:
            raise InputError(f"cannot write {path}: {reason(error)}; choose another name") from error
        if is_folder:
            raise InputError(f"{path} is a folder where a file is to go; move it, or rename the file")


def check_outputs(settings: OutputSettings, *, overwrite: bool) -> None:
    """Check, writing nothing, that a new run may write its files.

    Raises
    ------
    InputError
        If two files have the same name, or the directory cannot be written to.
    OutputExistsError
        If a file exists and `overwrite` is not set.
    """
    check_paths(settings)
    if not overwrite:
        refuse_existing(
            output_paths(settings),
            "continue that run with --resume, replace it with --overwrite, or choose another directory",
        )
    for folder in (settings.directory / name for name in settings.folders):
        if folder.exists():
            raise OutputExistsError(
                f"{folder} exists: move the frames of an earlier run away, they are never replaced"
            )
    existing = next(
        path for path in (settings.directory, *settings.directory.absolute().parents) if os.path.lexists(path)
    )
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {existing}; choose another output directory")


@dataclass(frozen=True)
class FurtherFile:
    """A file that a run writes besides trajectory and table.

    Attributes
    ----------
    file : OutputFile
    every : int
        Steps between rows.
    needs_virial : bool
        Whether a row reads the virial.
    measure, act : callable
        What is done before and after a row is written, on all ranks together.
    reason_to_pause : callable
        Returns why the run is to pause before its next step, None if it is not; the same on all ranks.
    closing : callable
        Returns lines for the log at the end of a run.
    """

    file: OutputFile
    every: int
    needs_virial: bool = False
    measure: Callable[[Snapshot, CollectedSystem], None] = lambda snapshot, collected: None
    act: Callable[[Snapshot, CollectedSystem], None] = lambda snapshot, collected: None
    reason_to_pause: Callable[[], str | None] = lambda: None
    closing: Callable[[], list[str]] = list


class Outputs:
    """Trajectory and table: opened, cut back, synced and closed together.

    Parameters
    ----------
    settings : OutputSettings
        Which files, and how often.
    provenance : Provenance
        What the trajectory says about the run.
    collected : CollectedSystem
        Brings together what is written. Where there are several ranks, all of them call all methods, and
        rank 0 writes.
    communicator : Communicator
    further : sequence of FurtherFile
        What else is written.
    """

    def __init__(
        self,
        settings: OutputSettings,
        provenance: Provenance,
        collected: CollectedSystem,
        communicator: Communicator,
        further: Sequence[FurtherFile] = (),
    ) -> None:
        self._settings = settings
        self._collected = collected
        self._communicator = communicator
        self._files: list[OutputFile] = []
        self.operations: list[Operation] = []
        if settings.trajectory is not None:
            trajectory = TrajectoryFile(
                settings.directory / settings.trajectory.file,
                velocities=settings.trajectory.velocities,
                parameters=_parameters(provenance),
                author=provenance.author,
            )
            self._files.append(trajectory)
            self.operations.append(
                Operation(EverySteps(settings.trajectory.every), partial(self._write, trajectory))
            )
        if settings.thermo is not None:
            thermo = ThermoTable(settings.directory / settings.thermo.file)
            self._files.append(thermo)
            self.operations.append(
                Operation(EverySteps(settings.thermo.every), partial(self._write, thermo), needs_virial=True)
            )

        for entry in further:
            self._files.append(entry.file)
            self.operations.append(
                Operation(
                    EverySteps(entry.every),
                    partial(self._write_further, entry),
                    needs_virial=entry.needs_virial,
                    needs_neighbours=True,
                )
            )

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files are."""
        return tuple(file.path for file in self._files)

    def _write(self, file: OutputFile, snapshot: Snapshot) -> None:
        whole = self._collected.snapshot(snapshot, atoms=file.needs_atoms)
        if whole is not None:
            file.write(whole)

    def _write_further(self, entry: FurtherFile, snapshot: Snapshot) -> None:
        entry.measure(snapshot, self._collected)
        self._write(entry.file, snapshot)
        entry.act(snapshot, self._collected)

    def create(self, snapshot: Snapshot, *, overwrite: bool) -> None:
        """Start all files; with `overwrite`, remove those of an earlier run first."""
        whole = self._collected.snapshot(snapshot, atoms=True)
        self._communicator.on_root(lambda: self._create(whole, overwrite))

    def _create(self, whole: Snapshot | None, overwrite: bool) -> None:
        assert whole is not None
        if overwrite:
            # Checkpoints go first: none may be left that belongs to files that are gone.
            for path in output_paths(self._settings):
                with writing(path, "move it, or choose another directory"):
                    path.unlink(missing_ok=True)
        for file in self._files:
            file.create(whole)

    def resume(self, snapshot: Snapshot, checkpoint: Checkpoint) -> list[str]:
        """Continue all files where they were at `checkpoint`, and start those that it does not know.

        Nothing is changed before all files have been checked.

        Returns
        -------
        list of str
            Names of the files that were started.

        Raises
        ------
        CheckpointError
            If a file does not hold what the checkpoint continues.
        OutputExistsError
            If a file that has to be started exists.
        """
        whole = self._collected.snapshot(snapshot, atoms=True)
        return self._communicator.on_root(lambda: self._resume(whole, checkpoint)) or []

    def _resume(self, snapshot: Snapshot | None, checkpoint: Checkpoint) -> list[str]:
        assert snapshot is not None
        positions: Mapping[str, Position] = checkpoint.header["outputs"]
        new = [file for file in self._files if file.path.name not in positions]
        refuse_existing(
            (file.path for file in new),
            "the checkpoint does not continue it; move it, or give the new file another name",
        )
        for file in self._files:
            if file not in new:
                file.verify(snapshot, positions[file.path.name])
        for file in self._files:
            if file in new:
                file.create(snapshot)
            else:
                waiting = checkpoint.sections.get(_section(file), {})
                file.reopen(snapshot, positions[file.path.name], waiting)
        return [file.path.name for file in new]

    def positions(self) -> dict[str, dict[str, int]]:
        """Return how far each file has been written, by its name."""
        return {file.path.name: file.position() for file in self._files}

    def waiting(self) -> dict[str, Arrays]:
        """Return what each file has still to write, as sections of a checkpoint."""
        return {_section(file): file.waiting() for file in self._files if file.waiting()}

    def sync(self) -> None:
        """Make everything written so far survive a loss of power."""
        for file in self._files:
            file.sync()

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()


def _section(file: OutputFile) -> str:
    return f"waiting for {file.path.name}"


def _parameters(provenance: Provenance) -> dict[str, str | int]:
    return {
        "input": provenance.input_text,
        "model_file": provenance.model_file,
        "model_sha256": provenance.model_sha256,
        "potential": provenance.potential,
        "structure": provenance.structure,
        "seed": provenance.seed,
        "fastdp_version": fastdp.__version__,
        **provenance.choices,
    }
