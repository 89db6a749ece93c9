"""What goes wrong in translating or in running PTX."""

from __future__ import annotations


class PtxSyntaxError(Exception):
    """Text that is not PTX, or not as much of it as is understood here."""


class UnsupportedPtxError(Exception):
    """An instruction, or one of its modifiers, that the executor does not know."""


class PtxFaultError(AssertionError):
    """A kernel did what a card refuses, or what a card would not notice and is wrong all the same."""
