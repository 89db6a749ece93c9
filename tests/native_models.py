"""Small random models with other descriptors than se_e2_a, in DeePMD-kit's serialisation (JSON).

from native_models import NATIVE, write_native
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

GAIN = 8.0


@dataclass(frozen=True)
class Part:
    """A descriptor; `axis_neurons` is for se_e2_a."""

    kind: str
    cutoff: float = 4.2
    inner: float = 1.1
    selection: tuple[int, ...] = (24, 48)
    neurons: tuple[int, ...] = (4, 8, 16)
    axis_neurons: int = 4
    one_sided: bool = True
    exclude_types: tuple[tuple[int, int], ...] = ()
    average: float = 0.1
    activation: str = "tanh"
    protection: float = 0.0


@dataclass(frozen=True)
class NativeModel:
    """Descriptors (several make a hybrid) and a fitting."""

    parts: tuple[Part, ...]
    type_names: tuple[str, ...] = ("O", "H")
    fitting: tuple[int, ...] = (12, 12, 12)
    pair_exclude_types: tuple[tuple[int, int], ...] = ()
    n_frame_parameters: int = 0
    atom_ener: tuple[float, ...] | None = None
    seed: int = 1


NATIVE: dict[str, NativeModel] = {
    "se_e2_r": NativeModel((Part("se_r"),)),
    "se_e2_r two-sided": NativeModel((Part("se_r", one_sided=False, protection=0.1),)),
    "se_e2_r of one type": NativeModel((Part("se_r", selection=(40,)),), type_names=("Cu",)),
    # The first layer of the fitting network adds its input, twice over.
    "se_e2_r with a shortcut": NativeModel((Part("se_r", neurons=(3, 6)),)),
    "se_e2_r without O-H": NativeModel((Part("se_r"),), pair_exclude_types=((0, 1),)),
    "se_e2_r with parameters": NativeModel((Part("se_r"),), n_frame_parameters=2),
    "two of se_e2_a": NativeModel((Part("se_e2_a"), Part("se_e2_a", 3.2, 0.6, one_sided=False))),
    "se_e2_a and se_e2_r": NativeModel((Part("se_e2_a", 3.4, 0.8), Part("se_r"))),
    "two of se_e2_r": NativeModel((Part("se_r", 3.4, 0.8), Part("se_r", activation="gelu"))),
    "hybrid without O-H": NativeModel((Part("se_e2_a"), Part("se_r", 3.4)), pair_exclude_types=((0, 1),)),
    "se_e2_a without O-H": NativeModel((Part("se_e2_a"),), pair_exclude_types=((0, 1),)),
    "se_e3": NativeModel((Part("se_e3", 3.4, 0.8),)),
    "se_e3 of three types": NativeModel(
        (Part("se_e3", 3.4, 0.8, selection=(16, 16, 16)),), type_names=("O", "H", "Cu")
    ),
    "se_e3 with protection": NativeModel((Part("se_e3", 3.4, 0.8, protection=0.2),)),
    "se_e3 without O-H": NativeModel((Part("se_e3", 3.4, 0.8, exclude_types=((0, 1),)),)),
    "se_e2_a and se_e3": NativeModel((Part("se_e2_a"), Part("se_e3", 3.4, 0.8, neurons=(4, 8)))),
    "se_e2_r and se_e3": NativeModel((Part("se_r"), Part("se_e3", 3.4, 0.8))),
}


def write_native(name: str, path: Path) -> Path:
    """Write a model of `NATIVE` and return where it is."""
    path.write_text(json.dumps(_Writer(NATIVE[name]).tree()))
    return path


class _Writer:
    def __init__(self, model: NativeModel) -> None:
        self.model = model
        self.n_types = len(model.type_names)
        self.generator = np.random.default_rng(model.seed)

    def tree(self) -> dict[str, Any]:
        model, n = self.model, self.n_types
        parts = [self._descriptor(part) for part in model.parts]
        hybrid = {"@class": "Descriptor", "type": "hybrid", "@version": 1, "list": parts}
        width = sum(_width(part) for part in model.parts)
        return {
            "software": "deepmd-kit",
            "version": "3.2.0",
            "model": {
                "type_map": list(model.type_names),
                "atom_exclude_types": [],
                "pair_exclude_types": [list(pair) for pair in model.pair_exclude_types],
                "@class": "Model",
                "type": "standard",
                "@variables": {
                    "out_bias": array(np.zeros((1, n, 1))),
                    "out_std": array(np.ones((1, n, 1))),
                },
                "descriptor": parts[0] if len(parts) == 1 else hybrid,
                "fitting": self._fitting(width),
            },
        }

    def _descriptor(self, part: Part) -> dict[str, Any]:
        n, slots = self.n_types, sum(part.selection)
        columns = 1 if part.kind == "se_r" else 4
        ndim = 2 if part.kind == "se_e3" or not part.one_sided else 1
        average = np.zeros((n, slots, columns))
        if part.kind != "se_e3":
            average[:, :, 0] = part.average
        spread = np.full((n, slots, columns), 0.25)
        networks: list[Any] = [self._network(1, part.neurons, part.activation) for _ in range(n**ndim)]
        return {
            "@class": "Descriptor",
            "type": part.kind,
            "@version": 2,
            "rcut": part.cutoff,
            "rcut_smth": part.inner,
            "sel": list(part.selection),
            "neuron": list(part.neurons),
            "axis_neuron": part.axis_neurons,
            "type_one_side": part.one_sided,
            "exclude_types": [list(pair) for pair in part.exclude_types],
            "env_protection": part.protection,
            "set_davg_zero": False,
            "activation_function": part.activation,
            "precision": "float64",
            "env_mat": {
                "rcut": part.cutoff,
                "rcut_smth": part.inner,
                "protection": part.protection,
                "use_exp_switch": False,
            },
            "embeddings": {"ndim": ndim, "ntypes": n, "networks": networks},
            "@variables": {"davg": array(average), "dstd": array(spread)},
        }

    def _fitting(self, width: int) -> dict[str, Any]:
        model, n = self.model, self.n_types
        parameters = model.n_frame_parameters
        networks = []
        for _ in range(n):
            network = self._network(width + parameters, model.fitting, "tanh", timestep=True)
            first = network["layers"][0]["@variables"]["w"]
            # D is a mean over slots, and small: forces of some 0.1 eV/Å need larger weights.
            first["value"] = (GAIN * np.array(first["value"])).tolist()
            network["layers"].append(self._layer(model.fitting[-1], 1, "linear", resnet=False))
            networks.append(network)
        mean = array(np.zeros(parameters)) if parameters else None
        scale = array(np.ones(parameters)) if parameters else None
        return {
            "@class": "Fitting",
            "type": "ener",
            "@version": 4,
            "var_name": "energy",
            "ntypes": n,
            "dim_descrpt": width,
            "neuron": list(model.fitting),
            "numb_fparam": parameters,
            "numb_aparam": 0,
            "dim_case_embd": 0,
            "default_fparam": [0.3] * parameters if parameters else None,
            "activation_function": "tanh",
            "precision": "float64",
            "mixed_types": False,
            "exclude_types": [],
            "nets": {"ndim": 1, "ntypes": n, "networks": networks},
            "@variables": {
                "bias_atom_e": array(np.linspace(-3.0, -1.0, n)[:, None]),
                "case_embd": None,
                "fparam_avg": mean,
                "fparam_inv_std": scale,
                "aparam_avg": None,
                "aparam_inv_std": None,
            },
            "dim_out": 1,
            "atom_ener": model.atom_ener,
        }

    def _network(
        self, n_in: int, widths: Sequence[int], activation: str, timestep: bool = False
    ) -> dict[str, Any]:
        layers = []
        for n_out in widths:
            layers.append(self._layer(n_in, n_out, activation, timestep=timestep and n_in == n_out))
            n_in = n_out
        return {"layers": layers}

    def _layer(
        self, n_in: int, n_out: int, activation: str, timestep: bool = False, resnet: bool = True
    ) -> dict[str, Any]:
        return {
            "use_timestep": timestep,
            "activation_function": activation,
            "resnet": resnet,
            "@variables": {
                "w": array(self.generator.normal(0.0, n_in**-0.5, (n_in, n_out))),
                "b": array(self.generator.normal(0.0, 0.5, n_out)),
                "idt": array(self.generator.normal(0.5, 0.1, n_out)) if timestep else None,
            },
        }


def _width(part: Part) -> int:
    return part.neurons[-1] * (part.axis_neurons if part.kind == "se_e2_a" else 1)


def array(values: np.ndarray) -> dict[str, Any]:
    """Return an array as the serialisation has it."""
    return {"@class": "np.ndarray", "@is_variable": True, "dtype": "float64", "value": values.tolist()}
