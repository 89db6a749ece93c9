"""When the planes between ranks are moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdp.parallel.communicator import Communicator
from fastdp.parallel.regions import Regions, divide

FEWEST_EVALUATIONS = 20
"""Between two looks at the clock; fewer say little."""


@dataclass(frozen=True)
class BalanceSettings:
    """What decides whether planes move.

    Attributes
    ----------
    enabled : bool
        Whether they ever do after the start.
    limit : float
        Largest work of a rank over the mean of all above which they do.
    """

    enabled: bool = True
    limit: float = 1.1


class Balancer:
    """Measures the work of all ranks, and moves the planes when it is too uneven.

    Work is the time that a rank spends evaluating the model, without waiting for others. Each atom of a rank
    is taken to cost the same, so that types of atoms that cost differently are seen by their effect.

    Parameters
    ----------
    settings : BalanceSettings
    communicator : Communicator

    Attributes
    ----------
    imbalance : float
        Largest work over mean work when it was last looked at; NaN before.
    n_moves : int
        How often planes were moved.
    """

    def __init__(self, settings: BalanceSettings, communicator: Communicator) -> None:
        self._settings = settings
        self._communicator = communicator
        self._seconds = 0.0
        self._evaluations = 0
        self.imbalance = float("nan")
        self.n_moves = 0

    def add(self, seconds: float) -> None:
        """Take note of the time that this rank spent on an evaluation."""
        self._seconds += seconds
        self._evaluations += 1

    def reset(self) -> None:
        """Forget what was added."""
        self._seconds, self._evaluations = 0.0, 0

    def regions(self, present: Regions, coordinates: Callable[[], NDArray[np.float64]]) -> Regions:
        """Return the regions from now on: `present`, or better ones. Called on all ranks together.

        Parameters
        ----------
        present : Regions
        coordinates : callable
            Returns those of this rank's atoms, (n_atoms, 3) float64; called where they are needed.
        """
        # The same number on all ranks, for all evaluate together.
        if not self._settings.enabled or self._evaluations < FEWEST_EVALUATIONS:
            return present
        work = self._communicator.all_gather(np.array([self._seconds]))[:, 0]
        self.reset()
        mean = float(work.mean())
        self.imbalance = float(work.max()) / mean if mean > 0.0 else 1.0
        if self.imbalance <= self._settings.limit:
            return present
        self.n_moves += 1
        own = coordinates()
        n = max(len(own), 1)
        return divide(own, float(work[self._communicator.rank]) / n, present.shape, self._communicator)
