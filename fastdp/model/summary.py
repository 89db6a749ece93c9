"""What a user wants to know of a model file, as lines of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from fastdp.model.description import Array, DeepPotential, EnergyFitting, Network


def summarise(description: DeepPotential) -> list[tuple[str, str]]:
    """Return what a model is, as labels and values in the order to show.

    Parameters
    ----------
    description : DeepPotential

    Returns
    -------
    list of (str, str)
    """
    descriptor, fitting, origin = description.descriptor, description.fitting, description.origin
    names = description.type_names
    embedding = _distinct(network for row in descriptor.embedding for network in row)
    fittings = _distinct(fitting.networks)
    lines = [
        ("file", origin.path),
        ("format", origin.file_format),
        ("graph version", origin.version),
        ("atom types", ", ".join(names)),
        ("descriptor", f"{descriptor.kind}, {'one' if descriptor.type_one_side else 'two'}-sided networks"),
        ("cutoff", f"{descriptor.cutoff:g} Å, smooth from {descriptor.switch.inner:g} Å"),
        ("neighbours at most", _by_name(names, (str(number) for number in descriptor.selection))),
        ("embedding networks", _networks(embedding)),
        ("axis neurons", str(descriptor.axis_neurons)),
        ("excluded pairs", ", ".join(_excluded_pairs(description)) or "none"),
        ("fitting networks", _networks(fittings)),
        ("energy shifts", f"{_by_name(names, (f'{shift:.6g}' for shift in _energy_shifts(fitting)))} eV"),
        ("parameters", str(sum(network.n_parameters for network in (*embedding, *fittings)))),
        ("trained in", description.precision),
    ]
    vacuum = [name for name, subtracted in zip(names, fitting.subtract_vacuum, strict=True) if subtracted]
    if vacuum:
        lines.append(("zero in vacuum", ", ".join(vacuum)))
    if description.shortest_trained_distance is not None:
        lines.append(("shortest distance in training", f"{description.shortest_trained_distance:.4g} Å"))
    lines += [("note", note) for note in origin.notes]
    return [*lines, ("file SHA-256", origin.sha256), ("fingerprint", description.fingerprint)]


def _energy_shifts(fitting: EnergyFitting) -> Array:
    """Return the constant part of each type's energy; old graphs keep it in the last layer."""
    return fitting.bias + np.array([network.layers[-1].bias[0] for network in fitting.networks])


def _distinct(networks: Iterable[Network | None]) -> list[Network]:
    """Return each network object once; one-sided models use the same for several pairs."""
    return list({id(network): network for network in networks if network is not None}.values())


def _networks(networks: list[Network]) -> str:
    shapes = dict.fromkeys(_shape(network) for network in networks)
    return f"{len(networks)} of {', '.join(shapes)}"


def _shape(network: Network) -> str:
    widths = "-".join(str(layer.n_out) for layer in network.layers)
    activations = ", ".join(dict.fromkeys(layer.activation for layer in network.layers[:-1]))
    activations = activations or network.layers[-1].activation
    timesteps = " with timesteps" if any(layer.timestep is not None for layer in network.layers) else ""
    return f"{network.n_in} → {widths} ({activations}{timesteps})"


def _by_name(names: tuple[str, ...], values: Iterable[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _excluded_pairs(description: DeepPotential) -> Iterator[str]:
    names = description.type_names
    for alpha, row in enumerate(description.descriptor.embedding):
        for beta, network in enumerate(row):
            if network is None and alpha <= beta:
                yield f"{names[alpha]}–{names[beta]}"
