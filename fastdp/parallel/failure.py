"""Ending all ranks when one fails, with its message and its exit code.

A rank that leaves while others wait for it would leave them waiting for ever. What all ranks raise together
(`on_all_ranks`) ends each of them in the ordinary way; anything else ends all at once.
"""

from __future__ import annotations

import sys
import time

from fastdp.errors import FastDPError
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.parallel.launch import launched

SECONDS_FOR_RANK_0 = 0.3
"""That others wait before they end everything, so that where all fail alike rank 0 says so, and only it."""

_active: Communicator = SERIAL


def end_together(communicator: Communicator) -> None:
    """From now on, a failure of this process ends the ranks of `communicator`."""
    global _active
    _active = communicator


def speaks(error: BaseException) -> bool:
    """Return whether this rank is to tell the user about `error`."""
    if _active.size == 1:
        # Others that a launcher started, and that could not be joined, fail in the same way.
        return launched().rank == 0
    return not getattr(error, "on_all_ranks", False) or _active.is_root


def prefix() -> str:
    """Return what messages of this rank start with."""
    return "" if _active.is_root else f"rank {_active.rank}: "


def end_others(error: BaseException, exit_code: int) -> None:
    """End all ranks at once if there are others and they do not know; otherwise do nothing.

    Parameters
    ----------
    error : BaseException
        Why.
    exit_code : int
    """
    if _active.size > 1 and not getattr(error, "on_all_ranks", False):
        sys.stderr.flush()
        sys.stdout.flush()
        _active.abort(exit_code)


def wait_for_rank_0(error: BaseException) -> None:
    """Give rank 0 time to speak first, if it is failing as well."""
    if not _active.is_root and isinstance(error, FastDPError) and not error.on_all_ranks:
        time.sleep(SECONDS_FOR_RANK_0)
