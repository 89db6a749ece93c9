"""Checks of structures and matching of types."""

import numpy as np
import pytest

from fastdp.errors import StructureError
from fastdp.structure.checks import check_structure, untrained_distance
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

CUBE = np.eye(3) * 10.0


def structure(positions, cell=CUBE, periodic=(True, True, True), **changes) -> Structure:
    n_atoms = len(positions)
    return Structure(
        symbols=("H",) * n_atoms,
        positions=np.array(positions, dtype=float).reshape(n_atoms, 3),
        cell=np.array(cell, dtype=float),
        periodic=np.array(periodic),
        **({"masses": np.ones(n_atoms)} | changes),
    )


def test_sound_structures_pass() -> None:
    check_structure(structure([[0, 0, 0], [0.7, 0, 0]]))
    check_structure(structure([[0, 0, 0], [0.7, 0, 0]], np.zeros((3, 3)), (False, False, False)))
    check_structure(
        structure([[0, 0, 0], [25.0, -40.0, 0.7]], np.diag([10.0, 10.0, 0.0]), (True, True, False))
    )


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (structure([]), "no atoms"),
        (structure([[0, 0, 0], [np.nan, 0, 0]]), r"position of atom 1 is not finite: \[nan"),
        (structure([[0, 0, 0]], velocities=[[np.inf, 0, 0]]), "velocity of atom 0 is not finite"),
        (structure([[0, 0, 0]], masses=[0.0]), "mass of 0 u"),
        (structure([[0, 0, 0]], masses=[np.nan]), "mass of nan u"),
        (structure([[0, 0, 0]], np.zeros((3, 3))), "cell vector a"),
        (structure([[0, 0, 0]], CUBE * np.nan), "cell"),
        (structure([[0, 0, 0]], [[10, 0, 0], [0, 10, 0], [10, 10, 0]]), "parallel or lie in one plane"),
        (structure([[0, 0, 0]], np.diag([1e-9, 1e-9, 1e-9])), "too small"),
        (structure([[1, 1, 1], [1, 1, 1.009]]), r"0 \(H\) and 1 \(H\)"),
        (structure([[1, 1, 1], [11.0, 1, 1]]), r"0 \(H\) and 1 \(H\)"),
        (structure([[0.00499, 0, 0], [0.00501, 0, 0]]), r"0 \(H\) and 1 \(H\)"),
        (structure([[0, 0, 0]], np.diag([10, 10, 0.005])), "its own periodic image"),
        (structure([[1e200, 0, 0], [0, 0, 0]]), "atom 0"),
    ],
)
def test_unsound_structures_are_refused(bad: Structure, expected: str) -> None:
    with pytest.raises(StructureError, match=expected):
        check_structure(bad)


def test_many_atoms_in_one_place_take_no_memory_for_pairs() -> None:
    """As when positions are given in metres; a list of all pairs would have 10¹⁰ entries."""
    with pytest.raises(StructureError, match="and 99994 more pairs"):
        check_structure(structure(np.linspace(0, 1e-8, 100_000 * 3).reshape(-1, 3)))


def test_close_but_distinct_atoms_are_left_to_the_potential() -> None:
    check_structure(structure([[1, 1, 1], [1, 1, 1.011]]))


def test_types_are_matched_by_name() -> None:
    types = match_types(("H", "O", "H"), ("O", "Cu", "H"))
    assert types.tolist() == [2, 0, 2]
    assert types.dtype == np.int32


def test_unknown_elements_are_named_with_their_atoms() -> None:
    with pytest.raises(
        StructureError, match=r"knows O, H, but the structure has Na \(atom 1\); Cl \(atoms 2, 3"
    ):
        match_types(("O", "Na", *["Cl"] * 20), ("O", "H"))


def test_atoms_closer_than_any_in_training_are_named() -> None:
    # 0.8 Å across the boundary, 0.7 Å inside; 0.95 Å is as good as the 1 Å of the training.
    crowd = structure([[0.1, 0, 0], [9.3, 0, 0], [5, 5, 5], [5.7, 5, 5], [2, 2, 2], [2, 2, 2.95]])
    warning = untrained_distance(crowd, 1.0)
    assert warning is not None
    assert "2 (H) and 3 (H) are 0.7 Å apart, and 1 more pairs are as close" in warning
    assert "no two were closer than 1 Å" in warning
    assert untrained_distance(crowd, 0.7) is None
    assert untrained_distance(crowd, None) is None
