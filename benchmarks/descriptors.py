"""What descriptors other than se_e2_a cost: compressed against reference, one evaluation each.

    python benchmarks/descriptors.py MODEL... [--structure PATH] [--threads 1] [--evaluations 50]

Compresses each model for the structure at the default tolerance, then times forces without the virial; the
shortest of the evaluations counts, since anything else on the machine can only lengthen one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from fastdp.model.readers.registry import read_model
from fastdp.parallel.threads import thread_limits
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.compressed.prepare import prepare
from fastdp.potential.reference import ReferencePotential
from fastdp.structure.read import read_structure
from fastdp.structure.types import match_types

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-5  # eV/Å, the default
SKIN = 1.0  # Å


def measure(potential: Potential, atoms: Atoms, evaluations: int) -> tuple[float, Evaluation]:
    """Return the shortest time of an evaluation, µs/atom, and its result."""
    neighbours = atoms.neighbours(potential.cutoff, SKIN)
    result = Evaluation.empty(len(atoms.types))
    potential.evaluate(neighbours, result, virial=False)
    seconds = []
    for _ in range(evaluations):
        started = time.perf_counter()
        potential.evaluate(neighbours, result, virial=False)
        seconds.append(time.perf_counter() - started)
    return 1e6 * min(seconds) / len(atoms.types), result


def size_of(model: CompressedModel) -> str:
    """Return the numbers of spline functions, in words."""
    if model.triples is None:
        return f"{model.n_functions}"
    if model.n_functions == 0:
        return f"{model.triples.n_functions} of products"
    return f"{model.n_functions}, {model.triples.n_functions} of products"


def main() -> None:
    """Print one row of a table for each model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--structure", default=str(ROOT / "inputs/water/start.extxyz"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluations", type=int, default=50)
    options = parser.parse_args()
    structure = read_structure(options.structure)
    print("| model | descriptor | neighbours | functions | reference | double | mixed | error | forces |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in options.models:
        description = read_model(path)
        atoms = Atoms(
            structure.positions,
            match_types(structure.symbols, description.type_names),
            structure.cell,
            structure.periodic,
        )
        with thread_limits(options.threads):
            model = prepare(description, atoms, TOLERANCE, lambda _: None)
            reference, exact = measure(ReferencePotential(description, every_neighbour=True), atoms, 3)
            double, found = measure(CompressedPotential(model), atoms, options.evaluations)
            mixed, _ = measure(CompressedPotential(model, "mixed"), atoms, options.evaluations)
        within = atoms.neighbours(description.cutoff).first[-1] / len(atoms.types)
        error = np.sqrt(np.mean((found.forces - exact.forces) ** 2))
        kinds = getattr(description.descriptor, "parts", (description.descriptor,))
        print(
            f"| `{Path(path).name}` | {' + '.join(f'{part.kind}, {part.cutoff:g} Å' for part in kinds)} | "
            f"{within:.0f} | {size_of(model)} | {reference:.0f} | {double:.2f} | {mixed:.2f} | {error:.1e} | "
            f"{np.sqrt(np.mean(exact.forces**2)):.2g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
