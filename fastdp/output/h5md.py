"""The trajectory: an H5MD 1.1 file (https://www.nongnu.org/h5md) that grows frame by frame.

The layout is the part of the standard on which its readers agree: every element is a time series
(ZnH5MD), with explicit steps and times and units spelled `Angstrom` (MDAnalysis), in the single group
`all`. There are no observables: readers expect those at the cadence of the frames.
`docs/output_files.md` lists what is in the file.

The file is opened in HDF5's default mode and flushed with each frame, which survives kill -9; files in
the library's newest format do not. It is not locked, since that would keep readers out during the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.data import atomic_numbers

import fastdp
from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State
from fastdp.errors import CheckpointError
from fastdp.output.files import writing
from fastdp.output.output_file import OutputFile, Position

GROUP = "particles/all"
STEP = f"{GROUP}/position/step"
TIME = f"{GROUP}/position/time"

STEPS_PER_CHUNK = 1024

PACKING = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""For what hardly changes between frames, and so shrinks to almost nothing.

Coordinates are not packed: all but their leading bits are noise. Deflating positions and velocities of
12 288 atoms took 13.6 ms a frame instead of 2.7 ms, and made the file smaller by 11 %.
"""


@dataclass(frozen=True)
class Element:
    """One time series: its name within `particles/all`, how to get it, its unit, whether to pack it."""

    name: str
    value: Callable[[State], Any]
    unit: str | None = None
    packed: bool = False

    @property
    def path(self) -> str:
        """Path of the data set."""
        return f"{GROUP}/{self.name}/value"


def frame_elements(state: State, *, velocities: bool) -> tuple[Element, ...]:
    """Return the elements of a frame; positions come first."""
    # Readers take species for atomic numbers; names that are not elements get 0.
    species = np.array([atomic_numbers.get(symbol, 0) for symbol in state.symbols], dtype=np.int32)
    identifiers = np.arange(state.n_atoms, dtype=np.int32)
    moving = (Element("velocity", lambda s: s.velocities, "Angstrom ps-1"),) if velocities else ()
    return (
        Element("position", lambda s: s.positions, "Angstrom"),
        *moving,
        Element("image", lambda s: s.images, packed=True),
        Element("species", lambda s: species, packed=True),
        Element("id", lambda s: identifiers, packed=True),
        Element("mass", lambda s: s.masses, "u", packed=True),
        Element("box/edges", lambda s: s.cell, "Angstrom"),
    )


class TrajectoryFile(OutputFile):
    """Writes an H5MD file.

    Parameters
    ----------
    path : pathlib.Path
        Where it is.
    velocities : bool
        Whether frames hold velocities.
    parameters : mapping of str to str or int
        What the file says about the run, under `/parameters`.
    author : str
        The name that H5MD asks for.
    """

    def __init__(
        self, path: Path, *, velocities: bool, parameters: Mapping[str, str | int], author: str
    ) -> None:
        super().__init__(path)
        self._velocities = velocities
        self._parameters = parameters
        self._author = author
        self._file: h5py.File | None = None
        self._elements: tuple[Element, ...] = ()
        self._frames = 0
        self._step = -1

    def create(self, snapshot: Snapshot) -> None:
        """Start the file with everything but frames."""
        self._elements = frame_elements(snapshot.state, velocities=self._velocities)
        with writing(self.path):
            self._file = h5py.File(self.path, "x", locking=False)
            _write_about(self._file, self._author)
            _write_parameters(self._file, self._parameters, snapshot.state)
            _write_elements(self._file, self._elements, snapshot.state)
            self._file.flush()

    def verify(self, snapshot: Snapshot, position: Position) -> None:
        """Check that the frames up to `position` are there, in every element.

        Raises
        ------
        CheckpointError
            If the file is absent or damaged, has other elements, fewer frames, or another step there.
        """
        remedy = "put the trajectory of this run back, or give the trajectory another name"
        paths = [element.path for element in frame_elements(snapshot.state, velocities=self._velocities)]
        frames, step = position["frames"], position["step"]
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                complete = all(len(file[path]) >= frames for path in (*paths, STEP, TIME))
                sound = complete and (frames == 0 or int(file[STEP][frames - 1]) == step)
                has_velocities = f"{GROUP}/velocity" in file
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint continues the trajectory {self.path}, which cannot be read: {error};"
                f" {remedy}"
            ) from error
        if has_velocities and not self._velocities:
            raise CheckpointError(
                f"{self.path} was begun with velocities; leave them switched on, or give the trajectory"
                " another name"
            )
        if not sound:
            raise CheckpointError(
                f"{self.path} does not hold the {frames} frames up to step {step} that the checkpoint"
                f" continues; {remedy}"
            )

    def reopen(self, snapshot: Snapshot, position: Position) -> None:
        """Cut the trajectory back to `position` and continue there."""
        self._elements = frame_elements(snapshot.state, velocities=self._velocities)
        self._frames, self._step = position["frames"], position["step"]
        with writing(self.path):
            self._file = h5py.File(self.path, "r+", locking=False)
            for path in (STEP, TIME, *(element.path for element in self._elements)):
                self._file[path].resize(self._frames, axis=0)
            self._file.flush()

    def write(self, snapshot: Snapshot) -> None:
        """Append a frame and flush it."""
        state = snapshot.state
        with writing(self.path):
            self._append(STEP, state.step)
            self._append(TIME, state.time_ps)
            for element in self._elements:
                self._append(element.path, element.value(state))
            self._file.flush()  # type: ignore[union-attr]
        self._frames += 1
        self._step = state.step

    def position(self) -> dict[str, int]:
        """Return the number of frames and the step of the last."""
        return {"frames": self._frames, "step": self._step}

    def sync(self) -> None:
        """Make the frames survive a loss of power."""
        if self._file is not None:
            with writing(self.path):
                self._file.flush()
                os.fsync(self._file.id.get_vfd_handle())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            # Every frame was flushed: what fails now is a disk that `write` has complained about.
            with suppress(OSError, RuntimeError):
                self._file.close()
            self._file = None

    def _append(self, path: str, value: Any) -> None:
        dataset = self._file[path]  # type: ignore[index]
        dataset.resize(self._frames + 1, axis=0)
        dataset[self._frames] = value


