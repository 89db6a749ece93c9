"""`fastdp check`: everything that a run does before its first step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastdp.cli.run import InputArgument, ThreadsOption

ExpectOption = Annotated[
    Path | None,
    typer.Option(
        "--expect",
        metavar="FILE",
        help="Compare the model with energies, forces and virials that are stored in FILE.",
    ),
]
WriteOption = Annotated[
    Path | None,
    typer.Option(
        "--write-expectation",
        metavar="FILE",
        help="Write what the model as trained gives for the structure, for a later --expect.",
    ),
]


def check(
    input_file: InputArgument,
    threads: ThreadsOption = None,
    expect: ExpectOption = None,
    write_expectation: WriteOption = None,
) -> None:
    """Validate an input file, load model and structure, measure the error of the compressed potential.

    Forecasts memory and time from a short trial. Runs nothing, and writes nothing but the expectation that it
    is asked for.
    """
    from fastdp.cli.reporting import make_run_reporter
    from fastdp.config.load import load_input
    from fastdp.config.settings import run_settings
    from fastdp.errors import OutputExistsError
    from fastdp.expectation.check import check_expectations, keep_expectation
    from fastdp.expectation.read import read_expectations
    from fastdp.output.files import check_new_file
    from fastdp.parallel.threads import choose_threads, thread_limits
    from fastdp.simulation.assemble import make_ready
    from fastdp.simulation.further import make_further_models, read_further_models
    from fastdp.simulation.inputs import read_inputs
    from fastdp.simulation.outputs import check_outputs

    loaded = load_input(input_file)
    wanted = threads or loaded.configuration.parallel.threads
    reporter = make_run_reporter(quiet=False)
    expectations = [] if expect is None else read_expectations(expect)
    if write_expectation is not None:
        check_new_file(write_expectation)
    inputs = read_inputs(loaded, lambda: choose_threads(wanted))
    try:
        check_outputs(run_settings(loaded.configuration).output, overwrite=False)
    except OutputExistsError as error:
        reporter.warning(str(error))
    with thread_limits(wanted) as used:
        potential = make_ready(inputs, used, reporter)
        make_further_models(
            read_further_models(inputs, reporter),
            loaded.configuration,
            inputs.structure,
            reporter=reporter,
        )
        if expect is not None:
            check_expectations(str(expect), expectations, inputs, potential, reporter)
        if write_expectation is not None:
            keep_expectation(write_expectation, inputs, reporter)
    reporter.message(f"{input_file} is ready to run")
