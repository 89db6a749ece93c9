"""A small water-like system with a random model, and input files for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import ase
import ase.io
import numpy as np

import fastdp

INPUT = """\
version = 1
[potential]
model = "model.pb"
backend = "reference"
[structure]
file = "start.extxyz"
[velocities]
temperature_K = 300
seed = 5
[[stage]]
ensemble = "nve"
steps = 6
timestep_fs = 0.5
[[stage]]
name = "warm"
ensemble = "nvt"
steps = 4
timestep_fs = 0.5
temperature_K = 300
[output]
directory = "out"
[output.trajectory]
every = 2
[output.thermo]
every = 1
[output.checkpoint]
every = 5
[parallel]
threads = 1
"""


def water_box(*, periodic: bool = True) -> ase.Atoms:
    """Return four water-like molecules, oxygen first in each, in a triclinic cell shorter than the cutoff."""
    generator = np.random.default_rng(11)
    molecule = np.array([[0.0, 0.0, 0.0], [0.96, 0.1, 0.0], [-0.25, 0.93, 0.1]])
    corners = np.array([[x, y, z] for x in (0.5, 3.5) for y in (0.4, 3.7) for z in (0.6,)])
    positions = (corners[:, None, :] + molecule).reshape(-1, 3) + generator.normal(0.0, 0.02, (12, 3))
    cell = [[6.1, 0.0, 0.0], [0.8, 6.4, 0.0], [-0.5, 0.3, 3.9]] if periodic else None
    return ase.Atoms("OHH" * 4, positions=positions, cell=cell, pbc=periodic)


def write_case(folder: Path, model: Path, *, text: str = INPUT, atoms: ase.Atoms | None = None) -> Path:
    """Write input file, structure and model into a folder; return the input file."""
    (folder / "model.pb").write_bytes(model.read_bytes())
    ase.io.write(folder / "start.extxyz", water_box() if atoms is None else atoms)
    path = folder / "input.toml"
    path.write_text(text)
    return path


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Return every path below a folder with the content of files, to see whether something was written."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def start_fastdp(
    *arguments: str, folder: Path, stdout: IO[str] | int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, in `folder`, whether fastdp is installed or not."""
    path = os.pathsep.join([str(Path(fastdp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "fastdp", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
    )


def run_fastdp(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, and wait for it."""
    process = start_fastdp(*arguments, folder=folder)
    out, err = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
