"""DeePMD-kit's backend-independent serialisation: a tree of tables with arrays in it.

.dp, .hlo, .yaml and .json files hold it; PyTorch archives are brought into the same form. Descriptors and
fittings are looked up by their "type"; a new one registers a function here.

What the trainer's native backends do differently from its TensorFlow graphs is written down by these
functions:
residual layers, excluded pairs, neighbours beyond `sel`, the vacuum, polarizabilities.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import Array, DeepPotential, Origin, Precision

PART_MODULES = ("serialised_descriptors", "serialised_hybrid", "serialised_fittings", "serialised_mixtures")
"""Modules of this package that register parts."""

PRECISIONS: dict[str, Precision] = {
    "default": "float64",
    "float64": "float64",
    "double": "float64",
    "float32": "float32",
    "single": "float32",
    "float16": "float16",
    "half": "float16",
    "bfloat16": "float16",
}


@dataclass(frozen=True)
class SerialisedModel:
    """A serialised model, and how to speak of it.

    Attributes
    ----------
    tree : dict
        The table "model": "type_map", "descriptor", "fitting", …
    source : str
        The file, for messages.
    from_pytorch : bool
        Whether PyTorch's forward pass counts where it differs from the native one.
    """

    tree: dict[str, Any]
    source: str
    from_pytorch: bool = False

    @property
    def type_names(self) -> tuple[str, ...]:
        """Names of the types."""
        names = self.tree.get("type_map")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise self.damaged("it has no type_map")
        if len(set(names)) != len(names) or len(names) > 1000:
            raise self.damaged(f"its type_map is {names}")
        return tuple(names)

    def damaged(self, what: str) -> ModelError:
        """Return the error that says what is wrong."""
        return ModelError(f"{self.source}: damaged: {what}")

    def unsupported(self, what: str) -> UnsupportedModelError:
        """Return the error that says what fastdp does not evaluate."""
        return UnsupportedModelError(f"{self.source}: found {what}")

    def table(self, parent: dict[str, Any], key: str) -> dict[str, Any]:
        """Return a table within a table."""
        value = parent.get(key)
        if not isinstance(value, dict):
            raise self.damaged(f"{key!r} is no table")
        return value

    def entries(self, parent: dict[str, Any], key: str) -> list[Any]:
        """Return a list within a table."""
        value = parent.get(key)
        if not isinstance(value, list):
            raise self.damaged(f"{key!r} is no list")
        return value

    def array(self, parent: dict[str, Any], key: str, shape: tuple[int, ...] | None = None) -> Array:
        """Return an array of finite numbers in a table's "@variables".

        Parameters
        ----------
        parent : dict
        key : str
        shape : tuple of int, optional
            That it must have after leading and trailing ones are left out of account.
        """
        value = self.optional_array(parent, key)
        if value is None:
            raise self.damaged(f"the array {key!r} is missing")
        if shape is not None:
            if value.size != math.prod(shape):
                raise self.damaged(f"the array {key!r} has {value.size} numbers for the shape {shape}")
            value = value.reshape(shape)
        return value

    def optional_array(self, parent: dict[str, Any], key: str) -> Array | None:
        """Return an array as `array`, or None where there is none."""
        value = self.table(parent, "@variables").get(key)
        if value is None:
            return None
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise self.damaged(f"{key!r} is no array of numbers")
        value = value.astype(np.float64)
        if not np.isfinite(value).all():
            raise self.damaged(f"the array {key!r} has numbers that are not finite")
        return value

    def number(self, parent: dict[str, Any], key: str, default: float | None = None) -> float:
        """Return a finite number in a table."""
        value = parent.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.damaged(f"{key} is {value!r:.60}")
        return float(value)

    def count(self, parent: dict[str, Any], key: str, default: int | None = None) -> int:
        """Return a whole number ≥ 0 in a table."""
        value = parent.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
            raise self.damaged(f"{key} is {value!r:.60}")
        return value

    def flag(self, parent: dict[str, Any], key: str, default: bool = False) -> bool:
        """Return a truth value in a table."""
        value = parent.get(key, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.damaged(f"{key} is {value!r:.60}")
        return value

    def selection(self, parent: dict[str, Any]) -> NDArray[np.int64]:
        """Return "sel"."""
        value = parent.get("sel")
        value = [value] if isinstance(value, int) else value
        sound = isinstance(value, list) and all(
            isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**31 for n in value
        )
        if not sound or not value or not 0 < sum(value) < 2**31:
            raise self.damaged(f"sel is {value!r:.60}")
        return np.array(value, dtype=np.int64)

    def excluded_pairs(self, pairs: object, n_types: int) -> NDArray[np.bool_]:
        """Return a list of excluded pairs as a symmetric table."""
        table = np.zeros((n_types, n_types), dtype=bool)
        for pair in pairs if isinstance(pairs, list) else []:
            sound = isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, int) for t in pair)
            if not sound or not all(0 <= t < n_types for t in pair):
                raise self.damaged(f"the excluded pair {pair!r:.60}")
            table[pair[0], pair[1]] = table[pair[1], pair[0]] = True
        return table


Shortest = Array | float | None
"""Shortest distance in training, Å, if the file has it."""

ModelReader = Callable[[SerialisedModel, Origin, Shortest], DeepPotential]
MODEL_READERS: dict[str, ModelReader] = {}
"""By "type" of the model."""


def model_reader(*names: str) -> Callable[[ModelReader], ModelReader]:
    """Register a function as the reader of models of these types."""

    def register(function: ModelReader) -> ModelReader:
        MODEL_READERS.update(dict.fromkeys(names, function))
        return function

    return register


DescriptorReader = Callable[[SerialisedModel, dict[str, Any]], Any]
DESCRIPTOR_READERS: dict[str, DescriptorReader] = {}
"""By "type"."""


@dataclass(frozen=True)
class FittingContext:
    """What a fitting needs to know of the rest of the model.

    Attributes
    ----------
    descriptor : Descriptor
    constants : tuple of (int, (n_types, n) float64)
        Type embeddings in the networks' input, with the column that each begins at.
    silent : (n_types,) bool
        Types whose atoms give nothing ("atom_exclude_types").
    """

    descriptor: Any
    constants: tuple[tuple[int, Array], ...]
    silent: NDArray[np.bool_]


FittingReader = Callable[[SerialisedModel, dict[str, Any], FittingContext], Any]
FITTING_READERS: dict[str, FittingReader] = {}
"""By "type"."""


def descriptor_reader(*names: str) -> Callable[[DescriptorReader], DescriptorReader]:
    """Register a function as the reader of descriptors of these types."""

    def register(function: DescriptorReader) -> DescriptorReader:
        DESCRIPTOR_READERS.update(dict.fromkeys(names, function))
        return function

    return register


def fitting_reader(*names: str) -> Callable[[FittingReader], FittingReader]:
    """Register a function as the reader of fittings of these types."""

    def register(function: FittingReader) -> FittingReader:
        FITTING_READERS.update(dict.fromkeys(names, function))
        return function

    return register


NEEDED = {
    "dpa2": "the representation transformer of DPA-2 (message passing over neighbours of neighbours)",
    "dpa3": "the line-graph message passing of DPA-3",
    "se_e3_tebd": "the three-body descriptor with type embeddings (se_e3_tebd)",
    "se_a_mask": "the masked descriptor of QM/MM clusters (se_a_mask)",
}
"""What a descriptor that is not evaluated would need."""


def describe_serialised(model: SerialisedModel, origin: Origin, shortest: Shortest) -> DeepPotential:
    """Turn a serialised model into a description.

    Parameters
    ----------
    model : SerialisedModel
    origin : Origin
    shortest : float or None
        Shortest distance in training, Å.

    Raises
    ------
    ModelError
        If a part is missing or the parts do not fit together.
    UnsupportedModelError
        If the model has a part that fastdp does not evaluate.
    """
    for module in PART_MODULES:
        importlib.import_module(f"fastdp.model.readers.{module}")
    kind = model.tree.get("type", "standard")
    if not isinstance(kind, str) or kind not in MODEL_READERS:
        raise model.unsupported(
            f"a model of type {kind!r:.40}, which fastdp does not evaluate; it evaluates standard models "
            "(one descriptor, one fitting), and one of these with tables of pairs (linear, zbl)"
        )
    return MODEL_READERS[kind](model, origin, shortest)


@model_reader("standard", "ener", "dipole", "polar", "dos", "property")
def describe_standard(model: SerialisedModel, origin: Origin, shortest: Shortest) -> DeepPotential:
    """Turn a model of one descriptor and one fitting into a description; see `describe_serialised`."""
    tree, names = model.tree, model.type_names
    if tree.get("spin") is not None:
        raise model.unsupported("atomic spins, which fastdp does not evaluate: use a model without spin")
    part = model.table(tree, "descriptor")
    descriptor = read_descriptor(model, part)
    if descriptor.n_types != len(names):
        raise model.damaged(f"its descriptor has {descriptor.n_types} types, its type_map {len(names)}")
    fitting_part = model.table(tree, "fitting")
    silent = np.zeros(len(names), dtype=bool)
    for number in tree.get("atom_exclude_types") or []:
        if not isinstance(number, int) or not 0 <= number < len(names):
            raise model.damaged(f"atom_exclude_types has {number!r:.40}")
        silent[number] = True
    fitting_kind = fitting_part.get("type", "ener")
    if fitting_kind not in FITTING_READERS:
        raise model.unsupported(
            f"a fitting of type {fitting_kind!r:.40}, which fastdp does not evaluate; it evaluates "
            f"{', '.join(FITTING_READERS)}"
        )
    hybrid = importlib.import_module("fastdp.model.readers.serialised_hybrid")
    context = FittingContext(descriptor, hybrid.embeddings_in_fitting(model, part, descriptor), silent)
    fitting = FITTING_READERS[fitting_kind](model, fitting_part, context)
    distance = None if shortest is None or np.size(shortest) != 1 else float(np.ravel(shortest)[0])
    return DeepPotential(
        type_names=names,
        descriptor=descriptor,
        fitting=fitting,
        precision=_precision(model, fitting_part),
        shortest_trained_distance=distance if distance is not None and 0.0 < distance < math.inf else None,
        origin=replace(
            origin,
            notes=(*origin.notes, *_notes(part)),
            n_parameters=_number_of_parameters(part) + _number_of_parameters(fitting_part),
        ),
    )


def _number_of_parameters(part: dict[str, Any]) -> int:
    """Return how many numbers the layers within a part have; places without a network hold zeros."""
    total, waiting = 0, [part]
    while waiting:
        table = waiting.pop()
        variables = table.get("@variables")
        if isinstance(variables, dict) and "w" in variables:
            arrays = [value for value in variables.values() if isinstance(value, np.ndarray)]
            total += sum(array.size for array in arrays) if any(map(np.any, arrays)) else 0
        for value in table.values():
            waiting += [entry for entry in (value, *(value if isinstance(value, list) else ()))
                        if isinstance(entry, dict) and entry is not variables]  # fmt: skip
    return total


def _notes(part: dict[str, Any]) -> tuple[str, ...]:
    parts = [entry for entry in part.get("list", [part]) if isinstance(entry, dict)]
    if all(entry.get("compress") is None for entry in parts):
        return ()
    return ("compressed by dp compress: the networks are in the file as well, and are what is used",)


def read_descriptor(model: SerialisedModel, part: dict[str, Any]) -> Any:
    """Return a descriptor, read by the function that is registered for its type."""
    kind = part.get("type")
    if kind in NEEDED:
        raise model.unsupported(
            f"the descriptor {kind}, which fastdp does not evaluate: it would need {NEEDED[str(kind)]}"
        )
    if not isinstance(kind, str) or kind not in DESCRIPTOR_READERS:
        raise model.unsupported(
            f"a descriptor of type {kind!r:.40}, which fastdp does not evaluate; it evaluates "
            f"{', '.join(DESCRIPTOR_READERS)}"
        )
    return DESCRIPTOR_READERS[kind](model, part)


def _precision(model: SerialisedModel, fitting: dict[str, Any]) -> Precision:
    name = fitting.get("precision", "default")
    if name not in PRECISIONS:
        raise model.damaged(f"precision is {name!r:.40}")
    return PRECISIONS[name]
