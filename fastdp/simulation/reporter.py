"""What a run tells whoever watches it; it knows nothing of terminals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes
    ----------
    stage : str
        Name of the stage.
    step, total_steps : int
        Steps made and to be made since the start of the run, over all stages.
    time_ps : float
        Simulated time, ps.
    temperature : float
        Instantaneous, K.
    speed : Speed
        Mean since the run was started or resumed.
    seconds_left : float
        At that speed, s; NaN before the first step.
    """

    stage: str
    step: int
    total_steps: int
    time_ps: float
    temperature: float
    speed: Speed
    seconds_left: float


@dataclass(frozen=True)
class Speed:
    """How fast a run is.

    Attributes
    ----------
    nanoseconds_per_day : float
        Simulated time per wall time.
    microseconds_per_atom_step : float
        Wall time for each atom and step.
    """

    nanoseconds_per_day: float
    microseconds_per_atom_step: float


@dataclass(frozen=True)
class StageSummary:
    """What a stage came to.

    Attributes
    ----------
    name : str
        Name of the stage.
    steps : int
        Steps made.
    drift : float
        Least-squares slope of the conserved quantity, eV/atom/ps; NaN without steps.
    scatter : float
        Root mean square distance of the conserved quantity from that line, eV/atom.
    mean_temperature : float
        Mean over all steps, K.
    temperature_error : float
        Standard error of that mean, K, by block averages; NaN for short stages.
    """

    name: str
    steps: int
    drift: float
    scatter: float
    mean_temperature: float
    temperature_error: float


@dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes
    ----------
    stages : tuple of StageSummary
        All stages so far, also those before the run was resumed.
    steps : int
        Steps made since the run was started or resumed.
    start_seconds : float
        Wall time before the first step (reading, compressing the model, compilation, first forces), s.
    loop_seconds : float
        Wall time of those steps, s.
    seconds : dict of str to float
        Parts of `loop_seconds` by category, with the rest under `other`, s; means over ranks.
    seconds_by_rank : dict of str to list of float
        The same for each rank.
    neighbour_builds : int
        How often the neighbour list was built during those steps.
    speed : Speed
        Mean over those steps.
    files : tuple of pathlib.Path
        What was written: trajectory, table, checkpoint.
    """

    stages: tuple[StageSummary, ...]
    steps: int
    start_seconds: float
    loop_seconds: float
    seconds: dict[str, float]
    neighbour_builds: int
    speed: Speed
    files: tuple[Path, ...]
    seconds_by_rank: dict[str, list[float]] = field(default_factory=dict)


class Reporter:
    """Listens to a run and says nothing; the base of those that do.

    Attributes
    ----------
    interval_seconds : float
        How often it wants to hear of progress, s.
    """

    interval_seconds: float = 10.0

    def message(self, text: str) -> None:
        """Take note of something worth knowing."""

    def warning(self, text: str) -> None:
        """Take note of something that may be wrong."""

    def started(self, progress: Progress) -> None:
        """Take note that the first step comes next."""

    def progress(self, progress: Progress) -> None:
        """Take note of where the run is."""

    def stopped(self) -> None:
        """Take note that no more steps follow, for whatever reason."""

    def stage_finished(self, summary: StageSummary) -> None:
        """Take note of what a stage came to."""

    def finished(self, summary: RunSummary) -> None:
        """Take note of what the run came to."""
