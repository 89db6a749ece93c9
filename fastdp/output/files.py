"""Files that survive a crash: syncing, locking, and errors that say what could not be written."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastdp.errors import FastDPError, InputError, OutputExistsError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the system into one that names `path`.

    Raises
    ------
    FastDPError
        If the block raises OSError, or RuntimeError as the HDF5 library does.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise FastDPError(
            f"cannot write {path}: {error}; free space or choose another directory, then continue with"
            " --resume from the last checkpoint"
        ) from error


def reserve(descriptor: int, start: int, length: int) -> None:
    """Make sure that `length` bytes from `start` on can be written; the file may grow to that size.

    Raises
    ------
    OSError
        If the disk or the quota has no room; the file has its old size then.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, start, length)
    except OSError as error:
        os.ftruncate(descriptor, start)
        # A file system that cannot promise anything is not a full one.
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise


def sync_directory(directory: Path) -> None:
    """Make renames within `directory` survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_existing(paths: Iterable[Path]) -> None:
    """Refuse to write over files.

    Raises
    ------
    OutputExistsError
        If any of `paths` exists; names all that do.
    """
    existing = [str(path) for path in paths if os.path.lexists(path)]
    if existing:
        raise OutputExistsError(
            f"output exists already: {', '.join(existing)}; continue that run with --resume, replace it"
            " with --overwrite, or choose another directory"
        )


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold a lock on the file `path`, so that no second run writes beside this one.

    The file is made if absent and removed at the end. A lock dies with its process: a file that a
    killed run left behind does no harm.

    Raises
    ------
    InputError
        If another process holds the lock.
    """
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _locked(descriptor, path):
            raise InputError(
                f"another run is writing to {path.parent}: it holds {path.name}; wait for it to end, or"
                " choose another directory"
            )
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
    finally:
        os.close(descriptor)


def _locked(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems know no locks; a run must not depend on them.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    # A run that just ended may have removed the file between our opening and our locking it.
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
