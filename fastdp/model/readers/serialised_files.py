"""Files of DeePMD-kit's serialisation: HDF5 (.dp, .hlo), YAML (.yaml) and JSON (.json)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fastdp.errors import ModelError
from fastdp.model.description import DeepPotential, Origin
from fastdp.model.readers.registry import FileStart, reader
from fastdp.model.readers.serialised import SerialisedModel, describe_serialised

MAX_NODES = 2**19
"""Tables, lists and values of a file without its arrays; YAML's aliases could make a small file endless."""

MAX_DEPTH = 60
"""Of tables within tables."""

ReadArray = Callable[[Any], Any]
"""From what stands in "@variables" to the array that it means; other things are returned as they are."""

MAX_NUMBERS = 2**28
"""Of all arrays of a file."""


def _is_hdf5(start: FileStart) -> bool:
    return start.head.startswith(b"\x89HDF\r\n\x1a\n")


def _is_yaml(start: FileStart) -> bool:
    keys = rb"^(['\"]?@(class|variables)['\"]?|backend|model|model_def_script|software|time|version)\s*:"
    return re.search(keys, start.head, re.M) is not None


def _is_json(start: FileStart) -> bool:
    return re.match(rb"\s*\{\s*\"", start.head) is not None


@reader("DeePMD-kit model (HDF5: .dp, .hlo)", _is_hdf5)
def read_hdf5_model(path: Path) -> DeepPotential:
    """Read a .dp or .hlo file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ModelError
        If it is damaged, or no model.
    """
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("json")
            if not isinstance(text, str):
                raise ModelError(
                    f"{path}: is an HDF5 file without the attribute 'json': not a model of DeePMD-kit, "
                    f"or one that "
                    "was not written to its end"
                )
            try:
                tree = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ModelError(f"{path}: damaged: the attribute 'json' is not JSON") from error
            budget = [MAX_NUMBERS]

            def array(name: object) -> Any:
                if not isinstance(name, str):
                    return name
                found = file.get(name)
                if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiub":
                    raise ModelError(f"{path}: damaged: there is no array {name!r:.60}")
                budget[0] -= int(np.prod(found.shape, dtype=object)) if found.shape else 1
                if budget[0] < 0:
                    raise ModelError(f"{path}: damaged: {name!r:.60} has the shape {found.shape}")
                return found[()] if found.shape else np.array(found[()])

            content = _Tree(array, str(path)).resolved(tree)
    except ModelError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, UnicodeError, MemoryError) as error:
        raise ModelError(f"{path}: the HDF5 file is truncated or damaged ({error})") from error
    return _described(path, content, "DeePMD-kit model (HDF5)")


@reader("DeePMD-kit model (JSON)", _is_json)
def read_json_model(path: Path) -> DeepPotential:
    """Read a .json file.

    Raises
    ------
    ModelError
        If it is damaged, or no model.
    """
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: the JSON is truncated or damaged ({error})") from error
    return _described(path, _Tree(_inline_array(path), str(path)).resolved(tree), "DeePMD-kit model (JSON)")


@reader("DeePMD-kit model (YAML)", _is_yaml)
def read_yaml_model(path: Path) -> DeepPotential:
    """Read a .yaml file.

    Raises
    ------
    ModelError
        If it is damaged, or no model.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = path.read_bytes()
        tree = yaml.load(data, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: the YAML is truncated or damaged ({str(error)[:200]})") from error
    return _described(path, _Tree(_inline_array(path), str(path)).resolved(tree), "DeePMD-kit model (YAML)")


def _inline_array(path: Path) -> ReadArray:
    budget = MAX_NUMBERS

    def array(value: object) -> Any:
        nonlocal budget
        if not (isinstance(value, dict) and value.get("@class") == "np.ndarray"):
            return value
        dtype = str(value.get("dtype"))
        if dtype not in ("float64", "float32", "float16", "int64", "int32", "bool"):
            raise ModelError(f"{path}: damaged: an array of dtype {dtype:.40}")
        try:
            found = np.array(value.get("value"), dtype=dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise ModelError(f"{path}: damaged: an array of {dtype} cannot be read ({error})") from error
        budget -= found.size
        if budget < 0:
            raise ModelError(f"{path}: damaged: more than {MAX_NUMBERS} numbers")
        return found

    return array


class _Tree:
    """Puts the arrays of "@variables" in place, within bounds on depth and number."""

    def __init__(self, array: ReadArray, source: str) -> None:
        self._array = array
        self._source = source
        self._nodes = 0

    def resolved(self, value: Any, depth: int = 0) -> Any:
        """Return a table with its arrays."""
        self._count(depth)
        if isinstance(value, dict):
            return {
                key: self._variables(part, depth + 1)
                if key == "@variables"
                else self.resolved(part, depth + 1)
                for key, part in value.items()
            }
        if isinstance(value, list):
            return [self.resolved(part, depth + 1) for part in value]
        return value

    def _variables(self, value: Any, depth: int) -> Any:
        self._count(depth)
        found = self._array(value)
        if isinstance(found, dict):
            return {key: self._variables(part, depth + 1) for key, part in found.items()}
        if isinstance(found, list):
            return [self._variables(part, depth + 1) for part in found]
        return found

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise ModelError(
                f"{self._source}: damaged: its tables are nested more than {MAX_DEPTH} deep, or are endless"
            )


def _described(path: Path, content: Any, file_format: str) -> DeepPotential:
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ModelError(f"{path}: has no table 'model'; it is not a model of DeePMD-kit")
    variables = content.get("@variables")
    distance = variables.get("min_nbor_dist") if isinstance(variables, dict) else None
    if not (isinstance(distance, np.ndarray) and distance.dtype.kind == "f"):
        distance = None
    version = f"DeePMD-kit {content['version']}" if isinstance(content.get("version"), str) else "not given"
    backend = content.get("backend")
    notes = (f"trained with the backend {backend}",) if isinstance(backend, str) else ()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = Origin(str(path), file_format, version, sha256, notes)
    with np.errstate(all="ignore"):
        return describe_serialised(SerialisedModel(content["model"], str(path)), origin, distance)
