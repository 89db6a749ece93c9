"""`fastdp convert`: from fastdp's trajectory to extended XYZ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    trajectory: Annotated[Path, typer.Argument(help="H5MD trajectory that fastdp wrote.")],
    destination: Annotated[Path, typer.Argument(help="File to write; its name ends in .extxyz or .xyz.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Convert a trajectory to extended XYZ, in ASE's units."""
    from fastdp.output.convert import convert as convert_trajectory

    frames = convert_trajectory(trajectory, destination, overwrite=overwrite)
    typer.echo(f"{frames} frames written to {destination}")
