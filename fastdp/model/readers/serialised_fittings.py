"""Fittings of the serialisation, by their "type"."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdp.model.description import (
    Array,
    DipoleFitting,
    EnergyFitting,
    Network,
    ParameterInput,
    PolarFitting,
    PropertyFitting,
)
from fastdp.model.networks import with_constant_inputs
from fastdp.model.readers.serialised import FittingContext, SerialisedModel, fitting_reader
from fastdp.model.readers.serialised_networks import read_network
from fastdp.model.spin import muted


def _networks(
    model: SerialisedModel, part: dict[str, Any], context: FittingContext, *, zero_embedding: bool = False
) -> tuple[Network, ...]:
    """Return a network for each type of centre, with its type embedding written into it."""
    refuse(model, part)
    n_types = len(model.type_names)
    n_te = sum(table.shape[1] for _, table in context.constants)
    frame, atom = _parameters(model, part)
    case = _case_embedding(model, part)
    n_in = context.descriptor.width + n_te + frame.size + atom.size + len(case)
    entries = model.entries(model.table(part, "nets"), "networks")
    if len(entries) not in (1, n_types):
        raise model.damaged(f"{len(entries)} fitting networks for {n_types} types")
    read = [read_network(model, entry, n_in) for entry in entries]
    networks = []
    for alpha in range(n_types):
        network = read[alpha if len(read) > 1 else 0]
        if len(case):
            network = with_constant_inputs(network, n_in - len(case), case)
        # The last first: the columns of the others stay where they are.
        for column, table in reversed(context.constants):
            values = np.zeros(table.shape[1]) if zero_embedding else table[alpha]
            network = with_constant_inputs(network, column, values)
        networks.append(network)
    return tuple(networks)


def refuse(model: SerialisedModel, part: dict[str, Any]) -> None:
    """Refuse what changes the meaning of a fitting and is not evaluated.

    Raises
    ------
    UnsupportedModelError
        Naming it.
    """
    if part.get("tot_ener_zero"):
        raise model.unsupported(
            "energies shifted to zero (tot_ener_zero), which fastdp does not evaluate: it would need the "
            "mean over the frame in each atom's energy"
        )


def _case_embedding(model: SerialisedModel, part: dict[str, Any]) -> Array:
    """Return what tells the heads of a multi-task model apart, the last inputs of the fitting's networks."""
    n = model.count(part, "dim_case_embd", 0)
    return model.array(part, "case_embd", (n,)) if n else np.zeros(0)


def _parameters(model: SerialisedModel, part: dict[str, Any]) -> tuple[ParameterInput, ParameterInput]:
    n_frame, n_atom = model.count(part, "numb_fparam", 0), model.count(part, "numb_aparam", 0)
    if model.flag(part, "use_aparam_as_mask"):
        n_atom = 0
    default = part.get("default_fparam")
    values = None
    if isinstance(default, list) and n_frame:
        values = np.array(default, dtype=np.float64)
        if values.shape != (n_frame,) or not np.isfinite(values).all():
            raise model.damaged(f"default_fparam is {default!r:.60}")
    return (
        ParameterInput(
            model.array(part, "fparam_avg", (n_frame,)) if n_frame else np.zeros(0),
            model.array(part, "fparam_inv_std", (n_frame,)) if n_frame else np.zeros(0),
            values,
        ),
        ParameterInput(
            model.array(part, "aparam_avg", (n_atom,)) if n_atom else np.zeros(0),
            model.array(part, "aparam_inv_std", (n_atom,)) if n_atom else np.zeros(0),
        ),
    )


def _silent_in_fitting(model: SerialisedModel, part: dict[str, Any]) -> list[int]:
    types = part.get("exclude_types") or []
    n_types = len(model.type_names)
    if not isinstance(types, list) or not all(isinstance(t, int) and 0 <= t < n_types for t in types):
        raise model.damaged(f"exclude_types of the fitting is {types!r:.60}")
    return list(types)


def _bias(model: SerialisedModel, part: dict[str, Any], width: int) -> Array:
    n_types = len(model.type_names)
    value = model.optional_array(part, "bias_atom_e")
    return np.zeros((n_types, width)) if value is None else model.array(part, "bias_atom_e", (n_types, width))


def _out(model: SerialisedModel, name: str, default: float, width: int) -> Array:
    """Return out_bias or out_std, (n_types, width)."""
    n_types = len(model.type_names)
    tree = model.tree
    if "@variables" not in tree or model.optional_array(tree, name) is None:
        return np.full((n_types, width), default)
    return model.array(tree, name, (n_types, width))


