"""Models that hold tables of pairs (use_srtab, zbl, linear): DeePMD-kit's numbers, and their gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from table_models import ANSWERS, FILES, FOLDER, evaluate, structure_of

from fastdp.errors import PairTooCloseError
from fastdp.model.pair_part import NearestSwitch
from fastdp.model.readers.registry import read_model
from fastdp.potential.reference import ReferencePotential


@pytest.mark.parametrize("model", FILES)
@pytest.mark.parametrize("frame", ANSWERS)
def test_numbers_are_those_of_deepmd(model, frame) -> None:
    description = read_model(FOLDER / FILES[model])
    answer = ANSWERS[frame][model]
    found = evaluate(ReferencePotential(description), structure_of(ANSWERS[frame]), description.type_names)
    # Energies of up to 200 eV; TensorFlow keeps lengths of the switch in float32, which is read so.
    np.testing.assert_allclose(found.atomic_energies, answer["atomic_energies"], rtol=0, atol=1e-11)
    if "forces" in answer:
        np.testing.assert_allclose(found.forces, answer["forces"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.virial, answer["virial"], rtol=0, atol=1e-8)


def test_the_frames_lie_on_all_sides_of_the_switch() -> None:
    """Otherwise the agreement would say nothing."""
    switch = read_model(FOLDER / "srtab.pb").pair_part.switch
    closest = []
    for frame in ANSWERS.values():
        x = np.array(frame["positions"])
        r = np.linalg.norm(x[:, None] - x, axis=2) + 10.0 * np.eye(len(x))
        closest.append(r.min(axis=1))
    weights = switch.weight(np.concatenate(closest))[0]
    assert np.any(weights == 0.0)
    assert np.any((weights > 0.05) & (weights < 0.95))
    assert np.any(weights == 1.0)


@pytest.mark.parametrize("model", FILES)
@pytest.mark.parametrize("frame", ["switching", "open"])
def test_forces_and_virial_are_derivatives(model, frame) -> None:
    description = read_model(FOLDER / FILES[model])
    potential, h = ReferencePotential(description), 1e-5
    found = evaluate(potential, structure_of(ANSWERS[frame]), description.type_names)

    def energy(**change) -> float:
        return evaluate(potential, structure_of(ANSWERS[frame], **change), description.type_names).energy

    for atom, axis in ((0, 0), (1, 1), (5, 2)):
        step = np.zeros((12, 3))
        step[atom, axis] = h
        slope = (energy(move=step) - energy(move=-step)) / (2 * h)
        # Energies of 1000 eV over 2h: rounding; and h² times the switch's third derivative, which
        # multiplies the difference of energies of up to 200 eV: 1e-10 × 200 × 1e4.
        assert -slope == pytest.approx(found.forces[atom, axis], rel=3e-7, abs=2e-5)
    strain = np.zeros((3, 3))
    strain[0, 1] = h
    slope = (energy(strain=strain) - energy(strain=-strain)) / (2 * h)
    assert -slope == pytest.approx(found.virial[0, 1], rel=3e-7, abs=1e-4)


def test_a_switch_goes_from_one_to_zero() -> None:
    switch = NearestSwitch(0.1, 0.8, 1.0, 4.0)
    sigma = np.array([0.1, 0.8, 0.9, 1.0, 5.0, np.inf])
    weights, slopes = switch.weight(sigma)
    np.testing.assert_allclose(weights, [1.0, 1.0, 0.5, 0.0, 0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(slopes, [0.0, 0.0, -15.0 / 8.0 / 0.2, 0.0, 0.0, 0.0], atol=1e-13)


def test_an_atom_without_neighbours_has_the_energy_of_the_network() -> None:
    description = read_model(FOLDER / "srtab.pb")
    frame = {"symbols": ["O", "H"], "positions": [[0, 0, 0], [20, 0, 0]], "cell": None}
    mixed = evaluate(ReferencePotential(description), structure_of(frame), ("O", "H"))
    alone = ReferencePotential(replace(description, pair_part=None))
    assert np.array_equal(
        mixed.atomic_energies, evaluate(alone, structure_of(frame), ("O", "H")).atomic_energies
    )


def test_a_soft_minimum_does_not_underflow() -> None:
    """exp(−r/α) of DeePMD-kit is 0 beyond 745 α."""
    part = read_model(FOLDER / "srtab.pb").pair_part
    description = replace(
        read_model(FOLDER / "srtab.pb"),
        pair_part=replace(part, switch=replace(part.switch, softness=1e-4)),
    )
    found = evaluate(ReferencePotential(description), structure_of(ANSWERS["switching"]), ("O", "H"))
    assert np.isfinite(found.forces).all()


def test_a_pair_below_the_table_is_named() -> None:
    frame = ANSWERS["bonds"] | {"positions": np.array(ANSWERS["bonds"]["positions"])}
    frame["positions"][7] = frame["positions"][2] + [0.05, 0.0, 0.0]
    with pytest.raises(
        PairTooCloseError, match=r"atoms (2 and 7|7 and 2) are 0.0500 Å apart, .* at 0.1000 Å"
    ):
        evaluate(ReferencePotential(read_model(FOLDER / "zbl.dp")), structure_of(frame), ("O", "H"))
