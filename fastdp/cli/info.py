"""`fastdp info`: what a model file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def info(model: Annotated[Path, typer.Argument(help="Model file.")]) -> None:
    """Print what is in a model file: elements, cutoff, networks, precision, where it comes from."""
    from fastdp.model.readers.registry import read_model
    from fastdp.model.summary import summarise

    rows = summarise(read_model(model))
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        typer.echo(f"{label:<{width}}  {value}")
