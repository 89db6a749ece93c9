"""Choosing basis and ranks: the cheapest compressed model whose measured force error meets the tolerance.

The errors of projector, thin layers and spline basis are independent, so they are found one after the
other by bisection, each for its share of the tolerance, the earlier ones in place. What is
measured are forces on the user's structure as it is, thermally displaced, and strained. Projector and
layers were built from single environments, displaced and strained otherwise than these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fastdp.errors import InputError
from fastdp.model.description import Array, DeepPotential
from fastdp.parallel.threads import one_blas_thread
from fastdp.potential.compressed.builder import Choice, Compressor
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms, Probe, Region, make_probe, regions
from fastdp.potential.compressed.pair_kernels import DEGREE
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.compressed.shortest import shortest_distances

SIZES = (32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 320, 384, 512)
"""Numbers of basis functions that are tried."""

THRESHOLDS = tuple(10.0 ** (-0.25 * k) for k in range(4, 45))
"""Singular values, relative to the largest, below which channels are dropped."""

LAYER_THRESHOLDS = tuple(10.0 ** (-0.125 * k) for k in range(16, 73))
"""Forces that a layer may leave out, eV/Å."""

MORE_CHANNELS = 1
"""Steps of `THRESHOLDS` beyond the first that suffices, which are tried too: a finer projector leaves more of
the tolerance to the layers and the basis, which can be the cheaper way."""

PART_OF_PROJECTOR, PART_OF_LAYERS = 1.0 / 3.0, 0.75
"""Parts of the square of the tolerance that the projector alone, and the projector with the layers, may use:
independent errors add by their squares."""

USUAL_THRESHOLD, USUAL_LAYER_THRESHOLD, USUAL_SIZE = 1.0e-4, 0.2, 112
"""Where the searches begin, the first two as multiples of the tolerance: what copper and water come to."""

OWN_SHARE, FOREIGN_SHARE = 0.5, 1.0
"""Parts of the tolerance that may be used on the user's structure with its thermal motion, and on a kind of
structure that it is not; the rest is the margin."""


def _opened(region: Region) -> Region:
    """Return the same atoms without periodic images: surfaces where the cell ends."""
    return replace(
        region, atoms=replace(region.atoms, cell=np.zeros((3, 3)), periodic=np.zeros(3, dtype=bool))
    )


def _halved(region: Region) -> Region:
    """Return what lies below a plane through the middle of a cut-out."""
    kept = np.flatnonzero(region.atoms.positions[:, 2] < 0.1)
    place = np.full(len(region.atoms.types), -1)
    place[kept] = np.arange(len(kept))
    atoms = replace(region.atoms, positions=region.atoms.positions[kept], types=region.atoms.types[kept])
    probed, complete = place[region.probed], place[region.complete]
    return Region(atoms, probed[probed >= 0], complete[complete >= 0])


def _surface(region: Region, _: np.random.Generator) -> Region:
    return _opened(region) if np.any(region.atoms.periodic) else _halved(region)


def _own(change: Callable[[Atoms, np.random.Generator], Atoms]) -> Callable:
    return lambda region, rng: replace(region, atoms=change(region.atoms, rng))


VARIANTS: tuple[tuple[str, float, Callable[[Region, np.random.Generator], Region]], ...] = (
    ("start structure", OWN_SHARE, lambda region, _: region),
    ("displaced by 0.05 Å", OWN_SHARE, _own(lambda atoms, rng: atoms.displaced(0.05, rng))),
    ("displaced by 0.1 Å", OWN_SHARE, _own(lambda atoms, rng: atoms.displaced(0.1, rng))),
    ("lengths × 1.03", OWN_SHARE, _own(lambda atoms, _: atoms.strained(0.03))),
    ("lengths × 0.97", OWN_SHARE, _own(lambda atoms, _: atoms.strained(-0.03))),
    ("surface", FOREIGN_SHARE, _surface),
)
"""What the error is measured on: how it is called, the part of the tolerance that it may use, and what is
done to the user's structure."""

SOFTNESS_IN_CUTOFFS = 0.5
"""a of the radial map u = r/(r + a), in cutoffs: best of those tried, see benchmarks/NOTES.md."""

T = TypeVar("T")

SEED = 20180709
"""Of displacements and samples; fixed, so that the same input gives the same potential."""


