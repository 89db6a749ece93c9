"""Kernels that are written in CUDA C++, compiled at run time by NVIDIA's NVRTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastdp.errors import BackendError


@dataclass(frozen=True)
class SourceKernel:
    """A kernel with C's names and arguments: pointers, `long long` and `double`.

    Attributes
    ----------
    name : str
        Of the `extern "C"` function.
    text : str
        Needs no header.
    operations : tuple of float
        Floating-point operations at least for an atom of each type that it is for, for who counts them.
    """

    name: str
    text: str
    operations: tuple[float, ...] = ()


def compile_source(kernel: SourceKernel, capability: tuple[int, int], *, assembly: bool = False) -> bytes:
    """Return machine code, or PTX; needs no card.

    Parameters
    ----------
    kernel : SourceKernel
    capability : (int, int)
        Compute capability of the card.
    assembly : bool
        Whether PTX is wanted.

    Raises
    ------
    BackendError
        If the text cannot be compiled, with the compiler's words.
    """
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise BackendError(
            "kernels in CUDA C++ are compiled by NVRTC, which is not found: pip install 'fastdp[cuda12]' (or "
            f"'fastdp[cuda13]') brings it ({error})"
        ) from error

    def check(answer: tuple[Any, ...]) -> Any:
        code, *rest = answer
        if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise BackendError(f"NVRTC failed for the kernel {kernel.name}: {code.name}")
        return rest[0] if rest else None

    program = check(nvrtc.nvrtcCreateProgram(kernel.text.encode(), f"{kernel.name}.cu".encode(), 0, [], []))
    try:
        target = "compute" if assembly else "sm"
        options = [b"--std=c++17", f"--gpu-architecture={target}_{capability[0]}{capability[1]}".encode()]
        (code,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = b" " * check(nvrtc.nvrtcGetProgramLogSize(program))
            check(nvrtc.nvrtcGetProgramLog(program, log))
            words = log.decode(errors="replace").strip("\0 \n")
            raise BackendError(f"the kernel {kernel.name} does not compile: {words}")
        if assembly:
            result = b" " * check(nvrtc.nvrtcGetPTXSize(program))
            check(nvrtc.nvrtcGetPTX(program, result))
        else:
            result = b" " * check(nvrtc.nvrtcGetCUBINSize(program))
            check(nvrtc.nvrtcGetCUBIN(program, result))
        return result
    finally:
        nvrtc.nvrtcDestroyProgram(program)
