"""Compile every kernel of a GPU step without a card; print registers, spills and shared memory.

    python benchmarks/gpu_kernels.py MODEL STRUCTURE [--architecture 80 90] [--tolerance 1e-5] [--floors]
        [--repeat 4] [--network fused] [--zbl 0.5 1.0] [--table FILE] [--loops moments forces]

Needs `pip install 'fastdp[cuda12]'` (numba-cuda and NVIDIA's ptxas from the wheel nvidia-cuda-nvcc-cu12), but
neither a driver nor a GPU. A run on a device that only records (`fastdp/gpu/device/recording.py`) says what
would be launched; each kernel is compiled to PTX for the types of its arguments, and by ptxas to machine
code. `--floors` counts, from the same recording, floating-point operations and bytes of each part of a step;
`--loops` instructions in the loops of some kernels (by nvdisasm: `pip install nvidia-cuda-nvdisasm`).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from ase.io import read as read_ase
from gpu_floors import Density, Work, counting
from gpu_loops import disassembly, loops
from gpu_systems import density_of
from numpy.typing import NDArray

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import NoseHooverSettings, VelocityVerletSettings
from fastdp.dynamics.state import State, SymbolTable
from fastdp.gpu.device.base import Action, CardFeatures, DeviceArray
from fastdp.gpu.device.compiled import assembly
from fastdp.gpu.device.launchers import signature_of
from fastdp.gpu.device.recording import Launch, RecordingDevice
from fastdp.gpu.device.source_kernel import SourceKernel, compile_source
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.kernels import ranks
from fastdp.gpu.kernels.ranks import BOUNDS_COLUMNS
from fastdp.gpu.layout import Network
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.ranks.engine import RanksEngine
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.selection import NeighbourLimit
from fastdp.parallel.communicator import SERIAL
from fastdp.parallel.domain import deal_out
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.prepare import prepare
from fastdp.potential.terms.addends import pair_terms
from fastdp.potential.terms.base import PairTerm
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import ZBL, PairTable
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.types import match_types

SKIN = 1.0
WARPS_PER_MULTIPROCESSOR = 64
REGISTERS_PER_MULTIPROCESSOR = 65536

HOPPER = CardFeatures((9, 0), 132)
"""An H100 or H200."""


def record(
    model: Any,
    state: State,
    precision: str,
    products: str,
    density: Density,
    terms: Sequence[PairTerm] = (),
    network: Network = "layers",
) -> tuple[RecordingDevice, list[tuple[Action, Work]]]:
    """Return what a step of a Nosé–Hoover run with the virial launches, and what was counted of it."""
    device = RecordingDevice(HOPPER)
    potential = CudaPotential(model, device, precision, products, terms, network)
    engine = DeviceEngine(potential, state, SKIN)
    integrator = make_integrator(NoseHooverSettings(timestep_fs=1.0, temperature_K=300.0))
    integrator.initialise(state)
    engine.count_neighbours([NeighbourLimit(model.cutoff, np.full(model.n_types, 100))])
    # Nothing runs; the list counts as built.
    engine.load(state, Evaluation.empty(state.n_atoms), integrator, 1e4)
    device.launches.clear()
    with counting(device, density) as counted:
        engine.step_actions(True)
    return device, counted


class RecordingRank(RecordingDevice):
    """A device of the one rank that there is, which knows what kernels would have found that do not run.

    Parameters
    ----------
    box : (BOUNDS_COLUMNS,) float64
        Of the atoms, so that there are ghosts.
    kinds : (n_kinds,) int32
        Atoms of each kind.
    """

    def __init__(self, box: NDArray[np.float64], kinds: NDArray[np.int32]) -> None:
        super().__init__()
        self._answers = {(self.sums()[0], BOUNDS_COLUMNS): box[None], kinds.shape: kinds}

    def read(self, source: DeviceArray, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return what an array would hold."""
        found = super().read(source, into)
        return self._answers.get(source.shape, found)


def record_ranks(model: Any, state: State) -> RecordingDevice:
    """Return what several ranks launch besides the kernels of a step on one."""
    whole = replace(state, symbols=SymbolTable.of(state.symbols))
    state, domain, _ = deal_out(whole, SERIAL)
    low, high = state.positions.min(axis=0), state.positions.max(axis=0)
    coordinates = state.positions @ domain.space.reduced.reciprocal
    first, last = coordinates.min(axis=0), coordinates.max(axis=0)
    kinds = np.bincount(state.types + model.n_types, minlength=3 * model.n_types).astype(np.int32)
    device = RecordingRank(np.concatenate([first, -last, low, -high]), kinds)
    engine = RanksEngine(CudaPotential(model, device, "double"), state, domain, SKIN)
    integrator = make_integrator(VelocityVerletSettings(timestep_fs=1.0))
    engine.load(state, Evaluation.empty(state.n_atoms), integrator, 1e4)
    here = engine._here
    # Nothing has left this rank; what moves rows is wanted all the same.
    here.atoms._close_gaps(here.status, np.array([0]))
    device.launches = [one for one in device.launches if one.kernel.py_func.__module__ == ranks.__name__]
    return device


def ptxas() -> str:
    """Return the assembler that came with the wheel."""
    import nvidia.cuda_nvcc

    return str(Path(next(iter(nvidia.cuda_nvcc.__path__))) / "bin" / "ptxas")


