"""Dipoles, polarizabilities and other quantities from models of their own, while a run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import InputError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.files import writing
from fastdp.output.table import TextTable
from fastdp.potential.atomic_tensors import TensorModel

COMPONENTS = {"dipole": ("x", "y", "z"), "polar": ("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz")}
"""What follows the name of a column; numbers elsewhere."""


class TensorTable(TextTable):
    """A CSV file of the frame's tensor, and on request an array of the atoms' tensors for each row.

    Parameters
    ----------
    path : Path
        Of the table; the arrays are beside it, in a folder of its name.
    model : TensorModel
    neighbours : VerletList
        Of the run, wide enough for the model.
    atomic : bool
        Whether the atoms' tensors are written, as `step_<n>.npy`, (n_atoms, C).
    """

    def __init__(self, path: Path, model: TensorModel, neighbours: VerletList, *, atomic: bool) -> None:
        super().__init__(path)
        if model.cutoff > neighbours.cutoff:
            raise InputError(
                f"the neighbour list ends at {neighbours.cutoff} Å, the model needs {model.cutoff} Å"
            )
        self._model = model
        self._neighbours = neighbours
        self._atomic = atomic

    def header(self) -> str:
        """Return the names of the columns."""
        kind = self._model.description.fitting.kind
        names = COMPONENTS.get(kind) or tuple(str(n) for n in range(self._model.n_components))
        return ",".join(("step", "time_ps", *(f"{kind}_{name}" for name in names)))

    def row(self, snapshot: Snapshot) -> str:
        """Return the line of a step."""
        found = self._model.evaluate(self._neighbours)
        step = snapshot.state.step
        if self._atomic:
            folder = self.path.with_suffix("")
            with writing(folder):
                folder.mkdir(exist_ok=True)
                np.save(folder / f"step_{step}.npy", found.atomic)
        values = ",".join(repr(float(value)) for value in found.total)
        return f"{step},{float(snapshot.state.time_ps)!r},{values}"

    def beginning(self, step: int) -> str:
        """Return what the line of a step begins with."""
        return f"{step},"
