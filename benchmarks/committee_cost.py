"""What a committee of four costs: runs of water with and without it, in turn.

    python benchmarks/committee_cost.py [model] [structure] [--atoms-times 2] [--steps 400] [--pairs 5]

The committee is the same model four times: what an evaluation costs does not depend on the weights. Each pair
of runs gives a ratio of the times of their loops, and the median of these is the result; on a machine that is
busy with other things, that of processor time (of the whole run, its start included) says more.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from fastdp.config.load import load_input
from fastdp.parallel.threads import thread_limits
from fastdp.simulation.assemble import build_simulation, make_ready
from fastdp.simulation.inputs import read_inputs
from fastdp.simulation.reporter import Reporter

ROOT = Path(__file__).resolve().parents[1]

INPUT = """
version = 1
[potential]
model = "{model}"
backend = "cpu"
precision = "{precision}"
{committee}
[structure]
file = "{structure}"
repeat = [{times}, {times}, {times}]
[velocities]
temperature_K = 330
seed = 7
[[stage]]
ensemble = "nve"
steps = {steps}
timestep_fs = 0.5
[output]
directory = "{directory}"
"""


def seconds(text: str, threads: int) -> tuple[float, float, int]:
    """Return the time of a run's loop and the processor time of the run, s, and the number of atoms."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.toml"
        path.write_text(text.replace("{directory}", folder))
        inputs = read_inputs(load_input(path))
        with thread_limits(threads) as used:
            potential = make_ready(inputs, used, Reporter())
            simulation = build_simulation(inputs, potential, reporter=Reporter())
            before = time.process_time()
            loop = simulation.run().loop_seconds
            return loop, time.process_time() - before, inputs.structure.n_atoms


def main() -> None:
    """Run the pairs and print a table."""
    parser = argparse.ArgumentParser()
    water = ROOT / "inputs/water"
    parser.add_argument("model", nargs="?", default=str(water / "water.pb"))
    parser.add_argument("structure", nargs="?", default=str(water / "start.extxyz"))
    parser.add_argument("--atoms-times", type=int, default=2, help="copies along each axis")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--precision", default="double")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    members = ", ".join([f'"{Path(arguments.model).resolve()}"'] * 3)
    committee = f"[committee]\nmodels = [{members}]\nevery = {arguments.every}\n"
    texts = [
        INPUT.replace("{model}", str(Path(arguments.model).resolve()))
        .replace("{structure}", str(Path(arguments.structure).resolve()))
        .replace("{times}", str(arguments.atoms_times))
        .replace("{steps}", str(arguments.steps))
        .replace("{precision}", arguments.precision)
        .replace("{committee}", table)
        for table in ("", committee)
    ]
    for text in texts:
        seconds(text.replace(f"steps = {arguments.steps}", "steps = 1"), arguments.threads)  # compiles
    ratios, of_processor = [], []
    print(f"{'one model (s)':>14} {'four (s)':>10} {'ratio':>7} {'of processor time':>18}")
    for number in range(arguments.pairs):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        found = {which: seconds(texts[which], arguments.threads) for which in order}
        n_atoms = found[0][2]
        ratios.append(found[1][0] / found[0][0])
        of_processor.append(found[1][1] / found[0][1])
        print(
            f"{found[0][0]:14.3f} {found[1][0]:10.3f} {ratios[-1]:7.4f} {of_processor[-1]:18.4f}", flush=True
        )
    print(
        f"{n_atoms} atoms, {arguments.steps} steps, {arguments.precision}, threads {arguments.threads}, "
        f"every {arguments.every}: median {100 * (statistics.median(ratios) - 1):+.1f} %, "
        f"range {100 * (min(ratios) - 1):+.1f} to {100 * (max(ratios) - 1):+.1f} %; "
        f"of processor time: median {100 * (statistics.median(of_processor) - 1):+.1f} %, range "
        f"{100 * (min(of_processor) - 1):+.1f} to {100 * (max(of_processor) - 1):+.1f} %"
    )


if __name__ == "__main__":
    main()
