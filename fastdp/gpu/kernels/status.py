"""The error word: what kernels tell the host, once in a chunk of steps.

A run that has gone wrong is *halted*: every kernel returns at once until the host has looked. What is found
in the course of a step is collected in `FOUND` and becomes `HALTED` at its end, so that all threads of a
launch see the same.
"""

from __future__ import annotations

from enum import IntFlag

from numba import cuda

# Places in the array of int32. STEP counts the steps of a chunk, BUILDS all builds of the list, LARGEST_ROW
# is the most neighbours that an atom ever had, BEYOND how often something was noted of neighbours beyond what
# the model was trained to see.
HALTED, FOUND, REBUILD, STEP, BUILDS, LARGEST_ROW, BEYOND, SIZE = range(8)


class Reason(IntFlag):
    """Why a run is halted.

    Attributes
    ----------
    OVERFLOW
        An atom has more neighbours than its row has places; `LARGEST_ROW` says how many.
    LOST
        A position is not a number, or too far away for images to be counted.
    TOO_CLOSE
        A pair is closer than its table begins.
    NOT_FINITE
        A force or the energy is not finite.
    TOO_HOT
        The temperature is above the limit.
    NOT_HELD
        Q of a neighbour is not in the window that slides over the atoms, see `fastdp.gpu.windows`.
    """

    OVERFLOW = 1
    LOST = 2
    TOO_CLOSE = 4
    NOT_FINITE = 8
    TOO_HOT = 16
    NOT_HELD = 32


OVERFLOW, LOST, TOO_CLOSE, NOT_FINITE, TOO_HOT, NOT_HELD = (int(reason) for reason in Reason)

NO_LIST = OVERFLOW | LOST
"""Found where there is no list that could be used. Launches that look at these bits do not set them, so
it does not matter what else their threads find meanwhile."""


@cuda.jit
def begin_evaluation(status):
    """Forget what the last step found; one thread."""
    if status[HALTED] != 0:
        return
    status[FOUND] = 0
    status[REBUILD] = 0


@cuda.jit
def end_evaluation(status):
    """Halt if something was found; one thread. Counts the builds of the neighbour list."""
    if status[HALTED] != 0:
        return
    status[BUILDS] += status[REBUILD]
    status[HALTED] = status[FOUND]
