"""The reference potential against what DeePMD-kit 3.2.0 answers for the same models and frames.

The agreement found is that of rounding: 1e-13 eV/Å and below in float64. Every model of the folder is read or
refused by the name of what fastdp does not evaluate; a new file there is a new test.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from reference_answers import (
    REFUSED,
    UPSTREAM_DEFECTS,
    WITHOUT_ANSWERS,
    answer_files,
    computed,
    differences,
    frames,
    models,
)
from shared_folder import SHARED

from fastdp.errors import UnsupportedModelError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.brute_force import all_pairs
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.potential.reference import ReferencePotential

MODELS = models(SHARED) if SHARED.is_dir() else []

TOLERANCE = {
    "float64": {"virial": 1e-8, "tensor_virials": 1e-8, "other": 1e-9},
    # fastdp's reference is float64; what is left is the trainer's own rounding.
    "float32": {"virial": 1e-4, "other": 1e-4},
    "float16": {"virial": 2e-2, "forces": 5e-3, "other": 1e-3},
}


@cache
def description_of(model):
    return read_model(SHARED / "models" / model)


@pytest.mark.parametrize("model", [model for model in MODELS if model not in REFUSED])
def test_values_and_derivatives_are_those_of_deepmd_kit(shared, model):
    description = description_of(model)
    files = answer_files(shared, model)
    assert bool(files) != (model in WITHOUT_ANSWERS)
    limits = TOLERANCE[description.precision]
    for path in files:
        for frame in frames(path, description.type_names):
            for name, difference in differences(description, frame).items():
                # A sharp cutoff and radial slots: only there does DeePMD-kit's force differ from its
                # energy's.
                if (model, name) in UPSTREAM_DEFECTS or (model, "all") in UPSTREAM_DEFECTS:
                    continue
                if model == "own/locframe.pb" and name == "virial":
                    continue
                limit = limits.get(name, limits["other"])
                assert difference < limit, (path.name, frame.name, name)


@pytest.mark.parametrize(("model", "part"), REFUSED.items())
def test_what_is_out_of_scope_is_refused_by_name(shared, model, part):
    path = shared / "models" / model
    with pytest.raises(UnsupportedModelError, match=part) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


SAME = [
    # Equal to rounding: weights of one training, semantics that agree where the frames have no overflow.
    (("own/ternary_twoside_pt.pt", "own/ternary_twoside_pt.pth"), "ternary_twoside_pt.pth", 1e-12),
    (("own/water_dpa1_strip_pt.pt", "own/water_dpa1_strip_pt.pth"), "water_dpa1_strip_pt.pth", 1e-12),
    (("third_party/deeppot.pb", "third_party/deeppot.pbtxt"), "deeppot.pb", 1e-12),
    (("third_party/deeppot_sea.pth", "third_party/deeppot_sea.yaml"), "deeppot.pb", 1e-12),
    # TensorFlow rounds radii to float32: 3.9, 5.3 and 5.5 Å, but not 6, are changed by that.
    (("third_party/deeppot-r.pb", "third_party/deeppot-r.yaml"), "deeppot-r.pb", 1e-9),
    (("own/ternary_twoside.pb", "own/ternary_twoside.dp"), "ternary_twoside.pb", 1e-6),
    (("own/water_hybrid.pb", "own/water_hybrid.dp"), "water_hybrid.pb", 1e-6),
    # Tables of dp compress.
    (("own/water.pb", "own/water_compressed.pb"), "water.pb", 1e-6),
    (("third_party/copper.pb", "third_party/copper_compressed.pb"), "copper.pb", 1e-6),
    (("own/ser.pb", "own/ser__compressed.pb"), "ser.pb", 1e-6),
    (("own/att_strip.pb", "own/att_strip__compressed.pb"), "att_strip.pb", 1e-6),
    # DeePMD-kit's own answer differs by 2.7e-2 eV there, for two wrong intervals of its table.
    (("own/set.pb", "own/set__compressed.pb"), "set.pb", 1e-6),
]


@pytest.mark.parametrize(("pair", "answers", "tolerance"), SAME, ids=[pair[1] for pair, _, _ in SAME])
def test_the_same_model_in_two_formats_gives_the_same(shared, pair, answers, tolerance):
    one, two = (description_of(model) for model in pair)
    compared = 0
    all_frames = frames(shared / "reference" / f"{answers}.h5", one.type_names)
    for frame in sorted(all_frames, key=lambda frame: len(frame.positions))[:2]:
        if frame.overflow and {one.origin.file_format, two.origin.file_format} != {"TensorFlow frozen graph"}:
            # Beyond sel the backends drop other neighbours.
            continue
        ours, others = computed(one, frame), computed(two, frame)
        compared += 1
        n_atoms = len(frame.positions)
        assert abs(ours["energy"] - others["energy"]) / n_atoms < tolerance, frame.name
        np.testing.assert_allclose(
            ours["forces"], others["forces"], rtol=0, atol=tolerance, err_msg=frame.name
        )
    assert compared


def test_a_compressed_file_says_so_and_its_parts_fit(shared):
    names = [model for model in MODELS if "compressed" in model]
    assert len(names) >= 6
    for model in names:
        assert any("dp compress" in note for note in description_of(model).origin.notes)


@pytest.mark.parametrize("model", ["own/water.pb", "own/sea_two_excl.pb", "own/hybrid.pb", "own/set.pb"])
def test_the_neighbour_list_gives_the_same(shared, model):
    description = description_of(model)
    potential = ReferencePotential(description)
    for frame in frames(answer_files(shared, model)[0], description.type_names):
        types = frame.types.astype(np.int32)
        neighbours = VerletList(potential.cutoff, 0.7, frame.cell, frame.periodic, types)
        neighbours.build(frame.positions)
        result = Evaluation.empty(len(types))
        potential.evaluate(neighbours, result)
        assert result.virial_is_current
        assert abs(result.energy - frame.answers["energy"]) < 1e-9 * len(types)
        np.testing.assert_allclose(result.forces, frame.answers["forces"].reshape(-1, 3), rtol=0, atol=1e-9)


def test_frames_of_every_kind_are_there(shared):
    """The comparison means something only if the answers hold all kinds of cells, and overflow."""
    found = [
        frame
        for model in MODELS
        if model not in REFUSED
        for path in answer_files(shared, model)
        for frame in frames(path, description_of(model).type_names)
    ]
    periodic = [frame for frame in found if frame.periodic.all()]
    off_diagonal = ~np.eye(3, dtype=bool)
    assert len(found) > 150
    assert any(not frame.periodic.any() for frame in found)
    assert any(np.abs(frame.cell[off_diagonal]).max() > 0.5 for frame in periodic)
    assert any(np.linalg.norm(frame.cell, axis=1).min() < 6.0 for frame in periodic)
    assert sum(frame.overflow for frame in found) >= 20


SIX_ATOMS = np.array(
    [
        [12.83, 2.56, 2.18], [12.09, 2.87, 2.74], [0.25, 3.32, 1.68],
        [3.36, 3.00, 1.81], [3.51, 2.51, 2.60], [4.27, 3.22, 1.56],
    ]
)  # fmt: skip
SIX_TYPES = np.array([0, 1, 1, 0, 1, 1])

LITERALS = {
    "deeppot.pb": (-930.9691834787726, -930.1358316319386),
    "deeppot.pbtxt": (-930.9691834787726, -930.1358316319386),
    "deeppot-1.pb": (-931.1167179437134, -930.0935559927830),
    "sea_012.pb": (-935.8530604684081, -935.0536233433287),
    "deeppot_sea.yaml": (-929.7371700503966, -929.7134632564031),
    "deeppot_sea.pth": (-929.7371700503966, -929.7134632564031),
    "deeppot-r.pb": (-933.6236442492451, -933.6355652266651),
    "deeppot-r.yaml": (-933.6236442492451, -933.6355652266651),
    "fparam_aparam.pb": (-0.5674410406128922, -0.458129636948763),
    "se_atten_no_atten_1.pb": (-938.0857375754737, -938.8496024909616),
    "se_atten_no_atten_2.pb": (-935.4795420174049, -935.6906793534005),
    "virtual_type.pb": (-938.1693255493340, -938.1425598900846),
    "se_e2_a_tebd.pb": (-938.8090552161314, -935.3374994312513),
}
"""Energies with and without the cell in DeePMD-kit's own tests (formats note, section 5), eV."""


