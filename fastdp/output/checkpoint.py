"""Checkpoints: everything that the next step depends on, in one file that is whole or is not used.

A checkpoint is NumPy's archive of arrays (`.npz`, a zip file, without pickles) whose comment is the
SHA-256 checksum of all that stands before. It is written under another name, synced, and renamed, while
the one before is kept as `*_previous`: at every moment there is a complete checkpoint on the disk, and
damage is noticed before anything is believed. HDF5 would do as well, but for a full disk, which crashes
the process that uses it. `docs/output_files.md` lists what is in a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import CheckpointError
from fastdp.output.files import sync_directory, writing

COMMENT = b"fastdp checkpoint 1 sha256 "
"""What the comment starts with; the number is that of the format. The checksum follows in hexadecimal."""

DIGEST_LENGTH = 64
HEADER = "header.json"
BUFFER_SIZE = 2**20

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


def lock_path(path: Path) -> Path:
    """Return what is locked while a run writes the checkpoint at `path`."""
    return path.with_name(f".{path.name}.lock")


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
        with open(temporary, "w+b") as file:
            _write_archive(file, checkpoint)
            digest = _digest(file)
            file.seek(-DIGEST_LENGTH, os.SEEK_END)
            file.write(digest)
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
            _verify(file, path)
            with np.load(file, allow_pickle=False) as archive:
                header = json.loads(archive[HEADER])
                sections: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in header["sections"]}
                for name in archive.files:
                    section, _, key = name.partition("/")
                    if section in sections:
                        sections[section][key] = archive[name]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    return Checkpoint(header["content"], sections)


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


def _write_archive(file: BinaryIO, checkpoint: Checkpoint) -> None:
    """Write all but the checksum, for which zeros stand."""
    header = {"content": checkpoint.header, "sections": list(checkpoint.sections)}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = COMMENT + b"0" * DIGEST_LENGTH
        archive.writestr(HEADER, json.dumps(header))
        for section, arrays in checkpoint.sections.items():
            for key, array in arrays.items():
                with archive.open(f"{section}/{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _verify(file: BinaryIO, path: Path) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - len(COMMENT) - DIGEST_LENGTH, 0))
    comment = file.read()
    if not comment.startswith(COMMENT):
        raise CheckpointError(
            f"{path} is damaged, or is not a checkpoint that this version of fastdp can read"
        )
    if comment[len(COMMENT) :] != _digest(file):
        raise CheckpointError(f"{path} is damaged: its checksum is wrong")
    file.seek(0)


def _digest(file: BinaryIO) -> bytes:
    """Return the checksum of everything in front of the checksum."""
    left = file.seek(0, os.SEEK_END) - DIGEST_LENGTH
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0:
        data = file.read(min(left, BUFFER_SIZE))
        digest.update(data)
        left -= len(data)
    return digest.hexdigest().encode("ascii")


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
