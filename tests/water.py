"""The shipped water model in tests: its input files, and what runs of it wrote."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WATER = ROOT / "inputs" / "water"

N_ATOMS = 192


def water_input(name: str) -> dict[str, Any]:
    """Return an input file of the shipped example, with paths that do not depend on its place."""
    document = tomllib.loads((WATER / f"{name}.toml").read_text())
    document["potential"]["model"] = str(WATER / document["potential"]["model"])
    document["structure"]["file"] = str(WATER / document["structure"]["file"])
    return document


def read_table(folder: Path, stage: int) -> np.ndarray:
    """Return one stage of a run's thermo table, as a structured array."""
    table = np.genfromtxt(folder / "thermo.csv", delimiter=",", names=True)
    return table[table["stage"] == stage]


def load_benchmark(name: str) -> ModuleType:
    """Return a script of benchmarks/ as a module, so that tests measure what is published."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module there.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
