"""Comparing what fastdp gives with what was expected.

Two things are compared: the reference, which is the model as trained and has to agree to rounding, and the
potential that a run would use, which has to agree to the tolerance that the input file asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import InputError, SimulationError
from fastdp.expectation.expectation import Array, Expectation
from fastdp.model.description import DeepPotential
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.reference import ReferencePotential
from fastdp.potential.spins import SpinPotential
from fastdp.potential.sum import with_addends
from fastdp.potential.terms.addends import make_addends
from fastdp.potential.terms.base import Term
from fastdp.structure.types import match_types

LARGE_FORCE = 1.0
"""eV/Å: rms force component from which on tolerances of forces grow in proportion."""


@dataclass(frozen=True)
class Limits:
    """How far values may be from what was expected.

    Attributes
    ----------
    energy : float
        By atom, eV.
    atomic : float
        Of each atom's energy, eV.
    forces : float
        Of each component, eV/Å.
    virial : float
        Of each component, by atom, eV.
    """

    energy: float
    atomic: float
    forces: float
    virial: float


EXACT = Limits(energy=1e-9, atomic=1e-9, forces=1e-9, virial=1e-9)
"""Of float64 answers: sums in another order; found are 1e-13."""

ROUNDED = Limits(energy=1e-4, atomic=1e-4, forces=1e-4, virial=1e-4)
"""Of answers that passed through float32 or eight decimals: 1e-6 Å of a position are 5e-5 eV/Å in a bond."""

HALF = Limits(energy=1e-3, atomic=1e-3, forces=5e-3, virial=5e-3)
"""Of models in 16 bits as their trainer evaluates them."""

SPREAD = 10.0
"""Largest error of a component over the rms error that a tolerance is about; found are 4 to 6."""


@dataclass(frozen=True)
class Miss:
    """A value that is not what was expected."""

    text: str


@dataclass(frozen=True)
class Comparison:
    """What came out for one frame and one potential.

    Attributes
    ----------
    lines : tuple of str
        For the log.
    misses : tuple of Miss
        One for each quantity that is beyond its limit: the value that is farthest off.
    """

    lines: tuple[str, ...]
    misses: tuple[Miss, ...]


def limits_of_reference(expectation: Expectation, description: DeepPotential) -> Limits:
    """Return how far the reference may be from an expectation."""
    if expectation.rounded:
        return ROUNDED
    if expectation.made_by.startswith("fastdp") or description.precision == "float64":
        return EXACT
    return HALF if description.precision == "float16" else ROUNDED


def limits_of_fast(reference: Limits, tolerance: float) -> Limits:
    """Return how far a potential that was made to a tolerance (eV/Å, rms) may be from an expectation."""
    return Limits(
        energy=reference.energy + tolerance,
        atomic=reference.atomic + SPREAD * tolerance,
        forces=reference.forces + SPREAD * tolerance,
        virial=reference.virial + SPREAD * tolerance,
    )


def compare(
    expectation: Expectation,
    description: DeepPotential,
    potential: Potential,
    tolerance: float,
    terms: Sequence[Term] = (),
) -> Comparison:
    """Compare the reference, and the potential if it is another, with an expectation.

    Where atoms have more neighbours than the model's `sel`, the reference drops the farthest as the trainer
    does, and a fast potential keeps all: it is then compared with the reference that keeps all.

    Parameters
    ----------
    expectation : Expectation
    description : DeepPotential
    potential : Potential
        That a run would use.
    tolerance : float
        eV/Å, that it was made to.
    terms : sequence of Term
        That are added to the model.

    Raises
    ------
    StructureError
        If the model does not know an element.
    """
    types = expectation.types
    if types is None:
        assert expectation.symbols is not None
        types = match_types(expectation.symbols, description.type_names)
    reference = reference_with_terms(description, terms, spins=_spins(expectation, description))
    cutoff = max(potential.cutoff, reference.cutoff)
    neighbours = VerletList(cutoff, 0.0, expectation.cell, expectation.periodic, types)
    neighbours.build(expectation.positions)
    limits = limits_of_reference(expectation, description)
    exact = _evaluate(reference, neighbours)
    results = [_compare(expectation, expectation, exact, limits, "the reference")]
    if not potential.drops_neighbours:
        wanted, note = expectation, ""
        everything = _evaluate(reference_with_terms(description, terms, every_neighbour=True), neighbours)
        if _differ(exact, everything):
            wanted = _as_expected(expectation, everything)
            note = " (against the reference with all neighbours: some atoms have more than sel)"
        fast = _evaluate(potential, neighbours)
        results.append(
            _compare(expectation, wanted, fast, limits_of_fast(limits, tolerance), f"the fast path{note}")
        )
    return Comparison(
        tuple(line for result in results for line in result.lines),
        tuple(miss for result in results for miss in result.misses),
    )


def reference_with_terms(
    description: DeepPotential,
    terms: Sequence[Term],
    *,
    every_neighbour: bool = False,
    spins: Array | None = None,
) -> Potential:
    """Return the model as trained with further terms, all by their definitions."""
    potential: Potential
    if spins is None:
        potential = ReferencePotential(description, every_neighbour=every_neighbour)
    else:
        potential = SpinPotential(description, spins)
    return with_addends(potential, make_addends(terms, specified=True))


def _spins(expectation: Expectation, description: DeepPotential) -> Array | None:
    """Return the spins that an expectation is for, None for a model without."""
    if description.spin is None:
        return None
    if expectation.spins is None:
        raise InputError(
            f"{expectation.name}: has no spins, and {description.origin.path} is a model of these"
        )
    return expectation.spins


def _evaluate(potential: Potential, neighbours: VerletList) -> Evaluation | SimulationError:
    result = Evaluation.empty(neighbours.n_atoms)
    try:
        potential.evaluate(neighbours, result, virial=True)
    except SimulationError as error:
        return error
    return result


def _differ(one: Evaluation | SimulationError, other: Evaluation | SimulationError) -> bool:
    return (
        isinstance(one, Evaluation)
        and isinstance(other, Evaluation)
        and not (one.energy == other.energy and np.array_equal(one.forces, other.forces))
    )


def _as_expected(frame: Expectation, found: Evaluation | SimulationError) -> Expectation:
    assert isinstance(found, Evaluation)
    return Expectation(
        frame.name,
        frame.symbols,
        frame.types,
        frame.positions,
        frame.cell,
        frame.periodic,
        energy=found.energy,
        forces=found.forces,
        virial=found.virial,
        atomic_energies=found.atomic_energies,
    )


def _compare(
    frame: Expectation, wanted: Expectation, found: Evaluation | SimulationError, limits: Limits, who: str
) -> Comparison:
    if isinstance(found, SimulationError):
        return Comparison((), (Miss(f"{frame.name}: {who} cannot be evaluated: {found.reason}"),))
    n = frame.n_atoms
    said, misses = [], []
    for quantity in _quantities(wanted, found, limits, n):
        difference = np.abs(quantity.found - quantity.wanted)
        # What is not a number is farthest off.
        worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
        off = float(difference[worst])
        said.append(f"{quantity.name} {off * quantity.share:.1e} {quantity.unit}")
        if not off * quantity.share <= quantity.limit:
            misses.append(
                Miss(
                    f"{frame.name}: {who}: {quantity.label(worst, frame.symbols)} is "
                    f"{quantity.found[worst]:.12g}, expected {quantity.wanted[worst]:.12g}: off by "
                    f"{off * quantity.share:.2e} {quantity.unit}, and {quantity.limit:.1e} are tolerated"
                )
            )
    return Comparison((f"{frame.name} ({n} atoms): {who} is within {', '.join(said)}",), tuple(misses))


@dataclass(frozen=True)
class _Quantity:
    """Values of one kind, one after the other; `share` times a difference is what `limit` is about."""

    name: str
    unit: str
    wanted: Array
    found: Array
    limit: float
    share: float = 1.0

    def label(self, place: int, symbols: Sequence[str] | None) -> str:
        """Return what the value at a place is."""
        if self.name == "energy":
            return "the energy (eV)"
        if self.name == "virial":
            return f"component {'xyz'[place // 3]}{'xyz'[place % 3]} of the virial (eV)"
        atom = place // 3 if self.name == "forces" else place
        named = f"atom {atom}" if symbols is None else f"atom {atom} ({symbols[atom]})"
        if self.name == "forces":
            return f"component {'xyz'[place % 3]} of the force on {named} (eV/Å)"
        return f"the energy of {named} (eV)"


def _quantities(wanted: Expectation, found: Evaluation, limits: Limits, n: int) -> list[_Quantity]:
    result = []
    if wanted.energy is not None:
        result.append(
            _Quantity(
                "energy",
                "eV/atom",
                np.array([wanted.energy]),
                np.array([found.energy]),
                limits.energy,
                1.0 / n,
            )
        )
    if wanted.atomic_energies is not None:
        result.append(
            _Quantity("atomic energies", "eV", wanted.atomic_energies, found.atomic_energies, limits.atomic)
        )
    if wanted.forces is not None:
        scale = max(1.0, _rms(wanted.forces) / LARGE_FORCE)
        result.append(
            _Quantity("forces", "eV/Å", wanted.forces.ravel(), found.forces.ravel(), limits.forces * scale)
        )
    if wanted.virial is not None:
        result.append(
            _Quantity(
                "virial", "eV/atom", wanted.virial.ravel(), found.virial.ravel(), limits.virial, 1.0 / n
            )
        )
    return result


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
