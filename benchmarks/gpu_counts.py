"""Count what the compiled kernels of a GPU step do, and the least time that follows; no card is needed.

    python benchmarks/gpu_counts.py [--precision mixed --products tf32x3] [--network fused] [--rows 16 32]
        [--only fused_network] [--phases] [--hot 20] [--tolerance 1e-5]

One step of 192 atoms of water is run on the processor by an executor of NVIDIA's assembly language PTX
(tests/ptx), which groups what threads do by warps. Needs `pip install 'numba-cuda[cu12]'` and gcc. Products
of cuBLAS are not counted.

The time is a bound from below, not a prediction: that of the busiest pipe alone, all multiprocessors busy, no
latency, and everything that a block has read once in its L1 cache. And PTX is not machine code: moves vanish
and are not among what is issued here, while integers of 64 bits, addresses and conversions take several
instructions (`gpu_kernels.py --loops` shows those of loops).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gpu_systems import ROOT, make_state, water

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import VelocityVerletSettings
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.fused import network as fused_network
from fastdp.gpu.potential import CudaPotential
from fastdp.potential.base import Evaluation

sys.path.insert(1, str(ROOT / "tests"))
from ptx.counting import Counters, Row
from ptx.ptx_device import PtxDevice, install, why_not

SKIN = 1.0
LIMIT = 1e12

MULTIPROCESSORS = 132
CLOCK = 1.755e9
"""Hz, boost. NVIDIA H100 Tensor Core GPU Architecture, H100 SXM5, as the rates below; an H200 is the same."""

RATES = {"fp64": 2.0, "fp32": 4.0, "special": 0.5}
"""Instructions of warps in a clock of a multiprocessor: 64 lanes, 128 and 16."""
ISSUED = 4.0
"""The same of all pipes together."""
MMA_CLOCKS = {"f64": 8.0, "tf32": 1.0}
"""Of m16n8k8, 1024 multiply-adds: 67 TFLOP/s are 145 in a clock and multiprocessor, taken as 128 by design
(66.9 at 1.98 GHz); 494 TFLOP/s of dense TF32 are 1066, taken as 1024."""
WHOLE_MMA = 16 * 8 * 8
L2_BYTES = 5.5e12 / (MULTIPROCESSORS * CLOCK)
"""In a clock of a multiprocessor: all of them together are taken to get 5.5 TB/s; one alone may take 64."""
SECTOR = 32
DIVISION = {"fp64": 8, "fp32": 8}
"""Instructions that an exact division or root is counted as, besides one special function."""

TF32_ROUNDING = 3
"""Instructions of machine code for sm_90, at least: one looks for infinity."""

PHASES = (
    "make_tau", "mix_channels", "enter_network", "finish_layer", "forward", "backward_to_kept", "backward",
    "leave_network", "make_gradient",
)  # fmt: skip
"""Functions of `network.cu` that are passed through one after the other."""
MARK = "// phase "


@dataclass
class Sums:
    """What a kernel, or a part of it, does in all launches.

    Attributes
    ----------
    issued, moves, fp64, fp32, special, integer, memory, exchange, branch : float
        Instructions of warps; issued is all but moves.
    mma : float
        Clocks of the tensor cores; `n_mma` instructions of warps.
    sectors, first, stored : float
        Sectors of 32 bytes: of all loads, those that a block had not read before, of stores and atomics.
    asked : float
        Bytes that threads asked for from global memory.
    lines, wavefronts, least : float
        Of 128 bytes of global memory; of shared memory, and without conflicts of banks.
    active, lanes : float
        Threads that took part, of those that there are in the warps.
    """

    issued: float = 0
    moves: float = 0
    fp64: float = 0
    fp32: float = 0
    special: float = 0
    integer: float = 0
    memory: float = 0
    exchange: float = 0
    branch: float = 0
    mma: float = 0
    n_mma: float = 0
    sectors: float = 0
    first: float = 0
    stored: float = 0
    asked: float = 0
    lines: float = 0
    wavefronts: float = 0
    least: float = 0
    active: float = 0
    lanes: float = 0

    def add(self, row: Row) -> None:
        """Add an instruction."""
        name, n, parts = row.kind, float(row.warps), row.opcode.split(".")
        if row.opcode.startswith("cvt.rna.tf32"):
            n *= TF32_ROUNDING
        if name == "move":
            self.moves += n
        elif parts[0] in ("div", "sqrt", "rcp") and name in DIVISION:
            many = DIVISION[name]
            setattr(self, name, getattr(self, name) + many * n)
            self.special += n
            self.issued += (many + 1) * n
        else:
            self.issued += n
            group = {"global": "memory", "shared": "memory", "local": "memory", "atomic": "memory",
                     "convert": "integer", "barrier": "exchange"}.get(name, name)  # fmt: skip
            if group == "mma":
                rows, columns, depth = (int(one) for one in parts[3].replace("n", "k").strip("m").split("k"))
                self.mma += (
                    n
                    * MMA_CLOCKS[parts[-1] if parts[-1] == "f64" else "tf32"]
                    * (rows * columns * depth / WHOLE_MMA)
                )
                self.n_mma += n
            else:
                setattr(self, group, getattr(self, group) + n)
        self.active += row.threads
        self.lanes += 32 * n
        if row.sectors:
            self.asked += row.bytes
            is_load = parts[0] in ("ld", "ldu", "cp")
            self.sectors += row.sectors if is_load else 0
            self.stored += 0 if is_load else row.sectors
        self.first += row.first
        self.lines += row.lines
        self.wavefronts += row.wavefronts
        self.least += row.least

    def clocks(self) -> dict[str, float]:
        """Return the clocks of a multiprocessor that each pipe takes."""
        return {
            "issue": self.issued / ISSUED,
            **{name: getattr(self, name) / rate for name, rate in RATES.items()},
            "mma": self.mma,
            # Exchanges between lanes, but not votes, go through the same pipe.
            "shared": self.wavefronts,
            "L1": self.lines,
            "L2": SECTOR * (self.first + self.stored) / L2_BYTES,
        }


def marked(text: str) -> str:
    """Return the text of the fused kernel with comments that the compiler leaves where phases begin."""

    def mark(name: str) -> str:
        return f'asm volatile("{MARK}{name}" ::: "memory");'

    lines = text.splitlines()
    for number, (line, after) in enumerate(pairwise(lines)):
        if after == "{" and line.startswith("__device__") and line.endswith(")"):
            name = line.partition("(")[0].split()[-1]
            if name in PHASES:
                lines[number + 1] = "{" + mark(name)
        elif "if constexpr (IS_PARKED)" in line:
            lines[number] = mark("parking") + line
        elif "The energy, and the gradient" in line:
            lines[number] = mark("energy")
    return "\n".join(lines) + "\n"


def summed(found: Iterable[Counters], lines: dict[str, tuple[str, ...]], by_phase: bool) -> dict[str, Sums]:
    """Return sums by kernel, or by kernel and phase."""
    result: dict[str, Sums] = {}
    for one in found:
        starts = [(0, "begin")]
        if by_phase:
            starts += [
                (number, line.partition(MARK)[2].strip())
                for number, line in enumerate(lines.get(one.kernel, ()), 1)
                if MARK in line
            ]
        place = 0
        for row in sorted(one.rows(), key=lambda row: row.line):
            while place + 1 < len(starts) and starts[place + 1][0] <= row.line:
                place += 1
            name = f"{one.kernel}: {starts[place][1]}" if len(starts) > 1 else short(one.kernel)
            result.setdefault(name, Sums()).add(row)
    return result


COLUMNS: tuple[tuple[str, Callable[[Sums], float]], ...] = (
    ("issued", lambda s: s.issued),
    ("moves", lambda s: s.moves),
    ("fp64", lambda s: s.fp64),
    ("fp32", lambda s: s.fp32),
    ("special", lambda s: s.special),
    ("integer, convert", lambda s: s.integer),
    ("loads, stores", lambda s: s.memory),
    ("shuffles, barriers", lambda s: s.exchange),
    ("branches", lambda s: s.branch),
    ("mma", lambda s: s.n_mma),
    ("active lanes, %", lambda s: s.active / max(s.lanes, 1) * 100),
    ("sectors read", lambda s: s.sectors),
    ("new to the block", lambda s: s.first),
    ("written", lambda s: s.stored),
    ("asked for, % of sectors", lambda s: s.asked / max(SECTOR * (s.sectors + s.stored), 1) * 100),
    ("wavefronts", lambda s: s.wavefronts),
    ("of conflicts", lambda s: s.wavefronts - s.least),
)


def print_table(sums: dict[str, Sums], n_atoms: float) -> None:
    """Print instructions of warps and what they touch, for one atom."""
    print(
        "\n| for an atom | "
        + " | ".join(name for name, _ in COLUMNS)
        + " |\n|---"
        + "|---" * len(COLUMNS)
        + "|"
    )
    for name, one in sums.items():
        cells = [value(one) / (1 if "%" in label else n_atoms) for label, value in COLUMNS]
        print(
            f"| {name} | "
            + " | ".join(f"{cell:.3g}" if cell < 1000 else f"{cell:.0f}" for cell in cells)
            + " |"
        )


def print_times(sums: dict[str, Sums], n_atoms: float) -> None:
    """Print the clocks of each pipe, and the time of the busiest."""
    pipes = list(Sums().clocks())
    print(
        "\n| clocks of a multiprocessor for an atom | " + " | ".join(pipes) + " | at least, ns an atom | by |"
    )
    print("|---" * (len(pipes) + 3) + "|")
    total = 0.0
    for name, one in sums.items():
        clocks = {pipe: value / n_atoms for pipe, value in one.clocks().items()}
        busiest = max(clocks, key=clocks.__getitem__)
        nanoseconds = 1e9 * clocks[busiest] / (MULTIPROCESSORS * CLOCK)
        total += nanoseconds
        cells = " | ".join(f"{value:.3g}" for value in clocks.values())
        print(f"| {name} | {cells} | {nanoseconds:.3g} | {busiest} |")
    print(f"| sum | {' | ' * (len(pipes) - 1)} | {total:.3g} | |", flush=True)


def print_hot(found: Sequence[Counters], lines: dict[str, tuple[str, ...]], number: int) -> None:
    """Print the instructions with the most sectors, wavefronts, and wavefronts of conflicts."""
    for what, key in (
        ("sectors", lambda row: row.sectors),
        ("wavefronts", lambda row: row.wavefronts),
        ("wavefronts of conflicts", lambda row: row.wavefronts - row.least),
    ):
        sums: dict[tuple[str, int], tuple[int, int]] = {}
        for one in found:
            for row in one.rows():
                before = sums.get((one.kernel, row.line), (0, 0))
                sums[one.kernel, row.line] = before[0] + key(row), before[1] + row.warps
        print(f"\n{what}:\n")
        for (kernel, line), (value, warps) in sorted(sums.items(), key=lambda one: -one[1][0])[:number]:
            if value:
                text = lines[kernel][line - 1].strip()
                print(f"{value:9d} by {warps:7d} warps: {short(kernel)}, line {line}: {text}")


def short(name: str) -> str:
    """Return the name of a kernel in Python."""
    if not name.startswith("_ZN"):
        return name
    place, parts = 3, [""]
    while found := re.match(r"\d+", name[place:]):
        place += found.end() + int(found[0])
        parts.append(name[place - int(found[0]) : place])
    return parts[-1]


@contextmanager
def as_wanted(rows: int | None, phases: bool) -> Any:
    """Let the fused kernel have a number of rows, and comments."""
    text, plans = fused_network.kernel_text, fused_network.FusedNetworks.rows_for
    if phases:
        fused_network.kernel_text = lambda *arguments: marked(text(*arguments))
    if rows is not None:
        fused_network.FusedNetworks.rows_for = lambda self, counts: rows
    try:
        yield
    finally:
        fused_network.kernel_text, fused_network.FusedNetworks.rows_for = text, plans


def count(chosen: argparse.Namespace, rows: int | None) -> None:
    """Run a step and print."""
    case = water(chosen.tolerance)
    assert case is not None
    device = PtxDevice(counting=True)
    install(device, setattr)
    state = make_state(case, (1, 1, 1))
    products = chosen.products if chosen.precision == "mixed" else "full"
    with as_wanted(rows, chosen.phases):
        potential = CudaPotential(case.model, device, chosen.precision, products, network=chosen.network)
        engine = DeviceEngine(potential, state, SKIN)
        integrator = make_integrator(VelocityVerletSettings(timestep_fs=case.timestep_fs))
        integrator.initialise(state)
        engine.load(state, Evaluation.empty(state.n_atoms), integrator, LIMIT)
        device.driver.counted.clear()
        engine.advance(1, virial=False)
    wanted = ["fused_network"] if rows else chosen.only
    found = [one for one in device.driver.counted if not wanted or short(one.kernel) in wanted]
    lines = device.launcher.texts
    n_atoms = float(state.n_atoms)
    print(f"\n{chosen.precision}, {products}, {chosen.network}" + (f", {rows} rows" if rows else ""))
    if rows:
        # Blocks that are not full would count for less than they do.
        n_atoms = sum(rows * one.blocks for one in found)
    sums = summed(found, lines, chosen.phases)
    print_table(sums, n_atoms)
    print_times(sums, n_atoms)
    if chosen.hot:
        print_hot(found, lines, chosen.hot)


def main() -> None:
    """Count, for each number of rows that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", default="double", choices=["double", "mixed"])
    parser.add_argument("--products", default="tf32x3", choices=["full", "tf32", "tf32x3"], help="of mixed")
    parser.add_argument("--network", default="layers", choices=["layers", "fused"])
    parser.add_argument(
        "--rows", type=int, nargs="*", help="atoms of a block of the fused kernel, which alone is printed"
    )
    parser.add_argument("--only", nargs="*", help="kernels")
    parser.add_argument("--phases", action="store_true", help="of the fused kernel")
    parser.add_argument("--hot", type=int, default=0, metavar="N", help="instructions that touch most")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    chosen = parser.parse_args()
    reason = why_not()
    if reason:
        raise SystemExit(reason)
    for rows in chosen.rows or [None]:
        count(chosen, rows)


if __name__ == "__main__":
    main()
