"""Turning what pydantic finds into messages that a user can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from fastdp.config.lines import KeyLines, Location
from fastdp.config.schema import STAGES
from fastdp.config.walk import all_tables, field_at, keys_at, unit_of

WORDING = (
    (re.compile(r"^Input should be a valid dictionary.*"), "must be a table"),
    (re.compile(r"^Input should be a valid list"), "must be an array"),
    (re.compile(r"^Input should be a valid (?=[aeiou])"), "must be an "),
    (re.compile(r"^Input should be a valid "), "must be a "),
    (re.compile(r"^Input should be "), "must be "),
    (re.compile(r"^Value error, "), ""),
    (
        re.compile(r"^List should have at (least|most) (\d+) items? after validation, not (\d+)"),
        r"has \3 entries, must have at \1 \2",
    ),
    (re.compile(r"^String should have at (least|most) (\d+) characters?"), r"must have at \1 \2 characters"),
)
"""pydantic speaks of inputs, dictionaries and lists where a TOML file has keys, tables and arrays."""

OTHER_WORDS = {"gpu": "cuda", "single": "mixed", "float32": "mixed", "float64": "double"}
"""What other programs call values of this one; spelling would suggest something else."""

ABSENT_ENSEMBLES = ("npt", "nph", "npe", "nst", "muvt")
"""Kinds of stage that there are elsewhere: not a slip of the pen for those that there are here."""

LONGEST_VALUE = 60


@dataclass(frozen=True)
class Finding:
    """One thing wrong: where, pydantic's kind and message of it, the value there, and the kind of a stage."""

    location: Location
    kind: str
    message: str
    value: object
    ensemble: str | None = None

    def known_keys(self) -> list[str]:
        """Return the keys that may stand beside this one."""
        known = keys_at(self.location[:-1])
        return known if self.ensemble is None else list(STAGES[self.ensemble].model_fields)


def describe_problems(error: ValidationError, text: str) -> list[str]:
    """Return one message for each thing wrong in an input file, in the order of the file.

    Parameters
    ----------
    error : ValidationError
        What validating the parsed file as a Configuration gave.
    text : str
        The file's text, for line numbers.

    Returns
    -------
    list of str
    """
    findings = list(_findings(error))
    suggestions = {
        finding.location: nearest(str(finding.location[-1]), finding.known_keys())
        for finding in findings
        if finding.kind == "extra_forbidden"
    }
    meant = {(*location[:-1], suggestion) for location, suggestion in suggestions.items()}
    lines = KeyLines(text)
    messages: list[tuple[int, str]] = []
    for finding in findings:
        location = finding.location
        if finding.kind == "missing" and location in meant:
            continue
        if finding.kind == "extra_forbidden":
            message = _unknown_key(finding, suggestions[location])
        else:
            message = _wording(finding)
        line = lines.find(location)
        prefix = "" if line is None else f"line {line}: "
        messages.append((line or 0, f"{prefix}{place(location)}: {message}"))
    return [message for _, message in sorted(messages, key=lambda item: item[0])]


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that `name` was probably meant to be."""
    by_lower_case = {entry.lower(): entry for entry in known}
    other_word = OTHER_WORDS.get(name.lower())
    if other_word in by_lower_case:
        return by_lower_case[other_word]
    if name.lower() in ABSENT_ENSEMBLES:
        return None
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)
    return by_lower_case[matches[0]] if matches else None


def place(location: Location) -> str:
    """Return a location as a reader of the file finds it, for example `[[stage]] 2, steps`."""
    *parents, last = location
    if isinstance(last, int):
        within = tuple(parents)
        return (
            header(location)
            if keys_at(within) and not isinstance(within[-1], int)
            else f"{place(within)} entry {last + 1}"
        )
    return f"{header(tuple(parents))}, {last}" if parents else last


def header(location: Location) -> str:
    """Return the header of a table as the file writes it, with the number of a `[[table]]`."""
    if not location:
        return "the top of the file"
    name = ".".join(part for part in location if isinstance(part, str))
    number = next((part for part in location if isinstance(part, int)), None)
    return f"[{name}]" if number is None else f"[[{name}]] {number + 1}"


def _findings(error: ValidationError) -> Iterator[Finding]:
    for item in error.errors(include_url=False):
        location = item["loc"]
        ensemble = None
        if location[0] == "stage" and len(location) > 2:
            # Without pydantic's name of the union's branch.
            location, ensemble = (*location[:2], *location[3:]), str(location[2])
        if item["type"] == "union_tag_not_found":
            yield Finding((*location, "ensemble"), "missing", "", None)
            yield from _findings_of_unknown_kind(location, item["input"])
        elif item["type"] == "union_tag_invalid":
            choices = " or ".join(repr(name) for name in STAGES)
            value = item["input"]["ensemble"]
            yield Finding((*location, "ensemble"), "literal_error", f"Input should be {choices}", value)
            yield from _findings_of_unknown_kind(location, item["input"])
        else:
            yield Finding(location, item["type"], item["msg"], item["input"], ensemble)


def _findings_of_unknown_kind(location: Location, entry: Mapping[str, Any]) -> Iterator[Finding]:
    """Check a stage whose ensemble is not known as the likeliest one."""
    guess = nearest(str(entry.get("ensemble", "")), STAGES)
    kind = guess or max(STAGES, key=lambda name: len(set(entry) & set(STAGES[name].model_fields)))
    try:
        STAGES[kind].model_validate({**entry, "ensemble": kind})
    except ValidationError as error:
        for item in error.errors(include_url=False):
            in_every_kind = all(item["loc"][0] in stage.model_fields for stage in STAGES.values())
            if guess or in_every_kind or item["type"] == "extra_forbidden":
                yield Finding((*location, *item["loc"]), item["type"], item["msg"], item["input"])


def _unknown_key(finding: Finding, suggestion: str | None) -> str:
    name = finding.location[-1]
    others = [kind for kind, stage in STAGES.items() if name in stage.model_fields]
    if finding.ensemble is not None and others:
        return (
            f"not a key of ensemble = {finding.ensemble!r}, but of {' and '.join(map(repr, others))}; take "
            "it out, or choose that ensemble"
        )
    if suggestion is not None:
        return f"unknown key; did you mean `{suggestion}`?"
    homes = [header(table) for table, keys in all_tables() if name in keys]
    if homes:
        return f"unknown key here; it belongs in {' or '.join(homes)}"
    return f"unknown key; known here are {', '.join(finding.known_keys())}"


def _wording(finding: Finding) -> str:
    field = field_at(finding.location)
    meaning = "" if field is None else field.description or ""
    if finding.kind == "missing":
        return f"missing. {meaning}"
    if finding.kind == "list_type" and keys_at(finding.location):
        name = finding.location[-1]
        return f"must be an array of tables: write [[{name}]], not [{name}]"
    message = finding.message
    for pattern, replacement in WORDING:
        message = pattern.sub(replacement, message)
    if field is not None and finding.kind.startswith(("greater", "less")):
        message = f"{message} {unit_of(field)}".rstrip()
    if field is not None and finding.kind == "literal_error":
        choices = STAGES if finding.location[-1] == "ensemble" else map(str, get_args(field.annotation))
        guess = nearest(str(finding.value), list(choices))
        message += f"; did you mean {guess!r}?" if guess else ""
    if isinstance(finding.value, dict | list):
        return message
    return f"is {_shown(finding.value)}, {message}"


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