def compile_kernel(
    launch: Launch, architecture: int, assembler: str, disassemble: bool = False
) -> tuple[dict[str, int], str]:
    """Return registers, bytes of stack and spills, and static shared memory of a kernel, and its code."""
    capability = divmod(architecture, 10)
    if isinstance(launch.kernel, SourceKernel):
        ptx = compile_source(launch.kernel, capability, assembly=True).decode().rstrip("\0")
    else:
        ptx = assembly(launch.kernel.py_func, signature_of(launch.arguments), capability)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        command = [
            assembler,
            "-v",
            f"-arch=sm_{architecture}",
            "-o",
            str(path.with_suffix(".cubin")),
            str(path),
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        code = disassembly(path.with_suffix(".cubin")) if disassemble else ""
    numbers = {
        "registers": r"Used (\d+) registers",
        "stack": r"(\d+) bytes stack",
        "shared": r"(\d+) bytes smem",
    }
    result = {
        name: int(found[1]) if (found := re.search(text, told)) else 0 for name, text in numbers.items()
    }
    result["spilled"] = sum(int(n) for n in re.findall(r"(\d+) bytes spill", told))
    return result, code


def _name(kernel: Any) -> str:
    return kernel.name if isinstance(kernel, SourceKernel) else kernel.py_func.__name__


def resident_warps(registers: int, block: int, shared: int) -> int:
    """Return how many warps fit on a multiprocessor of Hopper (227 KiB of shared memory, 32 blocks)."""
    warps = -(-block // 32)
    by_registers = REGISTERS_PER_MULTIPROCESSOR // (-(-registers // 8) * 8 * 32 * warps)
    by_shared = 227 * 1024 // (shared + 1024)
    return min(by_registers, by_shared, 32, WARPS_PER_MULTIPROCESSOR // warps) * warps


def print_registers(
    device: RecordingDevice, precision: str, architecture: int, disassembled: Sequence[str] = ()
) -> None:
    """Print a table of all kernels for one architecture, and the loops of some."""
    import numba.cuda.dispatcher as dispatcher

    # Device functions are compiled for the card of this machine; here there is none.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=divmod(architecture, 10))
    assembler = ptxas()
    seen = set()
    codes: list[tuple[str, str]] = []
    print(f"\n{precision}, sm_{architecture}\n")
    print(
        "| kernel | block | registers | stack and spills, bytes | shared, bytes | warps on a multiprocessor |"
    )
    print("|---|---|---|---|---|---|")
    for launch in device.launches:
        key = (launch.kernel, signature_of(launch.arguments))
        if key in seen:
            continue
        seen.add(key)
        name = _name(launch.kernel)
        found, code = compile_kernel(launch, architecture, assembler, name in disassembled)
        if code:
            codes.append((name, code))
        shared = found["shared"] + launch.shared
        print(
            f"| {name} | {launch.block} | {found['registers']} | "
            f"{found['stack'] + found['spilled']} | {shared} | "
            f"{resident_warps(found['registers'], launch.block, shared)} |",
            flush=True,
        )
    for name, code in codes:
        print(f"\n{name}: " + "\n".join(loops(code)))


def print_floors(counted: list[tuple[Action, Work]], density: Density, n_atoms: int, precision: str) -> None:
    """Print operations and bytes of each part for an atom and step."""
    parts: dict[str, list[Work]] = {}
    for _, work in counted:
        parts.setdefault(work.part, []).append(work)
    print(f"\n{precision}: {density.inside:.0f} neighbours within the cutoff, {density.listed:.0f} listed\n")
    print("| part | launches | kFLOP for an atom | bytes for an atom |\n|---|---|---|---|")
    for name, works in (*parts.items(), ("sum", [work for _, work in counted])):
        operations = sum(work.operations for work in works) / n_atoms
        moved = sum(work.moved for work in works) / n_atoms
        print(f"| {name} | {len(works)} | {operations / 1000:.1f} | {moved:.0f} |")


def main() -> None:
    """Compile for a model and a structure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("structure")
    parser.add_argument("--architecture", type=int, nargs="*", default=[80, 90])
    parser.add_argument("--precision", nargs="*", default=["double", "mixed"])
    parser.add_argument("--products", default="full", help="of mixed: full, tf32 or tf32x3")
    parser.add_argument("--network", default="layers", choices=["layers", "fused"])
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--repeat", type=int, default=1, help="copies along each axis")
    parser.add_argument("--floors", action="store_true")
    parser.add_argument("--zbl", nargs=2, type=float, metavar=("INNER", "OUTER"), help="Å")
    parser.add_argument("--table", help="of pairs, in the order of the model's types")
    parser.add_argument("--loops", nargs="*", default=[], metavar="KERNEL", help="count their instructions")
    chosen = parser.parse_args()
    description = read_model(chosen.model)
    frame = read_ase(chosen.structure)
    structure = structure_from_atoms(frame)
    types = match_types(structure.symbols, description.type_names)
    atoms = Atoms(structure.positions, types, structure.cell, structure.periodic)
    model = prepare(description, atoms, chosen.tolerance, lambda line: print(line, file=sys.stderr))
    larger = structure_from_atoms(frame * ((chosen.repeat,) * 3))
    state = State.from_structure(larger, np.tile(types, chosen.repeat**3))
    settings = [
        *([ZBL(*chosen.zbl)] if chosen.zbl else []),
        *([PairTable(chosen.table)] if chosen.table else []),
    ]
    terms = pair_terms(make_terms(settings, description.type_names))
    density = density_of(model.cutoff, SKIN, state, max((term.cutoff for term in terms), default=0.0))
    for precision in chosen.precision:
        products = chosen.products if precision == "mixed" else "full"
        device, counted = record(model, state, precision, products, density, terms, chosen.network)
        if chosen.floors:
            print_floors(counted, density, state.n_atoms, precision)
        for architecture in chosen.architecture:
            print_registers(device, precision, architecture, chosen.loops)
    device = record_ranks(model, state)
    for architecture in chosen.architecture:
        print_registers(device, "of several ranks", architecture)


if __name__ == "__main__":
    main()
