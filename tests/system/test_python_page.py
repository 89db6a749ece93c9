"""The script that docs/python.md shows runs, on the model that ships."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from fastdp.output.trajectory import Trajectory

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "python.md"


def test_the_page_of_the_python_interface_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for name in ("water.pb", "start.extxyz", "nvt.toml"):
        shutil.copy(ROOT / "inputs" / "water" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile("\n".join(blocks), str(PAGE), "exec"), names)
    assert names["code"] == 0
    with Trajectory("results/python/trajectory.h5") as trajectory:
        assert [frame.step for frame in trajectory] == [0, 10, 20, 30, 40]
