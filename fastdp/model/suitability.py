"""Which models can be compressed to functions of the distance, and why others cannot."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from fastdp.model.description import (
    DeepPotential,
    EnergyFitting,
    HybridDescriptor,
    SeE2ADescriptor,
    SeE2RDescriptor,
    SeE3Descriptor,
)

JUMPS = (
    "excludes pairs of types whose atoms still fill slots (exclude_types without set_davg_zero), so that its "
    "energy jumps at the cutoff"
)


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
    if description.spin is not None:
        return "has atomic spins, whose partners only the reference evaluates"
    if not isinstance(description.fitting, EnergyFitting):
        return f"gives no energies, but {description.fitting.kind}"
    reason = obstacle(description.descriptor)
    descriptor = description.descriptor
    if reason is None and isinstance(descriptor, HybridDescriptor) and not _sums_only(descriptor):
        adds_input = any(network.layers[0].shortcut != "none" for network in description.fitting.networks)
        if adds_input:
            return "has a hybrid descriptor and a first fitting layer that adds its own input"
    return reason


def why_not_on_gpu(description: DeepPotential) -> str | None:
    """Return why a model is not evaluated on a GPU, or None; what is, is compressed.

    Parameters
    ----------
    description : DeepPotential

    Returns
    -------
    str or None
        As `why_not_compressed`.
    """
    reason = why_not_compressed(description)
    if reason is not None:
        return reason
    if description.pair_part is not None and description.pair_part.switch is not None:
        return (
            "gives way to a table of pairs where atoms come close (use_srtab, zbl), for which fastdp has no "
            "kernels on a GPU"
        )
    if any(isinstance(part, SeE3Descriptor) for part in _parts(description.descriptor)):
        return "has a three-body descriptor (se_e3), for which fastdp has no kernels on a GPU"
    if _distances_only(description.descriptor) and any(
        network.layers[0].shortcut != "none" for network in description.fitting.networks
    ):
        # The kernels there know products of channels only, which are one more than the layer's inputs.
        kind = description.descriptor.kind
        return f"has the descriptor {kind} and a first fitting layer that adds its own input"
    return None


def has_products(description: DeepPotential) -> bool:
    """Return whether the kernels for se_e2_a evaluate a model: it has no three-body part, and not sums only.

    Parameters
    ----------
    description : DeepPotential
        That can be compressed.
    """
    descriptor = description.descriptor
    three_body = any(isinstance(part, SeE3Descriptor) for part in _parts(descriptor))
    return not (three_body or _sums_only(descriptor))


def _distances_only(descriptor: Any) -> bool:
    return all(isinstance(part, SeE2RDescriptor) for part in _parts(descriptor))


def _sums_only(descriptor: Any) -> bool:
    return all(isinstance(part, (SeE2RDescriptor, SeE3Descriptor)) for part in _parts(descriptor))


def _parts(descriptor: Any) -> tuple[Any, ...]:
    return getattr(descriptor, "parts", (descriptor,))


@singledispatch
def obstacle(descriptor: Any) -> str | None:
    """Return what is in the way of compressing a descriptor, or None; a new kind registers a function here.

    Parameters
    ----------
    descriptor : Descriptor

    Returns
    -------
    str or None
        As `why_not_compressed`.
    """
    return f"has the descriptor {descriptor.kind}, which has no compressed form in fastdp"


@obstacle.register
def _(descriptor: SeE2ADescriptor) -> str | None:
    if descriptor.depends_on_first_atom:
        return (
            "gives its empty slots the type of the first atom (dpa1 of DeePMD-kit without "
            "set_davg_zero), so that "
            "its energy is no sum over neighbours"
        )
    return JUMPS if _has_filling_exclusions(descriptor) else None


@obstacle.register
def _(descriptor: SeE2RDescriptor) -> str | None:
    filling = [
        network is None and not (descriptor.absent is not None and descriptor.absent[alpha, beta])
        for alpha, row in enumerate(descriptor.embedding)
        for beta, network in enumerate(row)
    ]
    steps = np.any(descriptor.excluded_term != descriptor.empty_term, axis=2).ravel()
    return JUMPS if np.any(np.array(filling) & steps) else None


@obstacle.register
def _(descriptor: HybridDescriptor) -> str | None:
    for part in descriptor.parts:
        reason = obstacle(part)
        if reason is not None:
            return reason
    if sum(isinstance(part, SeE3Descriptor) for part in descriptor.parts) > 1:
        return "has a hybrid of several se_e3, of which fastdp compresses one at most"
    return None


@obstacle.register
def _(descriptor: SeE3Descriptor) -> str | None:
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
