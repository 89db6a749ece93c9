"""The compressed potential on a GPU, for positions that come from the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import NonFiniteError, PairTooCloseError
from fastdp.gpu.device.base import Action, Device, run_all
from fastdp.gpu.kernels.status import HALTED, Reason, begin_evaluation, end_evaluation
from fastdp.gpu.layout import DeviceModel, Network, Products, upload_model
from fastdp.gpu.pair_terms import too_close_error, upload_pair_terms
from fastdp.gpu.rooms import SPARE
from fastdp.gpu.system import BYTES_PER_ATOM_OF_A_RUN, Boundaries, DeviceSystem
from fastdp.gpu.windows import HELD
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation, Potential, Precision
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.terms.base import PairTerm

PRODUCTS, NETWORK = "gpu_products", "gpu_network"
"""Among the arrays of a checkpoint."""

if TYPE_CHECKING:
    from fastdp.dynamics.engine import Engine
    from fastdp.dynamics.state import State
    from fastdp.parallel.domain import Domain
    from fastdp.potential.compressed.potential import CompressedPotential


@dataclass(frozen=True, eq=False)
class Share:
    """The atoms of one of several ranks on the device, until the next build of their list.

    Attributes
    ----------
    neighbours : VerletList
    build : int
        Number of its build.
    system : DeviceSystem
        The rank's atoms, then ghosts and periodic images as atoms in open space.
    positions, forces : (n_extended, 3) float64
        What the host exchanges with the device, Å and eV/Å.
    energies : (n_extended,) float64
        eV.
    """

    neighbours: VerletList
    build: int
    system: DeviceSystem
    positions: NDArray[np.float64]
    forces: NDArray[np.float64]
    energies: NDArray[np.float64]

    @classmethod
    def of(cls, neighbours: VerletList, device: Device, model: DeviceModel) -> Share:
        """Put the atoms of a list that was just built on the device."""
        n = neighbours.n_extended
        boundaries = Boundaries(
            types=neighbours.extended_types[:n].copy(),
            cell=np.zeros((3, 3)),
            periodic=np.zeros(3, dtype=bool),
            skin=neighbours.skin,
            n_own=neighbours.n_atoms,
        )
        return cls(
            neighbours,
            neighbours.number_of_builds,
            DeviceSystem.of(device, model, boundaries, neighbours.extended_positions[:n]),
            device.staging((n, 3), np.float64),
            device.staging((n, 3), np.float64),
            device.staging(n, np.float64),
        )

    def is_of(self, neighbours: VerletList) -> bool:
        """Whether the list is still the same."""
        return self.neighbours is neighbours and self.build == neighbours.number_of_builds


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
    terms : sequence of PairTerm
        Added to the model's energy, in float64.
    network : {"layers", "fused"}
        How fitting networks are evaluated, see `layout.Network`.
    """

    def __init__(
        self,
        model: CompressedModel,
        device: Device,
        precision: Precision = "double",
        products: Products = "full",
        terms: Sequence[PairTerm] = (),
        network: Network = "layers",
    ) -> None:
        self.model = model
        self.precision = precision
        self.device = device
        self.terms = tuple(terms)
        self.device_model: DeviceModel = replace(
            upload_model(device, model, DTYPES[precision], products, network),
            terms=upload_pair_terms(device, self.terms),
        )
        self._system: DeviceSystem | None = None
        self._boundaries: Boundaries
        self._share: Share | None = None
        self._actions: dict[bool, list[Action]] = {}

    @property
    def cutoff(self) -> float:
        """The largest radius of the model and all terms, Å."""
        return self.device_model.reach

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the compressed model, which depends on the structure, and how networks are evaluated."""
        return {
            **self.model.arrays(),
            PRODUCTS: np.array(self.device_model.products.encode()),
            NETWORK: np.array(self.device_model.network.encode()),
        }

    def choices(self) -> dict[str, str]:
        """Return how networks are evaluated, and matrices multiplied where that could be otherwise."""
        found = {"gpu_network": self.device_model.network}
        return found | ({"gpu_products": self.device_model.products} if self.precision == "mixed" else {})

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
        PairTooCloseError
            If a pair is closer than the model's table, or one of the terms, begins.
        NonFiniteError
            If a position is not finite.
        """
        if between is not None:
            # With other ranks, this brings the positions of ghosts.
            between()
        result.virial_is_current = virial
        if neighbours.n_atoms == 0:
            result.energy = 0.0
            result.virial[:] = 0.0
            result.ghost_forces = np.zeros((neighbours.n_rows, 3))
        elif neighbours.n_rows == neighbours.n_atoms:
            self._evaluate_all(neighbours, result, virial)
        else:
            self._evaluate_share(neighbours, result, virial)

    def _evaluate_all(self, neighbours: VerletList, result: Evaluation, virial: bool) -> None:
        """Evaluate all atoms; their images are the device's business."""
        boundaries = Boundaries(neighbours.types, neighbours.cell, neighbours.periodic, neighbours.skin)
        positions = np.empty((neighbours.n_atoms, 3))
        positions[neighbours.order] = neighbours.extended_positions[: neighbours.n_atoms]
        if self._system is None or not self._boundaries.same_as(boundaries):
            self._system = self._share = None
            self._actions = {}
            self._boundaries = boundaries
            self._system = DeviceSystem.of(self.device, self.device_model, boundaries, positions)
        system = self._system
        self._run(system, neighbours, positions, virial)
        result.atomic_energies[:] = self.device.read(system.energies)
        result.forces[:] = self.device.read(system.forces)
        self._add_up(system, result, virial)

    def _evaluate_share(self, neighbours: VerletList, result: Evaluation, virial: bool) -> None:
        """Evaluate the atoms of one of several ranks.

        What they do to a periodic image is done to its owner.
        """
        n, n_rows, n_all = neighbours.n_atoms, neighbours.n_rows, neighbours.n_extended
        share = self._share
        if share is None or not share.is_of(neighbours):
            # The memory of the last one may be needed.
            self._system = self._share = share = None
            self._actions = {}
            self._share = share = Share.of(neighbours, self.device, self.device_model)
        share.positions[:] = neighbours.extended_positions[:n_all]
        self._run(share.system, neighbours, share.positions, virial)
        forces = self.device.read(share.system.forces, share.forces)
        np.add.at(forces, neighbours.owner[n_rows:n_all], forces[n_rows:])
        result.forces[neighbours.order] = forces[:n]
        result.ghost_forces = forces[n:n_rows].copy()
        result.atomic_energies[neighbours.order] = self.device.read(share.system.energies, share.energies)[:n]
        self._add_up(share.system, result, virial)

    def _run(
        self, system: DeviceSystem, neighbours: VerletList, positions: NDArray[np.float64], virial: bool
    ) -> None:
        """Evaluate `positions`, with longer rows if need be."""
        device = system.device
        device.write(system.neighbours.positions, positions)
        while True:
            run_all(self._evaluation(system, virial))
            status = device.read(system.neighbours.status)
            if status[HALTED] == 0:
                return
            device.fill(system.neighbours.status, 0)
            system.neighbours.forget()
            if not system.lacks_room(status):
                raise self._error(Reason(int(status[HALTED])), neighbours)
            self._actions = {}
            system.make_room(status)

    def _add_up(self, system: DeviceSystem, result: Evaluation, virial: bool) -> None:
        result.energy = float(result.atomic_energies.sum())
        if virial:
            result.virial[:] = self.device.read(system.virial).reshape(3, 3)

    def another(self) -> CompressedPotential:
        """Return the same compressed potential on the processor, where it takes single atoms as well.

        Without terms: they are exact, and not compared with anything.
        """
        from fastdp.potential.compressed.potential import CompressedPotential

        return CompressedPotential(self.model, self.precision)

    def make_engine(
        self, state: State, skin: float, domain: Domain | None = None, *, direct: bool = False
    ) -> Engine:
        """Return what makes whole steps on the device; see `DeviceEngine` and `RanksEngine`."""
        if domain is not None:
            from fastdp.gpu.ranks.engine import RanksEngine

            return RanksEngine(self, state, domain, skin, direct=direct)
        from fastdp.gpu.engine import DeviceEngine

        return DeviceEngine(self, state, skin)

    def memory_lines(self) -> list[str]:
        """Return what a run of the system evaluated last takes on the device, in words."""
        system, spare, whose = self._system, 1.0, "for each atom"
        if self._share is not None:
            system, spare = self._share.system, SPARE
            whose = f"for each of the {system.n_atoms} atoms and ghosts of rank 0"
        if system is None:
            return []
        needed = spare * (system.bytes + system.n_atoms * BYTES_PER_ATOM_OF_A_RUN)
        free, total = self.device.memory()
        line = (
            f"GPU memory: about {needed / 2**20:.0f} MiB of {total / 2**20:.0f} MiB ({self.device.name}), "
            f"{(needed - system.fixed_bytes) / system.n_atoms / 1000:.3g} kB {whose}"
        )
        if system.window_pieces > 1:
            line += f", with the gradient of {HELD} of {system.window_pieces} parts of the system at a time"
        if needed > free + system.bytes:
            smaller = "" if self.precision == "mixed" else 'precision = "mixed" or '
            line += f': that is too much; use fewer atoms, {smaller}backend = "cpu"'
        return [line]

    def release(self) -> None:
        """Let go of the memory of `evaluate`, until that is called again."""
        self._system = self._share = None
        self._actions = {}

    def make_system(self, boundaries: Boundaries, positions: NDArray[np.float64]) -> DeviceSystem:
        """Return atoms on the device for a run, and let go of those of `evaluate`.

        Parameters
        ----------
        boundaries : Boundaries
        positions : (n_atoms, 3) float64
            Å.
        """
        self.release()
        return DeviceSystem.of(self.device, self.device_model, boundaries, positions)

    def too_close_error(self, neighbours: VerletList) -> PairTooCloseError:
        """Return the error that names a pair too close for the model or for a term.

        Parameters
        ----------
        neighbours : VerletList
            Holds the positions, in which the device has found one.
        """
        return too_close_error(self.model, self.terms, neighbours)

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
            return self.too_close_error(neighbours)
        return NonFiniteError("a position is not a number, or too far away")
