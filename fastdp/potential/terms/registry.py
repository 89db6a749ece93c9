"""From what a user says of terms to terms, by the class of the settings."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from fastdp.errors import InputError
from fastdp.potential.terms.base import Term

TERM_MODULES = ("zbl", "table", "d3")
"""Modules of this package; each registers the term that it makes."""

TermMaker = Callable[[Any, tuple[str, ...]], Term]
TERM_MAKERS: dict[type, TermMaker] = {}


def term_maker(settings: type) -> Callable[[TermMaker], TermMaker]:
    """Register a function from settings of a class, and the names of a model's types, to the term."""

    def register(function: TermMaker) -> TermMaker:
        TERM_MAKERS[settings] = function
        return function

    return register


def make_terms(settings: Sequence[Any], type_names: Sequence[str]) -> tuple[Term, ...]:
    """Return the terms that go with a model.

    Parameters
    ----------
    settings : sequence of settings
        See `fastdp.potential.terms.settings`.
    type_names : sequence of str
        Of the model, in its order.

    Raises
    ------
    InputError
        If an entry is no settings of a term, or a file or a value cannot be used.
    """
    for module in TERM_MODULES if settings else ():
        importlib.import_module(f"fastdp.potential.terms.{module}")
    unknown = [entry for entry in settings if type(entry) not in TERM_MAKERS]
    if unknown:
        names = ", ".join(kind.__name__ for kind in TERM_MAKERS)
        raise InputError(
            f"{unknown[0]!r} is no further term; they are {names} of fastdp.potential.terms.settings"
        )
    return tuple(TERM_MAKERS[type(entry)](entry, tuple(type_names)) for entry in settings)