def _fixed_string(text: str) -> np.ndarray:
    data = text.encode() or b" "
    return np.array(data, dtype=h5py.string_dtype("utf-8", len(data)))


def _write_about(file: h5py.File, author: str) -> None:
    about = file.create_group("h5md")
    about.attrs["version"] = np.array([1, 1], dtype=np.int32)
    about.create_group("author").attrs["name"] = _fixed_string(author)
    creator = about.create_group("creator")
    creator.attrs["name"] = _fixed_string("fastdp")
    creator.attrs["version"] = _fixed_string(fastdp.__version__)
    units = about.create_group("modules/units")
    units.attrs["version"] = np.array([1, 0], dtype=np.int32)
    units.attrs["system"] = _fixed_string("SI")


def _write_parameters(file: h5py.File, parameters: Mapping[str, str | int], state: State) -> None:
    group = file.create_group("parameters")
    for name, value in parameters.items():
        group[name] = value
    # The names themselves, since they need not be chemical elements.
    names = sorted(set(state.symbols))
    number = {name: i for i, name in enumerate(names)}
    group.create_dataset("symbols/names", data=names, dtype=h5py.string_dtype())
    group.create_dataset("symbols/index", data=np.array([number[s] for s in state.symbols], dtype=np.int32))


def _write_elements(file: h5py.File, elements: tuple[Element, ...], state: State) -> None:
    box = file.create_group(f"{GROUP}/box")
    box.attrs["dimension"] = 3
    # Of variable length: ZnH5MD takes fixed-length "none" for a periodic boundary.
    boundary = ["periodic" if periodic else "none" for periodic in state.periodic]
    box.attrs.create("boundary", boundary, dtype=h5py.string_dtype("ascii"))
    for element in elements:
        sample = np.asarray(element.value(state))
        dataset = file.create_dataset(
            element.path,
            shape=(0, *sample.shape),
            maxshape=(None, *sample.shape),
            chunks=(1, *sample.shape),
            dtype=sample.dtype,
            **(PACKING if element.packed else {}),
        )
        _set_unit(dataset, element.unit)
        group = dataset.parent
        if STEP not in file:
            scalar = {"shape": (0,), "maxshape": (None,), "chunks": (STEPS_PER_CHUNK,)}
            file.create_dataset(STEP, dtype=np.int64, **scalar)
            _set_unit(file.create_dataset(TIME, dtype=np.float64, **scalar), "ps")
        else:
            # All elements are sampled together: H5MD wants that said by hard links.
            group["step"], group["time"] = file[STEP], file[TIME]


def _set_unit(dataset: h5py.Dataset, unit: str | None) -> None:
    if unit is not None:
        dataset.attrs.create("unit", unit, dtype=h5py.string_dtype("ascii"))
