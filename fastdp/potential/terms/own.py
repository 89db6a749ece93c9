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
    origin, terms = description.origin, []
    for table in part.tables:
        # Half of a pair's energy is of either type's column; terms have one energy for both.
        shared = 0.5 * (table.coefficients + table.coefficients.swapaxes(0, 1))
        acts = np.any(shared != 0.0, axis=(2, 3))
        terms.append(TableTerm(origin.path, origin.sha256, replace(table, coefficients=shared), acts))
    return replace(description, pair_part=None), tuple(terms)
