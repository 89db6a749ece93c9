"""Compile every kernel of a GPU step without a card; print registers, spills and shared memory.

    python benchmarks/gpu_kernels.py MODEL STRUCTURE [--architecture 80 90] [--tolerance 1e-5] [--floors]

Needs `pip install 'fastdp[cuda12]'` (numba-cuda and NVIDIA's ptxas from the wheel nvidia-cuda-nvcc-cu12), but
neither a driver nor a GPU. A run on a device that only records (`fastdp/gpu/device/recording.py`) says what
would be launched; each kernel is compiled to PTX for the types of its arguments, and by ptxas to machine
code. `--floors` counts, from the same recording, floating-point operations and bytes of each part of a step.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from ase.io import read as read_ase

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import NoseHooverSettings
from fastdp.dynamics.state import State
from fastdp.gpu.device.recording import Launch, RecordingDevice
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.potential import CudaPotential
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.prepare import prepare
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.types import match_types

SKIN = 1.0
WARPS_PER_MULTIPROCESSOR = 64
REGISTERS_PER_MULTIPROCESSOR = 65536


def record(model: Any, state: State, precision: str, products: str = "full") -> RecordingDevice:
    """Return what a step of a Nosé–Hoover run with the virial launches."""
    device = RecordingDevice()
    potential = CudaPotential(model, device, precision, products)
    engine = DeviceEngine(potential, state, SKIN)
    integrator = make_integrator(NoseHooverSettings(timestep_fs=1.0, temperature_K=300.0))
    integrator.initialise(state)
    # Nothing runs; the list counts as built.
    engine.load(state, Evaluation.empty(state.n_atoms), integrator, 1e4)
    device.launches.clear()
    device.products.clear()
    engine._step_actions(True)
    return device


def signature(launch: Launch) -> tuple[Any, ...]:
    """Return the types that Numba compiles a kernel for."""
    return tuple(
        numba.types.Array(numba.from_dtype(value.dtype), value.ndim, "C" if value.flags.c_contiguous else "A")
        if isinstance(value, np.ndarray)
        else numba.typeof(value)
        for value in launch.arguments
    )


def ptxas() -> str:
    """Return the assembler that came with the wheel."""
    import nvidia.cuda_nvcc

    return str(Path(next(iter(nvidia.cuda_nvcc.__path__))) / "bin" / "ptxas")


def compile_kernel(launch: Launch, architecture: int, assembler: str) -> dict[str, int]:
    """Return registers, bytes of stack and spills, and static shared memory of a kernel."""
    from numba import cuda

    kernel = launch.kernel.py_func
    ptx, _ = cuda.compile(
        kernel, signature(launch), cc=divmod(architecture, 10), device=False, abi="numba", output="ptx"
    )
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
    numbers = {
        "registers": r"Used (\d+) registers",
        "stack": r"(\d+) bytes stack",
        "shared": r"(\d+) bytes smem",
    }
    result = {
        name: int(found[1]) if (found := re.search(text, told)) else 0 for name, text in numbers.items()
    }
    result["spilled"] = sum(int(n) for n in re.findall(r"(\d+) bytes spill", told))
    return result


def resident_warps(registers: int, block: int, shared: int) -> int:
    """Return how many warps fit on a multiprocessor of Hopper (227 KiB of shared memory, 32 blocks)."""
    warps = -(-block // 32)
    by_registers = REGISTERS_PER_MULTIPROCESSOR // (-(-registers // 8) * 8 * 32 * warps)
    by_shared = 227 * 1024 // (shared + 1024)
    return min(by_registers, by_shared, 32, WARPS_PER_MULTIPROCESSOR // warps) * warps


def print_registers(device: RecordingDevice, precision: str, architecture: int) -> None:
    """Print a table of all kernels for one architecture."""
    import numba.cuda.dispatcher as dispatcher

    # Device functions are compiled for the card of this machine; here there is none.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=divmod(architecture, 10))
    assembler = ptxas()
    seen = set()
    print(f"\n{precision}, sm_{architecture}\n")
    print(
        "| kernel | block | registers | stack and spills, bytes | shared, bytes | warps on a multiprocessor |"
    )
    print("|---|---|---|---|---|---|")
    for launch in device.launches:
        key = (launch.kernel, signature(launch))
        if key in seen:
            continue
        seen.add(key)
        found = compile_kernel(launch, architecture, assembler)
        shared = found["shared"] + launch.shared
        print(
            f"| {launch.kernel.py_func.__name__} | {launch.block} | {found['registers']} | "
            f"{found['stack'] + found['spilled']} | {shared} | "
            f"{resident_warps(found['registers'], launch.block, shared)} |",
            flush=True,
        )


def print_floors(device: RecordingDevice, model: Any, state: State, precision: str) -> None:
    """Print operations and bytes for each atom and step, from the model and the recording."""
    n, size = state.n_atoms, 8 if precision == "double" else 4
    lists = [VerletList(model.cutoff, skin, state.cell, state.periodic, state.types) for skin in (0.0, SKIN)]
    for neighbours in lists:
        neighbours.build(state.positions)
    inside, listed = (neighbours.first[-1] / n for neighbours in lists)
    order, columns = model.degree + 1, model.n_types * model.n_functions
    products = sum(2.0 * batch * rows * depth * width for batch, rows, depth, width in device.products) / n
    touched = sum(batch * (rows * depth + rows * width) for batch, rows, depth, width in device.products) / n
    elementwise = Counter[str]()
    for launch in device.launches:
        name = launch.kernel.py_func.__name__
        if name in ("activate", "multiply", "product", "triangle_backward", "contract"):
            elementwise[name] += sum(
                value.nbytes for value in launch.arguments if isinstance(value, np.ndarray) and value.ndim > 1
            )
    rows = [
        ("list read, twice", 0, 2 * 4 * listed),
        (
            "moments: geometry, 4 (d+1) multiply-adds, basis",
            inside * (30 + order * 2 * order + 8 * order),
            4 * columns * size,
        ),
        ("matrix products", products, touched * size),
        ("elementwise", 0, sum(elementwise.values()) / n),
        (
            "forces: geometry, basis and slopes, 4 (d+1) times 20",
            inside * (40 + order * 4 * order + 80 * order),
            4 * columns * size + inside * 4 * order * size,
        ),
        ("motion", 60, 3 * 24 * 3),
    ]
    print(f"\n{precision}: {inside:.0f} neighbours within the cutoff, {listed:.0f} in the list\n")
    print("| part | kFLOP for an atom | bytes for an atom |")
    print("|---|---|---|")
    for name, operations, moved in rows:
        print(f"| {name} | {operations / 1000:.1f} | {moved:.0f} |")
    print(f"| sum | {sum(r[1] for r in rows) / 1000:.1f} | {sum(r[2] for r in rows):.0f} |")
    print(f"\nlaunches in a step: {len(device.launches)} kernels, {len(device.products)} matrix products")


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
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--floors", action="store_true")
    chosen = parser.parse_args()
    description = read_model(chosen.model)
    structure = structure_from_atoms(read_ase(chosen.structure))
    types = match_types(structure.symbols, description.type_names)
    atoms = Atoms(structure.positions, types, structure.cell, structure.periodic)
    model = prepare(description, atoms, chosen.tolerance, lambda line: print(line, file=sys.stderr))
    state = State.from_structure(structure, types)
    for precision in chosen.precision:
        device = record(model, state, precision, chosen.products if precision == "mixed" else "full")
        if chosen.floors:
            print_floors(device, model, state, precision)
        for architecture in chosen.architecture:
            print_registers(device, precision, architecture)


if __name__ == "__main__":
    main()
