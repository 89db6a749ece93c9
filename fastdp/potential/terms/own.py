"""Tables of pairs that belong to a model, as terms beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastdp.model.description import DeepPotential
from fastdp.potential.terms.base import Term
from fastdp.potential.terms.table import TableTerm


def without_added_tables(description: DeepPotential) -> tuple[DeepPotential, tuple[Term, ...]]:
    """Return a model without the tables that are added to it, and these as terms.

    Parameters
    ----------
    description : DeepPotential
        Left as it is if a switch goes between network and tables.
    """
    part = description.pair_part
    if part is None or part.switch is not None:
        return description, ()
    origin = description.origin
    terms = tuple(
        TableTerm(origin.path, origin.sha256, table, np.any(table.coefficients != 0.0, axis=(2, 3)))
        for table in part.tables
    )
    return replace(description, pair_part=None), terms
