"""Finding tables and keys of the schema by their place in the input file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from fastdp.config.lines import Location
from fastdp.config.schema import Configuration, Table


def tables_at(location: Location) -> list[type[Table]]:
    """Return the tables that may stand at `location`: several for a stage, none for a plain key."""
    tables: list[type[Table]] = [Configuration]
    for part in location:
        if isinstance(part, str):
            fields = [table.model_fields[part] for table in tables if part in table.model_fields]
            tables = [table for field in fields for table in _tables_in(field.annotation)]
    return tables


def keys_at(location: Location) -> list[str]:
    """Return the keys that are known in the table at `location`."""
    return list(dict.fromkeys(name for table in tables_at(location) for name in table.model_fields))


def field_at(location: Location) -> FieldInfo | None:
    """Return what the schema says about the key at `location`; of the first kind of stage that has it."""
    *parents, name = location
    if isinstance(name, int):
        return field_at(tuple(parents))
    found = (table.model_fields[name] for table in tables_at(tuple(parents)) if name in table.model_fields)
    return next(found, None)


def unit_of(field: FieldInfo) -> str:
    """Return the unit of a key, or an empty string."""
    extra = field.json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""


def all_tables(location: Location = ()) -> Iterator[tuple[Location, list[str]]]:
    """Yield the place and the keys of every table, from `location` down."""
    keys = keys_at(location)
    if keys:
        yield location, keys
    for name in keys:
        yield from all_tables((*location, name))


def _tables_in(annotation: Any) -> list[type[Table]]:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return [annotation]
    return [table for argument in get_args(annotation) for table in _tables_in(argument)]
