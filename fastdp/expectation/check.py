"""What `fastdp check` does with expectations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastdp.errors import ExpectationError, InputError
from fastdp.expectation.compare import compare, reference_with_terms
from fastdp.expectation.expectation import Expectation
from fastdp.expectation.hdf5_files import write_hdf5
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential
from fastdp.simulation.inputs import Inputs
from fastdp.simulation.reporter import Reporter


def check_expectations(
    source: str,
    expectations: Sequence[Expectation],
    inputs: Inputs,
    potential: Potential,
    reporter: Reporter,
) -> None:
    """Compare the model of an input file, and the potential of its runs, with what is expected.

    Parameters
    ----------
    source : str
        File of the expectations, for messages.
    expectations : sequence of Expectation
    inputs : Inputs
    potential : Potential
    reporter : Reporter
        Told the differences.

    Raises
    ------
    ExpectationError
        Names each value that is off by more than its tolerance.
    InputError
        If an expectation is for other parameters, or atoms that the model does not know.
    """
    table = inputs.configuration.potential
    misses = []
    for expectation in expectations:
        _check_parameters(expectation, inputs)
        found = compare(expectation, inputs.description, potential, _tolerance(inputs), inputs.terms)
        for line in found.lines:
            reporter.message(line)
        misses += [miss.text for miss in found.misses]
    if misses:
        raise ExpectationError(f"{table.model}, expected {source}", misses)
    reporter.message(f"all values of {source} are as expected")


def keep_expectation(path: Path, inputs: Inputs, reporter: Reporter) -> None:
    """Write what the model as trained gives for the structure of an input file.

    Parameters
    ----------
    path : Path
    inputs : Inputs
    reporter : Reporter

    Raises
    ------
    OutputExistsError
        If the file exists.
    """
    structure, table = inputs.structure, inputs.configuration.potential
    spins = structure.spins if inputs.description.spin is not None else None
    reference = reference_with_terms(inputs.description, inputs.terms, spins=spins)
    neighbours = VerletList(reference.cutoff, 0.0, structure.cell, structure.periodic, inputs.types)
    neighbours.build(structure.positions)
    result = Evaluation.empty(structure.n_atoms)
    reference.evaluate(neighbours, result)
    write_hdf5(
        path,
        structure,
        result,
        parameters={"fparam": table.fparam, "aparam": table.aparam},
        about={"model": Path(table.model).name, "model_sha256": inputs.description.origin.sha256},
    )
    reporter.message(f"written: {path}, the values of the model as trained")


TF32 = 0.01
"""eV/Å, rms error of forces from products in TF32 that `gpu_products` speaks of."""


def _tolerance(inputs: Inputs) -> float:
    table = inputs.configuration.potential
    return table.tolerance + (TF32 if table.gpu_products == "tf32" else 0.0)


def _check_parameters(expectation: Expectation, inputs: Inputs) -> None:
    """Refuse an expectation that is for other parameters than those of the input file."""
    table = inputs.configuration.potential
    for name, values in expectation.parameters.items():
        given = getattr(table, name)
        # fastdp writes the one aparam of all atoms, other programs one for each.
        n_rows = expectation.n_atoms if name == "aparam" and values.size % expectation.n_atoms == 0 else 1
        rows = values.reshape(1 if expectation.made_by.startswith("fastdp") else n_rows, -1)
        if not np.array_equal(rows, np.broadcast_to(rows[0], rows.shape)):
            raise InputError(f"{expectation.name}: is for aparam of each atom; an input file has one for all")
        if given is None or not np.array_equal(rows[0], np.asarray(given)):
            raise InputError(
                f"{expectation.name}: is for {name} = {rows[0].tolist()}, and {name} in [potential] of the "
                f"input file is {'absent' if given is None else given}"
            )
