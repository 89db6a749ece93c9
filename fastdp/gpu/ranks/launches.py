"""Launches that are made once and asked for many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastdp.gpu.device.base import Action


class Launches:
    """Actions by name, until they are forgotten: to make a launch takes longer than to ask for it."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Action]] = {}

    def run(self, name: str, make: Callable[[], Iterable[Action]]) -> None:
        """Do the actions of this name, which `make` makes where they are not known."""
        if name not in self._kept:
            self._kept[name] = list(make())
        for action in self._kept[name]:
            action()

    def forget(self) -> None:
        """Let go of all actions, and of the memory that they hold on to."""
        self._kept.clear()
