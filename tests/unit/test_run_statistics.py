from __future__ import annotations

import time

import numpy as np
import pytest

from fastdp.simulation.statistics import BlockAverage, StraightLine
from fastdp.simulation.timers import Timers
from fastdp.simulation.trigger import EverySeconds, EverySteps


def test_line_agrees_with_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(2000) * 5e-4 + 17.0
    # An energy of many atoms with a small drift, as in a run.
    y = -3.0e4 + 2.0e-4 * x + rng.normal(scale=1e-5, size=len(x))
    line = StraightLine()
    for point in zip(x, y, strict=True):
        line.add(*point)
    slope, offset = np.polyfit(x - x[0], y - y[0], 1)
    residual = y - y[0] - (slope * (x - x[0]) + offset)
    # Doubles of 3e4 are known to 4e-12.
    assert line.slope == pytest.approx(slope, rel=1e-9)
    assert line.scatter == pytest.approx(np.sqrt((residual**2).mean()), rel=1e-8)


def test_line_without_points_is_not_a_number() -> None:
    line = StraightLine()
    assert np.isnan([line.slope, line.scatter]).all()
    line.add(1.0, 2.0)
    assert np.isnan([line.slope, line.scatter]).all()


def autoregressive(n: int, correlation: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=n)
    series = np.empty(n)
    series[0] = noise[0] / np.sqrt(1 - correlation**2)
    for i in range(1, n):
        series[i] = correlation * series[i - 1] + noise[i]
    return series


def test_block_average_knows_the_error_of_a_correlated_mean() -> None:
    correlation, n = 0.95, 50_000
    average = BlockAverage()
    series = 300.0 + autoregressive(n, correlation, 1)
    for value in series:
        average.add(value)
    assert average.mean == pytest.approx(series.mean(), rel=1e-12)
    # Exact for this process; ignoring the correlation would give a sixth of it.
    exact = 1.0 / ((1.0 - correlation) * np.sqrt(n))
    assert average.standard_error == pytest.approx(exact, rel=0.3)


def test_block_average_of_few_values_has_no_error() -> None:
    average = BlockAverage()
    assert np.isnan(average.mean)
    for value in range(15):
        average.add(value)
    assert average.mean == 7.0
    assert np.isnan(average.standard_error)


@pytest.mark.parametrize("kind", [StraightLine, BlockAverage])
def test_statistics_continue_exactly(kind: type) -> None:
    values = np.random.default_rng(3).normal(size=(301, 2))
    whole, part, rest = kind(), kind(), kind()
    arguments = [tuple(row) if kind is StraightLine else (row[0],) for row in values]
    for row in arguments:
        whole.add(*row)
    for row in arguments[:117]:
        part.add(*row)
    rest.load_state_dict(part.state_dict())
    for row in arguments[117:]:
        rest.add(*row)
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(rest.state_dict()[name], array)


def test_inner_timers_stop_the_outer_one() -> None:
    timers = Timers()
    with timers.measure("motion"):
        time.sleep(0.02)
        with timers.measure("model"):
            time.sleep(0.05)
        time.sleep(0.02)
    # Sleeping takes at least as long as asked; had motion run on, it would have 0.09 s.
    assert timers.seconds["model"] >= 0.05
    assert 0.04 <= timers.seconds["motion"] < 0.04 + timers.seconds["model"]
    timers.reset()
    assert set(timers.seconds.values()) == {0.0}


def test_triggers() -> None:
    assert [step for step in range(31) if EverySteps(10).due(step)] == [0, 10, 20, 30]
    clock = EverySeconds(0.03)
    assert not clock.due(1)
    time.sleep(0.031)
    assert clock.due(2)
    assert not clock.due(3)