@dataclass(frozen=True)
class CompressionReport:
    """What was chosen, and the error that was measured.

    Attributes
    ----------
    tolerance : float
        eV/Å, asked for.
    degree, n_functions : int
        Of the splines.
    ranks : tuple of int
        Channels kept for each type of centre.
    n_channels : int
        Channels of the original.
    multiply_adds, original_multiply_adds : tuple of float
        Of the dense part for one atom of each type, forwards and backwards: of the compressed model, and of
        the fitting network as trained alone.
    errors : tuple of (str, float)
        Structure and rms force error on it, eV/Å.
    shortest : (n_types, n_types) float64
        Å, where the tables begin.
    """

    tolerance: float
    degree: int
    n_functions: int
    ranks: tuple[int, ...]
    n_channels: int
    multiply_adds: tuple[float, ...]
    original_multiply_adds: tuple[float, ...]
    errors: tuple[tuple[str, float], ...]
    shortest: Array

    @property
    def largest_error(self) -> float:
        """Largest rms force error, eV/Å."""
        return max(error for _, error in self.errors)


@one_blas_thread()
def compress(
    description: DeepPotential,
    atoms: Atoms,
    tolerance: float,
    report: Callable[[str], None] = lambda _: None,
    nearest: float | None = None,
) -> tuple[CompressedModel, CompressionReport]:
    """Compress a Deep Potential to a tolerance, measured on a structure.

    Parameters
    ----------
    description : DeepPotential
    atoms : Atoms
        The user's structure.
    tolerance : float
        eV/Å, rms error of a force component.
    report : callable
        Told what is being done.
    nearest : float, optional
        Å; tables begin no farther than this.

    Returns
    -------
    CompressedModel
    CompressionReport

    Raises
    ------
    InputError
        If the tolerance cannot be met.
    """
    rng = np.random.default_rng(SEED)
    found = regions(atoms, description, rng)
    report("evaluating the reference on test structures")
    isolated = len(found) == 1 and not np.any(atoms.periodic)
    probes = []
    for region in found:
        for name, _, change in VARIANTS:
            # A molecule cut in two is not a surface.
            if not (name == "surface" and isolated):
                changed = change(region, rng)
                probes.append(make_probe(name, changed.atoms, description, changed.probed))
    if not any(probe.neighbours.first[-1] for probe in probes):
        raise InputError(
            f"no two atoms of the structure are within {description.cutoff:g} Å, the model's cutoff: there "
            "is nothing that a compressed potential could be measured on; start from a structure in which "
            'atoms see each other, or use backend = "reference"'
        )
    shortest = shortest_distances(description, [probe.neighbours for probe in probes])
    if nearest is not None:
        shortest = np.minimum(shortest, nearest)
    report("choosing basis and ranks")
    compressor = Compressor(description, found, shortest, SOFTNESS_IN_CUTOFFS * description.cutoff, SEED)
    shares = np.bincount(atoms.types, minlength=description.n_types) / max(1, len(atoms.types))
    choice = _choose(compressor, probes, tolerance, shares)
    model = compressor.compress(choice)
    errors = _errors(probes, model)
    return model, CompressionReport(
        tolerance,
        choice.degree,
        choice.n_functions,
        tuple(centre.rank - compressor.channels.has_one for centre in model.centres),
        compressor.channels.n_channels,
        tuple(float(count) for count in model.multiply_adds),
        tuple(
            2.0 * sum(layer.weight.size for layer in network.layers)
            for network in description.fitting.networks
        ),
        errors,
        shortest,
    )


def _errors(probes: Sequence[Probe], model: CompressedModel) -> tuple[tuple[str, float], ...]:
    """Return the rms force error for each kind of test structure."""
    potential = CompressedPotential(model, "double")
    kinds = dict.fromkeys(probe.name for probe in probes)
    return tuple((kind, _error_of_kind(kind, probes, potential)) for kind in kinds)


def _error_of_kind(kind: str, probes: Sequence[Probe], potential: CompressedPotential) -> float:
    squares = [probe.error(potential) ** 2 for probe in probes if probe.name == kind]
    return float(np.sqrt(np.mean(squares)))


