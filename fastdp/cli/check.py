"""`fastdp check`: everything that a run does before its first step."""

from __future__ import annotations

from fastdp.cli.run import InputArgument, ThreadsOption


def check(input_file: InputArgument, threads: ThreadsOption = None) -> None:
    """Validate an input file, load model and structure, measure the error of the compressed potential.

    Forecasts memory and time from a short trial. Runs nothing and writes nothing.
    """
    from fastdp.cli.reporting import make_run_reporter
    from fastdp.config.load import load_input
    from fastdp.config.settings import run_settings
    from fastdp.errors import OutputExistsError
    from fastdp.parallel.threads import choose_threads, thread_limits
    from fastdp.simulation.assemble import make_ready
    from fastdp.simulation.inputs import read_inputs
    from fastdp.simulation.outputs import check_outputs

    loaded = load_input(input_file)
    wanted = threads or loaded.configuration.parallel.threads
    reporter = make_run_reporter(quiet=False)
    inputs = read_inputs(loaded, lambda: choose_threads(wanted))
    try:
        check_outputs(run_settings(loaded.configuration).output, overwrite=False)
    except OutputExistsError as error:
        reporter.warning(str(error))
    with thread_limits(wanted) as used:
        make_ready(inputs, used, reporter)
    reporter.message(f"{input_file} is ready to run")
