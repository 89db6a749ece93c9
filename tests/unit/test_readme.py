"""What the README shows is true."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="needs the README of the source tree")


def text() -> str:
    return README.read_text(encoding="utf-8")


def test_the_input_is_the_one_that_ships() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", text(), re.DOTALL)
    shipped = (ROOT / "inputs" / "water" / "nvt.toml").read_text(encoding="utf-8")
    assert shown == "".join(
        line for line in shipped.splitlines(keepends=True) if not line.startswith("#")
    ).lstrip("\n")


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", text())
    local = [link for link in links if not link.startswith("http")]
    assert len(local) > 5
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_ci_runs_the_commands_that_it_opens_with() -> None:
    script = ROOT / ".ci" / "run"
    if not script.is_file():
        pytest.skip("needs a checkout of the repository")
    commands = re.findall(r"```bash\n(.*?)\n```", text(), re.DOTALL)[:2]
    for command in commands:
        assert f'"{command}"' in script.read_text(encoding="utf-8")
