"""Files that survive a crash: syncing, locking, and errors that say what could not be written."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastdp.errors import FastDPError, InputError, OutputExistsError

RESUME = "free space or choose another directory, then continue with --resume from the last checkpoint"


def reason(error: Exception) -> str:
    """Return why the system refused, without the path that the HDF5 library and Python add."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)


@contextmanager
def writing(path: Path, advice: str = RESUME) -> Iterator[None]:
    """Turn an error of the system into one that names `path` and ends with `advice`.

    Raises
    ------
    FastDPError
        If the block raises OSError, or RuntimeError as the HDF5 library does.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise FastDPError(f"cannot write {path}: {reason(error)}; {advice}") from error


@contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a place to write to, and put it at `path` only when the block is through.

    What is at `path` stays as it was if the block fails.

    Parameters
    ----------
    path : pathlib.Path
        Where the file goes.
    overwrite : bool
        Whether a file that is there may be replaced.

    Yields
    ------
    pathlib.Path
        In the same folder, absent; `path` itself where it is a device.

    Raises
    ------
    InputError
        If there is no such folder, or `path` is one.
    OutputExistsError
        If there is a file already.
    FastDPError
        If it cannot be written.
    """
    check_new_file(path, overwrite=overwrite)
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():
        # A pipe or a terminal, which holds nothing that could be lost.
        with writing(path, "choose another place"):
            yield path
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with writing(path, "free space, or choose another place"):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_new_file(path: Path, *, overwrite: bool = False) -> None:
    """Check, writing nothing, that `path` can be written by `new_file`; see there."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: the folder {path.parent} may not be written to")
    if not overwrite:
        refuse_existing([path], "choose another name, or remove it")


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


def refuse_existing(paths: Iterable[Path], advice: str) -> None:
    """Refuse to write over files, with `advice` on what to do.

    Raises
    ------
    OutputExistsError
        If any of `paths` exists; names all that do.
    """
    existing = [str(path) for path in paths if os.path.lexists(path)]
    if existing:
        raise OutputExistsError(f"output exists already: {', '.join(existing)}; {advice}")


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
