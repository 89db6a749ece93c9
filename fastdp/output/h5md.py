"""The trajectory: an H5MD 1.1 file (https://www.nongnu.org/h5md) that grows frame by frame.

The layout is the part of the standard on which its readers agree: every element is a time series
(ZnH5MD), with explicit steps and times and units spelled `Angstrom` (MDAnalysis), in the single group
`all`. There are no observables: readers expect those at the cadence of the frames.
`docs/output_files.md` lists what is in the file.

The file is opened in HDF5's default mode and flushed with each frame, which survives kill -9; files in
the library's newest format do not. What HDF5 does not survive is a full disk: the file is lost with all
its frames, and the process crashes later. So nothing is given to HDF5 before there is room for it.

Other programs may read the file during the run. HDF5's readers lock the file while they have it open, and
silently find zeros where its index has changed under them. So frames wait in memory while there is such a
lock, in checkpoints too. The writer's own lock lasts as long as it writes, a millisecond for each frame.
"""

from __future__ import annotations

import fcntl
import os
import time
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
from fastdp.output.files import reason, reserve, writing
from fastdp.output.output_file import Arrays, OutputFile, Position

GROUP = "particles/all"
STEP = f"{GROUP}/position/step"
TIME = f"{GROUP}/position/time"

STEPS_PER_CHUNK = 1024

PACKING = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""For what hardly changes between frames, and so shrinks to almost nothing.

Coordinates are not packed: all but their leading bits are noise. Deflating positions and velocities of
12 288 atoms took 13.6 ms a frame instead of 2.7 ms, and made the file smaller by 11 %.
"""


ROOM_FOR_INDEX = 2**18
"""Bytes that HDF5's own bookkeeping of a frame surely fits into: a dozen new tree nodes of a few kB each."""

ROOM_AT_ONCE = 2**20
"""Bytes that are reserved beyond the present frame, so that not every frame has to ask."""


MOST_BYTES_WAITING = 2**28
"""Bytes of frames that wait for readers to close the file; beyond, they are written nevertheless."""

PATIENCE_SECONDS = 5.0
"""How long readers are waited for at the end of a run."""


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
        self._datasets: dict[str, h5py.Dataset] = {}
        self._waiting: list[dict[str, np.ndarray]] = []
        self._frames = 0
        self._step = -1

    def create(self, snapshot: Snapshot) -> None:
        """Start the file with everything but frames."""
        self._elements = frame_elements(snapshot.state, velocities=self._velocities)
        with writing(self.path):
            with h5py.File(self.path.name, "w", driver="core", backing_store=False) as file:
                _write_about(file, self._author)
                _write_parameters(file, self._parameters, snapshot.state)
                _write_elements(file, self._elements, snapshot.state)
                file.flush()
                image = file.id.get_file_image()
            with open(self.path, "xb") as plain:
                plain.write(image)
            self._open()

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
                f"the checkpoint continues the trajectory {self.path}, which cannot be read:"
                f" {reason(error)}; {remedy}"
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

    def reopen(self, snapshot: Snapshot, position: Position, waiting: Arrays) -> None:
        """Cut the trajectory back to `position` and continue there, first with what was `waiting`."""
        self._elements = frame_elements(snapshot.state, velocities=self._velocities)
        self._frames, self._step = position["frames"], position["step"]
        with writing(self.path):
            self._open()
            self._make_room(0)
            for path in self._datasets:
                self._datasets[path].resize(self._frames, axis=0)
            self._file.flush()  # type: ignore[union-attr]
        if waiting:
            self._waiting = [
                {path: array[i] for path, array in waiting.items()} for i in range(len(waiting[STEP]))
            ]

    def write(self, snapshot: Snapshot) -> None:
        """Append a frame and flush it, as soon as no other program has the file open."""
        state = snapshot.state
        frame = {STEP: np.array(state.step), TIME: np.array(state.time_ps)}
        frame |= {element.path: np.array(element.value(state)) for element in self._elements}
        self._waiting.append(frame)
        with writing(self.path):
            self._write_waiting(force=_size(self._waiting) > MOST_BYTES_WAITING)

    def position(self) -> dict[str, int]:
        """Return the number of frames in the file and the step of the last."""
        return {"frames": self._frames, "step": self._step}

    def waiting(self) -> Arrays:
        """Return the frames that wait for readers to close the file, by data set."""
        return self._stacked() if self._waiting else {}

    def sync(self) -> None:
        """Make the frames that are in the file survive a loss of power."""
        if self._file is not None:
            with writing(self.path):
                os.fsync(self._file.id.get_vfd_handle())

    def close(self) -> None:
        """Write what waits, close the file, and give back the room that it did not use."""
        if self._file is not None:
            # What fails now, `write` or `sync` has complained about.
            with suppress(OSError, RuntimeError):
                deadline = time.monotonic() + PATIENCE_SECONDS
                while self._waiting:
                    self._write_waiting(force=time.monotonic() > deadline)
                    time.sleep(0.01 if self._waiting else 0.0)
            with suppress(OSError, RuntimeError):
                size = self._file.id.get_filesize()
                self._datasets = {}
                self._file.close()
                os.truncate(self.path, size)
            self._file = None

    def _open(self) -> None:
        self._file = h5py.File(self.path, "r+", locking=False)
        paths = (STEP, TIME, *(element.path for element in self._elements))
        self._datasets = {path: self._file[path] for path in paths}
        # What a killed run had reserved may be a hole by now.
        self._file.flush()
        os.ftruncate(self._file.id.get_vfd_handle(), self._file.id.get_filesize())

    def _write_waiting(self, *, force: bool) -> None:
        """Write the frames that wait, unless there are readers and `force` is not set."""
        assert self._file is not None
        descriptor = self._file.id.get_vfd_handle()
        if not self._waiting or not (_lock(descriptor) or force):
            return
        try:
            self._make_room(_size(self._waiting))
            frames = self._frames + len(self._waiting)
            for path, values in self._stacked().items():
                self._datasets[path].resize(frames, axis=0)
                self._datasets[path][self._frames :] = values
            self._file.flush()
        finally:
            _unlock(descriptor)
        self._frames = frames
        self._step = int(self._waiting[-1][STEP])
        self._waiting = []

    def _stacked(self) -> dict[str, np.ndarray]:
        return {path: np.stack([frame[path] for frame in self._waiting]) for path in self._datasets}

    def _make_room(self, size: int) -> None:
        """Make sure that HDF5 will find room for `size` bytes of data."""
        assert self._file is not None
        descriptor, end = self._file.id.get_vfd_handle(), self._file.id.get_filesize()
        needed = size + ROOM_FOR_INDEX * max(len(self._waiting), 1)
        if os.fstat(descriptor).st_size < end + needed:
            reserve(descriptor, end, needed + ROOM_AT_ONCE)


def _size(frames: list[dict[str, np.ndarray]]) -> int:
    """Return the bytes that `frames` take if nothing is packed."""
    return sum(value.nbytes for frame in frames for value in frame.values())


def _lock(descriptor: int) -> bool:
    """Try to keep readers out; False if there are some."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks, on which readers cannot be seen.
        return True
    return True


def _unlock(descriptor: int) -> None:
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


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