@pytest.mark.parametrize("model", LITERALS)
def test_six_atoms_have_the_energies_of_the_upstream_tests(shared, model):
    parameters = {}
    types = SIX_TYPES
    if model.startswith("fparam"):
        parameters = {"frame_parameters": [0.25852028], "atom_parameters": [0.25852028]}
        types = np.zeros(6, dtype=int)
    potential = ReferencePotential(description_of(f"third_party/{model}"), **parameters)
    for periodic, energy in zip((True, False), LITERALS[model], strict=True):
        pairs = all_pairs(SIX_ATOMS, 13.0 * np.eye(3), np.full(3, periodic), potential.cutoff)
        result = potential.evaluate_pairs(types, pairs.centre, pairs.neighbour, pairs.vector)
        assert result.energy == pytest.approx(energy, abs=1e-10)


def test_six_atoms_have_the_dipoles_of_the_upstream_tests(shared):
    """Literals with nine digits (formats note, section 5), in the six-atom system's cell."""
    from fastdp.potential.atomic_tensors import TensorModel

    literals = {
        "deepdipole.pb": (1.99984258, 1.84083571, 1.91991197),
        "deepdipole_new.pb": (0.18991288, 0.19065594, 0.17888728),
        "deepdipole_pt.pth": (0.2338104, 0.23701073, 0.2334505),
    }
    matching = 0
    for model, values in literals.items():
        tensors = TensorModel(description_of(f"third_party/{model}"))
        found = []
        for periodic in (True, False):
            pairs = all_pairs(SIX_ATOMS, 13.0 * np.eye(3), np.full(3, periodic), tensors.cutoff)
            found.append(tensors.evaluate_pairs(SIX_TYPES, pairs.centre, pairs.neighbour, pairs.vector))
        matching += any(np.allclose(result.atomic.ravel()[:3], values, rtol=0, atol=1e-7) or
                        np.allclose(result.total, values, rtol=0, atol=1e-7) for result in found)  # fmt: skip
    assert matching == len(literals)


