"""The tests of the GPU engine in Numba's simulator, which has to be chosen before Numba is imported.

On shadow memory (`tests/gpu/shadow.py`), which finds more in less time than the simulator's own threads.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_the_gpu_engine_in_the_simulator() -> None:
    environment = os.environ | {
        "NUMBA_ENABLE_CUDASIM": "1",
        "NUMBA_NUM_THREADS": "1",
        "FASTDP_GPU_SHADOW": "1",
    }
    # Not the source tree before what is installed: the compiled part is missing there.
    command = [sys.executable, "-P", "-m", "pytest", str(TESTS / "gpu"), "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    # Skipped for want of the shared folder at most.
    assert found is not None
    assert int(found[1]) >= 25, done.stdout[-2000:]
