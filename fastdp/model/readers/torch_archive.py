"""PyTorch's ZIP archives: TorchScript (.pth) and checkpoints (.pt)."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.description import DeepPotential, Origin
from fastdp.model.readers.pytorch_state import model_tree
from fastdp.model.readers.registry import FileStart, reader
from fastdp.model.readers.restricted_pickle import Instance, load
from fastdp.model.readers.serialised import SerialisedModel, describe_serialised

MAX_UNPACKED_BYTES = 2**31
"""Of all that is read from an archive."""

MAX_DEPTH = 60
"""Of objects within objects."""

ATOMIC_MODEL = "atomic_model."

DAMAGE = (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, zlib.error, RuntimeError, KeyError)
"""What `zipfile` raises for archives that are not sound."""


@dataclass(frozen=True)
class _Archive:
    """What an archive holds.

    Attributes
    ----------
    content : object
        Of `data.pkl`.
    is_script : bool
        Whether it is TorchScript.
    """

    content: Any
    is_script: bool


def _is_zip(start: FileStart) -> bool:
    return start.head.startswith(b"PK\x03\x04")


@reader("PyTorch archive (.pth, .pt)", _is_zip, heads=True)
def read_torch_archive(path: Path, head: str | None) -> DeepPotential:
    """Read a model of DeePMD-kit's PyTorch backend.

    Parameters
    ----------
    path : Path
    head : str, optional
        Which of several models of a checkpoint.

    Raises
    ------
    ModelError
        If the file is damaged, or no model.
    UnsupportedModelError
        If the model, or what its pickle asks for, is not what fastdp evaluates.
    """
    archive = _open(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if archive.is_script:
        if head is not None:
            raise ModelError(f"{path}: a TorchScript model has one head; leave out the head {head!r}")
        parameters, tensors = _script_parts(path, archive.content)
        file_format = "TorchScript archive (PyTorch backend)"
    else:
        parameters, tensors = _checkpoint_parts(path, archive.content, head)
        file_format = "PyTorch checkpoint"
    origin = Origin(str(path), file_format, "3.x", sha256, () if head is None else (f"head {head}",))
    with np.errstate(all="ignore"):
        tree = model_tree(parameters, tensors, str(path))
        distance = tensors.get("min_nbor_dist")
        return describe_serialised(SerialisedModel(tree, str(path), from_pytorch=True), origin, distance)


def _open(path: Path) -> _Archive:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in infos if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickles) != 1:
                raise ModelError(f"{path}: is a ZIP archive, but not a model")
            root = pickles[0][: -len("data.pkl")]
            budget = [MAX_UNPACKED_BYTES]

            def member(name: str) -> bytes:
                if name not in infos:
                    raise ModelError(f"{path}: damaged: the archive has no {name!r}")
                budget[0] -= infos[name].file_size
                if budget[0] < 0:
                    raise ModelError(f"{path}: damaged: it unpacks to more than {MAX_UNPACKED_BYTES} bytes")
                return archive.read(infos[name])

            order = member(f"{root}byteorder") if f"{root}byteorder" in infos else b"little"
            if order != b"little":
                raise UnsupportedModelError(f"{path}: was written on a big-endian machine; write it anew")
            content = load(member(pickles[0]), lambda key: member(f"{root}data/{key}"), str(path))
            return _Archive(content, any(name.startswith(f"{root}code/") for name in infos))
    except ModelError:
        raise
    except DAMAGE as error:
        raise ModelError(f"{path}: is a ZIP archive that is truncated or damaged ({error})") from error


def _script_parts(path: Path, content: object) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if not isinstance(content, Instance) or "atomic_model" not in content.attributes:
        raise ModelError(f"{path}: is a TorchScript archive, but not a model frozen by DeePMD-kit")
    script = content.attributes.get("model_def_script")
    try:
        parameters = json.loads(script) if isinstance(script, str) else None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged: its model_def_script is not JSON") from error
    if not isinstance(parameters, dict):
        raise ModelError(f"{path}: has no model_def_script, which says what model it is")
    tensors: dict[str, NDArray[Any]] = {}
    _collect(content.attributes["atomic_model"], "", tensors, 0)
    distance = content.attributes.get("min_nbor_dist")
    if isinstance(distance, np.ndarray):
        tensors["min_nbor_dist"] = distance
    elif isinstance(distance, float):
        tensors["min_nbor_dist"] = np.array(distance)
    return parameters, tensors


def _collect(value: object, name: str, tensors: dict[str, NDArray[Any]], depth: int) -> None:
    """Gather all tensors by their path; attributes that begin with _ are copies."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, np.ndarray):
        tensors[name] = value
    elif isinstance(value, Instance):
        for key, part in value.attributes.items():
            if isinstance(key, str) and not key.startswith("_"):
                _collect(part, f"{name}.{key}" if name else key, tensors, depth + 1)


def _checkpoint_parts(
    path: Path, content: object, head: str | None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    state = content.get("model", content) if isinstance(content, dict) else None
    extra = state.get("_extra_state") if isinstance(state, dict) else None
    parameters = extra.get("model_params") if isinstance(extra, dict) else None
    if not isinstance(state, dict) or not isinstance(parameters, dict):
        raise ModelError(
            f"{path}: is a PyTorch archive, but not a checkpoint of DeePMD-kit (no model_params)"
        )
    branches = parameters.get("model_dict")
    name = "Default"
    if isinstance(branches, dict):
        if head is None or head not in branches:
            asked = "say which" if head is None else f"there is no {head!r}"
            raise ModelError(
                f"{path}: holds several models, {asked}: head = one of {', '.join(map(str, branches))}"
            )
        parameters, name = branches[head], head
    elif head is not None:
        raise ModelError(f"{path}: holds one model; leave out the head {head!r}")
    if not isinstance(parameters, dict):
        raise ModelError(f"{path}: damaged: its model_params are no table")
    prefix = f"model.{name}."
    tensors = {
        key[len(prefix) :].removeprefix(ATOMIC_MODEL): value
        for key, value in state.items()
        if isinstance(key, str) and key.startswith(prefix) and isinstance(value, np.ndarray)
    }
    if not tensors:
        raise ModelError(f"{path}: damaged: the checkpoint has no tensors {prefix}…")
    return parameters, tensors
