"""Networks of the serialisation."""

from __future__ import annotations

import numpy as np

from fastdp.model.activations import ACTIVATIONS, register_silut
from fastdp.model.description import DenseLayer, Network
from fastdp.model.readers.graph_networks import embedding_shortcut
from fastdp.model.readers.serialised import SerialisedModel


def activation_name(model: SerialisedModel, name: object) -> str:
    """Return fastdp's name of an activation function.

    Raises
    ------
    UnsupportedModelError
        If it is not known.
    """
    text = str(name).lower() if name is not None else "linear"
    if text in ("none", "linear"):
        return "linear"
    if text == "gelu_tf":
        # Only TensorFlow's own graphs hold its coefficient in float32.
        return "gelu"
    kind, _, threshold = text.partition(":")
    if kind in ("silut", "custom_silu"):
        try:
            value = float(threshold) if threshold else 3.0
        except ValueError:
            value = np.nan
        if np.isfinite(value):
            return register_silut(value)
    if text in ACTIVATIONS:
        return text
    raise model.unsupported(
        f"the activation function {text!r:.40}, which fastdp does not know; it knows {', '.join(ACTIVATIONS)}"
    )


def read_network(model: SerialisedModel, part: object, n_in: int) -> Network:
    """Read a network; every layer may have a shortcut by its widths, the first too.

    Parameters
    ----------
    model : SerialisedModel
    part : dict
        With "layers".
    n_in : int
        Width of the input.
    """
    if not isinstance(part, dict):
        raise model.damaged("a network is missing")
    layers = []
    for entry in model.entries(part, "layers"):
        if not isinstance(entry, dict):
            raise model.damaged("a layer is no table")
        weight = model.array(entry, "w")
        if weight.ndim != 2 or weight.shape[0] != n_in or weight.shape[1] == 0:
            raise model.damaged(
                f"a layer's matrix has the shape {weight.shape}, but its input is {n_in} wide"
            )
        n_out = weight.shape[1]
        bias = model.optional_array(entry, "b")
        timestep = model.optional_array(entry, "idt")
        for vector in (bias, timestep):
            if vector is not None and vector.size != n_out:
                raise model.damaged(f"a layer {n_out} wide has a vector of {vector.size} numbers")
        layers.append(
            DenseLayer(
                weight,
                np.zeros(n_out) if bias is None else bias.ravel(),
                None if timestep is None else timestep.ravel(),
                activation_name(model, entry.get("activation_function", part.get("activation_function"))),
                embedding_shortcut(0, n_in, n_out) if model.flag(entry, "resnet", False) else "none",
            )
        )
        n_in = n_out
    if not layers:
        raise model.damaged("a network has no layers")
    return Network(tuple(layers))
