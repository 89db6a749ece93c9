"""When something happens during a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastdp.dynamics.snapshot import Snapshot


class Trigger(Protocol):
    """Says at which steps an operation is due."""

    def due(self, step: int) -> bool:
        """Whether to act after `step` steps of the run."""


@dataclass(frozen=True)
class EverySteps:
    """Acts at step 0 and then every `period` steps.

    Attributes
    ----------
    period : int
        At least 1.
    """

    period: int

    def due(self, step: int) -> bool:
        """Whether `step` is a multiple of the period."""
        return step % self.period == 0


class EverySeconds:
    """Acts when `period` seconds of wall time have passed since it last did.

    Parameters
    ----------
    period : float
        s.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._next = time.monotonic() + period

    def due(self, step: int) -> bool:
        """Whether it is time; if so, the clock starts again."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._period
        return True


@dataclass(frozen=True)
class Operation:
    """Something that is done after a step when its trigger says so.

    Attributes
    ----------
    trigger : Trigger
        When.
    act : callable
        What; is given the snapshot of the step.
    needs_virial : bool
        Whether `act` reads the virial, which is then computed in that step.
    needs_neighbours : bool
        Whether `act` looks at the atoms through the run's neighbour list.
    """

    trigger: Trigger
    act: Callable[[Snapshot], None]
    needs_virial: bool = False
    needs_neighbours: bool = False


@dataclass(frozen=True)
class Observer:
    """An operation that changes nothing, and has something to say when a run is through.

    Attributes
    ----------
    operation : Operation
    closing : callable
        Returns lines for the log.
    """

    operation: Operation
    closing: Callable[[], list[str]]
