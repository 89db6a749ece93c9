"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

CATEGORIES = ("neighbours", "model", "motion", "output")
BETWEEN_RANKS = ("communication", "waiting")
"""Packing, sending and adding up; and waiting until what others send, or all together find, is there."""


class Timers:
    """Adds up wall time by category; an inner category stops the clock of the outer one.

    Parameters
    ----------
    categories : tuple of str

    Attributes
    ----------
    seconds : dict of str to float
        Time spent in each of the categories, s.
    """

    def __init__(self, categories: tuple[str, ...] = CATEGORIES) -> None:
        self.seconds = dict.fromkeys(categories, 0.0)
        self._running: list[str] = []
        self._last = time.perf_counter()

    @contextmanager
    def measure(self, category: str) -> Iterator[None]:
        """Count the time within the block for `category`."""
        self._settle()
        self._running.append(category)
        try:
            yield
        finally:
            self._settle()
            self._running.pop()

    def reset(self) -> None:
        """Start again from zero."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self._last = time.perf_counter()

    def _settle(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._last
        self._last = now
