"""Pair terms: values of LAMMPS and DeePMD-kit, derivatives, kernels against specification, bad files."""

from __future__ import annotations

import json
from pathlib import Path

import numba
import numpy as np
import pytest
from compressed import random_atoms
from term_cases import smooth_table

from fastdp.errors import InputError, PairTooCloseError
from fastdp.model.pair_table import table_of_columns
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.threads import available_threads, thread_limits
from fastdp.potential.base import Evaluation
from fastdp.potential.terms.pair_sum import FastPairSum, PairSum
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import ZBL, PairTable
from fastdp.units import COULOMB_EV_A

ANSWERS = json.loads((Path(__file__).parents[1] / "pair_terms" / "tables.json").read_text())

LAMMPS_COULOMB = 14.399645
"""eV·Å, LAMMPS's qqr2e in metal units; it has fewer digits than fastdp's."""

# pair_style zbl 1.0 2.0, tungsten (74) and helium (2): types, Å, eV, eV/Å, by pair_terms/make_zbl.py.
LAMMPS_ZBL = [
    ("W", "W", 0.5, 6082.429643466094, 39575.16993020053),
    ("W", "He", 1.2, 11.86471046075659, 55.28308425182122),
    ("W", "W", 1.5, 27.01374750831813, 179.7295998981378),
    ("He", "He", 1.9, 0.001889268990998394, 0.05656092042952698),
]


def one(value):
    return np.array([value])


def zbl(*names: str, inner: float = 1.0, outer: float = 2.0, **settings):
    return make_terms([ZBL(inner, outer, **settings)], names)[0]


def evaluate(addend, atoms, *, virial: bool = True, skin: float = 0.5, cutoff: float | None = None):
    neighbours = VerletList(cutoff or addend.cutoff, skin, atoms.cell, atoms.periodic, atoms.types)
    neighbours.build(atoms.positions)
    result = Evaluation.empty(len(atoms.types))
    addend.add(neighbours, result, virial=virial)
    return result


@pytest.mark.parametrize(("first", "second", "r", "energy", "force"), LAMMPS_ZBL)
def test_zbl_is_that_of_lammps(first, second, r, energy, force) -> None:
    term = zbl("W", "He")
    types = [term.names.index(name) for name in (first, second)]
    found, slope = term.energy_and_slope(one(types[0]), one(types[1]), one(r))
    scale = COULOMB_EV_A / LAMMPS_COULOMB
    # The screening length of LAMMPS has the same digits; what is left is rounding.
    assert found[0] == pytest.approx(scale * energy, rel=1e-11)
    assert slope[0] == pytest.approx(-scale * force, rel=1e-11)


def test_zbl_ends_with_energy_force_and_its_slope_zero() -> None:
    term = zbl("U", inner=0.8, outer=1.7)
    r = 1.7 - np.array([0.0, 1e-3, 2e-3, 4e-3])
    energy, slope = term.energy_and_slope(np.zeros(4, int), np.zeros(4, int), r)
    assert energy[0] == slope[0] == 0.0
    # φ ~ t³ near the end, so that each doubling of t makes it eight times as large.
    assert energy[2] / energy[1] == pytest.approx(8.0, rel=0.02)
    assert energy[3] / energy[2] == pytest.approx(8.0, rel=0.04)


def test_zbl_is_a_bare_coulomb_repulsion_at_short_distance() -> None:
    term = zbl("C")
    energy, _ = term.energy_and_slope(one(0), one(0), one(1e-6))
    # The sum of the amplitudes is 1.
    assert energy[0] * 1e-6 == pytest.approx(36 * COULOMB_EV_A, rel=1e-4)


def test_zbl_acts_between_the_given_pairs_only() -> None:
    term = zbl("O", "H", pairs=[("H", "O")])
    both = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    energy, _ = term.energy_and_slope(*both, np.full(4, 0.9))
    assert (energy != 0.0).tolist() == [False, True, True, False]
    assert term.reach.tolist() == [[0.0, 2.0], [2.0, 0.0]]


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (("O",), {"inner": 2.0, "outer": 1.0}, "inner_A = 2 must be above 0 and below outer_A = 1"),
        (
            ("Ow",),
            {},
            r"type Ow has no known nuclear charge; set it, for example nuclear_charges = \{ Ow = 8",
        ),
        (("O",), {"nuclear_charges": {"Hw": 1.0}}, "nuclear_charges names Hw, but the model's types are O"),
        (("O",), {"pairs": [("O", "H")]}, r"\['O', 'H'\] is no pair of the model's types, O"),
    ],
)
def test_zbl_refuses(names, settings, message) -> None:
    with pytest.raises(InputError, match=message):
        zbl(*names, **settings)


