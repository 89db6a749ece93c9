"""Reading expectations: by content from fastdp's HDF5, DeePMD-kit's npy folders, and what ASE reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from fastdp.errors import InputError, StructureError
from fastdp.expectation.expectation import Expectation
from fastdp.expectation.hdf5_files import read_hdf5
from fastdp.structure.ase_files import read_labelled_frames
from fastdp.structure.deepmd_folder import count_frames, is_deepmd_folder, read_labels
from fastdp.structure.read import read_structure
from fastdp.structure.structure import Structure


def read_expectations(path: str | Path) -> list[Expectation]:
    """Read what a model is expected to give.

    Parameters
    ----------
    path : str or Path
        HDF5 as `write_hdf5` writes it, a folder in DeePMD-kit's npy layout with `energy.npy`, `force.npy` or
        `virial.npy`, or a file from which ASE reads energies and forces, such as extxyz. All frames are read.

    Returns
    -------
    list of Expectation
        At least one, each with an energy or forces.

    Raises
    ------
    InputError
        If the file cannot be read, or a frame has neither energy nor forces.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    try:
        if path.is_file() and h5py.is_hdf5(path):
            found = read_hdf5(path)
        elif is_deepmd_folder(path):
            found = [_deepmd_frame(path, number) for number in range(count_frames(path))]
        else:
            found = _ase_frames(path)
    except StructureError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    if not found:
        raise InputError(f"{path}: has no frames")
    for frame in found:
        if frame.energy is None and frame.forces is None:
            raise InputError(f"{frame.name}: has neither energy nor forces to compare with")
    return found


def _deepmd_frame(path: Path, number: int) -> Expectation:
    structure = read_structure(path, frame=number)
    labels, rounded = read_labels(path, number, structure.n_atoms)
    frame = _of_structure(f"{path}, frame {number}", structure)
    energy, forces, virial = (labels.get(name) for name in ("energy", "force", "virial"))
    return replace(
        frame,
        energy=None if energy is None else float(energy[0]),
        forces=None if forces is None else forces.reshape(-1, 3),
        virial=None if virial is None else virial.reshape(3, 3),
        parameters={name: labels[name] for name in ("fparam", "aparam") if name in labels},
        rounded=rounded,
    )


def _ase_frames(path: Path) -> list[Expectation]:
    found = []
    for number, (structure, results) in enumerate(read_labelled_frames(path)):
        frame = _of_structure(f"{path}, frame {number}", structure)
        stress, energy = results.get("stress"), results.get("energy")
        found.append(
            replace(
                frame,
                energy=None if energy is None else float(energy),
                forces=results.get("forces"),
                # ASE's stress is tensile: Ξ = −V σ.
                virial=None if stress is None else -structure.volume * np.asarray(stress, dtype=np.float64),
                # Text keeps eight decimals or so.
                rounded=True,
            )
        )
    return found


def _of_structure(name: str, structure: Structure) -> Expectation:
    return Expectation(
        name,
        structure.symbols,
        None,
        structure.positions,
        structure.cell,
        structure.periodic,
        spins=structure.spins,
    )
