"""`fastdp run`: the run that an input file describes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fastdp.config.load import InputFile
    from fastdp.output.checkpoint import Checkpoint
    from fastdp.parallel.communicator import Communicator
    from fastdp.simulation.inputs import Inputs
    from fastdp.simulation.reporter import Reporter
    from fastdp.simulation.simulation import Simulation

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
    began = time.perf_counter()
    from fastdp.cli.reporting import make_run_reporter
    from fastdp.config.load import load_input
    from fastdp.config.settings import run_settings
    from fastdp.output.checkpoint import load_latest
    from fastdp.parallel.failure import end_together
    from fastdp.parallel.launch import connect, launched
    from fastdp.parallel.threads import choose_threads, share_of_cores, thread_limits
    from fastdp.simulation.inputs import read_inputs
    from fastdp.simulation.outputs import check_outputs
    from fastdp.simulation.reporter import Reporter

    if resume and overwrite:
        raise typer.BadParameter("--resume continues files and --overwrite replaces them; give one of them")
    communicator = connect(launched())
    end_together(communicator)
    loaded = communicator.broadcast(communicator.on_root(lambda: load_input(input_file)))
    wanted = threads or loaded.configuration.parallel.threads
    available = share_of_cores(communicator)
    reporter = make_run_reporter(quiet=quiet) if communicator.is_root else Reporter()
    output = run_settings(loaded.configuration).output
    read = communicator.on_root(
        lambda: [
            read_inputs(
                loaded,
                lambda: choose_threads(wanted, available),
                lambda: None if resume else check_outputs(output, overwrite=overwrite),
            )
        ]
    )
    communicator.together(lambda: choose_threads(wanted, available))
    checkpoint = communicator.on_root(
        lambda: load_latest(output.directory / output.checkpoint.file, reporter.warning) if resume else None
    )
    with thread_limits(wanted, available) as used:
        simulation = _build(read, loaded, communicator, reporter, used, checkpoint, resumed=resume)
        # All that is read is with the simulation now, on the ranks that need it.
        del checkpoint
        simulation.run(overwrite=overwrite, began=began)


def _build(
    read: list[Inputs] | None,
    loaded: InputFile,
    communicator: Communicator,
    reporter: Reporter,
    threads: int,
    checkpoint: Checkpoint | None,
    *,
    resumed: bool,
) -> Simulation:
    """Return the simulation of what was `read`, which is taken out of its list and not kept."""
    from fastdp.simulation.assemble import build_simulation, make_ready

    inputs = None if read is None else read.pop()
    if communicator.size > 1:
        from fastdp.simulation.assemble_together import build_together

        return build_together(
            inputs,
            loaded.configuration,
            threads,
            communicator=communicator,
            reporter=reporter,
            checkpoint=checkpoint,
            resumed=resumed,
        )
    assert inputs is not None
    potential = make_ready(inputs, threads, reporter, checkpoint=checkpoint)
    return build_simulation(inputs, potential, reporter=reporter, checkpoint=checkpoint)
