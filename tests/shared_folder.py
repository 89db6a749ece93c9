"""Where models and reference answers lie that are not part of this repository."""

from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
