"""The whole of a model, and its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

import numpy as np

Precision = Literal["float64", "float32", "float16"]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a description came from; shown to the user, never computed with.

    Attributes
    ----------
    path : str
    file_format : str
        For example "TensorFlow frozen graph".
    version : str
        Version of the format as the file gives it, or what was inferred.
    sha256 : str
        Of the file.
    notes : tuple of str
        What the reader inferred or had to decide.
    n_parameters : int or None
        Trained numbers of all networks in the file, type embeddings included; None if it holds tables of
        them.
    """

    path: str
    file_format: str
    version: str
    sha256: str
    notes: tuple[str, ...] = ()
    n_parameters: int | None = None


@dataclass(frozen=True, eq=False)
class DeepPotential:
    """A trained Deep Potential, complete.

    Attributes
    ----------
    type_names : tuple of str
        Name of each atom type, in the model's order; elements are matched by these.
    descriptor : Descriptor
        One of `descriptors`.
    fitting : Fitting
        One of `fittings`.
    precision : {"float64", "float32", "float16"}
        In which the trainer evaluates the networks. fastdp's reference always uses float64.
    shortest_trained_distance : float or None
        Å, shortest pair in the training data if the file says so.
    origin : Origin
    pair_part : PairPart or None
        Tables of pairs that belong to the model (`fastdp.model.pair_part`).
    spin : SpinPart or None
        What makes it a model of atoms with spins (`fastdp.model.spin`).
    """

    type_names: tuple[str, ...]
    descriptor: Any
    fitting: Any
    precision: Precision
    shortest_trained_distance: float | None
    origin: Origin = field(repr=False)
    pair_part: Any = None
    spin: Any = None

    @property
    def n_types(self) -> int:
        """Number of atom types."""
        return len(self.type_names)

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms do not see each other, Å."""
        reach = 0.0 if self.pair_part is None else self.pair_part.cutoff
        return max(self.descriptor.cutoff, reach)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every number and rule that the energy depends on (not the origin)."""
        digest = hashlib.sha256()
        for part in _parts(self):
            digest.update(part)
        return digest.hexdigest()


def _parts(value: object) -> Iterator[bytes]:
    if isinstance(value, Origin):
        return
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__.encode()
        for item in fields(value):
            if item.name in ("pair_part", "spin") and getattr(value, item.name) is None:
                # Fingerprints of models without are older than this.
                continue
            yield item.name.encode()
            yield from _parts(getattr(value, item.name))
    elif isinstance(value, tuple):
        yield f"({len(value)}".encode()
        for element in value:
            yield from _parts(element)
    else:
        yield repr(value).encode()
