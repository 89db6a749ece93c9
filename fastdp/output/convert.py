"""From fastdp's trajectory to extended XYZ, in ASE's units."""

from __future__ import annotations

from pathlib import Path

import ase.io
from ase import Atoms

from fastdp.errors import InputError, OutputExistsError
from fastdp.output.atoms import to_atoms
from fastdp.output.files import new_file
from fastdp.output.trajectory import Frame, Trajectory

SUFFIXES = (".extxyz", ".xyz")


def convert(source: Path, destination: Path, *, overwrite: bool = False) -> int:
    """Write the trajectory `source` to `destination` as extended XYZ.

    Positions are as stored, wrapped; the array `image` of each frame says by how many cells. Velocities
    become the momenta of ASE, in its unit √(u·eV). `step` and `time_ps` are in each frame's `info`.

    Parameters
    ----------
    source : pathlib.Path
        An H5MD trajectory written by fastdp.
    destination : pathlib.Path
        Ends in .extxyz or .xyz.
    overwrite : bool
        Whether `destination` may exist.

    Returns
    -------
    int
        Number of frames written.

    Raises
    ------
    TrajectoryError
        If `source` cannot be read.
    OutputExistsError
        If `destination` exists and `overwrite` is not set.
    InputError
        If `destination` has another suffix, is the trajectory itself, or is in no folder.
    FastDPError
        If it cannot be written; what was there is left as it was.
    """
    if destination.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{destination}: trajectories are converted to extended XYZ; use a name that ends in"
            f" {' or '.join(SUFFIXES)}"
        )
    with Trajectory(source) as trajectory:
        if destination.exists():
            if destination.samefile(source):
                raise InputError(f"{destination} is the trajectory itself; give the copy another name")
            if not overwrite and not destination.is_dir():
                raise OutputExistsError(f"{destination} exists already; replace it with --overwrite")
        with new_file(destination, overwrite=True) as place, open(place, "w") as file:
            for frame in trajectory:
                ase.io.write(file, _atoms(trajectory, frame), format="extxyz")
        return len(trajectory)


def _atoms(trajectory: Trajectory, frame: Frame) -> Atoms:
    atoms = to_atoms(
        trajectory.symbols,
        frame.positions,
        cell=frame.cell,
        periodic=trajectory.periodic,
        masses=trajectory.masses,
        velocities=frame.velocities,
    )
    atoms.new_array("image", frame.images)
    atoms.info.update(step=frame.step, time_ps=frame.time_ps)
    return atoms
