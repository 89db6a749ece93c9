"""Choosing basis and ranks: the cheapest compressed model whose measured force error meets the tolerance.

The errors of projector, thin layers and spline basis are independent, so they are found one after the
other by bisection, each for its share of the tolerance, the earlier ones in place. What is
measured are forces on the user's structure as it is, thermally displaced, and strained. Projector and
layers were built from single environments, displaced and strained otherwise than these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastdp.errors import InputError
from fastdp.model.description import Array, DeepPotential
from fastdp.parallel.threads import one_blas_thread
from fastdp.potential.compressed.builder import Choice, Compressor
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms, Probe, make_probe, regions
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.compressed.shortest import shortest_distances

DEGREES = (3, 5)
"""Of the splines that are tried."""

SIZES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 512)
"""Numbers of basis functions that are tried."""

THRESHOLDS = tuple(10.0 ** (-0.25 * k) for k in range(4, 45))
"""Singular values, relative to the largest, below which channels are dropped."""

LAYER_THRESHOLDS = tuple(10.0 ** (-0.25 * k) for k in range(8, 37))
"""Forces that a layer may leave out, eV/Å."""

LAYER_MARGIN = 0.1
"""The layers leave out this much less than the test structures would allow: it costs 4 % (copper) to 27 %
(water) of the multiply-adds, and structures unlike these ones need it, see benchmarks/NOTES.md."""

SHARE = 0.5
"""Part of the tolerance that projector, layers and basis may use together; the rest is the margin."""

VARIANTS: tuple[tuple[str, Callable[[Atoms, np.random.Generator], Atoms]], ...] = (
    ("start structure", lambda atoms, _: atoms),
    ("displaced by 0.05 Å", lambda atoms, rng: atoms.displaced(0.05, rng)),
    ("displaced by 0.1 Å", lambda atoms, rng: atoms.displaced(0.1, rng)),
    ("lengths × 1.03", lambda atoms, _: atoms.strained(0.03)),
    ("lengths × 0.97", lambda atoms, _: atoms.strained(-0.03)),
)
"""What is done to the user's structure to measure the error, and how it is called."""

SOFTNESS_IN_CUTOFFS = 0.5
"""a of the radial map u = r/(r + a), in cutoffs: best of those tried, see benchmarks/NOTES.md."""

PAIR_COST = {3: 60.0, 5: 90.0}
"""Multiply-adds that the two loops over neighbours cost for each neighbour, by degree: counted in the
kernels, with the geometry. It only has to rank the degrees."""

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
    report(f"evaluating the reference on {len(found) * len(VARIANTS)} test structures")
    probes = [
        make_probe(name, change(region.atoms, rng), description, region.probed)
        for region in found
        for name, change in VARIANTS
    ]
    shortest = shortest_distances(description, [probe.neighbours for probe in probes])
    report("choosing basis and ranks")
    compressor = Compressor(description, found, shortest, SOFTNESS_IN_CUTOFFS * description.cutoff, SEED)
    choice = _choose(compressor, probes, tolerance)
    model = compressor.compress(choice)
    errors = _errors(probes, model)
    return model, CompressionReport(
        tolerance,
        choice.degree,
        choice.n_functions,
        tuple(centre.rank for centre in model.centres),
        description.descriptor.n_channels,
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
    squares: dict[str, list[float]] = {}
    for probe in probes:
        squares.setdefault(probe.name, []).append(probe.error(potential) ** 2)
    return tuple((name, float(np.sqrt(np.mean(values)))) for name, values in squares.items())


def _choose(compressor: Compressor, probes: Sequence[Probe], tolerance: float) -> Choice:
    """Return the cheapest choice that meets `SHARE` of the tolerance on every kind of structure."""
    target = SHARE * tolerance

    def error(choice: Choice) -> float:
        return max(value for _, value in _errors(probes, compressor.compress(choice)))

    # Projector, layers and basis may use a third of the square each, since independent errors add so.
    fine = SIZES[-1]
    rank = _first(
        len(THRESHOLDS), lambda k: error(Choice(5, fine, THRESHOLDS[k])) <= target * np.sqrt(1.0 / 3.0)
    )
    if rank is None:
        reached = error(Choice(5, fine, THRESHOLDS[-1]))
        raise InputError(
            f"the tolerance of {tolerance:g} eV/Å cannot be met: {fine} spline functions and all channels "
            f"reach {reached:.1e} eV/Å (half of the tolerance is kept as a margin); use a larger tolerance, "
            'or backend = "reference"'
        )
    threshold = THRESHOLDS[rank]
    thin = _first(
        len(LAYER_THRESHOLDS),
        lambda k: error(Choice(5, fine, threshold, LAYER_THRESHOLDS[k])) <= target * np.sqrt(2.0 / 3.0),
    )
    layers = 0.0 if thin is None else LAYER_MARGIN * LAYER_THRESHOLDS[thin]
    candidates = []
    for degree in DEGREES:
        size = _first(len(SIZES), lambda k: error(Choice(degree, SIZES[k], threshold, layers)) <= target)  # noqa: B023
        if size is not None:
            candidates.append(Choice(degree, SIZES[size], threshold, layers))
    return min(candidates, key=lambda choice: _cost(choice, compressor))


def _first(count: int, accepted: Callable[[int], bool]) -> int | None:
    """Return the first index that is accepted, if acceptance is monotonic; None if the last is not."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if accepted(middle):
            high = middle
        else:
            low = middle + 1
    return low if low < count else None


def _cost(choice: Choice, compressor: Compressor) -> float:
    """Return the multiply-adds for one atom that depend on the basis."""
    rank = max(compressor.ranks(choice.threshold))
    n_types = compressor.description.n_types
    return compressor.mean_neighbours * PAIR_COST[choice.degree] + 16 * n_types * choice.n_functions * rank
