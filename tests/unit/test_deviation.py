"""Deviation of models: the formulas against their definition, against DeePMD-kit's literals, and the file."""

import numpy as np
import pytest

from fastdp.model.readers.registry import read_model
from fastdp.neighbours.brute_force import all_pairs
from fastdp.potential.deviation import deviation, header, row
from fastdp.potential.reference import ReferencePotential


def test_two_models_by_hand():
    forces = np.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]])
    virials = np.array([np.zeros((3, 3)), np.diag([4.0, 0.0, 0.0])])
    found = deviation(np.array([1.0, 5.0]), forces, virials)
    np.testing.assert_allclose(found.atomic, [1.0, 2.0])
    np.testing.assert_allclose(found.forces, [2.0, 1.0, 1.5])
    np.testing.assert_allclose(found.virial, [1.0, 0.0, np.sqrt(1.0 / 9.0)])
    assert found.energy == pytest.approx(1.0)
    relative = deviation(np.array([1.0, 5.0]), forces, virials, relative_force=1.0, relative_virial=1.0)
    np.testing.assert_allclose(relative.atomic, [1.0 / 3.0, 2.0 / 3.0])
    np.testing.assert_allclose(relative.virial[0], 1.0 / 2.0)


def test_equal_models_do_not_deviate():
    forces = np.ones((4, 5, 3))
    found = deviation(np.ones(4), forces, np.ones((4, 3, 3)))
    assert found.forces.tolist() == found.virial.tolist() == [0.0, 0.0, 0.0]


def test_the_literals_of_deepmd_kit(shared):
    positions = np.array(
        [
            [12.83, 2.56, 2.18], [12.09, 2.87, 2.74], [0.25, 3.32, 1.68],
            [3.36, 3.00, 1.81], [3.51, 2.51, 2.60], [4.27, 3.22, 1.56],
        ]
    )  # fmt: skip
    types = np.array([0, 1, 1, 0, 1, 1])
    results = []
    for name in ("deeppot.pb", "deeppot-1.pb"):
        potential = ReferencePotential(read_model(shared / "models/third_party" / name))
        pairs = all_pairs(positions, 13.0 * np.eye(3), np.ones(3, dtype=bool), potential.cutoff)
        results.append(potential.evaluate_pairs(types, pairs.centre, pairs.neighbour, pairs.vector))
    given = (
        np.array([result.energy for result in results]),
        np.array([result.forces for result in results]),
        np.array([result.virial for result in results]),
    )
    found = deviation(*given)
    # Six digits are published.
    np.testing.assert_allclose(found.forces, [0.698813, 0.477236, 0.601666], atol=5e-7)
    np.testing.assert_allclose(found.virial, [0.155361, 0.0355884, 0.0981729], atol=5e-7)
    relative = deviation(*given, relative_virial=1.0)
    np.testing.assert_allclose(relative.virial, [0.1149236, 0.03298714, 0.07720104], atol=5e-8)


def test_the_file_is_laid_out_as_dp_gen_reads_it():
    found = deviation(np.zeros(2), np.array([np.zeros((2, 3)), np.ones((2, 3))]), np.zeros((2, 3, 3)))
    line = row(1200, found, atomic=True)
    assert line.startswith("        1200 ")
    assert [len(part) for part in (line[:12], line[12:31])] == [12, 19]
    values = np.array(line.split(), dtype=float)
    np.testing.assert_allclose(values[7:], np.sqrt(3.0) / 2.0, rtol=1e-6)
    names = header(None)
    assert names.startswith("#       step         max_devi_v")
    assert len(names) == 12 + 6 * 19
    assert header(2).endswith("atm_devi_f(N=2)")
