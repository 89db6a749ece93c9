"""Where the messages of a run go."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from fastdp.errors import FastDPError
from fastdp.output.progress import make_reporter
from fastdp.simulation.reporter import Progress, Reporter, RunSummary, StageSummary


class QuietReporter(Reporter):
    """Lets only warnings through, to standard error."""

    def warning(self, text: str) -> None:
        """Write `text` as a warning."""
        print(f"warning: {text}", file=sys.stderr, flush=True)


class LastingReporter(Reporter):
    """Passes on to another reporter, until that cannot write any more: a run goes on without its log.

    Before the first step nothing is lost by stopping, and then it does.

    Parameters
    ----------
    inner : Reporter
        Writes to standard output or standard error.
    """

    def __init__(self, inner: Reporter) -> None:
        self._inner = inner
        self._running = False
        self.interval_seconds = inner.interval_seconds

    @contextmanager
    def _guard(self) -> Iterator[Reporter]:
        try:
            yield self._inner
        except OSError as error:
            self._inner = Reporter()
            _give_up_writing()
            if self._running:
                return
            if error.errno == errno.EPIPE:
                raise  # the reader has seen enough, as `head` does
            raise FastDPError(
                f"cannot write to standard output: {os.strerror(error.errno or errno.EIO)}"
            ) from error

    def message(self, text: str) -> None:
        """Pass on."""
        with self._guard() as inner:
            inner.message(text)

    def warning(self, text: str) -> None:
        """Pass on."""
        with self._guard() as inner:
            inner.warning(text)

    def started(self, progress: Progress) -> None:
        """Pass on; from now on nothing is raised."""
        self._running = True
        with self._guard() as inner:
            inner.started(progress)

    def progress(self, progress: Progress) -> None:
        """Pass on."""
        with self._guard() as inner:
            inner.progress(progress)

    def stopped(self) -> None:
        """Pass on."""
        with self._guard() as inner:
            inner.stopped()

    def stage_finished(self, summary: StageSummary) -> None:
        """Pass on."""
        with self._guard() as inner:
            inner.stage_finished(summary)

    def finished(self, summary: RunSummary) -> None:
        """Pass on."""
        with self._guard() as inner:
            inner.finished(summary)


def _give_up_writing() -> None:
    """Lead standard output nowhere: what it still holds would change the exit code at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def make_run_reporter(*, quiet: bool) -> Reporter:
    """Return the reporter for standard output, or the quiet one."""
    return LastingReporter(QuietReporter() if quiet else make_reporter(Console(soft_wrap=True)))
