"""One stage of a run: an integrator, how far it is, and what it has come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.snapshot import Snapshot
from fastdp.dynamics.state import State
from fastdp.simulation.reporter import StageSummary
from fastdp.simulation.settings import StageSettings
from fastdp.simulation.statistics import BlockAverage, StraightLine


class Stage:
    """A stage that is under way.

    Parameters
    ----------
    settings : StageSettings
        What it is told.
    number : int
        From 1.
    state : State
        The atoms, with the time at which the stage starts.

    Attributes
    ----------
    step : int
        Steps made in this stage.
    """

    def __init__(self, settings: StageSettings, number: int, state: State) -> None:
        self.settings = settings
        self.number = number
        self.name = settings.name or f"stage {number}"
        self.step = 0
        self.start_time_ps = state.time_ps
        self.integrator = make_integrator(settings.integrator)
        self.integrator.initialise(state)
        self._conserved = StraightLine()
        self._temperature = BlockAverage()

    @property
    def time_ps(self) -> float:
        """Simulated time at the present step; a product, so that no rounding adds up."""
        return self.start_time_ps + self.step * self.integrator.timestep_ps

    def record(self, snapshot: Snapshot) -> None:
        """Take the present step into the statistics."""
        self._conserved.add(snapshot.state.time_ps, snapshot.conserved_quantity)
        self._temperature.add(snapshot.temperature)

    def summary(self, n_atoms: int) -> StageSummary:
        """Return what the stage has come to so far."""
        return StageSummary(
            name=self.name,
            steps=self.step,
            drift=self._conserved.slope / n_atoms,
            scatter=self._conserved.scatter / n_atoms,
            mean_temperature=self._temperature.mean,
            temperature_error=self._temperature.standard_error,
        )

    def sections(self) -> dict[str, Mapping[str, NDArray[Any]]]:
        """Return the arrays for a checkpoint, by section."""
        return {
            "integrator": self.integrator.state_dict(),
            "conserved_quantity": self._conserved.state_dict(),
            "temperature": self._temperature.state_dict(),
        }

    def load(
        self, step: int, start_time_ps: float, sections: Mapping[str, Mapping[str, NDArray[Any]]]
    ) -> None:
        """Continue where `sections` were taken."""
        self.step = step
        self.start_time_ps = start_time_ps
        self.integrator.load_state_dict(sections["integrator"])
        self._conserved.load_state_dict(sections["conserved_quantity"])
        self._temperature.load_state_dict(sections["temperature"])
