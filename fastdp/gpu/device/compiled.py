"""Kernels compiled to machine code, and kept on disk so that the next run need not compile them.

An entry is a plain `.npz` file named by a hash of all that the code depends on: fastdp's source files, the
kernel with what it calls, the types of its arguments, the card's compute capability, and the compiler. A
damaged entry is ignored and made anew; a folder that cannot be written is done without.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import platformdirs

import fastdp
from fastdp.gpu.device.source_kernel import SourceKernel, compile_source

LARGEST_NUMBER = 512
"""Entries that are kept, of some ten kilobytes each; the oldest go first."""

COMPILERS = (
    "numba",
    "numba-cuda",
    "llvmlite",
    "cuda-core",
    "nvidia-cuda-nvcc-cu12",
    "nvidia-nvvm",
    "nvidia-nvjitlink-cu12",
    "nvidia-nvjitlink",
    "nvidia-cuda-nvrtc-cu12",
    "nvidia-cuda-nvrtc",
)
"""Packages that machine code may depend on, where they are installed."""


@dataclass(frozen=True)
class Compiled:
    """Machine code of one kernel.

    Attributes
    ----------
    code : bytes
        A cubin.
    entry : str
        Name of the kernel in it.
    """

    code: bytes
    entry: str


def directory() -> Path:
    """Return where kernels are kept (in `FASTDP_CACHE_DIR`, or the user's cache folder)."""
    chosen = os.environ.get("FASTDP_CACHE_DIR")
    return (Path(chosen) if chosen else Path(platformdirs.user_cache_dir("fastdp"))) / "kernels"


def compiled(function: Any, signature: tuple[Any, ...], capability: tuple[int, int]) -> Compiled:
    """Return the machine code of a kernel, from the disk or compiled now.

    Parameters
    ----------
    function : callable
        The plain function of a kernel.
    signature : tuple of numba type
        Of its arguments.
    capability : (int, int)
        Compute capability of the card.
    """
    name = key(function, signature, capability)
    found = load(name)
    if found is None:
        found = compile_kernel(function, signature, capability)
        store(name, found)
    return found


def compiled_source(kernel: SourceKernel, capability: tuple[int, int]) -> Compiled:
    """Return the machine code of a kernel in CUDA C++, from the disk or compiled now.

    Parameters
    ----------
    kernel : SourceKernel
    capability : (int, int)
        Compute capability of the card.
    """
    name = source_key(kernel, capability)
    found = load(name)
    if found is None:
        found = Compiled(compile_source(kernel, capability), kernel.name)
        store(name, found)
    return found


def compile_kernel(function: Any, signature: tuple[Any, ...], capability: tuple[int, int]) -> Compiled:
    """Compile a kernel by Numba and NVIDIA's linker; needs no card.

    Parameters
    ----------
    function, signature, capability
        As in `compiled`.
    """
    from cuda.core import Linker, LinkerOptions, ObjectCode

    ptx = assembly(function, signature, capability)
    (entry,) = re.findall(r"\.visible\s+\.entry\s+([\w$]+)", ptx)
    options = LinkerOptions(arch=f"sm_{capability[0]}{capability[1]}")
    linked = Linker(ObjectCode.from_ptx(ptx.encode()), options=options).link("cubin")
    return Compiled(bytes(linked.code), entry)


def assembly(function: Any, signature: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """Return a kernel in NVIDIA's assembly language, PTX; parameters as in `compiled`."""
    from numba import cuda

    ptx, _ = cuda.compile(function, signature, cc=capability, device=False, abi="numba", output="ptx")
    return ptx


def key(function: Any, signature: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """Return the hash of everything that the machine code depends on."""
    parts = (
        _source_hash(),
        _compiler_versions(),
        str(capability),
        " ".join(map(str, signature)),
        _description(function),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def source_key(kernel: SourceKernel, capability: tuple[int, int]) -> str:
    """Return the hash of everything that the machine code of a kernel in CUDA C++ depends on."""
    parts = (_compiler_versions(), str(capability), kernel.name, kernel.text)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def load(name: str) -> Compiled | None:
    """Return an entry, or None if there is none that can be read."""
    path = directory() / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = Compiled(stored["code"].tobytes(), str(stored["entry"]))
        path.touch()
        return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def forget(name: str) -> None:
    """Remove an entry that turned out to be of no use."""
    (directory() / f"{name}.npz").unlink(missing_ok=True)


def store(name: str, kernel: Compiled) -> None:
    """Write an entry: whole or not at all."""
    folder = directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            np.savez(file, code=np.frombuffer(kernel.code, np.uint8), entry=np.array(kernel.entry))
        os.replace(file.name, folder / f"{name}.npz")
        entries = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for old in entries[:-LARGEST_NUMBER]:
            old.unlink(missing_ok=True)
    except OSError:
        return


@cache
def _source_hash() -> str:
    """Hash all of fastdp's Python: a kernel calls functions of many modules."""
    root = Path(fastdp.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def _compiler_versions() -> str:
    found = []
    for name in COMPILERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _description(value: Any) -> str:
    """Describe a function by its code and what it holds on to, so that closures of one source differ."""
    function = getattr(value, "py_func", value)
    if not isinstance(function, FunctionType):
        # Types of Numba, numbers and names.
        return f"{type(value).__name__} {value}"
    held = [_description(cell.cell_contents) for cell in function.__closure__ or ()]
    return f"{function.__module__}.{function.__qualname__} {_code(function.__code__)} [{', '.join(held)}]"


def _code(code: CodeType) -> str:
    constants = [_code(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
