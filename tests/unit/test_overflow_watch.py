"""Neighbours beyond the model's sel are counted whenever the list is built."""

import numpy as np

from fastdp.dynamics.state import State
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.reference import ReferencePotential
from fastdp.simulation.force_field import NeighbourForceField
from fastdp.simulation.overflow import OverflowWatch
from fastdp.simulation.timers import Timers
from fastdp.structure.structure import Structure


def line_of_atoms(count, spacing):
    """Atoms of the first type in a row, so that the number of neighbours follows from the spacing."""
    positions = np.zeros((count, 3))
    positions[:, 0] = spacing * np.arange(count)
    return Structure(("O",) * count, positions, np.zeros((3, 3)), np.zeros(3, bool), np.full(count, 16.0))


def test_a_pair_of_types_is_reported_when_it_first_overflows(model_file):
    description = read_model(model_file("narrow_selection"))
    selection = int(description.descriptor.selection[0])
    types = np.zeros(9, dtype=np.int32)
    watch = OverflowWatch(description, truncates=False)
    said = []
    neighbours = VerletList(description.cutoff, 0.0, np.zeros((3, 3)), np.zeros(3, bool), types)
    force_field = NeighbourForceField(
        ReferencePotential(description),
        neighbours,
        Timers(),
        lambda built: said.extend(watch.warnings(built)),
    )
    for spacing, expected in ((2.5, 0), (1.0, 1), (2.5, 1), (1.0, 1)):
        force_field.compute(State.from_structure(line_of_atoms(9, spacing), types))
        assert len(said) == expected
    # 4.2 Å hold four neighbours to either side; the selection is three.
    assert selection == 3
    assert "9 O atoms have more O neighbours (up to 8) than the 3" in said[0]
    assert "all are kept" in said[0]
