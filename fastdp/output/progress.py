"""What a run says: a bar on a terminal, plain lines in a log, and the closing table in both."""

from __future__ import annotations

import datetime
import math
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from fastdp.simulation.reporter import Progress, Reporter, RunSummary, Speed, StageSummary


def make_reporter(console: Console) -> Reporter:
    """Return the reporter that suits `console`: bars never go into a file."""
    return TerminalReporter(console) if console.is_terminal else LogReporter(console.file)


class LogReporter(Reporter):
    """Writes a plain line now and then.

    Parameters
    ----------
    stream : text stream
        Where the lines go.
    """

    interval_seconds = 30.0

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def message(self, text: str) -> None:
        """Write `text`."""
        print(text, file=self._stream, flush=True)

    def warning(self, text: str) -> None:
        """Write `text` as a warning."""
        self.message(f"warning: {text}")

    def started(self, progress: Progress) -> None:
        """Write where the run starts."""
        self.message(f"running from step {progress.step} to step {progress.total_steps}")

    def progress(self, progress: Progress) -> None:
        """Write where the run is."""
        share = 100.0 * progress.step / max(progress.total_steps, 1)
        self.message(
            f"{progress.stage}: step {progress.step}/{progress.total_steps} ({share:.1f} %),"
            f" {progress.time_ps:.3f} ps, {progress.temperature:.1f} K, {speed_text(progress.speed)},"
            f" {duration_text(progress.seconds_left)} left"
        )

    def stage_finished(self, summary: StageSummary) -> None:
        """Write that a stage is over."""
        self.message(f"{summary.name}: {summary.steps} steps done")

    def finished(self, summary: RunSummary) -> None:
        """Write the closing table."""
        self.message(closing_text(summary))


class TerminalReporter(Reporter):
    """Shows a bar.

    Parameters
    ----------
    console : rich.console.Console
        A terminal.
    """

    interval_seconds = 0.5

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %  {task.fields[text]}"),
            console=console,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", total=None, text="")

    def message(self, text: str) -> None:
        """Print `text` above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warning(self, text: str) -> None:
        """Print `text` as a warning above the bar."""
        self._console.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def started(self, progress: Progress) -> None:
        """Show the bar."""
        self._bar.start()
        self.progress(progress)

    def progress(self, progress: Progress) -> None:
        """Move the bar."""
        text = f"{progress.temperature:.0f} K"
        if not math.isnan(progress.seconds_left):
            text += f"  {speed_text(progress.speed)}  {duration_text(progress.seconds_left)} left"
        self._bar.update(
            self._task,
            description=progress.stage,
            completed=progress.step,
            total=progress.total_steps,
            text=text,
            refresh=True,
        )

    def stopped(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def stage_finished(self, summary: StageSummary) -> None:
        """Print that a stage is over."""
        self.message(f"{summary.name}: {summary.steps} steps done")

    def finished(self, summary: RunSummary) -> None:
        """Print the closing table."""
        self.message(closing_text(summary))


def speed_text(speed: Speed) -> str:
    """Return `speed` for people."""
    return f"{speed.nanoseconds_per_day:.3g} ns/day, {speed.microseconds_per_atom_step:.4g} µs/atom/step"


SHORTEST_WITH_DRIFT = 100
"""Steps: the conserved quantity of fewer goes up and down with the fastest vibrations, and has no trend."""


def duration_text(seconds: float) -> str:
    """Return `seconds` as days, hours, minutes and seconds."""
    return "unknown time" if math.isnan(seconds) else str(datetime.timedelta(seconds=round(seconds)))


def closing_text(summary: RunSummary) -> str:
    """Return what is said at the end of a run: physics, time, speed and files."""
    if summary.steps == 0:
        return "\n".join(
            ["", "nothing was left to do: all stages are complete", *(f"written: {p}" for p in summary.files)]
        )
    stages: list[tuple[str, ...]] = [
        ("stage", "steps", "temperature (K)", "drift (eV/atom/ps)", "scatter (eV/atom)")
    ]
    stages += [
        (
            stage.name,
            str(stage.steps),
            f"{stage.mean_temperature:.2f}"
            + ("" if math.isnan(stage.temperature_error) else f" ± {stage.temperature_error:.2f}"),
            "too short" if stage.steps < SHORTEST_WITH_DRIFT else f"{stage.drift:.2e}",
            f"{stage.scatter:.2e}",
        )
        for stage in summary.stages
    ]
    ranks = max((len(values) for values in summary.seconds_by_rank.values()), default=1)
    extremes = ("min", "max") if ranks > 1 else ()
    times: list[tuple[str, ...]] = [("time" if ranks == 1 else f"time of {ranks} ranks", "s", "%", *extremes)]
    for category, seconds in summary.seconds.items():
        values = summary.seconds_by_rank.get(category, [seconds])
        span = (f"{min(values):.2f}", f"{max(values):.2f}") if ranks > 1 else ()
        times.append((category, f"{seconds:.2f}", f"{100.0 * seconds / summary.loop_seconds:.1f}", *span))
    nothing = ("",) * len(extremes)
    times.append(("all steps", f"{summary.loop_seconds:.2f}", "100.0", *nothing))
    times.append(("before the first", f"{summary.start_seconds:.2f}", "", *nothing))
    return "\n".join(
        [
            "",
            "Mean temperature with its standard error; drift and scatter of the conserved quantity:",
            *_columns(stages),
            "",
            *_columns(times),
            "",
            f"speed: {speed_text(summary.speed)}"
            f" ({summary.steps} steps, neighbour list built {summary.neighbour_builds} times)",
            *(f"written: {path}" for path in summary.files),
        ]
    )


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Return `rows` as lines with aligned columns, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [
                f"  {row[0]:<{widths[0]}}",
                *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    ]
