"""Rates of a card, the cost of a launch, and the time of each kernel of a step."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from gpu_floors import Density, Work, counting
from numba import cuda

from fastdp.gpu.device.base import Action, Device
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.kernels.motion import ask_for_list, begin_chunk, kick_and_drift
from fastdp.gpu.kernels.status import BUILDS, SIZE

COPIED_BYTES = 1 << 30
"""Far beyond any cache."""

PRODUCT_SIZE = 8192
REPEATS = 7

ACTIONS_AT_ONCE = 200
"""With their marks they fit into the queue of a card, so that the host can be ahead of it."""

HEAD_START = 2e-2
"""s; what the host takes to ask for that many, with room to spare."""


def measure_rates(device: Device, *, small: bool) -> dict[str, float]:
    """Return bytes per second read and written in a large copy, and operations per second of products.

    Parameters
    ----------
    device : Device
    small : bool
        Whether only to show that it works.
    """
    size = COPIED_BYTES // (1 << 15 if small else 1) // 8
    source, target = device.zeros(size, np.float64), device.zeros(size, np.float64)
    rates = {"bytes": 2.0 * source.nbytes / _seconds(device, partial(device.copy, target, source))}
    n = 64 if small else PRODUCT_SIZE
    for name, dtype in (("float64", np.float64), ("float32", np.float32), ("tf32", np.float32)):
        a, b, out = (device.upload(np.ones((n, n), dtype)) for _ in range(3))
        rates[name] = 2.0 * n**3 / _seconds(device, device.product(a, b, out, tf32=name == "tf32"))
    return rates


def launch_seconds(device: Device, n: int) -> dict[str, float]:
    """Return what the host takes to launch a kernel, n of them in a row, by the name of the launcher."""
    status = device.zeros(SIZE, np.int32)
    values = device.zeros((1, 3), np.float64)
    # Nothing to do for no atoms.
    arguments = (status, 0, 0.5, 0.5, values[0], values[0], values, values, values)
    launchers = {name: one.action for name, one in getattr(device, "launchers", {}).items()}
    found = {}
    for name, make in (launchers or {"simulator": device.launch}).items():
        try:
            action = make(kick_and_drift, 1, 1, arguments, 0)
            action()
        # What does not work here is left out; the device does without it too.
        except Exception as error:
            print(f"launches by {name} fail: {type(error).__name__}: {error}")
            continue
        device.read(status)
        began = time.perf_counter()
        for _ in range(n):
            action()
        found[name] = (time.perf_counter() - began) / n
        device.read(status)
    return found


@cuda.jit
def spin(n, result):
    """Keep the device busy: each addition waits for the one before."""
    value = 1.0
    for _ in range(n):
        value = value * 0.999999 + 1e-7
    result[0] = value


def time_parts(
    engine: DeviceEngine, device: Device, density: Density, operations: float, moved: float, steps: int
) -> list[dict[str, Any]]:
    """Time the kernels of steps that are made launch by launch, without a graph.

    Marks stand between the launches, and the device is kept busy until the host has asked for many of them:
    so it does not wait for the host, and what is timed is the kernels, with about a microsecond for a mark.
    Steps in which the list is built are left out if there are others.

    Parameters
    ----------
    engine : DeviceEngine
        Loaded.
    device : Device
    density : Density
    operations, moved : float
        Rates of the device, 1/s and bytes/s.
    steps : int

    Returns
    -------
    list of dict
        part, name, launches, seconds, floor; for a step, the longest first.
    """
    with counting(device, density) as counted:
        actions = engine.step_actions(False)
    works = {id(action): work for action, work in counted}
    status = engine._system.neighbours.status
    # The log of energies has as many rows as a chunk has steps.
    begin = device.launch(begin_chunk, 1, 1, (status,))
    busy = _busy(device)
    quiet: list[dict[int, float]] = []
    building: list[dict[int, float]] = []
    while len(quiet) < steps and len(quiet) + len(building) < 10 * steps:
        before = device.read(status)[BUILDS]
        begin()
        found = _time_actions(device, actions, busy)
        (quiet if device.read(status)[BUILDS] == before else building).append(found)
    timed = quiet or building
    rows: dict[str, list[tuple[Work, float]]] = defaultdict(list)
    for action in actions:
        work = works[id(action)]
        seconds = statistics.median(found[id(action)] for found in timed)
        rows[work.name].append((work, seconds))
    return sorted(
        (
            {
                "part": entries[0][0].part,
                "name": name,
                "launches": len(entries),
                "seconds": sum(seconds for _, seconds in entries),
                "floor": sum(work.floor(operations, moved) for work, _ in entries),
            }
            for name, entries in rows.items()
        ),
        key=lambda row: -row["seconds"],
    )


def graph_and_launches(engine: DeviceEngine, device: Device, steps: int) -> tuple[float, float]:
    """Return the seconds of a step that is replayed as a graph, and of one that is launched kernel by kernel.

    By the device's clock, steps one behind the other, the host being as far ahead as it gets.
    """
    actions = engine.step_actions(False)
    for _ in range(2):
        engine.advance(1, virial=False)
    first = device.mark()
    engine.advance(steps, virial=False)
    middle = device.mark()
    device.launch(begin_chunk, 1, 1, (engine._system.neighbours.status,))()
    for _ in range(steps):
        for action in actions:
            action()
    last = device.mark()
    return device.elapsed(first, middle) / steps, device.elapsed(middle, last) / steps


def build_seconds(engine: DeviceEngine, device: Device, repeats: int) -> float:
    """Return the median time of a build of the neighbour list; the engine is of no use afterwards."""
    neighbours = engine._system.neighbours
    status = (neighbours.status,)
    actions = [
        device.launch(begin_chunk, 1, 1, status),
        device.launch(ask_for_list, 1, 1, status),
        *neighbours.build_actions(),
    ]
    busy = _busy(device)
    found = []
    for _ in range(1 + repeats):
        busy()
        first = device.mark()
        for action in actions:
            action()
        found.append(device.elapsed(first, device.mark()))
    return statistics.median(found[1:])


def step_floor(
    engine: DeviceEngine, device: Device, density: Density, operations: float, moved: float
) -> float:
    """Return the seconds that the launches of a step take at least, without a build of the list."""
    with counting(device, density) as counted:
        engine.step_actions(False)
    return sum(work.floor(operations, moved) for _, work in counted)


def _busy(device: Device) -> Action:
    """Return what keeps the device busy for `HEAD_START`."""
    result = device.zeros(1, np.float64)
    additions = 1000
    per_second = additions / max(_seconds(device, device.launch(spin, 1, 1, (additions, result))), 1e-7)
    return device.launch(spin, 1, 1, (max(1, int(HEAD_START * per_second)), result))


def _time_actions(device: Device, actions: list[Action], busy: Action) -> dict[int, float]:
    """Return seconds by the identity of each action, all of which are done once, in order."""
    found = {}
    for start in range(0, len(actions), ACTIONS_AT_ONCE):
        some = actions[start : start + ACTIONS_AT_ONCE]
        busy()
        marks = [device.mark()]
        for action in some:
            action()
            marks.append(device.mark())
        for action, (first, last) in zip(some, pairwise(marks), strict=True):
            found[id(action)] = device.elapsed(first, last)
    return found


def _seconds(device: Device, action: Callable[[], None]) -> float:
    """Return the median time of an action, the first of which does not count."""
    action()
    marks = [device.mark()]
    for _ in range(REPEATS):
        action()
        marks.append(device.mark())
    return statistics.median(device.elapsed(first, last) for first, last in pairwise(marks))
