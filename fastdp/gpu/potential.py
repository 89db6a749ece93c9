"""The compressed potential on a GPU, for positions that come from the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import BackendError, NonFiniteError
from fastdp.gpu.device.base import Action, Device
from fastdp.gpu.kernels.status import HALTED, Reason, begin_evaluation, end_evaluation
from fastdp.gpu.layout import DeviceModel, Products, upload_model
from fastdp.gpu.system import Boundaries, DeviceSystem
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential, Precision
from fastdp.potential.compressed.closest_pair import closest_pair_error
from fastdp.potential.compressed.compressed_model import CompressedModel

BYTES_PER_ATOM_OF_A_RUN = 24 + 2 * 8 + 4 * 24 + 12
"""Velocities, masses, and the saved start of a chunk: see `DeviceEngine.bytes`."""

PRODUCTS = "gpu_products"
"""Among the arrays of a checkpoint."""

if TYPE_CHECKING:
    from fastdp.dynamics.engine import Engine
    from fastdp.dynamics.state import State
    from fastdp.potential.compressed.potential import CompressedPotential

DTYPES = {"double": np.float64, "mixed": np.float32}


class CudaPotential(Potential):
    """A compressed Deep Potential, evaluated on a CUDA device.

    `evaluate` takes positions from the host and brings the forces back, as ASE wants it; whole runs keep
    everything on the device, see `engine.py`. The neighbour list is the device's own.

    Parameters
    ----------
    model : CompressedModel
    device : Device
    precision : {"double", "mixed"}
        In "mixed", everything is float32 but differences of positions and the sums of energies, forces and
        the virial.
    products : {"full", "tf32", "tf32x3"}
        How float32 matrices are multiplied, see `layout.Products`.
    """

    def __init__(
        self,
        model: CompressedModel,
        device: Device,
        precision: Precision = "double",
        products: Products = "full",
    ) -> None:
        self.model = model
        self.precision = precision
        self.device = device
        self.device_model: DeviceModel = upload_model(device, model, DTYPES[precision], products)
        self._system: DeviceSystem | None = None
        self._actions: dict[bool, list[Action]] = {}

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        return self.model.cutoff

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the compressed model, which depends on the structure, and the way of multiplying."""
        return {**self.model.arrays(), PRODUCTS: np.array(self.device_model.products.encode())}

    def choices(self) -> dict[str, str]:
        """Return how matrices are multiplied, where that could be otherwise."""
        return {"gpu_products": self.device_model.products} if self.precision == "mixed" else {}

    def evaluate(
        self,
        neighbours: VerletList,
        result: Evaluation,
        *,
        virial: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Fill `result` for the positions that `neighbours` holds now.

        Parameters
        ----------
        neighbours : VerletList
            Built, and updated to the current positions; only these, the cell and the skin are read.
        result : Evaluation
            Filled in place, in input order.
        virial : bool
            Whether the virial is wanted.
        between : callable, optional
            Called before anything else.

        Raises
        ------
        BackendError
            If there are ghosts of other ranks.
        PairTooCloseError
            If a pair is closer than the table begins.
        NonFiniteError
            If a position is not finite.
        """
        if between is not None:
            between()
        if neighbours.n_rows != neighbours.n_atoms:
            raise BackendError('a GPU serves one process only as yet; use backend = "cpu" with several')
        if neighbours.n_atoms == 0:
            result.energy = 0.0
            result.virial[:] = 0.0
            result.virial_is_current = virial
            return
        boundaries = Boundaries(neighbours.types, neighbours.cell, neighbours.periodic, neighbours.skin)
        positions = np.empty((neighbours.n_atoms, 3))
        positions[neighbours.order] = neighbours.extended_positions[: neighbours.n_atoms]
        if self._system is None or not self._system.boundaries.same_as(boundaries):
            self._system = DeviceSystem(self.device, self.device_model, boundaries, positions)
            self._actions = {}
        system = self._system
        device = system.device
        device.write(system.neighbours.positions, positions)
        while True:
            for action in self._evaluation(system, virial):
                action()
            status = device.read(system.neighbours.status)
            if status[HALTED] == 0:
                break
            device.fill(system.neighbours.status, 0)
            system.neighbours.forget()
            if not system.make_room(status):
                raise self._error(Reason(int(status[HALTED])), neighbours)
            self._actions = {}
        result.atomic_energies[:] = device.read(system.energies)
        result.forces[:] = device.read(system.forces)
        result.energy = float(result.atomic_energies.sum())
        result.virial_is_current = virial
        if virial:
            result.virial[:] = device.read(system.virial).reshape(3, 3)

    def another(self) -> CompressedPotential:
        """Return the same compressed potential on the processor, where it takes single atoms as well."""
        from fastdp.potential.compressed.potential import CompressedPotential

        return CompressedPotential(self.model, self.precision)

    def make_engine(self, state: State, skin: float) -> Engine:
        """Return what makes whole steps on the device; see `DeviceEngine`."""
        from fastdp.gpu.engine import DeviceEngine

        return DeviceEngine(self, state, skin)

    def memory_lines(self) -> list[str]:
        """Return what a run of the system evaluated last takes on the device, in words."""
        if self._system is None:
            return []
        system = self._system
        needed = system.bytes + system.n_atoms * BYTES_PER_ATOM_OF_A_RUN
        total = self.device.memory()[1]
        line = (
            f"GPU memory: about {needed / 2**20:.0f} MiB of {total / 2**20:.0f} MiB ({self.device.name}), "
            f"{(needed - system.fixed_bytes) / system.n_atoms / 1000:.3g} kB for each atom"
        )
        if needed > total:
            smaller = "" if self.precision == "mixed" else 'precision = "mixed" or '
            line += f': that is too much; use fewer atoms, {smaller}backend = "cpu"'
        return [line]

    def make_system(self, boundaries: Boundaries, positions: NDArray[np.float64]) -> DeviceSystem:
        """Return atoms on the device for a run, and let go of those of `evaluate`.

        Parameters
        ----------
        boundaries : Boundaries
        positions : (n_atoms, 3) float64
            Å.
        """
        self._system = None
        self._actions = {}
        return DeviceSystem(self.device, self.device_model, boundaries, positions)

    def _evaluation(self, system: DeviceSystem, virial: bool) -> list[Action]:
        if virial not in self._actions:
            status = (system.neighbours.status,)
            self._actions[virial] = [
                self.device.launch(begin_evaluation, 1, 1, status),
                *system.actions(virial=virial),
                self.device.launch(end_evaluation, 1, 1, status),
            ]
        return self._actions[virial]

    def _error(self, reasons: Reason, neighbours: VerletList) -> Exception:
        if Reason.TOO_CLOSE in reasons:
            return closest_pair_error(self.model, neighbours, range(neighbours.n_atoms))
        return NonFiniteError("a position is not a number, or too far away")