def test_types_that_are_no_elements_take_charges() -> None:
    assert np.array_equal(zbl("Ow", nuclear_charges={"Ow": 8.0}).strength, zbl("O").strength)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_table_is_that_of_deepmd(name) -> None:
    answer = ANSWERS[name]
    rows, r = np.array(answer["rows"]), np.array(answer["distances"])
    table = table_of_columns(rows[:, 0], rows[:, 1:], answer["cutoff"])
    for types, expected in answer["energies"].items():
        alpha, beta = (np.full(len(r), int(t)) for t in types)
        for pair in ((alpha, beta), (beta, alpha)):
            found, _ = table.energy_and_slope(*pair, r)
            # Values up to 12 eV; one rounding of each of the polynomial's steps.
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-14)


@pytest.mark.parametrize("which", ["zbl", "table"])
def test_slopes_are_derivatives(which, tmp_path: Path, generator) -> None:
    settings = ZBL(0.8, 2.2) if which == "zbl" else PairTable(smooth_table(tmp_path / "t", 2))
    term = make_terms([settings], ("O", "H"))[0]
    r, h = generator.uniform(0.5, 2.1, 200), 1e-5
    types = generator.integers(0, 2, (2, 200))
    _, slope = term.energy_and_slope(*types, r)
    above, below = (term.energy_and_slope(*types, r + d)[0] for d in (h, -h))
    # Differences of h = 1e-5: curvature of the third order, and rounding of energies up to 100 eV.
    np.testing.assert_allclose((above - below) / (2 * h), slope, rtol=1e-7, atol=1e-7)


@pytest.fixture
def terms(tmp_path: Path):
    """A repulsion, and two tables of different reach."""
    return make_terms(
        [
            ZBL(0.7, 2.4, pairs=[("O", "O"), ("H", "O")]),
            PairTable(smooth_table(tmp_path / "near", 2)),
            PairTable(smooth_table(tmp_path / "far", 2, end=5.1), ["H", "O"]),
        ],
        ("O", "H"),
    )


