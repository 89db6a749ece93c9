"""Fittings by their class: from descriptors to what a model gives for each atom, and back."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdp.model.description import Array, Network, ParameterInput
from fastdp.model.descriptors.registry import Described
from fastdp.model.networks import forward_with_pullback

FITTING_MODULES = ("dipole", "energy", "polar", "property")
"""Modules of this package; each registers what it evaluates."""


@dataclass(frozen=True)
class Fitted:
    """What a model gives for a batch of atoms of one type.

    Attributes
    ----------
    values : (n, C) float64
    pullback : callable
        From ∂L/∂values (n, C) to ∂L/∂D (n, width) and ∂L/∂ρ (n, K, 3) or None.
    """

    values: Array
    pullback: Callable[[Array], tuple[Array, Array | None]]


Fit = Callable[[Any, int, Described, Array], Fitted]


@dataclass(frozen=True)
class FittingKind:
    """The mathematics of a class of fittings.

    Attributes
    ----------
    fit : callable
        From the fitting, the centres' type, their descriptors and what the networks take besides them (n, m).
    n_components : callable
        Number of values of an atom.
    """

    fit: Fit
    n_components: Callable[[Any], int]


FITTINGS: dict[type, FittingKind] = {}


def fitting(kind: type, n_components: Callable[[Any], int]) -> Callable[[Fit], Fit]:
    """Register a function as the mathematics of a class of fittings."""

    def register(function: Fit) -> Fit:
        FITTINGS[kind] = FittingKind(function, n_components)
        return function

    return register


def fitting_kind(fitting: object) -> FittingKind:
    """Return the mathematics of a fitting."""
    if not FITTINGS:
        for module in FITTING_MODULES:
            importlib.import_module(f"fastdp.model.fittings.{module}")
    return FITTINGS[type(fitting)]


def network_values(
    network: Network, described: Described, parameters: Array
) -> tuple[Array, Callable[[Array], Array]]:
    """Return a network's values on descriptors with parameters, and the way back to ∂/∂D.

    Parameters
    ----------
    network : Network
    described : Described
    parameters : (n, m) float64

    Returns
    -------
    values : (n, n_out) float64
    pullback : callable
    """
    x = np.concatenate((described.d, parameters), axis=1) if parameters.shape[1] else described.d
    values, pull = forward_with_pullback(network, x)
    return values, lambda seed: pull(seed)[:, : described.d.shape[1]]


def scaled_parameters(inputs: ParameterInput, values: Array) -> Array:
    """Return (x − mean) · scale."""
    return (values - inputs.mean) * inputs.scale
