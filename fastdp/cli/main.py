"""Entry point: commands, exit codes, and what a user sees of an error.

Modules of commands import what they work with only when they run, so that `--help` and `--version`
answer at once.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import typer

from fastdp import __version__
from fastdp.cli import bench, check, convert, info, run, schema
from fastdp.errors import FastDPError
from fastdp.parallel import failure
from fastdp.parallel.launch import launched

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk is full."""

app = typer.Typer(
    name="fastdp",
    help="Molecular dynamics with Deep Potential models.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("check")(check.check)
app.command("bench")(bench.bench)
app.command("info")(info.info)
app.command("convert")(convert.convert)
app.command("schema")(schema.schema)


def _print_version(wanted: bool) -> None:
    if wanted:
        from fastdp.cli.environment import environment

        typer.echo(environment())
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the versions of fastdp and of what it stands on.",
    ),
) -> None:
    """Molecular dynamics with Deep Potential models."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit code; `fastdp.errors` has the table.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] != ["run"] and launched().rank > 0:
        # What is not a run is the same for all processes of a launcher; the first does it.
        return 0
    try:
        app(args=None if arguments is None else list(arguments), prog_name="fastdp")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except FastDPError as error:
        failure.wait_for_rank_0(error)
        if failure.speaks(error):
            # Where the terminal is gone, the exit code still says what happened.
            with suppress(OSError):
                print(f"fastdp: {failure.prefix()}{error}", file=sys.stderr)
        failure.end_others(error, error.exit_code)
        return error.exit_code
    except MemoryError as error:
        print(
            f"fastdp: {failure.prefix()}there is not enough memory ({str(error) or 'no more said'}); use "
            "fewer atoms, or spread them over the ranks of several machines",
            file=sys.stderr,
        )
        failure.end_others(error, FastDPError.exit_code)
        return FastDPError.exit_code
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("fastdp_ext."):
            print(
                "fastdp: its compiled part is not here. Run `pip install .` in the source folder, and start "
                "fastdp from another one",
                file=sys.stderr,
            )
            return FastDPError.exit_code
        if isinstance(error, OSError) and error.filename is None and error.errno in NO_ROOM:
            with suppress(OSError):
                print(f"fastdp: cannot write: {os.strerror(error.errno)}", file=sys.stderr)
            return FastDPError.exit_code
        traceback.print_exc()
        print(
            f"fastdp {__version__}: {failure.prefix()}this is a defect in fastdp, not in your input. Please "
            "report it with the lines above, the input file, and what `fastdp --version` prints",
            file=sys.stderr,
        )
        failure.end_others(error, FastDPError.exit_code)
        return FastDPError.exit_code
    return 0
