"""Reading the input file: everything wrong with it is reported at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fastdp.config.problems import describe_problems
from fastdp.config.schema import Configuration
from fastdp.errors import ConfigurationError
from fastdp.output.checkpoint import lock_path, previous_path
from fastdp.simulation.settings import OutputSettings

INPUT_PATHS = (("potential", "model"), ("structure", "file"))
"""Keys that name something to read."""


@dataclass(frozen=True)
class InputFile:
    """A valid input file.

    Attributes
    ----------
    path : Path
        The file, absolute.
    configuration : Configuration
        Its content, with every path made absolute.
    """

    path: Path
    configuration: Configuration


def load_input(path: str | Path) -> InputFile:
    """Read and validate an input file.

    Relative paths in it count from its own folder.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    InputFile

    Raises
    ------
    ConfigurationError
        With every problem of syntax, keys, values and named files that was found.
    """
    path = Path(path)
    text, data = _parse(path)
    folder = path.absolute().parent
    problems: list[str] = []
    configuration = None
    try:
        configuration = Configuration.model_validate(data)
    except ValidationError as error:
        problems += describe_problems(error, text)
    problems += _missing_files(data, folder)
    if configuration is None:
        raise ConfigurationError(str(path), problems)
    configuration = _with_absolute_paths(configuration, folder)
    problems += _clashing_outputs(configuration, path.absolute())
    problems += _without_effect(configuration)
    if problems:
        raise ConfigurationError(str(path), problems)
    return InputFile(path.absolute(), configuration)


def output_files(configuration: Configuration) -> dict[str, Path]:
    """Return the absolute path of each file that a run writes, by its key in the input file."""
    output = configuration.output
    directory = Path(output.directory)
    further = {f"tensor.{n}.file": directory / entry.file for n, entry in enumerate(configuration.tensor)}
    if configuration.committee is not None:
        further["committee.file"] = directory / configuration.committee.file
    return {
        "output.trajectory.file": directory / output.trajectory.file,
        "output.thermo.file": directory / output.thermo.file,
        "output.checkpoint.file": directory / output.checkpoint.file,
        **further,
    }


def _parse(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        # Editors on Windows put a byte order mark before the text.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = (
            f"line {line}: not a text file in UTF-8 (byte {error.object[error.start]:#04x}). An input file "
            "is TOML, saved in UTF-8"
        )
        raise ConfigurationError(str(path), [problem]) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigurationError(str(path), [f"cannot be read: {reason}"]) from error
    try:
        return text, tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError(str(path), ["not valid TOML: nested too deeply"]) from error
    except ValueError as error:
        raise ConfigurationError(str(path), [f"not valid TOML: {error}"]) from error


def _missing_files(data: Mapping[str, Any], folder: Path) -> list[str]:
    """Look for the named files even where other keys are wrong, to report everything at once."""
    problems = []
    for place, key, name in _named_files(data):
        if isinstance(name, str) and name and "\x00" not in name and not os.path.exists(folder / name):
            problems.append(f"{place}, {key}: no such file: {name} (looked for {folder / name})")
    return problems


def _named_files(data: Mapping[str, Any]) -> Iterator[tuple[str, str, object]]:
    """Yield table, key and value of everything that names something to read, in a file that may be wrong."""
    for table, key in INPUT_PATHS:
        yield f"[{table}]", key, _at(data, table, key)
    models = _at(data, "committee", "models")
    for name in models if isinstance(models, list) else ():
        yield "[committee]", "models", name
    entries = data.get("tensor")
    for number, entry in enumerate(entries if isinstance(entries, list) else (), start=1):
        yield f"[[tensor]] {number}", "model", entry.get("model") if isinstance(entry, dict) else None


def _at(data: Mapping[str, Any], table: str, key: str) -> object:
    content = data.get(table)
    return content.get(key) if isinstance(content, dict) else None


def _without_effect(configuration: Configuration) -> list[str]:
    """Find keys that say what is to be done in a case that nothing defines."""
    committee = configuration.committee
    if committee is None or committee.limit is not None:
        return []
    without = "would do nothing without `limit`, the deviation above which a frame counts; set it"
    problems = []
    if committee.save_frames is not None:
        problems.append(f"[committee], save_frames: {without}")
    if committee.above_limit != "continue":
        problems.append(f"[committee], above_limit: is {committee.above_limit!r}, which {without}")
    return problems


def _with_absolute_paths(configuration: Configuration, folder: Path) -> Configuration:
    committee = configuration.committee
    if committee is not None:
        committee = committee.model_copy(update={"models": [str(folder / name) for name in committee.models]})
    return configuration.model_copy(
        update={
            "committee": committee,
            "tensor": [
                entry.model_copy(update={"model": str(folder / entry.model)})
                for entry in configuration.tensor
            ],
            "potential": configuration.potential.model_copy(
                update={
                    "model": str(folder / configuration.potential.model),
                    "table": [
                        entry.model_copy(update={"file": str(folder / entry.file)})
                        for entry in configuration.potential.table
                    ],
                }
            ),
            "structure": configuration.structure.model_copy(
                update={"file": str(folder / configuration.structure.file)}
            ),
            "output": configuration.output.model_copy(
                update={"directory": str(folder / configuration.output.directory)}
            ),
        }
    )


def _files_read(configuration: Configuration, input_file: Path) -> dict[str, Path]:
    """Return what a run reads, by its key in the input file."""
    committee = configuration.committee
    names = {
        "the input file": str(input_file),
        "potential.model": configuration.potential.model,
        "structure.file": configuration.structure.file,
        **{f"potential.table.{n}.file": entry.file for n, entry in enumerate(configuration.potential.table)},
        **{f"tensor.{n}.model": entry.model for n, entry in enumerate(configuration.tensor)},
        **{f"committee.models.{n}": name for n, name in enumerate(committee.models if committee else ())},
    }
    return {key: Path(name) for key, name in names.items()}


def _files_besides(configuration: Configuration) -> dict[str, Path]:
    """Return what a run writes besides `output_files`."""
    directory = Path(configuration.output.directory)
    checkpoint = directory / configuration.output.checkpoint.file
    committee = configuration.committee
    folders = {
        f"the arrays of tensor.{n}": (directory / entry.file).with_suffix("")
        for n, entry in enumerate(configuration.tensor)
        if entry.atomic
    }
    if committee is not None and committee.save_frames is not None:
        folders["committee.save_frames"] = directory / committee.save_frames
    return {
        "the previous checkpoint": previous_path(checkpoint),
        "the lock of the run": lock_path(checkpoint),
        "the crash frame": directory / OutputSettings.crash_file,
        **folders,
    }


def _clashing_outputs(configuration: Configuration, input_file: Path) -> list[str]:
    """Find outputs that would overwrite one another or what the run reads."""
    taken = {path.resolve(): key for key, path in _files_read(configuration, input_file).items()}
    problems = []
    for key, path in (output_files(configuration) | _files_besides(configuration)).items():
        owner = taken.setdefault(path.resolve(), key)
        if owner != key:
            problems.append(
                f"{key} and {owner} are the same file, {path}; rename one, or choose another output.directory"
            )
    return problems