@pytest.mark.parametrize("periodic", [True, False])
def test_kernels_do_what_is_specified(terms, generator, periodic) -> None:
    atoms = random_atoms(generator, 2, n_atoms=60, shortest=0.8, periodic=periodic)
    slow = evaluate(PairSum(terms), atoms)
    # A list that is wider than needed, as that of a model is.
    fast = evaluate(FastPairSum(terms), atoms, cutoff=6.0)
    # Sums of some hundred terms of up to 100 eV, in another order.
    np.testing.assert_allclose(fast.atomic_energies, slow.atomic_energies, rtol=0, atol=1e-11)
    np.testing.assert_allclose(fast.forces, slow.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(fast.virial, slow.virial, rtol=0, atol=1e-10)
    assert fast.energy == pytest.approx(slow.energy, abs=1e-10)
    assert np.abs(slow.forces).max() > 1.0


@pytest.mark.parametrize("addend", [PairSum, FastPairSum])
def test_forces_and_virial_are_derivatives_of_the_energy(terms, generator, addend) -> None:
    atoms = random_atoms(generator, 2, n_atoms=20, shortest=0.9)
    found = evaluate(addend(terms), atoms)
    h = 1e-5

    def energy(positions, cell) -> float:
        return evaluate(addend(terms), type(atoms)(positions, atoms.types, cell, atoms.periodic)).energy

    for atom, axis in ((0, 0), (7, 1), (19, 2)):
        step = np.zeros_like(atoms.positions)
        step[atom, axis] = h
        slope = (energy(atoms.positions + step, atoms.cell) - energy(atoms.positions - step, atoms.cell)) / (
            2 * h
        )
        # h² times third derivatives of the repulsion (up to 1e4 eV/Å³), and rounding by 1/h.
        assert -slope == pytest.approx(found.forces[atom, axis], abs=1e-5)
    for a, b in ((0, 0), (1, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] = h
        up, down = (np.eye(3) + sign * strain for sign in (1, -1))
        slope = (
            energy(atoms.positions @ up, atoms.cell @ up) - energy(atoms.positions @ down, atoms.cell @ down)
        ) / (2 * h)
        assert -slope == pytest.approx(found.virial[a, b], abs=1e-4)


@pytest.mark.skipif(min(available_threads(), numba.config.NUMBA_NUM_THREADS) < 2, reason="needs two threads")
def test_any_number_of_threads_gives_the_same_bits(terms, generator) -> None:
    atoms = random_atoms(generator, 2, n_atoms=400, shortest=0.8)
    results = []
    for threads in (1, 2):
        with thread_limits(threads):
            results.append(evaluate(FastPairSum(terms), atoms))
    one_thread, two = results
    assert np.array_equal(one_thread.forces, two.forces)
    assert np.array_equal(one_thread.virial, two.virial)
    assert one_thread.energy == two.energy


def test_the_short_list_stays_valid_while_the_list_does(terms, generator) -> None:
    """Also if it was drawn late: after atoms have moved away from each other, and before they come back."""
    atoms = random_atoms(generator, 2, n_atoms=60, shortest=1.1)
    skin = 1.0
    fast, slow = FastPairSum(terms[:1]), PairSum(terms[:1])
    neighbours = VerletList(6.0, skin, atoms.cell, atoms.periodic, atoms.types)
    neighbours.build(atoms.positions)
    directions = generator.normal(size=(60, 3))
    directions *= 0.499 * skin / np.linalg.norm(directions, axis=1)[:, None]
    for sign in (1.0, -1.0, 1.0):
        assert not neighbours.update(np.ascontiguousarray(atoms.positions + sign * directions))
        found, expected = Evaluation.empty(60), Evaluation.empty(60)
        fast.add(neighbours, found, virial=True)
        slow.add(neighbours, expected, virial=True)
        np.testing.assert_allclose(found.forces, expected.forces, rtol=1e-12, atol=1e-10)


def test_terms_add_to_what_is_there(terms, generator) -> None:
    atoms = random_atoms(generator, 2, n_atoms=20)
    addend = FastPairSum(terms)
    alone = evaluate(addend, atoms)
    neighbours = VerletList(addend.cutoff, 0.5, atoms.cell, atoms.periodic, atoms.types)
    neighbours.build(atoms.positions)
    result = Evaluation.empty(20)
    result.forces += 1.0
    result.atomic_energies += 2.0
    result.energy = 40.0
    result.virial += 3.0
    addend.add(neighbours, result, virial=False)
    np.testing.assert_allclose(result.forces, alone.forces + 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.atomic_energies, alone.atomic_energies + 2.0, rtol=0, atol=1e-12)
    assert result.energy == pytest.approx(alone.energy + 40.0, abs=1e-11)
    assert np.all(result.virial == 3.0)


@pytest.mark.parametrize("addend", [PairSum, FastPairSum])
def test_a_pair_below_the_table_is_named(addend, tmp_path: Path) -> None:
    terms = make_terms([PairTable(smooth_table(tmp_path / "t", 1, start=0.8))], ("O",))
    atoms = random_atoms(np.random.default_rng(3), 1, n_atoms=12, shortest=1.2)
    atoms.positions[7] = atoms.positions[4] + [0.0, 0.5, 0.0]
    with pytest.raises(
        PairTooCloseError, match=r"atoms 4 and 7 are 0.5000 Å apart, .* at 0.8000 Å"
    ) as caught:
        evaluate(addend(terms), atoms)
    assert caught.value.atoms == (4, 7)


ROWS = "0.1 3 2 1\n0.2 2 1 0.5\n0.3 0 0 0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "at least two rows"),
        ("0.1 3 2 1\n", "at least two rows"),
        ("0.1\n0.2\n", "at least two rows"),
        (ROWS + "0.4 1 1\n", "line 4: has 3 numbers, and the first row 4"),
        (ROWS + "0.4 x 1 1\n", "line 4: could not convert string to float: 'x'"),
        (ROWS + "0.4 nan 1 1\n", "line 4: has a number that is not finite"),
        ("0.1 3 2\n0.2 1 1\n", "2 columns of energies, which are the pairs of no number of types"),
        ("0.1 3\n0.2 1\n", "has 1 columns of energies, and the pairs of O, H are 3"),
        (ROWS + "0.5 0 0 0\n", "distances must rise evenly .* number 4 is 0.5 Å"),
        ("0.3 1 1 1\n0.2 1 1 1\n", "distances must rise evenly"),
        ("-0.1 1 1 1\n0.2 1 1 1\n", "distances must rise evenly from 0"),
        (b"\xff\xfe\x00", "is no text file"),
    ],
)
def test_a_bad_table_is_refused(text, message, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tab"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as caught:
        make_terms([PairTable(path)], ("O", "H"))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ["O", "C"]}, "its types are O, C, and the model has H too"),
        ({"elements": ["O", "O"]}, "names a type twice"),
        ({"elements": ["O", "H", "C"]}, "has 3 columns of energies, and the pairs of O, H, C are 6"),
        ({"cutoff_A": 0.05}, "cutoff_A = 0.05 is not beyond its first distance 0.1"),
    ],
)
def test_a_table_for_other_types_is_refused(settings, message, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tab"
    path.write_text("# a comment\n\n" + ROWS)
    with pytest.raises(InputError, match=message):
        make_terms([PairTable(path, **settings)], ("O", "H"))


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = smooth_table(tmp_path / "t", 3)
    whole = make_terms([PairTable(path)], ("C", "O", "H"))[0]
    part = make_terms([PairTable(path, ["C", "O", "H"])], ("H", "C"))[0]
    r = np.array([1.0])
    for first, second in (("H", "H"), ("H", "C"), ("C", "C")):
        a = whole.energy_and_slope(one("COH".index(first)), one("COH".index(second)), r)
        b = part.energy_and_slope(one("HC".index(first)), one("HC".index(second)), r)
        assert a == b
