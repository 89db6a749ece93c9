"""Everything that a run needs, read and checked before anything is computed or written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdp.config.load import InputFile
from fastdp.config.schema import Configuration, PotentialTable
from fastdp.config.settings import term_settings
from fastdp.errors import ConfigurationError, InputError
from fastdp.model.description import DeepPotential
from fastdp.model.readers.registry import read_model
from fastdp.potential.factory import with_parameters
from fastdp.potential.terms.base import Term
from fastdp.potential.terms.registry import make_terms
from fastdp.structure.checks import check_structure
from fastdp.structure.read import read_structure
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

Result = TypeVar("Result")

FEWEST_ATOMS = 2
"""Without the motion of the centre of mass, a single atom has no degree of freedom to have a temperature."""


@dataclass(frozen=True)
class Inputs:
    """What the input file names, read and found to fit together.

    Attributes
    ----------
    configuration : Configuration
        The input file.
    description : DeepPotential
        The model.
    structure : Structure
        The atoms.
    types : (n_atoms,) int32
        The model's type of each atom.
    terms : tuple of Term
        What is added to the model.
    """

    configuration: Configuration
    description: DeepPotential
    structure: Structure
    types: NDArray[np.int32]
    terms: tuple[Term, ...] = ()


def read_inputs(input_file: InputFile, *further_checks: Callable[[], object]) -> Inputs:
    """Read model and structure, and check that they fit each other and the stages.

    Parameters
    ----------
    input_file : InputFile
    *further_checks : callable
        Raise InputError for what else may be wrong, such as outputs that exist.

    Returns
    -------
    Inputs

    Raises
    ------
    ConfigurationError
        With every problem that was found.
    """
    configuration = input_file.configuration
    table = configuration.structure
    problems = _Problems()
    description = problems.collect(lambda: _read_model(configuration.potential))
    structure = problems.collect(
        lambda: read_structure(
            table.file,
            frame=table.frame,
            repeat=table.repeat,
            masses=table.masses_u,
            file_format=table.format,
        )
    )
    types = None
    if structure is not None:
        problems.collect(lambda: check_structure(structure), prefix=f"{table.file}: ")
        problems.collect(lambda: _check_motion(configuration, structure), prefix=f"{table.file}: ")
        if description is not None:
            types = problems.collect(
                lambda: match_types(structure.symbols, description.type_names), prefix=f"{table.file}: "
            )
    terms: list[Term] = []
    if description is not None:
        for settings in term_settings(configuration.potential):
            terms += problems.collect(partial(make_terms, [settings], description.type_names)) or ()
    for check in further_checks:
        problems.collect(check)
    if problems.found or description is None or structure is None or types is None:
        raise ConfigurationError(str(input_file.path), problems.found)
    return Inputs(configuration, description, structure, types, tuple(terms))


def _read_model(table: PotentialTable) -> DeepPotential:
    """Return the model, with the parameters that the input gives written into it."""
    return with_parameters(read_model(table.model, head=table.head), table.fparam, table.aparam)


class _Problems:
    """Takes in what goes wrong, so that the next thing can be looked at too."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def collect(self, action: Callable[[], Result], *, prefix: str = "") -> Result | None:
        try:
            return action()
        except InputError as error:
            self.found.append(f"{prefix}{error}")
            return None


def _check_motion(configuration: Configuration, structure: Structure) -> None:
    if structure.n_atoms < FEWEST_ATOMS:
        raise InputError(f"a run needs at least {FEWEST_ATOMS} atoms, but there is {structure.n_atoms}")
    if structure.velocities is None and configuration.velocities.temperature_K is None:
        notes = "".join(f" ({note})" for note in structure.notes)
        raise InputError(
            "the structure has no velocities, and the first stage needs them: set temperature_K in "
            f"[velocities] to draw them, 0 to start at rest{notes}"
        )
