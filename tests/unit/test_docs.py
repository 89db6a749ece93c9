"""What the documentation shows is true."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from fastdp.config.schema import Configuration
from fastdp.config.walk import all_tables

DOCS = Path(__file__).resolve().parents[2] / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="needs the folder docs of the source tree")


@pytest.mark.parametrize("page", ["usage.md", "pair_terms.md"])
def test_input_files_in_the_documentation_are_valid(page) -> None:
    inputs = re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert inputs
    for text in inputs:
        Configuration.model_validate(tomllib.loads(text))


def test_the_reference_page_has_every_key() -> None:
    spec = importlib.util.spec_from_file_location("generator", DOCS / "generate_input_reference.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = generator.page()
    for _, keys in all_tables():
        for key in keys:
            assert f"`{key}`" in page or f"{key}]`" in page or f"{key}]]`" in page
