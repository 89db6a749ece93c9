"""Checkpoints: everything that the next step depends on, in one file that is whole or is not used.

A checkpoint is an HDF5 file with a user block of 512 bytes in front, which holds the SHA-256 checksum of
all bytes behind it. It is written under another name, synced, and renamed, while the one before is kept
as `*_previous`: at every moment there is a complete checkpoint on the disk, and damage is noticed before
anything of it is believed. `docs/output_files.md` lists what is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastdp.errors import CheckpointError
from fastdp.output.files import sync_directory, writing

FORMAT = 1
USER_BLOCK = 512
MAGIC = f"fastdp checkpoint {FORMAT}\nsha256 "

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Attributes
    ----------
    header : mapping
        Numbers and text that JSON can hold: where the run stands and what it belongs to.
    sections : mapping of str to mapping of str to array
        Arrays by the part of the run that they belong to, kept bit for bit.
    newest_is_damaged : bool
        Whether this one had to do in place of a damaged one, which is not worth keeping.
    """

    header: Mapping[str, Any]
    sections: Mapping[str, Arrays]
    newest_is_damaged: bool = False


def previous_path(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}_previous{path.suffix}")


def write_checkpoint(path: Path, checkpoint: Checkpoint, *, keep: bool = True) -> None:
    """Write `checkpoint` to `path` so that a crash at any moment leaves a complete one.

    Parameters
    ----------
    path : pathlib.Path
        Replaced if it exists.
    checkpoint : Checkpoint
        What to write.
    keep : bool
        Whether the file at `path` becomes the previous one; not if it is known to be damaged.

    Raises
    ------
    FastDPError
        If the disk refuses; the checkpoints that were there are untouched then.
    """
    temporary = path.with_name(f"{path.name}.partial")
    with writing(path):
        _write_content(temporary, checkpoint)
        digest = _digest(temporary)
        with open(temporary, "r+b") as file:
            file.write(f"{MAGIC}{digest}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            _keep_previous(path)
        os.replace(temporary, path)
        sync_directory(path.parent)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify the checkpoint at `path`.

    Raises
    ------
    CheckpointError
        If it is absent, damaged, or of another format.
    """
    try:
        with open(path, "rb") as file:
            block = file.read(USER_BLOCK)
        if not block.startswith(b"fastdp checkpoint "):
            raise CheckpointError(f"{path} is not a checkpoint of fastdp, or damaged")
        if not block.startswith(MAGIC.encode()):
            raise CheckpointError(f"{path} was written by a version of fastdp with another format")
        if block[len(MAGIC) :].split(b"\n", 1)[0].decode("ascii", "replace") != _digest(path):
            raise CheckpointError(f"{path} is damaged: its checksum is wrong")
        with h5py.File(path, "r", locking=False) as file:
            sections = {
                name: {key: dataset[()] for key, dataset in group.items()}
                for name, group in file["sections"].items()
            }
            return Checkpoint(json.loads(file["header"][()]), sections)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def load_latest(path: Path, warn: Callable[[str], None]) -> Checkpoint:
    """Read the checkpoint at `path`, or the one before it if that is damaged.

    Parameters
    ----------
    path : pathlib.Path
        Where the newest is.
    warn : callable
        Told when the previous one had to do.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointError
        If neither can be used.
    """
    try:
        return read_checkpoint(path)
    except CheckpointError as error:
        previous = previous_path(path)
        if not previous.exists():
            hint = "" if path.exists() else "; start the run without --resume"
            raise CheckpointError(f"{error}; there is no {previous.name} either{hint}") from error
        try:
            checkpoint = read_checkpoint(previous)
        except CheckpointError as second:
            raise CheckpointError(f"{error}; {second}; start again with --overwrite") from second
        warn(f"{error}; continuing from {previous.name} instead")
        return replace(checkpoint, newest_is_damaged=path.exists())


def _write_content(path: Path, checkpoint: Checkpoint) -> None:
    with h5py.File(path, "w", userblock_size=USER_BLOCK, locking=False) as file:
        file["header"] = json.dumps(checkpoint.header)
        for name, arrays in checkpoint.sections.items():
            group = file.create_group(f"sections/{name}")
            for key, array in arrays.items():
                group.create_dataset(key, data=np.asarray(array))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(USER_BLOCK)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep_previous(path: Path) -> None:
    """Give `path` its second name without ever taking away the first."""
    previous = previous_path(path)
    link = previous.with_name(f"{previous.name}.partial")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        # No hard links on this file system: for the blink until the new one is renamed, only the
        # previous one is there, which `load_latest` finds.
        os.replace(path, previous)
    else:
        os.replace(link, previous)
        # Renaming between two names of one file leaves both, after a crash that came in between.
        link.unlink(missing_ok=True)
