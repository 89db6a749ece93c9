"""One model in every format gives the same numbers, and those of DeePMD-kit (`data/formats/README.md`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from graph_editing import set_constant

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.expectation.expectation import Expectation
from fastdp.expectation.hdf5_files import read_hdf5
from fastdp.model.readers.graph_def import MESSAGES
from fastdp.model.readers.registry import read_model
from fastdp.model.summary import summarise
from fastdp.neighbours.brute_force import all_pairs
from fastdp.potential.base import Evaluation
from fastdp.potential.reference import ReferencePotential
from fastdp.structure.types import match_types

FORMATS = Path(__file__).resolve().parents[1] / "data/formats"

FILES = sorted(path.name for path in FORMATS.iterdir() if path.suffix not in (".h5", ".md"))
FILES.remove("heads.pt")  # has two models


@cache
def frames(kind: str) -> dict[str, tuple[Expectation, bool]]:
    """Return the frames by name, and whether atoms have more neighbours than sel."""
    path = FORMATS / f"{kind}.h5"
    with h5py.File(path) as file:
        overflow = {name: bool(group.attrs["sel_overflow"]) for name, group in file.items()}
    return {
        name: (frame, overflow[name])
        for name, frame in ((f.name.rsplit(", ", 1)[1], f) for f in read_hdf5(path))
    }


def evaluated(file: str, frame: Expectation, head: str | None = None) -> Evaluation:
    description = read_model(FORMATS / file, head=head)
    types = match_types(frame.symbols, description.type_names)
    pairs = all_pairs(frame.positions, frame.cell, frame.periodic, description.cutoff)
    return ReferencePotential(description).evaluate_pairs(types, pairs.centre, pairs.neighbour, pairs.vector)


def kind_of(file: str) -> str:
    return file.split(".")[0].removesuffix("_compressed")


@pytest.mark.parametrize("file", FILES)
def test_every_format_gives_what_deepmd_kit_gives(file: str) -> None:
    """To 1e-12 where the networks are in the file, to 1e-6 where only tables of them are."""
    tolerance = 1e-6 if file == "se_e2_a_compressed.pb" else 1e-12
    compared = 0
    for frame, overflow in frames(kind_of(file)).values():
        # Beyond sel the backends drop other neighbours, and the answers are those of TensorFlow there.
        if overflow and kind_of(file) == "se_e2_a" and not file.endswith(".pb"):
            continue
        found = evaluated(file, frame)
        assert abs(found.energy - frame.energy) / frame.n_atoms < tolerance
        for name in ("forces", "virial", "atomic_energies"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(frame, name), rtol=0, atol=tolerance, err_msg=name
            )
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize("kind", ["se_e2_a", "dpa1", "hybrid"])
def test_native_formats_agree_beyond_sel_too(kind: str) -> None:
    dense, overflow = frames(kind)["dense"]
    assert overflow
    files = [file for file in FILES if kind_of(file) == kind and not file.endswith(".pb")]
    assert len(files) >= 4
    energies = [evaluated(file, dense).energy for file in files]
    np.testing.assert_allclose(energies, energies[0], rtol=0, atol=1e-11)


def test_heads_of_a_checkpoint_are_told_apart_by_their_case_embedding() -> None:
    """Two models that share everything but a constant input of the fitting and the energies' shifts."""
    for head in ("low", "high"):
        for frame, _ in frames(f"heads_{head}").values():
            found = evaluated("heads.pt", frame, head)
            np.testing.assert_allclose(found.atomic_energies, frame.atomic_energies, rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.forces, frame.forces, rtol=0, atol=1e-12)
    low, high = (frames(f"heads_{head}")["triclinic"][0] for head in ("low", "high"))
    assert np.abs(low.forces - high.forces).max() > 1e-3
    with pytest.raises(ModelError, match="low, high"):
        read_model(FORMATS / "heads.pt")


def test_an_energy_that_depends_on_the_orientation_is_refused(tmp_path: Path) -> None:
    """Of `smooth_ex` without set_davg_zero, DeePMD-kit's own energy changes by 7e-6 eV in a rotation."""
    graph = MESSAGES["GraphDef"]()
    graph.ParseFromString((FORMATS / "smooth_ex.pb").read_bytes())
    mean = np.zeros((2, 138, 4))
    mean[..., 0] = 0.1
    set_constant(graph, "descrpt_attr/t_avg", mean.reshape(2, -1))
    path = tmp_path / "model.pb"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(UnsupportedModelError, match="the energy depends on the orientation"):
        read_model(path)


def test_the_frames_tell_descriptors_apart() -> None:
    """Forces are of a size at which 1e-12 means something."""
    for kind in ("se_e2_a", "dpa1", "hybrid"):
        frame, _ = frames(kind)["triclinic"]
        assert np.abs(frame.forces).max() > 0.01


@pytest.mark.parametrize("file", ["se_e2_a_compressed.dp", "se_e2_a_compressed.pth", "dpa1_compressed.dp"])
def test_compressed_native_files_say_so_and_use_their_networks(file: str) -> None:
    description = read_model(FORMATS / file)
    rows = dict(summarise(description))
    assert rows["compressed by its trainer"] == "yes, with its networks"
    plain = read_model(FORMATS / file.replace("_compressed", ""))
    assert description.fingerprint == plain.fingerprint
    assert dict(summarise(plain))["compressed by its trainer"] == "no"


def test_a_hybrid_with_dpa1_has_forces_that_are_its_gradient() -> None:
    description = read_model(FORMATS / "hybrid.pth")
    frame, _ = frames("hybrid")["triclinic"]
    types = match_types(frame.symbols, description.type_names)
    potential = ReferencePotential(description)

    def evaluate(positions: np.ndarray) -> Evaluation:
        pairs = all_pairs(positions, frame.cell, frame.periodic, description.cutoff)
        return potential.evaluate_pairs(types, pairs.centre, pairs.neighbour, pairs.vector)

    result, h = evaluate(frame.positions), 1e-5
    for atom, axis in ((0, 0), (4, 2), (11, 1)):
        step = np.zeros_like(frame.positions)
        step[atom, axis] = h
        slope = (evaluate(frame.positions + step).energy - evaluate(frame.positions - step).energy) / (2 * h)
        # 2e-13 eV of rounding over h.
        assert result.forces[atom, axis] == pytest.approx(-slope, abs=1e-7)
