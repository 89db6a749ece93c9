"""The kernel of `fastdp/gpu/fused/network.cu` on a processor: compiled by g++, with fibers for threads.

The text is the very same, but for the statements in assembly language (products on tensor cores, rounding
to TF32), which functions of `host_cuda.hpp` take the place of.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

HEADER = Path(__file__).with_name("host_cuda.hpp")

STATEMENTS = {
    r'asm volatile\("mma\.sync\.aligned\.m16n8k8\.row\.col\.f64.*?\);': (
        "host_mma(c, a.x[0], a.x[1], a.x[2], a.x[3], b.x[0], b.x[1]);"
    ),
    r'asm volatile\("mma\.sync\.aligned\.m16n8k8\.row\.col\.f32\.tf32.*?\);': (
        "host_mma(c, host_tf32(a[0]), host_tf32(a[1]), host_tf32(a[2]), host_tf32(a[3]), host_tf32(b[0]), "
        "host_tf32(b[1]));"
    ),
    r'asm\("cvt\.rna\.tf32\.f32.*?\);': "result = host_round(x);",
}

LAUNCH = """
static void** values;

static void call() {{ fused_network({arguments}); }}

extern "C" int launch(int blocks, int threads, long shared, int descending, void** given)
{{
    values = given;
    kernel = call;
    return host_launch(blocks, threads, shared, descending);
}}
"""


class Stuck(Exception):  # noqa: N818 - what happened, not an error of the test
    """Threads wait for each other for ever."""


def on_the_host(text: str) -> str:
    """Return a kernel's text as g++ takes it."""
    networks = text.count("\nnamespace ")
    for pattern, replacement in STATEMENTS.items():
        text, count = re.subn(pattern, replacement, text, flags=re.DOTALL)
        assert count == networks, pattern
    declaration = "extern __shared__ __align__(16) unsigned char memory[];"
    assert text.count(declaration) == 1
    text = text.replace(declaration, "unsigned char* const memory = shared_memory;")
    start = r'extern "C" __global__ void __launch_bounds__\(type0::THREADS, 1\)\s+fused_network\(([^()]*)\)'
    (found,) = re.finditer(start, text)
    types = [declared.strip().rpartition(" ")[0] for declared in found[1].split(",")]
    arguments = ", ".join(f"*({kind}*)values[{i}]" for i, kind in enumerate(types))
    text = text.replace('extern "C" __global__ void', "static void")
    return f'#include "{HEADER}"\n{text}{LAUNCH.format(arguments=arguments)}'


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fastdp-host-cuda-"))


@functools.cache
def compiled_on_the_host(text: str) -> Callable[..., int]:
    """Return the launch of a kernel; skips where there is no g++."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    number = len(list(_folder().glob("*.cpp")))
    source = _folder() / f"kernel{number}.cpp"
    source.write_text(on_the_host(text), encoding="utf-8")
    library = source.with_suffix(".so")
    command = [compiler, "-O1", "-std=c++17", "-shared", "-fPIC", "-w", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library)).launch


def launch_on_the_host(
    text: str,
    blocks: int,
    threads: int,
    shared: int,
    arguments: tuple[Any, ...],
    *,
    descending: bool = False,
) -> None:
    """Run a kernel; arguments as `FusedNetworks.action` gives them, with arrays of NumPy.

    Raises
    ------
    Stuck
        If threads wait for each other for ever.
    """
    values: list[Any] = []
    for value in arguments:
        if isinstance(value, np.ndarray):
            values.append(ctypes.c_void_p(value.ctypes.data))
        else:
            values.append(ctypes.c_double(value) if isinstance(value, float) else ctypes.c_longlong(value))
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    launch = compiled_on_the_host(text)
    if launch(blocks, threads, ctypes.c_long(shared), int(descending), pointers):
        raise Stuck


def aligned(values: NDArray) -> NDArray:
    """Return a copy that begins where the card's memory would: lanes read words of 16 bytes."""
    room = np.empty(values.size + 64, values.dtype)
    start = (-room.ctypes.data % 256) // values.itemsize
    result = room[start : start + values.size].reshape(values.shape)
    result[...] = values
    return result
