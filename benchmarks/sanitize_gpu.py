"""Run the small tests of the GPU engine under NVIDIA's compute-sanitizer, and count what it reports.

    python benchmarks/sanitize_gpu.py [--tools memcheck racecheck initcheck synccheck] [--tests -k NAME]

Needs a GPU and `compute-sanitizer`, which comes with the CUDA toolkit. The tests are those of `pytest -m gpu`
with as few atoms as in the simulator (FASTDP_GPU_TESTS=small). Exits with 1 if anything is reported, a test
fails, or none ran.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")

SUMMARIES = (r"ERROR SUMMARY: (\d+) error", r"RACECHECK SUMMARY: (\d+) hazard")


class Outcome(NamedTuple):
    """What one tool came to: its reports (None if it gave no summary), and the tests by outcome."""

    reports: int | None
    passed: int
    failed: int

    @property
    def good(self) -> bool:
        """Whether tests ran, none failed, and nothing was reported."""
        return self.reports == 0 and self.passed > 0 and self.failed == 0


def outcome(printed: str) -> Outcome:
    """Read what the sanitizer and pytest printed; there is a summary for each process."""
    counts = [int(number) for pattern in SUMMARIES for number in re.findall(pattern, printed)]
    # pytest's last line, such as "1 failed, 19 passed, 2 errors in 3.21s".
    last = "".join(
        re.findall(r"^.*(?:passed|failed|skipped|errors?|deselected).* in [\d.]+s.*$", printed, re.M)
    )

    def tests(words: str) -> int:
        return sum(int(number) for number in re.findall(rf"(\d+) (?:{words})\b", last))

    return Outcome(sum(counts) if counts else None, tests("passed"), tests("failed|errors?"))


def main() -> None:
    """Run the tools one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=TOOLS)
    parser.add_argument("--sanitizer", default="compute-sanitizer")
    parser.add_argument("--log", type=Path, help="folder for what was printed")
    parser.add_argument("--tests", nargs=argparse.REMAINDER, default=[], help="last; given to pytest")
    options = parser.parse_args()
    sanitizer = shutil.which(options.sanitizer)
    if sanitizer is None:
        raise SystemExit(f"{options.sanitizer} is not found; it comes with the CUDA toolkit")
    environment = os.environ | {"FASTDP_GPU_TESTS": "small", "PYTHONUNBUFFERED": "1"}
    pytest = [sys.executable, "-P", "-m", "pytest", "-m", "gpu", "tests/gpu", "-q", "-p", "no:cacheprovider"]
    print("| tool | reports | tests passed | failed |\n|---|---|---|---|")
    good = True
    for tool in options.tools:
        command = [sanitizer, "--tool", tool, "--target-processes", "all", *pytest, *options.tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        found = outcome(done.stdout + done.stderr)
        good = good and found.good
        reports = "no summary" if found.reports is None else found.reports
        print(f"| {tool} | {reports} | {found.passed} | {found.failed} |", flush=True)
        if options.log is not None:
            options.log.mkdir(parents=True, exist_ok=True)
            (options.log / f"{tool}.txt").write_text(done.stdout + done.stderr)
        elif not found.good:
            print((done.stdout + done.stderr)[-4000:])
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