def _choose(compressor: Compressor, probes: Sequence[Probe], tolerance: float, shares: Array) -> Choice:
    """Return the cheapest choice that meets its part of the tolerance on every kind of structure."""
    parts = {name: share for name, share, _ in VARIANTS}
    fine = SIZES[-1]

    kinds = list(dict.fromkeys(probe.name for probe in probes))

    def accepted(choice: Choice, part: float = 1.0) -> bool:
        limit = tolerance * np.sqrt(part)
        potential = CompressedPotential(compressor.compress(choice), "double")
        for kind in kinds:
            if not _error_of_kind(kind, probes, potential) <= parts[kind] * limit:
                # What failed now is likely to fail next: asked first, it saves the others.
                kinds.remove(kind)
                kinds.insert(0, kind)
                return False
        return True

    rank = _first(
        THRESHOLDS,
        lambda x: accepted(Choice(DEGREE, fine, x), PART_OF_PROJECTOR),
        near=_nearest(THRESHOLDS, USUAL_THRESHOLD * tolerance),
    )
    if rank is None:
        finest = Choice(DEGREE, fine, THRESHOLDS[-1])
        reached = max(e for _, e in _errors(probes, compressor.compress(finest)))
        raise InputError(
            f"the tolerance of {tolerance:g} eV/Å cannot be met: {fine} spline functions and all channels "
            f"reach {reached:.1e} eV/Å (half of the tolerance is kept as a margin); use a larger tolerance, "
            'or backend = "reference"'
        )
    candidates = []
    thin: int | None = _nearest(LAYER_THRESHOLDS, USUAL_LAYER_THRESHOLD * tolerance)
    size: int | None = _nearest(SIZES, USUAL_SIZE)
    for threshold in THRESHOLDS[rank : rank + MORE_CHANNELS + 1]:
        choice = Choice(DEGREE, fine, threshold)
        thin = _first(
            LAYER_THRESHOLDS,
            lambda x: accepted(replace(choice, layer_threshold=x), PART_OF_LAYERS),  # noqa: B023
            near=thin,
        )
        if thin is not None:
            choice = replace(choice, layer_threshold=LAYER_THRESHOLDS[thin])
        size = _first(SIZES, lambda n: accepted(replace(choice, n_functions=n)), near=size)  # noqa: B023
        if size is not None:
            choice = replace(choice, n_functions=SIZES[size])
            if compressor.triples is not None and compressor.channels.has_pairs:
                # The three-body part needs more functions than the others, which are cheaper with fewer.
                choice = replace(choice, n_triples=SIZES[size])
                fewer = _first(SIZES, lambda n: accepted(replace(choice, n_functions=n)))  # noqa: B023
                choice = choice if fewer is None else replace(choice, n_functions=SIZES[fewer])
            candidates.append((_cost(choice, compressor, shares), thin, choice))
    if not candidates:
        raise InputError(
            f"the tolerance of {tolerance:g} eV/Å cannot be met by {fine} spline functions; use a larger "
            'tolerance, or backend = "reference"'
        )
    _, thin, best = min(candidates, key=_first_item)
    # Sizes come in steps, and what the step left over goes to the layers.
    spare = _first(LAYER_THRESHOLDS, lambda x: accepted(replace(best, layer_threshold=x)), near=thin)
    return best if spare is None else replace(best, layer_threshold=LAYER_THRESHOLDS[spare])


def _nearest(values: Sequence[float], wanted: float) -> int:
    """Return the index of the value nearest to another on a logarithmic scale."""
    return int(np.argmin(np.abs(np.log(np.asarray(values) / wanted))))


def _first_item(candidate: tuple[float, int | None, Choice]) -> float:
    return candidate[0]


def _first(values: Sequence[T], accepted: Callable[[T], bool], near: int | None = None) -> int | None:
    """Return the index of the first value that is accepted, if acceptance is monotonic.

    Parameters
    ----------
    values : sequence
    accepted : callable
        From a value to whether it is.
    near : int, optional
        Where it is likely to be: asked first, then at growing distances from there.

    Returns
    -------
    int or None
        None if the last is not accepted.
    """
    low, high = 0, len(values)
    step = 1
    while low < high:
        enclosed = low > 0 and high < len(values)
        middle = (low + high) // 2 if near is None or enclosed else min(max(near, low), high - 1)
        if accepted(values[middle]):
            high = middle
            near = None if near is None else middle - step
        else:
            low = middle + 1
            near = None if near is None else middle + step
        step *= 2
    return low if low < len(values) else None


def _cost(choice: Choice, compressor: Compressor, shares: Array) -> float:
    """Return the multiply-adds of the dense part for one atom, the mean over types."""
    return float(shares @ compressor.compress(choice).multiply_adds)
