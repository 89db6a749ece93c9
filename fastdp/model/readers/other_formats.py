"""Model files that fastdp recognises but does not read: each is refused by its name, with a way out."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import DeepPotential
from fastdp.model.readers.registry import FileStart, reader

CONVERT = "convert it with DeePMD-kit (dp convert-backend {name} model.pb) and compare the energies"
"""Advice for the formats from which DeePMD-kit itself makes a frozen graph."""


def _starts_with(*magic: bytes) -> Callable[[FileStart], bool]:
    return lambda start: start.head.startswith(magic)


def _is_text_graph(start: FileStart) -> bool:
    return re.match(rb"\s*(#[^\n]*\n\s*)*node\s*:?\s*\{", start.head) is not None


def _is_yaml_model(start: FileStart) -> bool:
    return (
        re.search(rb"^(backend|'?@class'?|model|model_def_script|software)\s*:", start.head, re.M) is not None
    )


def _refusing(name: str, advice: str) -> Callable[[Path], DeepPotential]:
    def refuse(path: Path) -> DeepPotential:
        raise UnsupportedModelError(
            f"{path}: is a {name}, which fastdp does not read yet; {advice.format(name=path.name)}"
        )

    return refuse


for _name, _recognises, _advice in (
    ("TensorFlow graph in text form (.pbtxt)", _is_text_graph, "convert it to the binary form (.pb)"),
    ("native DeePMD-kit model (HDF5, .dp)", _starts_with(b"\x89HDF\r\n\x1a\n"), CONVERT),
    ("NumPy file", _starts_with(b"\x93NUMPY"), "give a frozen model (.pb)"),
    ("Python pickle (an old PyTorch file?)", _starts_with(b"\x80\x02", b"\x80\x03", b"\x80\x04"), CONVERT),
    ("native DeePMD-kit model (YAML, .yaml)", _is_yaml_model, CONVERT),
):
    reader(_name, _recognises)(_refusing(_name, _advice))


@reader("ZIP archive", _starts_with(b"PK\x03\x04"))
def refuse_archive(path: Path) -> DeepPotential:
    """Refuse a ZIP archive, saying which of PyTorch's two kinds it is.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UnsupportedModelError
        If it is a model of the PyTorch backend.
    ModelError
        If it is damaged or something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise ModelError(f"{path}: is a ZIP archive that is truncated or damaged ({error})") from error
    if not any(name.endswith("/data.pkl") for name in names):
        raise ModelError(f"{path}: is a ZIP archive, but not a model")
    if any("/code/" in name for name in names):
        return _refusing("TorchScript archive (.pth)", CONVERT)(path)
    return _refusing(
        "PyTorch checkpoint (.pt)", "freeze it with DeePMD-kit (dp --pt freeze) and convert that to .pb"
    )(path)
