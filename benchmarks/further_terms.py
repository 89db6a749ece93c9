"""What further terms cost beside the water model, on one thread: `python benchmarks/further_terms.py`.

For the dispersion, `OMP_NUM_THREADS=1` keeps its library to one thread too.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import InputError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.threads import thread_limits
from fastdp.potential.base import Evaluation, Potential
from fastdp.potential.factory import make_potential
from fastdp.potential.sum import with_addends
from fastdp.potential.terms.addends import make_addends
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import D3, ZBL, PairTable
from fastdp.structure.read import read_structure
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

WATER = Path(__file__).resolve().parents[1] / "inputs" / "water"
REPEATS = 15


def main() -> None:
    description = read_model(WATER / "water.pb")
    structure = read_structure(WATER / "start.extxyz")
    types = match_types(structure.symbols, description.type_names)
    with tempfile.TemporaryDirectory() as folder, thread_limits(1):
        r = np.linspace(0.3, 6.0, 300)
        table = Path(folder) / "pairs.tab"
        np.savetxt(table, np.column_stack([r, *[np.exp(-r) * (1 - r / 6) ** 3] * 3]))
        cases = {
            "model alone": [],
            "zbl to 1 Å": [ZBL(0.5, 1.0)],
            "table to 6 Å": [PairTable(table)],
            "d3 to 8 Å": [D3("pbe", cutoff_A=8.0)],
            "d3 to 12 Å": [D3("pbe", cutoff_A=12.0)],
            "d3": [D3("pbe")],
        }
        model = make_potential(description, structure, backend="cpu")
        far_down = make_potential(description, structure, backend="cpu", shortest=0.15)
        for name, settings in cases.items():
            try:
                terms = make_terms(settings, description.type_names)
            except InputError as error:
                print(f"{name:<14} left out: {error}")
                continue
            report(name, with_addends(model, make_addends(terms, specified=False)), structure, types)
        report("model, 0.15 Å", far_down, structure, types)


def report(name: str, potential: Potential, structure: Structure, types: NDArray[np.int32]) -> None:
    """Print the shortest time of an evaluation."""
    neighbours = VerletList(potential.cutoff, 1.0, structure.cell, structure.periodic, types)
    neighbours.build(structure.positions)
    result = Evaluation.empty(structure.n_atoms)
    potential.evaluate(neighbours, result)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        potential.evaluate(neighbours, result, virial=False)
        seconds.append(time.perf_counter() - started)
    print(f"{name:<14} {1e6 * min(seconds) / structure.n_atoms:8.2f} µs/atom/step")


if __name__ == "__main__":
    main()
