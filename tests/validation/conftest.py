"""Runs of the shipped water model that the validation shares, and the figures that it publishes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from water import water_input

from fastdp.cli.main import main
from fastdp.config.render import resolved_text
from fastdp.config.schema import Configuration

_published: list[str] = []

Run = Callable[[str, dict[str, Any]], Path]
"""Runs a document of settings under a name; gives the folder of its output."""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    def run(name: str, document: dict[str, Any]) -> Path:
        folder = tmp_path_factory.mktemp(name)
        document["output"] = document.get("output", {}) | {"directory": str(folder / "out")}
        path = folder / "input.toml"
        path.write_text(resolved_text(Configuration.model_validate(document)))
        assert main(["run", str(path), "--quiet"]) == 0
        return folder / "out"

    return run


@pytest.fixture(scope="session")
def nvt_run(run: Run) -> Path:
    """20 ps at 330 K, after 5 ps of equilibration."""
    document = water_input("nvt_rdf")
    document["stage"][1]["steps"] = 40_000
    return run("nvt", document)


@pytest.fixture(scope="session")
def start_file(nvt_run: Path) -> Path:
    """The last frame of that run, with velocities."""
    path = nvt_run / "frames.extxyz"
    assert main(["convert", str(nvt_run / "trajectory.h5"), str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def publish() -> Callable[[str], None]:
    """Keep a line for the end of the session: figures belong in docs/validation.md."""
    return _published.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _published:
        terminalreporter.section("measured")
        for line in _published:
            terminalreporter.write_line(line)
