"""Where the messages of a run go."""

from __future__ import annotations

import sys

from rich.console import Console

from fastdp.output.progress import make_reporter
from fastdp.simulation.reporter import Reporter


class QuietReporter(Reporter):
    """Lets only warnings through, to standard error."""

    def warning(self, text: str) -> None:
        """Write `text` as a warning."""
        print(f"warning: {text}", file=sys.stderr, flush=True)


def make_run_reporter(*, quiet: bool) -> Reporter:
    """Return the reporter for standard output, or the quiet one."""
    return QuietReporter() if quiet else make_reporter(Console(soft_wrap=True))
