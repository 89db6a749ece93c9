"""Short kernels in PTX, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx.machine import Memory, load
from ptx.syntax import SIZES

HEADER = ".version 8.0\n.target sm_90\n.address_size 64\n"
DTYPES = {
    "u8": np.uint8, "s8": np.int8, "u16": np.uint16, "s16": np.int16, "b32": np.uint32, "u32": np.uint32,
    "s32": np.int32, "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f32": np.float32,
    "f64": np.float64,
}  # fmt: skip
REGISTERS = {"u8": "b16", "s8": "b16"}


def kernel(name: str, parameters: Sequence[str], body: str) -> str:
    """Return a kernel in PTX with parameters of 64 bits, which are loaded into registers of their names.

    There are registers %r0 to %r31 of 32 bits, %rd0 to %rd31 of 64, %f, %fd and %h likewise, and predicates
    %p0 to %p7; %tid is the number of the thread in its block, %lane that in its warp.
    """
    given = ", ".join(f".param .u64 {name}_{one}" for one in parameters)
    registers = "".join(f".reg .b64 %{one}; " for one in parameters)
    loads = "\n".join(f"ld.param.u64 %{one}, [{name}_{one}];" for one in parameters)
    return f"""
.visible .entry {name}({given})
{{
.reg .b32 %r<32>; .reg .b64 %rd<32>; .reg .f32 %f<32>; .reg .f64 %fd<32>; .reg .b16 %h<8>; .reg .pred %p<8>;
.reg .b32 %tid, %lane; {registers}
mov.u32 %tid, %tid.x;
mov.u32 %lane, %laneid;
{loads}
{body}
ret;
}}
"""


def elementwise(name: str, sources: Sequence[str], target: str, code: str) -> str:
    """Return a kernel that sets d[i] from x[i], y[i], z[i], w[i] of these types, a thread for each i."""
    lines = []
    for register, kind in zip("xyzw", sources, strict=False):
        place = f"mad.wide.u32 %rd1, %tid, {SIZES[kind]}, %{register}_;"
        lines.append(f".reg .{REGISTERS.get(kind, kind)} %{register}; {place}")
        lines.append(f"ld.global.{kind} %{register}, [%rd1];")
    lines.append(f".reg .{REGISTERS.get(target, target)} %d;")
    lines.append(code)
    lines.append(f"mad.wide.u32 %rd1, %tid, {SIZES[target]}, %d_; st.global.{target} [%rd1], %d;")
    names = [f"{register}_" for register, _ in zip("xyzw", sources, strict=False)]
    return kernel(name, [*names, "d_"], "\n".join(lines))


def run(text: str, name: str, grid: int, block: int, *values: Any, shared: int = 0, **options: Any) -> None:
    """Run a kernel of a module on arrays, which are those of `Memory` or numbers of 64 bits."""
    memory = Memory()
    copies = [memory.upload(one) if isinstance(one, np.ndarray) else np.int64(one) for one in values]
    # Compiling takes longer than running.
    found = load(HEADER + text, ("-O0",))[name]
    try:
        found.launch(grid, block, found.packed(*copies), memory, shared, **options)
    finally:
        for one, copy in zip(values, copies, strict=True):
            if isinstance(one, np.ndarray):
                one[...] = copy


def lanes(dtype: Any = np.uint32, n: int = 32) -> NDArray[Any]:
    """Return room for a result of each thread."""
    return np.zeros(n, dtype)
