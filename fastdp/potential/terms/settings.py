"""What a user says of a further term; `make_terms` makes terms of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ZBL:
    """The screened repulsion of nuclei by Ziegler, Biersack and Littmark.

    Attributes
    ----------
    inner_A, outer_A : float
        Å. Between the two radii the interaction is brought to zero; beyond the outer there is none.
    nuclear_charges : mapping of str to float
        Of types that are no elements, in elementary charges.
    pairs : sequence of (str, str) or None
        The pairs of types that repel each other so; by default all.
    """

    inner_A: float  # noqa: N815 - a unit in the name
    outer_A: float  # noqa: N815 - a unit in the name
    nuclear_charges: Mapping[str, float] = field(default_factory=dict)
    pairs: Sequence[Sequence[str]] | None = None


@dataclass(frozen=True)
class PairTable:
    """Energies of pairs from a file in the format of DeePMD-kit's `tab_file`.

    Attributes
    ----------
    file : str or Path
        Text: distances in Å, evenly spaced, then a column in eV for each pair of `elements`.
    elements : sequence of str or None
        Names of the types in the order of the columns; by default the model's types in its order.
    cutoff_A : float or None
        Å; by default the last distance of the table.
    """

    file: str | Path
    elements: Sequence[str] | None = None
    cutoff_A: float | None = None  # noqa: N815 - a unit in the name


@dataclass(frozen=True)
class D3:
    """Grimme's D3 dispersion, by the library s-dftd3 (the package `dftd3`).

    Attributes
    ----------
    functional : str
        For example "pbe".
    damping : {"bj", "zero", "bjm", "zerom"}
        Rational (Becke–Johnson) or zero damping, or one of these as modified by Smith et al.
    three_body : bool
        Whether to include the Axilrod–Teller–Muto term.
    cutoff_A : float or None
        Å, of pairs; by default the library's, 60 bohr.
    """

    functional: str
    damping: str = "bj"
    three_body: bool = False
    cutoff_A: float | None = None  # noqa: N815 - a unit in the name


TermSettings = ZBL | PairTable | D3
