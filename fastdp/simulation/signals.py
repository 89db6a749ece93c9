"""Stopping a run from outside without losing anything."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGXCPU)
"""Ctrl-C, the end of a batch job, the warning that batch systems can send before it, the end of the terminal,
and the limit of processor time."""


class StopRequest:
    """While active, turns `SIGNALS` into a note; a Ctrl-C after that acts as it would have before.

    Attributes
    ----------
    signal_name : str or None
        Name of the signal that came, None while the run may go on.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        # Python lets only the main thread handle signals; elsewhere the program around us does.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # `nohup` has it ignored, so that the run goes on without a terminal.
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_name = signal.Signals(number).name
        # Batch systems repeat SIGTERM; only a person who presses Ctrl-C again means "at once".
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])