def test_virtual_atoms_are_not_there_for_the_model(shared):
    description = description_of("third_party/virtual_type.pb")
    potential = ReferencePotential(description)
    more = np.vstack((SIX_ATOMS, [[1.0, 1.0, 1.0], [3.4, 3.0, 2.2]]))
    types = np.append(SIX_TYPES, [-1, -1])
    results = []
    for positions, kinds in ((SIX_ATOMS, SIX_TYPES), (more, types)):
        pairs = all_pairs(positions, 13.0 * np.eye(3), np.ones(3, dtype=bool), potential.cutoff)
        results.append(potential.evaluate_pairs(kinds, pairs.centre, pairs.neighbour, pairs.vector))
    assert results[1].energy == pytest.approx(results[0].energy, abs=1e-12)
    np.testing.assert_allclose(results[1].forces[:6], results[0].forces, atol=1e-14)
    assert not results[1].forces[6:].any()


GRADIENTS = [
    "own/locframe.pb", "own/set__compressed.pb", "own/att_strip_smooth.pb", "own/native_att_v2.dp",
    "own/native_sea_prot.dp", "own/native_hyb.dp", "own/ser_ex2.pb", "third_party/copper.pb",
]  # fmt: skip


@pytest.mark.parametrize("model", GRADIENTS)
def test_forces_and_virial_are_central_differences(shared, model):
    """Forces are the gradient of the energy, also where DeePMD-kit's are not."""
    description = description_of(model)
    potential = ReferencePotential(description, every_neighbour=True)
    generator = np.random.default_rng(3)
    cell = np.array([[4.9, 0.0, 0.0], [0.4, 4.8, 0.0], [-0.3, 0.5, 5.0]])
    fractions = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0.0]])
    positions = fractions @ cell + generator.normal(scale=0.05, size=(4, 3))
    types = np.arange(4) % description.n_types

    def evaluate(positions, cell):
        pairs = all_pairs(positions, cell, np.ones(3, dtype=bool), potential.cutoff)
        return potential.evaluate_pairs(types, pairs.centre, pairs.neighbour, pairs.vector)

    result = evaluate(positions, cell)
    strongest = max(1.0, float(np.abs(result.forces).max()))
    h = 1e-5
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        step = np.zeros((4, 3))
        step[atom, axis] = h
        slope = (evaluate(positions + step, cell).energy - evaluate(positions - step, cell).energy) / (2 * h)
        # 1e-13 eV of rounding over h, and h² times third derivatives of order 1000 eV/Å³.
        assert result.forces[atom, axis] == pytest.approx(-slope, abs=2e-7 * strongest)
    for a, b in ((0, 0), (0, 1), (2, 1)):
        strain = np.zeros((3, 3))
        strain[a, b] = h
        plus, minus = np.eye(3) + strain, np.eye(3) - strain
        change = evaluate(positions @ plus.T, cell @ plus.T).energy
        change -= evaluate(positions @ minus.T, cell @ minus.T).energy
        assert result.virial[a, b] == pytest.approx(-change / (2 * h), abs=2e-6 * strongest)
