"""A run outlives its log."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from cases import INPUT, start_fastdp, write_case
from test_progress import PROGRESS, SUMMARY

from fastdp.cli.reporting import LastingReporter
from fastdp.errors import FastDPError
from fastdp.output.trajectory import Trajectory
from fastdp.simulation.reporter import Progress, Reporter, RunSummary, StageSummary


class Breaking(Reporter):
    """Fails from the n-th call on."""

    interval_seconds = 7.0

    def __init__(self, calls: int, number: int = errno.ENOSPC) -> None:
        self.heard: list[object] = []
        self._calls, self._number = calls, number

    def _hear(self, what: object) -> None:
        if len(self.heard) >= self._calls:
            raise OSError(self._number, os.strerror(self._number))
        self.heard.append(what)

    def message(self, text: str) -> None:
        self._hear(text)

    def warning(self, text: str) -> None:
        self._hear(text)

    def started(self, progress: Progress) -> None:
        self._hear(progress)

    def progress(self, progress: Progress) -> None:
        self._hear(progress)

    def stopped(self) -> None:
        self._hear("stopped")

    def stage_finished(self, summary: StageSummary) -> None:
        self._hear(summary)

    def finished(self, summary: RunSummary) -> None:
        self._hear(summary)


@pytest.fixture(autouse=True)
def standard_output_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Writing is given up by leading standard output nowhere, and pytest needs its own."""
    with open(tmp_path / "standard_output", "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        yield


def tell_all(reporter: Reporter) -> None:
    reporter.started(PROGRESS)
    reporter.progress(PROGRESS)
    reporter.message("a")
    reporter.warning("b")
    reporter.stage_finished(SUMMARY.stages[0])
    reporter.stopped()
    reporter.finished(SUMMARY)


ALL = [PROGRESS, PROGRESS, "a", "b", SUMMARY.stages[0], "stopped", SUMMARY]


@pytest.mark.parametrize("calls", range(len(ALL) + 1))
def test_what_fails_during_a_run_is_left_out_from_then_on(calls: int) -> None:
    inner = Breaking(calls)
    reporter = LastingReporter(inner)
    assert reporter.interval_seconds == 7.0
    tell_all(reporter)
    assert inner.heard == ALL[:calls]


def test_before_the_first_step_it_ends_the_run() -> None:
    with pytest.raises(FastDPError, match="cannot write to standard output: No space left on device"):
        LastingReporter(Breaking(0)).message("a")
    with pytest.raises(BrokenPipeError):
        LastingReporter(Breaking(0, errno.EPIPE)).warning("a")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("command", [("run", "input.toml"), ("info", "model.pb"), ("check", "input.toml")])
def test_a_full_disk_under_the_log_is_no_defect(tmp_path, model_file, command) -> None:
    write_case(tmp_path, model_file("two_sided"))
    with open("/dev/full", "w") as full:
        process = start_fastdp(*command, folder=tmp_path, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device" in err
    assert "Traceback" not in err


def test_a_run_whose_reader_leaves_is_finished(tmp_path, model_file) -> None:
    case = write_case(tmp_path, model_file("two_sided"), text=INPUT.replace("steps = 6", "steps = 300"))
    reading, writing = os.pipe()
    with os.fdopen(reading) as log, os.fdopen(writing, "w") as out:
        process = start_fastdp("run", case.name, folder=tmp_path, stdout=out)
        out.close()
        for line in log:
            if line.startswith("running from step"):
                break
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    with Trajectory(tmp_path / "out" / "trajectory.h5") as trajectory:
        assert trajectory[-1].step == 304
