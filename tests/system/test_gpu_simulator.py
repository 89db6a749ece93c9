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
PROCESSES = 2
"""A kernel is played by one thread of Python; files are shared out."""


def test_the_gpu_engine_in_the_simulator() -> None:
    environment = os.environ | {
        "NUMBA_ENABLE_CUDASIM": "1",
        "NUMBA_NUM_THREADS": "1",
        "FASTDP_GPU_SHADOW": "1",
    }
    files = sorted(str(path) for path in (TESTS / "gpu").glob("test_*.py"))
    # Not the source tree before what is installed: the compiled part is missing there.
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    started = [
        subprocess.Popen(
            [*command, *files[number::PROCESSES]],
            cwd=TESTS.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    printed = [process.communicate()[0] for process in started]
    for process, text in zip(started, printed, strict=True):
        assert process.returncode == 0, text[-6000:]
        # Skipped for want of the shared folder at most.
        found = re.search(r"(\d+) passed", text)
        assert found is not None
        assert int(found[1]) >= 25, text[-2000:]
