"""Writing a configuration back as TOML: what a run was really told, defaults included."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastdp.config.schema import Configuration


def resolved_text(configuration: Configuration) -> str:
    """Return the configuration with every default and absolute path, as TOML that reads back the same.

    Parameters
    ----------
    configuration : Configuration

    Returns
    -------
    str
    """
    return "\n".join(_table(configuration.model_dump(exclude_none=True), "")).strip() + "\n"


def _table(content: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the lines of a table: its plain keys first, as TOML wants it, then the tables below it."""
    nested: list[tuple[str, str, Mapping[str, Any]]] = []
    for key, value in content.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, dict) and _has_fixed_keys(path):
            nested.append((f"[{path}]", path, value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            nested += [(f"[[{path}]]", path, entry) for entry in value]
        else:
            yield f"{key} = {_value(value)}"
    for header, path, entry in nested:
        yield ""
        yield header
        yield from _table(entry, path)


def _has_fixed_keys(path: str) -> bool:
    # Keys that the user makes up are written inline, quoted.
    return path not in ("structure.masses_u", "potential.zbl.nuclear_charges")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)
