"""Model files that fastdp recognises but does not read: each is refused by its name, with a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastdp.errors import UnsupportedModelError
from fastdp.model.description import DeepPotential
from fastdp.model.readers.registry import FileStart, reader

CONVERT = "convert it with DeePMD-kit (dp convert-backend {name} model.pb) and compare the energies"
"""Advice for the formats from which DeePMD-kit itself makes a frozen graph."""


def _starts_with(*magic: bytes) -> Callable[[FileStart], bool]:
    return lambda start: start.head.startswith(magic)


def _refusing(name: str, advice: str) -> Callable[[Path], DeepPotential]:
    def refuse(path: Path) -> DeepPotential:
        raise UnsupportedModelError(
            f"{path}: is a {name}, which fastdp does not read yet; {advice.format(name=path.name)}"
        )

    return refuse


for _name, _recognises, _advice in (
    ("NumPy file", _starts_with(b"\x93NUMPY"), "give a frozen model (.pb)"),
    ("Python pickle (an old PyTorch file?)", _starts_with(b"\x80\x02", b"\x80\x03", b"\x80\x04"), CONVERT),
):
    reader(_name, _recognises)(_refusing(_name, _advice))
