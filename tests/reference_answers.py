"""What DeePMD-kit answers for the models of `../shared`, and fastdp's differences from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from fastdp.model.description import DeepPotential, EnergyFitting
from fastdp.neighbours.brute_force import all_pairs
from fastdp.potential.atomic_tensors import TensorModel
from fastdp.potential.reference import ReferencePotential

REFUSED = {
    "own/att_attn2.pb": "attention layers",
    "third_party/dp4mask.pb": "se_a_mask",
    "third_party/pairwise_dprc.pb": "pairwise",
}
"""Models that fastdp does not evaluate, and the name of the part."""

WITHOUT_ANSWERS = {
    "own/ternary_twoside.dp",
    "own/water_hybrid.dp",
    "third_party/copper_compressed.pb",
    "third_party/deepdos.pb",
    "third_party/deepspin.pb",
    "third_party/deepdipole_pt.pth",
    "third_party/deeppot_sea.pth",
    "third_party/deeppot_sea.yaml",
    "third_party/deeppot-r.yaml",
    "third_party/deeppot.pbtxt",
    "third_party/fparam_aparam.yaml",
}
"""Compared with the same model in another format, with literals, or with the graph's own values."""

UPSTREAM_DEFECTS = {
    (
        "own/locframe.pb",
        "forces",
    ): "loc_frame of DeePMD-kit books derivatives of radial slots on axis atoms too",
    ("own/set__compressed.pb", "all"): "two intervals of DeePMD-kit's tables of se_e3 are wrong",
}
"""Where the answers themselves are wrong, so that fastdp differs."""


@dataclass(frozen=True)
class Frame:
    """Atoms and what DeePMD-kit answers for them; `answers` by the names of the file."""

    name: str
    positions: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray
    types: np.ndarray
    parameters: dict[str, np.ndarray]
    overflow: bool
    answers: dict[str, np.ndarray] = field(repr=False)


def models(shared: Path) -> list[str]:
    """Return the names of all models, as folder/file."""
    return sorted(f"{path.parent.name}/{path.name}" for path in (shared / "models").glob("*/*"))


def answer_files(shared: Path, model: str) -> list[Path]:
    """Return the files of answers for a model; a checkpoint's are those of what was frozen from it."""
    path = Path(model)
    names = [f"{path.name}.h5"]
    if path.suffix == ".pb":
        names.append(f"{path.stem}.six_atoms.h5")
    if path.suffix == ".pt":
        names = [f"{path.stem}.pth.h5"]
    return [shared / "reference" / name for name in names if (shared / "reference" / name).exists()]


def frames(path: Path, type_names: tuple[str, ...]) -> Iterator[Frame]:
    """Yield the frames of a file of answers."""
    with h5py.File(path) as file:
        for name, group in file.items():
            positions = np.asarray(group["positions"], dtype=np.float64)
            types = (
                np.array([type_names.index(symbol) for symbol in group["symbols"].asstr()])
                if "symbols" in group
                else np.asarray(group["types"])
            )
            parameters = {}
            if "fparam" in group:
                parameters["frame_parameters"] = np.asarray(group["fparam"]).ravel()
            if "aparam" in group:
                parameters["atom_parameters"] = np.asarray(group["aparam"]).reshape(len(positions), -1)
            yield Frame(
                name,
                positions,
                np.asarray(group["cell"]) if "cell" in group else np.zeros((3, 3)),
                np.full(3, "cell" in group),
                types,
                parameters,
                bool(group.attrs.get("sel_overflow", False)),
                {key: np.asarray(value) for key, value in group.items() if value.dtype.kind == "f"},
            )


def computed(description: DeepPotential, frame: Frame) -> dict[str, np.ndarray]:
    """Return what the reference backend gives for a frame, by the names of the files of answers."""
    pairs = all_pairs(frame.positions, frame.cell, frame.periodic, description.cutoff)
    plain = (frame.types, pairs.centre, pairs.neighbour, pairs.vector)
    if isinstance(description.fitting, EnergyFitting):
        result = ReferencePotential(description, **frame.parameters).evaluate_pairs(*plain)
        return {
            "energy": np.array(result.energy),
            "atomic_energies": result.atomic_energies,
            "forces": result.forces,
            "virial": result.virial,
        }
    wanted = "tensor_forces" in frame.answers
    tensors = TensorModel(description, **frame.parameters).evaluate_pairs(*plain, derivatives=wanted)
    found = {"atomic_tensor": tensors.atomic, "global_tensor": tensors.total}
    if wanted:
        found |= {"tensor_forces": tensors.forces, "tensor_virials": tensors.virials}
    return found


def differences(description: DeepPotential, frame: Frame) -> dict[str, float]:
    """Return the largest difference of each quantity; the energy's by atom, weak forces' by the strongest."""
    found = {}
    for name, ours in computed(description, frame).items():
        if name not in frame.answers:
            continue
        theirs = frame.answers[name]
        found[name] = float(np.abs(ours.ravel() - theirs.ravel()).max())
        if name == "energy":
            found[name] /= len(frame.positions)
        if name == "forces":
            # The forces of some random models are weak: there, relative to the largest.
            found[name] /= min(1.0, float(np.abs(theirs).max()))
    return found