@fitting_reader("ener", "direct_force_ener")
def _energy(model: SerialisedModel, part: dict[str, Any], context: FittingContext) -> EnergyFitting:
    networks = _networks(model, part, context)
    _check_widths(model, networks, 1)
    n_types = len(networks)
    bias = _bias(model, part, 1)[:, 0]
    vacuum = np.zeros(n_types, dtype=bool)
    vacuum_networks = None
    wanted = part.get("atom_ener")
    if isinstance(wanted, list) and any(value is not None for value in wanted):
        mixed = model.flag(part, "mixed_types")
        vacuum[:] = [mixed or t >= len(wanted) or wanted[t] is not None for t in range(n_types)]
        if context.constants:
            vacuum_networks = _networks(model, part, context, zero_embedding=True)
    silent = _silent_in_fitting(model, part)
    bias[silent] = 0.0
    bias = bias + _out(model, "out_bias", 0.0, 1)[:, 0]
    bias[context.silent] = 0.0
    off = context.silent.copy()
    off[silent] = True
    vacuum &= ~off
    frame, atom = _parameters(model, part)
    return EnergyFitting(
        tuple(muted(net) if off[t] else net for t, net in enumerate(networks)),
        bias,
        vacuum,
        frame,
        atom,
        vacuum_networks,
    )


def _check_widths(model: SerialisedModel, networks: tuple[Network, ...], *widths: int) -> int:
    found = {network.n_out for network in networks}
    if len(found) != 1 or not found <= set(widths):
        raise model.damaged(f"its fitting networks give {sorted(found)} numbers, not {widths}")
    return found.pop()


def _off(model: SerialisedModel, part: dict[str, Any], context: FittingContext) -> list[bool]:
    muted = set(_silent_in_fitting(model, part))
    return [bool(context.silent[t]) or t in muted for t in range(len(model.type_names))]


def _channels(model: SerialisedModel, context: FittingContext) -> int:
    channels = getattr(context.descriptor, "n_channels", None)
    if channels is None:
        parts = getattr(context.descriptor, "parts", ())
        if not parts or any(not hasattr(found, "n_channels") for found in parts):
            raise model.unsupported("a dipole or polarizability on a descriptor without directions")
        channels = sum(found.n_channels for found in parts)
    return int(channels)


@fitting_reader("dipole")
def _dipole(model: SerialisedModel, part: dict[str, Any], context: FittingContext) -> DipoleFitting:
    networks = _networks(model, part, context)
    width = _check_widths(model, networks, _channels(model, context))
    # The atomic model of dipoles does not apply its out_bias.
    off = _off(model, part, context)
    frame, atom = _parameters(model, part)
    return DipoleFitting(
        tuple(None if off[t] else net for t, net in enumerate(networks)),
        _bias(model, part, width),
        frame,
        atom,
    )


@fitting_reader("polar")
def _polar(model: SerialisedModel, part: dict[str, Any], context: FittingContext) -> PolarFitting:
    networks = _networks(model, part, context)
    channels = _channels(model, context)
    diagonal = model.flag(part, "fit_diag", True)
    width = _check_widths(model, networks, channels if diagonal else channels**2)
    n_types = len(networks)
    scale = model.optional_array(part, "scale")
    scale = np.ones(n_types) if scale is None else model.array(part, "scale", (n_types,))
    shift = np.zeros(n_types)
    if model.flag(part, "shift_diag", True):
        out_bias = _out(model, "out_bias", 0.0, 9).reshape(n_types, 3, 3)
        shift = np.trace(out_bias, axis1=1, axis2=2) / 3.0
        constant = model.optional_array(part, "constant_matrix")
        # PyTorch's forward pass does not use its constant_matrix.
        if constant is not None and not model.from_pytorch:
            shift = shift + model.array(part, "constant_matrix", (n_types,))
    off = _off(model, part, context)
    frame, atom = _parameters(model, part)
    return PolarFitting(
        tuple(None if off[t] else net for t, net in enumerate(networks)),
        diagonal,
        0.5,
        scale,
        scale * shift,
        frame,
        atom,
        _bias(model, part, width),
    )


@fitting_reader("dos", "property")
def _property(model: SerialisedModel, part: dict[str, Any], context: FittingContext) -> PropertyFitting:
    networks = _networks(model, part, context)
    width = networks[0].n_out
    _check_widths(model, networks, width)
    is_property = part["type"] == "property"
    scale = _out(model, "out_std", 1.0, width) if is_property else np.ones((len(networks), width))
    bias = _bias(model, part, width) * scale + _out(model, "out_bias", 0.0, width)
    off = _off(model, part, context)
    frame, atom = _parameters(model, part)
    return PropertyFitting(
        tuple(None if off[t] else net for t, net in enumerate(networks)),
        scale,
        bias,
        is_property and model.flag(part, "intensive"),
        frame,
        atom,
        kind="dos" if not is_property else str(part.get("property_name", part.get("var_name", "property"))),
    )
