"""The one call that measures a card must not fail there by a slip: here it does all that with three atoms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config

from fastdp.gpu.device.base import Device

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="on a card, run benchmarks/bench_gpu.py itself")
def test_the_benchmark_runs_to_its_end(device: Device, tmp_path: Path) -> None:
    written = tmp_path / "found.json"
    command = [sys.executable, str(BENCHMARKS / "bench_gpu.py"), "--json", str(written)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(written.read_text())
    errors = found["accuracy water"]
    assert errors["float64"]["compressed"] < 1e-12
    assert errors["float32"]["compressed"] < 5e-5
    assert errors["tf32x3"]["compressed"] < 5e-5
    assert errors["tf32"]["compressed"] > 1e-4
    run = found["reproducibility water float64"]
    assert run["bitwise_equal"]
    assert run["largest_distance_A"] < 1e-11
    (time,) = found["times"]
    assert len(time["turns"]) == 2
    assert time["bytes_per_atom"] > 100
    assert time["largest_force_error"] < 1e-4
    for name in ("build_seconds", "graph_seconds", "launched_seconds"):
        assert found["kernels water tf32x3"][name] > 0
    kernels = {row["name"]: row for row in found["kernels water tf32x3"]["rows"]}
    for name in ("moments", "forces", "activate", "split", "matrix product", "kick_and_measure"):
        assert kernels[name]["seconds"] > 0
        assert kernels[name]["floor"] > 0
    assert time["floor_seconds"] == pytest.approx(sum(row["floor"] for row in kernels.values()), rel=1e-9)
    # The table comes last.
    assert done.stdout.rstrip().splitlines()[-1].startswith("written: ")
