"""`fastdp run`: the run that an input file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

InputArgument = Annotated[Path, typer.Argument(help="Input file (TOML).", metavar="INPUT")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Number of threads; goes before the input file's.")
]


def run(
    input_file: InputArgument,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run from its last checkpoint.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")] = False,
    threads: ThreadsOption = None,
) -> None:
    """Run what an input file describes; nothing is written before everything has been checked."""
    from fastdp.cli.reporting import make_run_reporter
    from fastdp.config.load import load_input
    from fastdp.config.settings import run_settings
    from fastdp.output.checkpoint import load_latest
    from fastdp.parallel.threads import choose_threads, thread_limits
    from fastdp.simulation.assemble import build_simulation, make_ready
    from fastdp.simulation.inputs import read_inputs
    from fastdp.simulation.outputs import check_outputs

    if resume and overwrite:
        raise typer.BadParameter("--resume continues files and --overwrite replaces them; give one of them")
    loaded = load_input(input_file)
    output = run_settings(loaded.configuration).output
    wanted = threads or loaded.configuration.parallel.threads
    reporter = make_run_reporter(quiet=quiet)
    inputs = read_inputs(
        loaded,
        lambda: choose_threads(wanted),
        lambda: None if resume else check_outputs(output, overwrite=overwrite),
    )
    checkpoint = load_latest(output.directory / output.checkpoint.file, reporter.warning) if resume else None
    with thread_limits(wanted) as used:
        potential = make_ready(inputs, used, reporter, checkpoint=checkpoint)
        simulation = build_simulation(inputs, potential, reporter=reporter, checkpoint=checkpoint)
        simulation.run(overwrite=overwrite)
