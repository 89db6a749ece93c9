"""Models that hold tables of pairs, with what DeePMD-kit says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

FOLDER = Path(__file__).with_name("pair_terms")
ANSWERS = json.loads((FOLDER / "answers.json").read_text())
FILES = {"srtab_pb": "srtab.pb", "linear_pb": "linear.pb", "zbl": "zbl.dp", "linear": "linear.dp"}


def structure_of(frame, move=None, strain=None) -> Structure:
    positions = np.array(frame["positions"]) + (0.0 if move is None else move)
    periodic = frame["cell"] is not None
    cell = np.array(frame["cell"]) if periodic else np.zeros((3, 3))
    deformation = np.eye(3) if strain is None else np.eye(3) + strain
    return Structure(
        symbols=tuple(frame["symbols"]),
        positions=positions @ deformation,
        cell=cell @ deformation,
        periodic=np.full(3, periodic),
        masses=np.ones(len(positions)),
    )


def evaluate(potential, structure: Structure, names) -> Evaluation:
    types = match_types(structure.symbols, names)
    neighbours = VerletList(potential.cutoff, 0.3, structure.cell, structure.periodic, types)
    neighbours.build(structure.positions)
    result = Evaluation.empty(structure.n_atoms)
    potential.evaluate(neighbours, result)
    return result
