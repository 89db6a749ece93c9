"""Combinations of a network and tables of pairs in PyTorch files, as the backend-independent tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError

Tensors = dict[str, NDArray[Any]]

StandardTree = Callable[[dict[str, Any], Tensors, str], dict[str, Any]]

SOFTNESS_A = 0.1
"""Å; DeePMD-kit's PyTorch backend takes this, whatever `smin_alpha` says."""


def is_mixture(parameters: dict[str, Any]) -> bool:
    """Return whether a model's parameters are those of a combination."""
    return "use_srtab" in parameters or "models" in parameters


def mixture_tree(
    parameters: dict[str, Any], tensors: Tensors, source: str, standard: StandardTree
) -> dict[str, Any]:
    """Return the tree that DeePMD-kit's serialisation would hold.

    Parameters
    ----------
    parameters : dict
        Section "model" of the training input.
    tensors : dict of str to ndarray
        By their path within the atomic model.
    source : str
        The file, for messages.
    standard : callable
        From parameters, tensors and source to the tree of a single network.

    Raises
    ------
    ModelError
        If tensors are missing.
    """
    outer = {
        "type_map": parameters.get("type_map"),
        "atom_exclude_types": parameters.get("atom_exclude_types") or [],
        "pair_exclude_types": parameters.get("pair_exclude_types") or [],
        "@variables": {name: tensors[name] for name in ("out_bias", "out_std") if name in tensors},
    }
    if "use_srtab" not in parameters:
        entries = parameters["models"]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ModelError(f"{source}: damaged: models is no list of tables")
        if "shared_dict" in parameters:
            raise UnsupportedModelError(
                f"{source}: found networks with shared parameters (shared_dict) in a combination of models, "
                "which fastdp does not evaluate; train them apart"
            )
        parts = []
        for number, entry in enumerate(entries):
            own = {"type_map": outer["type_map"], **entry}
            within = _within(tensors, number)
            parts.append(
                standard(own, within, source) if "descriptor" in entry else _table(own, within, source)
            )
        return {**outer, "type": "linear", "models": parts, "weights": parameters.get("weights", "mean")}
    network = {
        key: value
        for key, value in parameters.items()
        if key not in ("use_srtab", "type", "atom_exclude_types", "pair_exclude_types")
    }
    descriptor = parameters.get("descriptor")
    neighbours = descriptor if isinstance(descriptor, dict) else {}
    own = {
        "type": "pairtab",
        "type_map": outer["type_map"],
        "rcut": neighbours.get("rcut"),
        "sel": neighbours.get("sel"),
    }
    return {
        **outer,
        "type": "zbl",
        "models": [
            standard(network, _within(tensors, 0), source),
            _table(own, _within(tensors, 1), source),
        ],
        "sw_rmin": parameters.get("sw_rmin"),
        "sw_rmax": parameters.get("sw_rmax"),
        "smin_alpha": SOFTNESS_A,
    }


def _within(tensors: Tensors, number: int) -> Tensors:
    prefix = f"models.{number}."
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _table(parameters: dict[str, Any], tensors: Tensors, source: str) -> dict[str, Any]:
    if parameters.get("type") != "pairtab":
        # Named and refused where the tree is read.
        return {"type": parameters.get("type")}
    info = tensors.get("tab_info")
    if info is None or info.size != 4 or "tab_data" not in tensors:
        raise ModelError(f"{source}: damaged: the tensors of a pair table (tab_info, tab_data) are missing")
    start, spacing, intervals, _ = (float(number) for number in info.ravel())
    return {
        "type": "pairtab",
        "type_map": parameters.get("type_map"),
        "rcut": parameters.get("rcut"),
        "sel": parameters.get("sel"),
        "tab": {
            "rmin": start,
            "hh": spacing,
            "nspline": int(intervals + 0.1) if 0.0 < intervals < 1e9 else 0,
            "@variables": {"tab_data": tensors["tab_data"]},
        },
    }
