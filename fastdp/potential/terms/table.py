"""Tabulated energies of pairs, read from a file in the format of DeePMD-kit's `tab_file`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import InputError
from fastdp.model.pair_table import PairTableData, table_of_columns
from fastdp.potential.terms import scalar
from fastdp.potential.terms.base import Array, PairTerm
from fastdp.potential.terms.registry import term_maker
from fastdp.potential.terms.settings import PairTable

EVEN = 1e-6
"""By how much the distances of a table may be off an even spacing, as part of it: files have few digits."""

MAX_FILE_BYTES = 2**28
"""A million rows of thirty columns; a table of pairs has a thousand."""


@dataclass(frozen=True, eq=False)
class TableTerm(PairTerm):
    """A table for the types of a model.

    Attributes
    ----------
    source : str
        The file.
    sha256 : str
        Of the file.
    table : PairTableData
        In the order of the model's types.
    acts : (n_types, n_types) bool
        Pairs that the table has.
    """

    source: str
    sha256: str
    table: PairTableData
    acts: NDArray[np.bool_]

    kind = scalar.TABLE

    @property
    def reach(self) -> Array:
        """Distance from which on a pair of types has no interaction, Å."""
        return np.where(self.acts, self.table.end, 0.0)

    @property
    def shortest(self) -> float:
        """First distance of the table, Å."""
        return self.table.start

    @property
    def label(self) -> str:
        """What the table is called."""
        return f"table of pair energies {Path(self.source).name}"

    def energy_and_slope(
        self, centre: NDArray[np.integer], neighbour: NDArray[np.integer], r: Array
    ) -> tuple[Array, Array]:
        """Return φ and dφ/dr, eV and eV/Å, (n,) each; see `PairTerm`."""
        return self.table.energy_and_slope(centre, neighbour, r)

    def packed(self) -> Array:
        """Return start, 1/spacing, number of intervals n, coefficients, (n_types, n_types, 3 + 4 n)."""
        table = self.table
        n_types = len(table.coefficients)
        head = np.broadcast_to(
            [table.start, 1.0 / table.spacing, float(table.n_intervals)], (n_types, n_types, 3)
        )
        return np.concatenate([head, table.coefficients.reshape(n_types, n_types, -1)], axis=-1)

    def describe(self) -> str:
        """Return what the term is, in one line."""
        table = self.table
        return (
            f"table {Path(self.source).name} from {table.start:g} to {table.end:g} Å, {table.n_intervals} "
            f"intervals (sha256 {self.sha256[:16]})"
        )


@term_maker(PairTable)
def make_table(settings: PairTable, type_names: tuple[str, ...]) -> TableTerm:
    """Return a table for a model's types.

    Parameters
    ----------
    settings : PairTable
    type_names : tuple of str

    Raises
    ------
    InputError
        If the file is missing or no table, or the table lacks a type of the model.
    """
    source = str(settings.file)
    rows, digest = read_tab_file(Path(source))
    elements = tuple(type_names if settings.elements is None else settings.elements)
    n = len(elements)
    if len(set(elements)) != n:
        raise InputError(f"{source}: elements = {list(elements)} names a type twice")
    if rows.shape[1] - 1 != n * (n + 1) // 2:
        raise InputError(
            f"{source}: has {rows.shape[1] - 1} columns of energies, and the pairs of {', '.join(elements)} "
            f"are {n * (n + 1) // 2}; name the types of the columns with elements = [...]"
        )
    missing = [name for name in type_names if name not in elements]
    if missing:
        raise InputError(
            f"{source}: its types are {', '.join(elements)}, and the model has {', '.join(missing)} too; the "
            "table needs columns for every type of the model (zeros where there is no interaction)"
        )
    cutoff = settings.cutoff_A
    if cutoff is not None and not rows[0, 0] < cutoff < np.inf:
        raise InputError(f"{source}: cutoff_A = {cutoff:g} is not beyond its first distance {rows[0, 0]:g} Å")
    table = table_of_columns(rows[:, 0], rows[:, 1:], cutoff)
    place = np.array([elements.index(name) for name in type_names])
    ordered = PairTableData(
        table.start, table.spacing, table.coefficients[np.ix_(place, place)], table.cutoff
    )
    return TableTerm(source, digest, ordered, np.any(ordered.coefficients != 0.0, axis=(2, 3)))


def read_tab_file(path: Path) -> tuple[Array, str]:
    """Return the rows of a table of pairs, and the file's SHA-256.

    Parameters
    ----------
    path : Path

    Returns
    -------
    rows : (n, 1 + n_pairs) float64
        Distances in Å, then energies in eV.
    sha256 : str

    Raises
    ------
    InputError
        If there is no such file, or it is no table.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: is larger than {MAX_FILE_BYTES} bytes, and no table of pairs is")
        content = path.read_bytes()
        text = content.decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text file: {error.reason}") from error
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split("#", 1)[0].split()
        if fields:
            rows.append(_numbers(path, number, fields, len(rows[0]) if rows else None))
    return _checked(path, rows), hashlib.sha256(content).hexdigest()


def _numbers(path: Path, number: int, fields: Sequence[str], expected: int | None) -> list[float]:
    try:
        values = [float(field) for field in fields]
    except ValueError as error:
        raise InputError(f"{path}: line {number}: {error}; a table has only numbers and # comments") from None
    if not np.isfinite(values).all():
        raise InputError(f"{path}: line {number}: has a number that is not finite")
    if expected is not None and len(values) != expected:
        raise InputError(f"{path}: line {number}: has {len(values)} numbers, and the first row {expected}")
    return values


def _checked(path: Path, rows: list[list[float]]) -> Array:
    if len(rows) < 2 or len(rows[0]) < 2:
        raise InputError(
            f"{path}: a table of pairs has at least two rows: a distance, then an energy for each pair"
        )
    table = np.array(rows)
    distances, columns = table[:, 0], table.shape[1] - 1
    n_types = round((np.sqrt(1 + 8 * columns) - 1) / 2)
    if n_types * (n_types + 1) // 2 != columns:
        raise InputError(
            f"{path}: has {columns} columns of energies, which are the pairs of no number of types (1, 3, 6, "
            "10, … are)"
        )
    spacing = distances[1] - distances[0]
    even = distances[0] + spacing * np.arange(len(distances))
    off = np.abs(distances - even)
    if (
        not spacing > 0.0
        or distances[0] < 0.0
        or off.max() > EVEN * max(spacing * len(distances), distances[-1])
    ):
        worst = int(np.argmax(off))
        raise InputError(
            f"{path}: distances must rise evenly from 0 or more: they go by {spacing:g} Å at the start, and "
            f"number {worst + 1} is {distances[worst]:g} Å"
        )
    return table
