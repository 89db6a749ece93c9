"""Dipoles, polarizabilities and other quantities from models of their own, while a run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.snapshot import Snapshot
from fastdp.errors import InputError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.files import writing
from fastdp.output.table import TextTable
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.potential.atomic_tensors import TensorModel
from fastdp.simulation.collected import CollectedSystem

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
    communicator : Communicator
        Ranks that have other atoms; all call `measure` together before each row.
    """

    def __init__(
        self,
        path: Path,
        model: TensorModel,
        neighbours: VerletList,
        *,
        atomic: bool,
        communicator: Communicator = SERIAL,
    ) -> None:
        super().__init__(path)
        if model.cutoff > neighbours.cutoff:
            raise InputError(
                f"the neighbour list ends at {neighbours.cutoff} Å, the model needs {model.cutoff} Å"
            )
        self._model = model
        self._neighbours = neighbours
        self._atomic = atomic
        self._communicator = communicator
        self._total = np.zeros(model.n_components)
        self._values: NDArray[np.float64] | None = None

    def header(self) -> str:
        """Return the names of the columns."""
        kind = self._model.description.fitting.kind
        names = COMPONENTS.get(kind) or tuple(str(n) for n in range(self._model.n_components))
        return ",".join(("step", "time_ps", *(f"{kind}_{name}" for name in names)))

    def measure(self, snapshot: Snapshot, collected: CollectedSystem) -> None:
        """Evaluate the model at the present step."""
        found = self._communicator.together(lambda: self._model.evaluate(self._neighbours))
        self._total = found.total
        if self._communicator.size > 1:
            share = 1.0 / snapshot.state.n_total if self._model.is_intensive else 1.0
            self._total = share * self._communicator.sum(found.atomic.sum(axis=0))
        self._values = collected.rows(self.path.name, found.atomic, snapshot.state) if self._atomic else None

    def row(self, snapshot: Snapshot) -> str:
        """Return the line of the step that was measured."""
        step = snapshot.state.step
        if self._values is not None:
            folder = self.path.with_suffix("")
            with writing(folder):
                folder.mkdir(exist_ok=True)
                np.save(folder / f"step_{step}.npy", self._values)
        values = ",".join(repr(float(value)) for value in self._total)
        return f"{step},{float(snapshot.state.time_ps)!r},{values}"

    def beginning(self, step: int) -> str:
        """Return what the line of a step begins with."""
        return f"{step},"
