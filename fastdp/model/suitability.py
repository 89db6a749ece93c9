"""Which models can be compressed to functions of the distance, and why others cannot."""

from __future__ import annotations

import numpy as np

from fastdp.model.description import DeepPotential, EnergyFitting, SeE2ADescriptor


def why_not_compressed(description: DeepPotential) -> str | None:
    """Return why a model is evaluated by the reference only, or None if it can be compressed.

    Parameters
    ----------
    description : DeepPotential

    Returns
    -------
    str or None
        The end of a sentence that begins with "the model".
    """
    descriptor = description.descriptor
    if description.spin is not None:
        return "has atomic spins, whose partners only the reference evaluates"
    if not isinstance(description.fitting, EnergyFitting):
        return f"gives no energies, but {description.fitting.kind}"
    if not isinstance(descriptor, SeE2ADescriptor):
        return f"has the descriptor {descriptor.kind}, which has no compressed form in fastdp yet"
    if descriptor.depends_on_first_atom:
        return (
            "gives its empty slots the type of the first atom (dpa1 of DeePMD-kit without "
            "set_davg_zero), so that "
            "its energy is no sum over neighbours"
        )
    if _has_filling_exclusions(descriptor):
        return (
            "excludes pairs of types whose atoms still fill slots (exclude_types without "
            "set_davg_zero), so that "
            "its energy jumps at the cutoff"
        )
    return None


def _has_filling_exclusions(descriptor: SeE2ADescriptor) -> bool:
    empty = descriptor.empty_term
    if empty is None:
        return False
    return any(
        network is None
        and not (descriptor.absent is not None and descriptor.absent[alpha, beta])
        and bool(np.any(empty[alpha, beta] != 0.0))
        for alpha, row in enumerate(descriptor.embedding)
        for beta, network in enumerate(row)
    )
