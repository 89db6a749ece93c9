from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fastdp.output.progress import (
    LogReporter,
    TerminalReporter,
    closing_text,
    duration_text,
    make_reporter,
)
from fastdp.simulation.reporter import Progress, RunSummary, Speed, StageSummary

PROGRESS = Progress(
    stage="equilibration",
    step=1200,
    total_steps=4000,
    time_ps=0.6,
    temperature=331.26,
    speed=Speed(12.345, 45.678),
    seconds_left=3725.4,
)
SUMMARY = RunSummary(
    stages=(
        StageSummary("equilibration", 1000, -1.25e-8, 3.4e-6, 329.871, 1.234),
        StageSummary("production", 3000, 2.5e-9, 1.1e-6, 330.5, 0.5),
    ),
    steps=4000,
    start_seconds=3.21,
    loop_seconds=40.0,
    seconds={"neighbours": 4.0, "model": 34.0, "motion": 1.0, "output": 0.6, "other": 0.4},
    neighbour_builds=57,
    speed=Speed(4.32, 52.1),
    files=(Path("out/trajectory.h5"), Path("out/thermo.csv")),
)


def run_through(reporter: TerminalReporter | LogReporter) -> None:
    reporter.message("a [note]")
    reporter.warning("a [warning]")
    reporter.started(PROGRESS)
    for _ in range(3):
        reporter.progress(PROGRESS)
    reporter.stage_finished(SUMMARY.stages[0])
    reporter.stopped()
    reporter.finished(SUMMARY)


def test_a_log_gets_plain_lines() -> None:
    stream = io.StringIO()
    reporter = make_reporter(Console(file=stream, width=40))
    assert isinstance(reporter, LogReporter)
    run_through(reporter)
    text = stream.getvalue()
    # No bar, no control sequences, and no line broken at the width of a terminal that is not there.
    assert "\r" not in text
    assert "\x1b" not in text
    assert (
        "equilibration: step 1200/4000 (30.0 %), 0.600 ps, 331.3 K,"
        " 12.3 ns/day, 45.68 µs/atom/step, 1:02:05 left\n"
    ) in text
    assert "a [note]\n" in text
    assert "warning: a [warning]\n" in text
    assert "equilibration: 1000 steps done\n" in text
    assert text.endswith(closing_text(SUMMARY) + "\n")


def test_a_terminal_gets_a_bar() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, legacy_windows=False)
    reporter = make_reporter(console)
    assert isinstance(reporter, TerminalReporter)
    run_through(reporter)
    text = stream.getvalue()
    assert "━" in text
    assert "30 %" in text
    assert "12.3 ns/day, 45.68 µs/atom/step" in text
    assert "1:02:05 left" in text
    assert "a [note]" in text
    assert "trajectory.h5" in text


def test_the_closing_table_has_everything() -> None:
    text = closing_text(SUMMARY)
    lines = [line.split() for line in text.splitlines()]
    assert ["production", "3000", "330.50", "±", "0.50", "2.50e-09", "1.10e-06"] in lines
    assert ["model", "34.00", "85.0"] in lines
    assert ["neighbours", "4.00", "10.0"] in lines
    assert ["all", "steps", "40.00", "100.0"] in lines
    assert ["before", "the", "first", "3.21"] in lines


def test_what_a_short_run_cannot_tell_is_not_told() -> None:
    stage = StageSummary("trial", 10, -4.99e-2, 0.0, 334.87, math.nan)
    text = closing_text(replace(SUMMARY, stages=(stage,)))
    assert "nan" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["trial", "10", "334.87", "too", "short", "0.00e+00"] in lines
    assert "speed: 4.32 ns/day, 52.1 µs/atom/step (4000 steps, neighbour list built 57 times)" in text
    assert "written: out/trajectory.h5" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00:00"), (59.6, "0:01:00"), (90061.0, "1 day, 1:01:01"), (float("nan"), "unknown time")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
