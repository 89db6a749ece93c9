"""Readers of model files, one module each, chosen by what a file contains and never by its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastdp.errors import ModelError
from fastdp.model.description import DeepPotential

HEAD_BYTES = 4096
MAX_FILE_BYTES = 2**31
"""A GraphDef cannot be larger (2 GiB is protobuf's limit), and no model is."""

READER_MODULES = ("frozen_graph", "text_graph", "serialised_files", "torch_archive", "other_formats")
"""Modules of this package that register readers, in the order in which they are asked."""


@dataclass(frozen=True)
class FileStart:
    """What a reader is shown to say whether a file is its own.

    Attributes
    ----------
    path : Path
    head : bytes
        The first bytes, at most `HEAD_BYTES`.
    """

    path: Path
    head: bytes


@dataclass(frozen=True)
class Reader:
    """A file format.

    Attributes
    ----------
    name : str
        For the user.
    recognises : callable
        From the start of a file to whether it is of this format.
    read : callable
        From the path, and the name of one of several models in the file, to the description.
    """

    name: str
    recognises: Callable[[FileStart], bool]
    read: ReadHead


Read = Callable[[Path], DeepPotential]
ReadHead = Callable[[Path, str | None], DeepPotential]

READERS: list[Reader] = []
"""All formats, in the order in which they are tried."""


def reader(
    name: str, recognises: Callable[[FileStart], bool], *, heads: bool = False
) -> Callable[[Callable[..., DeepPotential]], Callable[..., DeepPotential]]:
    """Register a function as the reader of a format.

    Parameters
    ----------
    name : str
    recognises : callable
        From the start of a file to whether it is of this format.
    heads : bool
        Whether a file may hold several models; the function then takes the name of one as well.
    """

    def register(read: Callable[..., DeepPotential]) -> Callable[..., DeepPotential]:
        READERS.append(Reader(name, recognises, read if heads else _without_heads(read)))
        return read

    return register


def _without_heads(read: Read) -> ReadHead:
    def read_only_head(path: Path, head: str | None) -> DeepPotential:
        if head is not None:
            raise ModelError(f"{path}: a file of this format holds one model; leave out the head {head!r}")
        return read(path)

    return read_only_head


def read_model(path: str | Path, *, head: str | None = None) -> DeepPotential:
    """Read a Deep Potential from a file.

    Parameters
    ----------
    path : str or Path
    head : str, optional
        Which of several models in the file (checkpoints of multi-task training).

    Returns
    -------
    DeepPotential

    Raises
    ------
    ModelError
        If there is no such file, or it is damaged or not a model.
    UnsupportedModelError
        If it is a model that fastdp does not read or not evaluate.
    """
    path = Path(path)
    for module in READER_MODULES:
        importlib.import_module(f"fastdp.model.readers.{module}")
    start = FileStart(path, _head(path))
    for candidate in READERS:
        if candidate.recognises(start):
            try:
                return candidate.read(path, head)
            except OSError as error:
                raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    raise ModelError(
        f"{path}: not a model file that fastdp knows; it reads DeePMD-kit's .pb, .pbtxt, .dp, .hlo, .yaml, "
        ".json, .pth and .pt"
    )


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; give the frozen model file (dp freeze -o model.pb)")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not head:
        raise ModelError(f"{path}: the file is empty")
    if size > MAX_FILE_BYTES:
        raise ModelError(f"{path}: has {size} bytes; no model file is larger than {MAX_FILE_BYTES}")
    return head
