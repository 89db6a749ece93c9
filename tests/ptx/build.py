"""Translated modules as libraries: compiled by gcc, and kept by what they are made of."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
HEADERS = ("runtime.h", "arithmetic.h", "collectives.h", "counting.h")
OPTIONS = (
    "-march=native", "-std=gnu11", "-shared", "-fPIC", "-w",
    # As a card computes: nothing contracted that is not `fma`, integers that wrap, bits seen as other types.
    "-ffp-contract=off", "-fwrapv", "-fno-strict-aliasing", "-fno-trapping-math",
)  # fmt: skip


LONG_SOURCE = 1 << 20
"""Bytes beyond which gcc takes minutes to optimise."""


def compiler() -> str | None:
    """Return where gcc is, or None."""
    return shutil.which("gcc")


def folder() -> Path:
    """Return where libraries are kept."""
    chosen = os.environ.get("FASTDP_PTX_CACHE") or os.environ.get("FASTDP_CACHE_DIR") or tempfile.gettempdir()
    return Path(chosen) / "ptx"


@functools.cache
def _surroundings() -> str:
    """Return a hash of the headers, the processor and the compiler."""
    digest = hashlib.sha256()
    for name in HEADERS:
        digest.update((HERE / name).read_bytes())
    told = subprocess.run([str(compiler()), "--version"], capture_output=True, check=True)
    digest.update(told.stdout)
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        flags = [line for line in processor.read_text().splitlines() if line.startswith("flags")]
        digest.update("".join(flags[:1]).encode())
    return digest.hexdigest()


def library(source: str, options: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Return the compiled library of a text of C."""
    options = ("-O0" if len(source) > LONG_SOURCE else "-O1", *options)
    parts = "\n".join([_surroundings(), *OPTIONS, *options, source])
    name = hashlib.sha256(parts.encode()).hexdigest()[:32]
    kept = folder()
    path = kept / f"{name}.so"
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as place:
            text, made = Path(place) / "kernel.c", Path(place) / "kernel.so"
            text.write_text(source)
            command = [str(compiler()), *OPTIONS, *options, f"-I{HERE}", str(text), "-o", str(made), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"gcc refuses a translation:\n{done.stderr[:4000]}")
            os.replace(made, path)
    return ctypes.CDLL(str(path))
