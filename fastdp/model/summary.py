"""What a user wants to know of a model file, as lines of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import singledispatch
from typing import Any

import numpy as np

from fastdp.model.description import (
    DeepPotential,
    EnergyFitting,
    HybridDescriptor,
    LocFrameDescriptor,
    Network,
    PolarFitting,
    PropertyFitting,
    SeE2ADescriptor,
    SeE2RDescriptor,
    SeE3Descriptor,
    StrippedEmbedding,
    TabulatedNetwork,
)
from fastdp.model.pair_part import PairPart
from fastdp.model.spin import with_partner_types
from fastdp.model.suitability import why_not_compressed, why_not_on_gpu

Lines = list[tuple[str, str]]


def summarise(description: DeepPotential) -> Lines:
    """Return what a model is, as labels and values in the order to show.

    Parameters
    ----------
    description : DeepPotential

    Returns
    -------
    list of (str, str)
    """
    fitting, origin = description.fitting, description.origin
    names = description.type_names
    fittings = _distinct(fitting.networks)
    embeddings = list(_embeddings(description.descriptor))
    lines = [
        ("file", origin.path),
        ("format", origin.file_format),
        ("graph version", origin.version),
        ("atom types", ", ".join(names)),
        ("gives", _gives(fitting)),
        *descriptor_lines(description.descriptor, _described_names(description)),
        ("fitting networks", _networks(fittings, len(fitting.networks))),
        *fitting_lines(fitting, names),
        *_pair_lines(description.pair_part),
        *_spin_lines(description),
        ("parameters", str(_number_of_parameters(description, (*embeddings, *fittings)))),
        ("trained in", _PRECISION[description.precision]),
        ("compressed by its trainer", _compressed(description, embeddings)),
    ]
    lines += _backends(description)
    if description.shortest_trained_distance is not None:
        lines.append(("shortest distance in training", f"{description.shortest_trained_distance:.4g} Å"))
    lines += [("note", note) for note in origin.notes]
    return [*lines, ("file SHA-256", origin.sha256), ("fingerprint", description.fingerprint)]


def _backends(description: DeepPotential) -> Lines:
    """Return whether a model is compressed, divided among ranks, and evaluated on a GPU."""
    reasons = [
        ("compressed", why_not_compressed(description)),
        ("over ranks", _why_not_over_ranks(description)),
        ("on a GPU", why_not_on_gpu(description)),
    ]
    return [(label, "yes" if reason is None else f"no: the model {reason}") for label, reason in reasons]


def _why_not_over_ranks(description: DeepPotential) -> str | None:
    fitting, parts = description.fitting, getattr(description.descriptor, "parts", (description.descriptor,))
    if not isinstance(fitting, EnergyFitting):
        return f"gives no energies, but {fitting.kind}"
    if any(getattr(part, "depends_on_first_atom", False) for part in parts):
        return "gives its empty slots the type of the first atom, which only one rank has"
    return None


_PRECISION = {
    "float64": "float64",
    "float32": "float32",
    "float16": "float16 in part (fastdp evaluates in float64 and differs by the trainer's rounding)",
}


@singledispatch
def descriptor_lines(descriptor: Any, names: tuple[str, ...]) -> Lines:
    """Return what a descriptor is; a new kind registers a function here.

    Parameters
    ----------
    descriptor : Descriptor
    names : tuple of str
        Of the types.
    """
    return [("descriptor", descriptor.kind), ("cutoff", f"{descriptor.cutoff:g} Å")]


@descriptor_lines.register
def _(descriptor: SeE2ADescriptor, names: tuple[str, ...]) -> Lines:
    excluded = [
        f"{names[alpha]}–{names[beta]}"
        for alpha, row in enumerate(descriptor.embedding)
        for beta, network in enumerate(row)
        if network is None and alpha <= beta
    ]
    return [
        ("descriptor", f"{descriptor.kind}, {_sides(descriptor)} networks"),
        *_radii(descriptor),
        ("neighbours at most", _selection(descriptor, names)),
        ("embedding networks", _networks(list(_embeddings(descriptor)))),
        ("axis neurons", str(descriptor.axis_neurons)),
        ("excluded pairs", ", ".join(excluded) or "none"),
    ]


@descriptor_lines.register
def _(descriptor: SeE2RDescriptor, names: tuple[str, ...]) -> Lines:
    return [
        ("descriptor", f"{descriptor.kind}, {_sides(descriptor)} networks"),
        *_radii(descriptor),
        ("neighbours at most", _selection(descriptor, names)),
        ("embedding networks", _networks(list(_embeddings(descriptor)))),
    ]


@descriptor_lines.register
def _(descriptor: SeE3Descriptor, names: tuple[str, ...]) -> Lines:
    return [
        ("descriptor", f"{descriptor.kind}, three-body"),
        *_radii(descriptor),
        ("neighbours at most", _selection(descriptor, names)),
        ("embedding networks", _networks(list(_embeddings(descriptor)))),
    ]


@descriptor_lines.register
def _(descriptor: LocFrameDescriptor, names: tuple[str, ...]) -> Lines:
    return [
        ("descriptor", f"{descriptor.kind}, {descriptor.width} components in local frames"),
        ("cutoff", f"{descriptor.cutoff:g} Å, sharp"),
        ("neighbours with direction", _by_name(names, (str(n) for n in descriptor.full_selection))),
        ("neighbours without", _by_name(names, (str(n) for n in descriptor.radial_selection))),
    ]


@descriptor_lines.register
def _(descriptor: HybridDescriptor, names: tuple[str, ...]) -> Lines:
    lines = [("descriptor", f"hybrid of {', '.join(part.kind for part in descriptor.parts)}")]
    for number, part in enumerate(descriptor.parts, start=1):
        lines += [(f"{label} ({number})", value) for label, value in descriptor_lines(part, names)]
    return lines


@singledispatch
def fitting_lines(fitting: Any, names: tuple[str, ...]) -> Lines:
    """Return what a fitting is besides its networks; a new kind registers a function here.

    Parameters
    ----------
    fitting : Fitting
    names : tuple of str
        Of the types.
    """
    return _parameter_lines(fitting)


@fitting_lines.register
def _(fitting: EnergyFitting, names: tuple[str, ...]) -> Lines:
    # Old graphs keep the constant part of each type's energy in the last layer.
    shifts = fitting.bias + np.array([network.layers[-1].bias[0] for network in fitting.networks])
    lines = [("energy shifts", f"{_by_name(names, (f'{shift:.6g}' for shift in shifts))} eV")]
    vacuum = [name for name, subtracted in zip(names, fitting.subtract_vacuum, strict=True) if subtracted]
    if vacuum:
        lines.append(("zero in vacuum", ", ".join(vacuum)))
    return [*lines, *_parameter_lines(fitting)]


@fitting_lines.register
def _(fitting: PolarFitting, names: tuple[str, ...]) -> Lines:
    form = "diagonal" if fitting.diagonal else "full"
    return [("polarizability", f"{form} matrices"), *_parameter_lines(fitting)]


def _parameter_lines(fitting: Any) -> Lines:
    lines = []
    if fitting.frame_parameters.size:
        default = fitting.frame_parameters.default
        given = "no default" if default is None else f"default {', '.join(f'{x:g}' for x in default)}"
        lines.append(("frame parameters (fparam)", f"{fitting.frame_parameters.size}, {given}"))
    if fitting.atom_parameters.size:
        lines.append(("atomic parameters (aparam)", str(fitting.atom_parameters.size)))
    without = sum(network is None for network in fitting.networks)
    if without:
        lines.append(("types without values", str(without)))
    return lines


def _pair_lines(part: PairPart | None) -> Lines:
    if part is None:
        return []
    tables = ", ".join(
        f"{table.start:g} to {table.end:g} Å in {table.n_intervals} intervals" for table in part.tables
    )
    if part.switch is None:
        return [("pair tables, added", tables)]
    switch = part.switch
    return [
        ("pair table, at short range", tables),
        (
            "switch to the table",
            f"where the nearest neighbour (soft minimum, {switch.softness:g} Å) comes from "
            f"{switch.outer:g} to {switch.inner:g} Å",
        ),
    ]


def _described_names(description: DeepPotential) -> tuple[str, ...]:
    """Return the names of the types that the descriptor knows."""
    return (description if description.spin is None else with_partner_types(description)).type_names


def _spin_lines(description: DeepPotential) -> Lines:
    if description.spin is None:
        return []
    scales = (f"{scale:g} Å by unit of spin" for scale in description.spin.scale)
    named = zip(description.type_names, scales, strict=False)
    return [("spins", ", ".join(f"{name} (partner at {scale})" for name, scale in named))]


def _gives(fitting: Any) -> str:
    if isinstance(fitting, PropertyFitting):
        return f"{fitting.kind}, {fitting.scale.shape[1]} numbers, {'mean' if fitting.intensive else 'sum'}"
    return str(fitting.kind)


def _sides(descriptor: Any) -> str:
    return "one-sided" if descriptor.type_one_side else "two-sided"


def _radii(descriptor: Any) -> Lines:
    protection = f", with 1/(r + {descriptor.protection:g} Å)" if descriptor.protection else ""
    return [("cutoff", f"{descriptor.cutoff:g} Å, smooth from {descriptor.switch.inner:g} Å{protection}")]


def _selection(descriptor: Any, names: tuple[str, ...]) -> str:
    if len(descriptor.selection) != len(names):
        return f"{descriptor.selection[0]} of all types"
    return _by_name(names, (str(number) for number in descriptor.selection))


def _embeddings(descriptor: Any) -> Iterator[Network | TabulatedNetwork]:
    """Yield each network object once; one-sided models use the same for several pairs."""
    for part in getattr(descriptor, "parts", (descriptor,)):
        found = (net for row in getattr(part, "embedding", ()) for net in row)
        yield from _distinct(net.network if isinstance(net, StrippedEmbedding) else net for net in found)


def _number_of_parameters(description: DeepPotential, networks: Iterable[Any]) -> int:
    known = description.origin.n_parameters
    return sum(network.n_parameters for network in networks) if known is None else known


def _distinct(networks: Iterable[Any]) -> list[Any]:
    return list({_identity(network): network for network in networks if network is not None}.values())


def _identity(network: Any) -> object:
    """Return the same for networks that are one: those of types differ in what the type adds at the start."""
    if not isinstance(network, Network) or len(network.layers) < 3:
        return id(network)
    return tuple(layer.weight.tobytes() for layer in network.layers[-2:])


def _compressed(description: DeepPotential, embeddings: list[Any]) -> str:
    if any(_is_table(found) for found in embeddings):
        return "yes"
    by_note = any("dp compress" in note for note in description.origin.notes)
    return "yes, with its networks" if by_note else "no"


def _is_table(network: object) -> bool:
    return isinstance(network, TabulatedNetwork)


def _networks(networks: list[Any], n_types: int = 1) -> str:
    shapes = dict.fromkeys(_shape(network) for network in networks)
    for_all = " for all types" if len(networks) == 1 < n_types else ""
    return f"{len(networks)} of {', '.join(shapes)}{for_all}"


def _shape(network: Any) -> str:
    if isinstance(network, TabulatedNetwork):
        return f"1 → {network.n_out} (table of {len(network.coefficients)} intervals)"
    widths = "-".join(str(layer.n_out) for layer in network.layers)
    activations = ", ".join(dict.fromkeys(layer.activation for layer in network.layers[:-1]))
    activations = activations or network.layers[-1].activation
    timesteps = " with timesteps" if any(layer.timestep is not None for layer in network.layers) else ""
    return f"{network.n_in} → {widths} ({activations}{timesteps})"


def _by_name(names: tuple[str, ...], values: Iterable[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
