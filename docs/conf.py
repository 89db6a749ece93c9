"""Sphinx configuration: Markdown sources, the furo theme, and the input reference made from the schema."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generate_input_reference  # noqa: E402

import fastdp  # noqa: E402

generate_input_reference.main()

project = "fastdp"
author = "the authors of fastdp"
version = release = fastdp.__version__

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"fastdp {release}"
