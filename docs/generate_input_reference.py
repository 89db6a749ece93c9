"""Write the reference page of the input file from the schema: `python docs/generate_input_reference.py`.

`docs/conf.py` runs it before every build of the documentation, so the page cannot fall behind the code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fastdp.config.problems import header
from fastdp.config.schema import LARGEST_COUNT, STAGES, Configuration, StageTable
from fastdp.config.walk import field_at, keys_at, tables_at, unit_of

DESTINATION = Path(__file__).parent / "reference" / "_generated" / "input_reference.md"

INTRODUCTION = """\
# Input file: every key

This page is generated from the schema that `fastdp run` and `fastdp check` validate with; `fastdp schema`
prints the same as JSON schema, for editors that complete TOML. A key without a default must be given.
Unknown keys are refused. Units stand in the names of keys or in the column *unit*.

All relative paths count from the folder of the input file, wherever fastdp is started.
"""


def main() -> None:
    DESTINATION.parent.mkdir(parents=True, exist_ok=True)
    DESTINATION.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the whole page as Markdown."""
    plain = {name: field for name, field in Configuration.model_fields.items() if not keys_at((name,))}
    parts = [INTRODUCTION, "## At the top of the file\n", key_table(plain)]
    for name, field in Configuration.model_fields.items():
        if name == "stage":
            parts += stage_sections(field)
        elif keys_at((name,)):
            parts += table_sections((name,))
    return "\n".join(parts)


def table_sections(location: tuple[str, ...]) -> list[str]:
    """Return the section of a table and, after it, those of the tables inside."""
    (table,) = tables_at(location)
    plain = {name: field for name, field in table.model_fields.items() if not keys_at((*location, name))}
    field = field_at(location)
    is_array = field is not None and get_origin(field.annotation) is list
    name = f"[{header(location)}]" if is_array else header(location)
    parts = [f"## `{name}`\n", f"{table.__doc__}\n", key_table(plain)]
    for name in table.model_fields:
        if keys_at((*location, name)):
            parts += table_sections((*location, name))
    return parts


def stage_sections(field: FieldInfo) -> list[str]:
    """Return what all stages have, then what each kind adds."""
    common = StageTable.model_fields
    parts = ["## `[[stage]]`\n", f"{field.description}\n", key_table(dict(common))]
    for ensemble, kind in STAGES.items():
        own = {name: entry for name, entry in kind.model_fields.items() if name not in common}
        parts += [f"### `ensemble = {json.dumps(ensemble)}`\n", f"{kind.__doc__}\n", key_table(own)]
    return parts


def key_table(fields: dict[str, FieldInfo]) -> str:
    """Return a Markdown table of keys."""
    lines = ["| key | type | unit | default | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {type_text(field)} | {unit_of(field)} | {default_text(field)} | {field.description} |"
        for name, field in fields.items()
    ]
    return "\n".join(lines) + "\n"


def type_text(field: FieldInfo) -> str:
    """Return the type of a key and its limits in words."""
    text = annotation_text(field.annotation)
    signs = {Gt: (">", "gt"), Ge: ("≥", "ge"), Le: ("≤", "le")}
    limits = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for kind, (sign, name) in signs.items()
        # Limits that only keep counters from overflowing tell a user nothing.
        if isinstance(rule, kind) and abs(getattr(rule, name)) < LARGEST_COUNT
    ]
    return " ".join([text, ", ".join(limits)]).strip()


def annotation_text(annotation: Any) -> str:
    """Return a type in the words of TOML."""
    words = {bool: "true or false", int: "integer", float: "number", str: "text"}
    if annotation in words:
        return words[annotation]
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{json.dumps(choice)}`" for choice in get_args(annotation))
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    if get_origin(annotation) is list:
        return f"array of {annotation_text(arguments[0])}"
    if get_origin(annotation) is dict:
        return f"table of {annotation_text(arguments[1])}"
    return annotation_text(arguments[0])


def default_text(field: FieldInfo) -> str:
    """Return the default as TOML would have it; a dash where there is none."""
    if field.default is PydanticUndefined:
        return "**required**"
    return "–" if field.default is None else f"`{json.dumps(field.default)}`"


if __name__ == "__main__":
    main()
