"""From the tensors of a PyTorch model and its training parameters to the backend-independent tree."""

from __future__ import annotations

import re
from typing import Any

from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.readers.pytorch_mixtures import is_mixture, mixture_tree
from fastdp.model.readers.serialised import NEEDED

Tensors = dict[str, NDArray[Any]]

STANDARD_TYPES = ("standard", "ener", "dipole", "polar", "dos", "property")

SUB_MODULES = ("sea.", "seat.", "se_atten.", "")
"""What stands before a descriptor's tensors, by its kind."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "se_e2_a": {"activation_function": "tanh", "axis_neuron": 4},
    "se_e2_r": {"activation_function": "tanh"},
    "se_e3": {"activation_function": "tanh"},
    "se_atten": {
        "activation_function": "tanh", "axis_neuron": 4, "attn_layer": 2, "tebd_input_mode": "concat",
        "smooth_type_embedding": True, "concat_output_tebd": True,
    },
}  # fmt: skip
"""What DeePMD-kit 3 takes where a training input says nothing."""

CANONICAL = {"se_a": "se_e2_a", "se_r": "se_e2_r", "se_t": "se_e3", "se_at": "se_e3", "se_a_3be": "se_e3",
             "dpa1": "se_atten", "se_atten_v2": "se_atten"}  # fmt: skip


def model_tree(parameters: dict[str, Any], tensors: Tensors, source: str) -> dict[str, Any]:
    """Return the tree that DeePMD-kit's serialisation would hold.

    Parameters
    ----------
    parameters : dict
        Section "model" of the training input.
    tensors : dict of str to ndarray
        By their path within the atomic model.
    source : str
        The file, for messages.

    Raises
    ------
    ModelError
        If tensors are missing.
    UnsupportedModelError
        If the parameters describe a model that fastdp does not evaluate.
    """
    if is_mixture(parameters):
        return mixture_tree(parameters, tensors, source, _standard_tree)
    return _standard_tree(parameters, tensors, source)


def _standard_tree(parameters: dict[str, Any], tensors: Tensors, source: str) -> dict[str, Any]:
    if parameters.get("type", "standard") not in STANDARD_TYPES or is_mixture(parameters):
        raise UnsupportedModelError(
            f"{source}: found a model of type {parameters.get('type')!r:.40}, which fastdp does not "
            f"read from a "
            "PyTorch file"
        )
    descriptor, fitting = parameters.get("descriptor"), parameters.get("fitting_net")
    if not isinstance(descriptor, dict) or not isinstance(fitting, dict):
        raise ModelError(f"{source}: damaged: the model's parameters have no descriptor or no fitting_net")
    if parameters.get("spin") is not None:
        raise UnsupportedModelError(f"{source}: found atomic spins, which fastdp does not evaluate")
    return {
        "type": "standard",
        "type_map": parameters.get("type_map"),
        "atom_exclude_types": parameters.get("atom_exclude_types") or [],
        "pair_exclude_types": parameters.get("pair_exclude_types") or [],
        "@variables": {name: tensors[name] for name in ("out_bias", "out_std") if name in tensors},
        "descriptor": _descriptor(descriptor, tensors, "descriptor.", source),
        "fitting": _fitting(fitting, tensors, source),
    }


def _descriptor(parameters: dict[str, Any], tensors: Tensors, prefix: str, source: str) -> dict[str, Any]:
    kind = parameters.get("type", "se_e2_a")
    if kind == "hybrid":
        parts = parameters.get("list")
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise ModelError(f"{source}: damaged: the hybrid descriptor has no list")
        return {
            "type": "hybrid",
            "list": [
                _descriptor(part, tensors, f"{prefix}descrpt_list.{number}.", source)
                for number, part in enumerate(parts)
            ],
        }
    canonical = CANONICAL.get(str(kind), str(kind))
    if kind in NEEDED or canonical not in DEFAULTS:
        # Named and refused where descriptors are looked up.
        return {"type": kind}
    part = {**DEFAULTS[canonical], **{k: v for k, v in parameters.items() if v is not None}, "type": kind}
    root = next((prefix + sub for sub in SUB_MODULES if f"{prefix}{sub}mean" in tensors), None)
    if root is None:
        raise ModelError(f"{source}: damaged: the descriptor's statistics ({prefix}…mean) are missing")
    part["@variables"] = {"davg": tensors[f"{root}mean"], "dstd": tensors.get(f"{root}stddev")}
    if any(array.size for name, array in tensors.items() if name.startswith(f"{root}compress_data.")):
        part["compress"] = True
    activation = part["activation_function"]
    part["embeddings"] = _collection(tensors, f"{root}filter_layers.networks.", activation, source)
    n_types = _n_types(part["@variables"]["davg"])
    part["embeddings"]["ndim"] = _ndim(len(part["embeddings"]["networks"]), n_types, canonical, source)
    if canonical == "se_atten":
        if any(name.startswith(f"{root}filter_layers_strip.") for name in tensors):
            part["embeddings_strip"] = _collection(
                tensors, f"{root}filter_layers_strip.networks.", activation, source
            )
        part["type_embedding"] = {
            "use_econf_tebd": part.get("use_econf_tebd"),
            "embedding": {
                "layers": _layers(
                    tensors, f"{prefix}type_embedding.embedding.embedding_net.layers.", "linear", source,
                    last_is_linear=False,
                )
            },
        }  # fmt: skip
    return part


def _n_types(statistics: NDArray[Any]) -> int:
    return int(statistics.shape[0]) if statistics.ndim else 0


def _ndim(n_networks: int, n_types: int, kind: str, source: str) -> int:
    """Return how many types number a network: it is told by how many there are."""
    if kind == "se_atten":
        return 0
    if kind == "se_e3":
        return 2
    # A missing type_one_side means another thing in each version of DeePMD-kit; the number of networks does
    # not.
    for ndim in (1, 2):
        if n_networks == n_types**ndim:
            return ndim
    raise ModelError(f"{source}: damaged: {n_networks} embedding networks for {n_types} types")


def _collection(tensors: Tensors, prefix: str, activation: str, source: str) -> dict[str, Any]:
    numbers = _numbers(tensors, prefix)
    if numbers != list(range(len(numbers))) or not numbers:
        raise ModelError(f"{source}: damaged: the networks {prefix}… are not complete")
    return {
        "ndim": 0,
        "networks": [
            {"layers": _layers(tensors, f"{prefix}{n}.layers.", activation, source, last_is_linear=False)}
            for n in numbers
        ],
    }


def _layers(
    tensors: Tensors, prefix: str, activation: str, source: str, *, last_is_linear: bool
) -> list[dict[str, Any]]:
    numbers = _numbers(tensors, prefix)
    if numbers != list(range(len(numbers))) or not numbers:
        raise ModelError(f"{source}: damaged: the layers {prefix}… are not complete")
    layers = []
    for number in numbers:
        last = last_is_linear and number == numbers[-1]
        layers.append(
            {
                "activation_function": "linear" if last else activation,
                "resnet": not last,
                "@variables": {
                    "w": tensors.get(f"{prefix}{number}.matrix"),
                    "b": tensors.get(f"{prefix}{number}.bias"),
                    "idt": tensors.get(f"{prefix}{number}.idt"),
                },
            }
        )
    return layers


def _numbers(tensors: Tensors, prefix: str) -> list[int]:
    pattern = re.compile(re.escape(prefix) + r"(\d{1,6})\.")
    return sorted({int(match[1]) for name in tensors if (match := pattern.match(name))})


def _fitting(parameters: dict[str, Any], tensors: Tensors, source: str) -> dict[str, Any]:
    prefix = "fitting_net.filter_layers.networks."
    numbers = _numbers(tensors, prefix)
    activation = parameters.get("activation_function") or "tanh"
    part = {key: value for key, value in parameters.items() if value is not None}
    part.setdefault("type", "ener")
    variables = {
        name: tensors[f"fitting_net.{name}"]
        for name in (
            "bias_atom_e", "fparam_avg", "fparam_inv_std", "aparam_avg", "aparam_inv_std", "scale",
            "constant_matrix", "case_embd",
        )
        if f"fitting_net.{name}" in tensors
    }  # fmt: skip
    return {
        **part,
        "mixed_types": len(numbers) == 1,
        "nets": {
            "networks": [
                {"layers": _layers(tensors, f"{prefix}{n}.layers.", activation, source, last_is_linear=True)}
                for n in numbers
            ]
        },
        "@variables": variables,
    }
