"""An input file with pair terms beside a random model, and what runs of it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cases import INPUT, write_case

TERMS = """\
[potential.zbl]
inner_A = 0.6
outer_A = 1.1
[[potential.table]]
file = "far.tab"
elements = ["H", "O"]
"""


def write_table(path: Path, rows, header: str = "") -> Path:
    """Write a table of pairs with all digits."""
    np.savetxt(path, rows, fmt="%.17g", header=header)
    return path


def smooth_table(path: Path, n_types: int, start: float = 0.2, end: float = 3.4) -> Path:
    """Write a table with another function for each pair of types, smooth to its end; distances in Å."""
    r = np.linspace(start, end, 161)
    columns = [
        (k + 1) * np.cos(0.7 * r + k) * (1 - r / end) ** 3 for k in range(n_types * (n_types + 1) // 2)
    ]
    return write_table(path, np.column_stack([r, *columns]), header="r, pairs")


def write_terms_case(
    folder: Path, model: Path, *, backend: str = "cpu", steps: int = 200, terms: str = TERMS
):
    """Write twelve atoms with a repulsion and a table that reaches farther than the model."""
    r = np.linspace(0.3, 6.5, 311)
    columns = [(k + 0.5) * 0.3 * np.exp(-r) * (1 - r / 6.5) ** 3 for k in range(3)]
    np.savetxt(folder / "far.tab", np.column_stack([r, *columns]), fmt="%.12g")
    text = INPUT.replace('backend = "reference"', f'backend = "{backend}"\n{terms}')
    text = text.replace("steps = 6\ntimestep_fs = 0.5", f"steps = {steps}\ntimestep_fs = 0.1")
    text = text.replace("every = 2", "every = 20")
    return write_case(folder, model, text=text)


def thermo(folder: Path) -> np.ndarray:
    """Return the thermo table of a run as a structured array."""
    return np.genfromtxt(folder / "out" / "thermo.csv", delimiter=",", names=True)
