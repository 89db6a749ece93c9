"""Expectations as HDF5: one group for each frame.

In a group: `positions` (n, 3) Å; `symbols`, or `types` as numbers into the type map; `cell` (3, 3) Å with the
vectors as rows, absent for open boundaries; `periodic` (3,) where some directions are open and others not;
`spins` (n, 3) for a model with spins; of the answer what is there of `energy` eV, `forces` eV/Å, `virial` eV
and `atomic_energies` eV; `fparam` and `aparam` that it was given for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import fastdp
from fastdp.errors import InputError
from fastdp.expectation.expectation import Array, Expectation
from fastdp.output.files import new_file
from fastdp.potential.base import Evaluation
from fastdp.structure.structure import Structure

UNITS = "Angstrom, eV, eV/Angstrom; virial = -dE/dstrain in eV"


def read_hdf5(path: Path) -> list[Expectation]:
    """Read all frames of a file.

    Raises
    ------
    InputError
        If the file is damaged, or holds no answers.
    """
    try:
        with h5py.File(path, "r") as file:
            if "h5md" in file:
                raise InputError(
                    f"{path}: an H5MD trajectory, which holds no energies and forces; "
                    "`fastdp check INPUT --write-expectation FILE` writes a file that does"
                )
            made_by = str(file.attrs.get("made_by", ""))
            groups = {name: group for name, group in file.items() if isinstance(group, h5py.Group)}
            found = [_frame(f"{path}, {name}", group, made_by) for name, group in groups.items()]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as expected values: {error}") from error
    if not found:
        raise InputError(f"{path}: has no frames, that is, no groups with positions and energies")
    return found


def _frame(name: str, group: h5py.Group, made_by: str) -> Expectation:
    positions = _array(name, group, "positions", (-1, 3))
    assert positions is not None
    n = len(positions)
    symbols = tuple(group["symbols"].asstr()[:].tolist()) if "symbols" in group else None
    types = None if symbols is not None else np.asarray(group["types"], dtype=np.int32).ravel()
    if len(symbols or ()) != n and (types is None or len(types) != n):
        raise InputError(f"{name}: has {n} positions, and another number of symbols or types")
    cell = _array(name, group, "cell", (3, 3))
    energy = _array(name, group, "energy", (1,))
    periodic = np.full(3, cell is not None)
    if "periodic" in group:
        periodic = np.asarray(group["periodic"], dtype=bool).reshape(3)
    return Expectation(
        name,
        symbols,
        types,
        positions,
        np.zeros((3, 3)) if cell is None else cell,
        periodic,
        energy=None if energy is None else float(energy[0]),
        forces=_array(name, group, "forces", (n, 3)),
        virial=_array(name, group, "virial", (3, 3)),
        atomic_energies=_array(name, group, "atomic_energies", (n,)),
        parameters={
            key: np.asarray(group[key], dtype=np.float64) for key in ("fparam", "aparam") if key in group
        },
        spins=_array(name, group, "spins", (n, 3)),
        made_by=made_by,
        rounded=any(
            group[key].dtype == np.float32 for key in ("positions", "energy", "forces") if key in group
        ),
    )


def _array(name: str, group: h5py.Group, key: str, shape: tuple[int, ...]) -> Array | None:
    if key not in group:
        if key == "positions":
            raise InputError(f"{name}: has no positions")
        return None
    values = np.array(group[key], dtype=np.float64)
    try:
        return values.reshape(shape)
    except ValueError:
        raise InputError(f"{name}: {key} has shape {values.shape}, and should have {shape}") from None


def write_hdf5(
    path: Path,
    structure: Structure,
    evaluation: Evaluation,
    *,
    parameters: Mapping[str, Any],
    about: Mapping[str, str],
) -> None:
    """Write one frame, called "start", and what a model gives for it.

    Parameters
    ----------
    path : pathlib.Path
    structure : Structure
    evaluation : Evaluation
        With its virial.
    parameters : mapping
        fparam and aparam; None where the model took none or its defaults.
    about : mapping of str to str
        Attributes of the file: the model and its checksum.

    Raises
    ------
    OutputExistsError
        If the file exists.
    FastDPError
        If it cannot be written.
    """
    with new_file(path) as place, h5py.File(place, "w") as file:
        file.attrs.update({"made_by": f"fastdp {fastdp.__version__}", "units": UNITS, **about})
        group = file.create_group("start")
        group["positions"] = structure.positions
        group.create_dataset("symbols", data=list(structure.symbols), dtype=h5py.string_dtype())
        if np.any(structure.periodic):
            group["cell"] = structure.cell
            group["periodic"] = structure.periodic
        group["energy"] = evaluation.energy
        group["forces"] = evaluation.forces
        group["virial"] = evaluation.virial
        group["atomic_energies"] = evaluation.atomic_energies
        if structure.spins is not None:
            group["spins"] = structure.spins
        for name, values in parameters.items():
            if values is not None:
                group[name] = np.asarray(values, dtype=np.float64)
