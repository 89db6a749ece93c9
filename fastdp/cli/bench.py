"""`fastdp bench`: what a step takes on this machine, and what it would take at best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastdp.cli.run import InputArgument, ThreadsOption

if TYPE_CHECKING:
    from fastdp.performance.breakdown import Breakdown, SkinTime


WIDTH = 100
"""Columns of the tables, which are of use whole only."""


def bench(
    input_file: InputArgument,
    threads: ThreadsOption = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for each of the measurements.")] = 1.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file too.")
    ] = None,
) -> None:
    """Time a step of the compressed potential, part by part, against the floor of this machine.

    The floor is the counted work at the measured ceilings of the processor. Runs nothing; in both precisions.
    """
    from fastdp.cli.reporting import make_run_reporter
    from fastdp.config.load import load_input
    from fastdp.errors import BackendError
    from fastdp.output.files import check_new_file, new_file
    from fastdp.parallel.threads import choose_threads, thread_limits
    from fastdp.performance.breakdown import break_down, try_skins
    from fastdp.simulation.assemble import initial_state, make_ready
    from fastdp.simulation.inputs import read_inputs
    from fastdp.units import PS_PER_FS

    loaded = load_input(input_file)
    if json_file is not None:
        check_new_file(json_file, overwrite=True)
    wanted = threads or loaded.configuration.parallel.threads
    reporter = make_run_reporter(quiet=False)
    inputs = read_inputs(loaded, lambda: choose_threads(wanted))
    with thread_limits(wanted) as used:
        from fastdp.neighbours.verlet_list import VerletList
        from fastdp.potential.compressed.potential import CompressedPotential
        from fastdp.potential.sum import SumPotential
        from fastdp.potential.switched import SwitchedPotential

        potential = make_ready(inputs, used, reporter)
        if isinstance(potential, SumPotential):
            reporter.message("further terms are left out: the figures are those of the model")
            potential = potential.driving
        if isinstance(potential, SwitchedPotential):
            reporter.message("tables of the model are left out: the figures are those of its network")
            potential = potential.network
        if not isinstance(potential, CompressedPotential):
            raise BackendError('fastdp bench times the compressed potential: backend = "cpu"')
        model = potential.model
        if model.triples is not None:
            raise BackendError("fastdp bench has no count of the work of three-body terms (se_e3)")
        state = initial_state(inputs)
        skin = loaded.configuration.neighbours.skin_A
        neighbours = VerletList(model.cutoff, skin, state.cell, state.periodic, state.types)
        neighbours.build(state.positions)
        found = [break_down(model, precision, neighbours, seconds) for precision in ("double", "mixed")]
        timestep = loaded.configuration.stage[0].timestep_fs * PS_PER_FS
        precision = loaded.configuration.potential.precision
        skins = try_skins(model, precision, state, timestep, seconds)
    _show(found, skins, precision)
    if json_file is not None:
        import json
        from dataclasses import asdict

        with new_file(json_file, overwrite=True) as place:
            place.write_text(
                json.dumps(
                    {"parts": [asdict(b) for b in found], "skins": [asdict(s) for s in skins]}, indent=1
                )
            )


def _show(found: list[Breakdown], skins: list[SkinTime], precision: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from fastdp.potential.compressed.clock import SECTIONS

    console = Console(highlight=False, width=WIDTH)
    ceilings = Table(title="one core of this machine", title_justify="left", box=None)
    for heading in ("precision", "products, GFLOP/s", "BLAS", "copy, GB/s", "tanh, ns"):
        ceilings.add_column(heading, justify="left" if heading == "precision" else "right")
    for b in found:
        c = b.ceilings
        ceilings.add_row(
            b.precision,
            f"{c.products / 1e9:.1f}",
            f"{c.blas / 1e9:.1f}",
            f"{c.bandwidth / 1e9:.1f}",
            f"{c.tanh_seconds * 1e9:.2f}",
        )
    console.print(ceilings)
    parts = Table(title="\none atom and step, µs of one core", title_justify="left", box=None)
    parts.add_column("part", no_wrap=True)
    for b in found:
        for heading in (f"{b.precision}: kflop", "floor", "measured", "reached"):
            parts.add_column(heading, justify="right", no_wrap=True)
    for name in SECTIONS:
        cells = []
        for b in found:
            floor, measured = b.floors[name] * 1e6, b.sections[name] * 1e6
            reached = f"{100 * floor / measured:.0f} %" if measured > 0.0 else "–"
            cells += [f"{b.work.operations[name] / 1e3:.1f}", f"{floor:.2f}", f"{measured:.2f}", reached]
        parts.add_row(name, *cells)
    cells = []
    for b in found:
        floor = sum(b.floors.values()) * 1e6
        total = b.evaluation * b.threads * 1e6
        flops = sum(b.work.operations.values()) / 1e3
        cells += [f"{flops:.1f}", f"{floor:.2f}", f"{total:.2f}", f"{100 * b.fraction:.0f} %"]
    parts.add_row("evaluation", *cells, style="bold")
    console.print(parts)
    for b in found:
        low, high = (1e6 * value for value in b.spread)
        console.print(
            f"{b.precision}, {b.threads} thread{'s' * (b.threads > 1)}: {1e6 * b.evaluation:.2f} "
            f"µs/atom/step of wall time (median; {low:.2f} to {high:.2f})"
        )
    table = Table(title=f"\nskin of the neighbour list, {precision}", title_justify="left", box=None)
    for heading in ("skin, Å", "evaluation, µs/atom", "build, µs/atom", "steps between", "step, µs/atom"):
        table.add_column(heading, justify="right")
    for s in skins:
        table.add_row(
            f"{s.skin:.2f}",
            f"{1e6 * s.evaluation:.2f}",
            f"{1e6 * s.build:.2f}",
            f"{s.interval:.0f}",
            f"{1e6 * s.step:.2f}",
        )
    console.print(table)
