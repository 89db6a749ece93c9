"""Frozen graphs in protobuf's text form (.pbtxt)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from fastdp.errors import ModelError
from fastdp.model.description import DeepPotential
from fastdp.model.readers.frozen_graph import describe_graph
from fastdp.model.readers.graph_def import MESSAGES, TYPE_NAMES, parse_graph
from fastdp.model.readers.registry import FileStart, reader

FILE_FORMAT = "TensorFlow frozen graph in text form"

MAX_BYTES = 2**28
"""The parser takes hundreds of bytes for each byte of text."""

_TYPE = re.compile(rb"^(\s*(?:d?type)\s*:\s*)([A-Z][A-Z0-9_]*)\s*$", re.M)


def _is_text_graph(start: FileStart) -> bool:
    return re.match(rb"\s*(#[^\n]*\n\s*)*node\s*:?\s*\{", start.head) is not None


@reader(FILE_FORMAT, _is_text_graph)
def read_text_graph(path: Path) -> DeepPotential:
    """Read a frozen graph in text form.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ModelError
        If the file is damaged or not a model.
    UnsupportedModelError
        If the model has a part that fastdp does not evaluate.
    """
    data = path.read_bytes()
    if len(data) > MAX_BYTES:
        raise ModelError(f"{path}: has {len(data)} bytes of text; convert it to the binary form (.pb)")
    message: Any = MESSAGES["GraphDef"]()
    try:
        text = _TYPE.sub(_number_of_type, data).decode()
        text_format.Parse(text, message, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: cannot be parsed as a TensorFlow graph in text form; the file is truncated or damaged "
            f"({str(error)[:200]})"
        ) from error
    return describe_graph(parse_graph(message.SerializeToString(), str(path)), FILE_FORMAT, data)


def _number_of_type(match: re.Match[bytes]) -> bytes:
    """Return the line with the number of a data type in place of its name."""
    number = TYPE_NAMES.get(match[2].decode(), 0)
    return match[1] + str(number).encode()
