"""A compressed model for a run: from the cache, or made now; and what the user is told of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from fastdp.model.description import DeepPotential
from fastdp.potential.compressed import cache
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.tuning import CompressionReport, compress


def prepare(
    description: DeepPotential,
    atoms: Atoms,
    tolerance: float,
    report: Callable[[str], None],
    meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext,
    nearest: float | None = None,
) -> CompressedModel:
    """Return a compressed model that meets a tolerance on a structure, and report its measured error.

    Parameters
    ----------
    description : DeepPotential
    atoms : Atoms
    tolerance : float
        eV/Å.
    report : callable
        Told what was chosen and measured.
    meanwhile : callable
        Makes the context in which the model is compressed, if it has to be.
    nearest : float, optional
        Å; tables begin no farther than this.

    Returns
    -------
    CompressedModel

    Raises
    ------
    InputError
        If the tolerance cannot be met.
    """
    name = cache.key(description, atoms, tolerance, nearest)
    found = cache.load(name)
    if found is None:
        report(f"compressing the model to {tolerance:g} eV/Å (kept for the next run)")
        with meanwhile():
            found = compress(description, atoms, tolerance, report, nearest)
        cache.store(name, *found)
    model, made = found
    for line in describe(made, description):
        report(line)
    return model


def describe(made: CompressionReport, description: DeepPotential) -> list[str]:
    """Return what was chosen and measured, in lines for the log."""
    names = description.type_names
    ranks = ", ".join(f"{rank} ({name})" for name, rank in zip(names, made.ranks, strict=True))
    costs, original = (
        ", ".join(f"{count / 1e3:.0f} ({name})" for name, count in zip(names, counts, strict=True))
        for counts in (made.multiply_adds, made.original_multiply_adds)
    )
    shortest = ", ".join(
        f"{names[a]}-{names[b]} {made.shortest[a, b]:.2f}"
        for a in range(len(names))
        for b in range(a, len(names))
    )
    return [
        f"compressed potential: splines of degree {made.degree}, {made.n_functions} functions; "
        f"{ranks} of {made.n_channels} channels; {costs} thousand multiply-adds an atom, "
        f"{original} in the fitting network as trained",
        f"force error against the model as trained: {made.largest_error:.1e} eV/Å rms, at most, over "
        + ", ".join(f"{name} ({error:.1e})" for name, error in made.errors),
        f"tables begin at: {shortest} Å",
    ]
