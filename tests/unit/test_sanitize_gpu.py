"""What `benchmarks/sanitize_gpu.py` makes of what compute-sanitizer prints."""

import os
import subprocess
import sys

import pytest
from water import ROOT

SCRIPT = ROOT / "benchmarks" / "sanitize_gpu.py"

FAKE = """#!{python}
import os, sys
assert os.environ["FASTDP_GPU_TESTS"] == "small"
tool = sys.argv[sys.argv.index("--tool") + 1]
print("{tests} in 3.21s")
if tool == "racecheck":
    print("========= RACECHECK SUMMARY: {hazards} hazards displayed ({hazards} errors, 0 warnings)")
else:
    print("========= ERROR SUMMARY: {errors} errors")
"""


@pytest.mark.parametrize(
    ("tests", "errors", "hazards", "code"),
    [
        ("20 passed, 1 skipped", 0, 0, 0),
        ("20 passed", 3, 0, 1),
        ("20 passed", 0, 2, 1),
        ("1 failed, 19 passed", 0, 0, 1),
        ("3 skipped", 0, 0, 1),
    ],
)
def test_reports_are_counted(tmp_path, tests, errors, hazards, code):
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(FAKE.format(python=sys.executable, tests=tests, errors=errors, hazards=hazards))
    tool.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--sanitizer", str(tool)],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    passed = 0 if "passed" not in tests else int(tests.split(" passed")[0].split()[-1])
    failed = int("failed" in tests)
    assert f"| memcheck | {errors} | {passed} | {failed} |" in done.stdout
    assert f"| racecheck | {hazards} | {passed} | {failed} |" in done.stdout


def test_a_missing_sanitizer_is_said():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--sanitizer", "no-such-program"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no-such-program is not found" in done.stderr
