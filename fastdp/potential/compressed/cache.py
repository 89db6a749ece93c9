"""Compressed models kept on disk, so that the next run of the same input starts at once.

An entry is a plain `.npz` file named by a hash of everything that the model depends on. A damaged or
unreadable entry is ignored and made anew; a cache that cannot be written is done without.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import platformdirs

import fastdp
from fastdp.errors import CheckpointError
from fastdp.model.description import DeepPotential
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.tuning import CompressionReport

METHOD = 4
"""Number of the method of compression; counted up when the same input would give another model."""

LARGEST_NUMBER = 64
"""Entries that are kept; the oldest go first."""

_REPORT = "report"


def directory() -> Path:
    """Return where compressed models are kept (`FASTDP_CACHE_DIR`, or the user's cache folder)."""
    chosen = os.environ.get("FASTDP_CACHE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("fastdp")) / "compressed"


def key(description: DeepPotential, atoms: Atoms, tolerance: float, nearest: float | None = None) -> str:
    """Return the hash of everything that a compressed model depends on."""
    digest = hashlib.sha256(f"{fastdp.__version__} {METHOD} {tolerance!r} {description.fingerprint}".encode())
    digest.update(" ".join(description.type_names).encode())
    if nearest is not None:
        digest.update(repr(nearest).encode())
    for array in (atoms.positions, atoms.types, atoms.cell, atoms.periodic):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def load(name: str) -> tuple[CompressedModel, CompressionReport] | None:
    """Return an entry, or None if there is none that can be read."""
    path = directory() / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {item: stored[item] for item in stored.files}
        fields = json.loads(str(arrays.pop(_REPORT)))
        fields["errors"] = tuple((name, value) for name, value in fields["errors"])
        for item in ("ranks", "multiply_adds", "original_multiply_adds"):
            fields[item] = tuple(fields[item])
        fields["shortest"] = np.array(fields["shortest"])
        result = CompressedModel.from_arrays(arrays), CompressionReport(**fields)
        path.touch()
        return result
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, CheckpointError):
        return None


def store(name: str, model: CompressedModel, report: CompressionReport) -> None:
    """Write an entry: whole or not at all."""
    fields = asdict(report)
    fields["shortest"] = report.shortest.tolist()
    arrays = {**model.arrays(), _REPORT: np.array(json.dumps(fields))}
    folder = directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(file.name, folder / f"{name}.npz")
        entries = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for old in entries[:-LARGEST_NUMBER]:
            old.unlink(missing_ok=True)
    except OSError:
        return
