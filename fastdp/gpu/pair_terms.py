"""Further terms of pairs on a device, beside a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastdp.errors import PairTooCloseError
from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.kernels.pair_terms import add_pair_terms
from fastdp.gpu.kernels.pairs import WARP
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.compressed.closest_pair import closest_pair_error, closest_pair_of
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.terms.base import PairTerm
from fastdp.potential.terms.packed import packed_terms
from fastdp.potential.terms.pair_sum import closest_pair_of_terms, too_close

if TYPE_CHECKING:
    from fastdp.gpu.system import DeviceSystem


@dataclass(frozen=True, eq=False)
class DevicePairTerms:
    """Pair terms in the memory of a device.

    Attributes
    ----------
    cutoff : float
        Radius that the neighbour list must reach, Å.
    n_terms : int
    arrays : tuple of DeviceArray
        As the kernel takes them.
    """

    cutoff: float
    n_terms: int
    arrays: tuple[DeviceArray, ...]

    def action(
        self, system: DeviceSystem, virials: DeviceArray, start: int, stop: int, *, virial: bool
    ) -> Action:
        """Return what adds the terms to energies and forces of some atoms.

        Parameters
        ----------
        system : DeviceSystem
        virials : (≥ stop − start, 9) float64
            Of these atoms, eV; added to where wanted.
        start, stop : int
            Sorted atoms, own ones: ghosts get nothing.
        virial : bool
            Whether that is wanted.
        """
        neighbours, kinds = system.neighbours, system.neighbours.kinds
        arguments = (
            neighbours.status,
            start,
            kinds.n_types,
            self.n_terms,
            int(virial),
            neighbours.geometry.index_mask,
            neighbours.geometry.index_bits,
            *self.arrays,
            neighbours.translations,
            neighbours.sorted_positions,
            neighbours.rows,
            neighbours.row_counts,
            kinds.of,
            neighbours.order,
            system.energies,
            system.forces,
            virials,
        )
        return system.device.launch(add_pair_terms, stop - start, WARP, arguments)


def upload_pair_terms(device: Device, terms: Sequence[PairTerm]) -> DevicePairTerms | None:
    """Copy pair terms to a device; None if there are none.

    Parameters
    ----------
    device : Device
    terms : sequence of PairTerm
    """
    if not terms:
        return None
    packed = packed_terms(terms)
    arrays = (
        packed.kinds,
        packed.offsets,
        packed.widths,
        packed.numbers,
        packed.reach,
        packed.farthest**2,
        packed.shortest,
    )
    return DevicePairTerms(
        max(term.cutoff for term in terms), len(terms), tuple(device.upload(array) for array in arrays)
    )


def too_close_error(
    model: CompressedModel, terms: Sequence[PairTerm], neighbours: VerletList
) -> PairTooCloseError:
    """Return the error that names a pair closer than the model's table begins, or else that of a term.

    Parameters
    ----------
    model : CompressedModel
    terms : sequence of PairTerm
    neighbours : VerletList
        Holds the positions, in which the device has found a pair too close.
    """
    atoms = range(neighbours.n_atoms)
    of_model, of_terms = closest_pair_of(model, neighbours, atoms), closest_pair_of_terms(terms, neighbours)
    # Rounding may put what the device found at the limit on the other side of it here.
    if of_model.ratio < 1.0 or of_model.ratio <= of_terms.ratio:
        return closest_pair_error(model, neighbours, atoms)
    return too_close(neighbours, of_terms.atom, of_terms.extended, terms)
