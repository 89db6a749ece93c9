"""cuBLAS by its C interface: matrix products that can be captured in a CUDA graph.

CuPy's own calls refuse a capturing stream (its `cublas.setStream` raises), so the library that CuPy is
installed with is called here directly: https://docs.nvidia.com/cuda/cublas.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastdp.errors import BackendError

WORKSPACE_BYTES = 32 * 2**20
"""What NVIDIA recommends for Hopper. One workspace and one stream: results are the same bits each time."""

_NORMAL, _TRANSPOSED = 0, 1
_FLOAT32, _COMPUTE_FAST_TF32, _DEFAULT_ALGORITHM = 0, 77, -1
_SUCCESS = 0


class Operands(NamedTuple):
    """A product as cuBLAS wants it: column-major, so that C' = op(A') B' has A' = b, B' = a.

    `first` is b and `second` is a of `out = a b`; leading dimensions and strides count elements.
    """

    transposed: bool
    m: int
    n: int
    k: int
    first_leading: int
    first_stride: int
    second_leading: int
    second_stride: int
    out_leading: int
    out_stride: int
    batch: int


def operands(a: Any, b: Any, out: Any, transposed: bool) -> Operands:
    """Return the numbers that describe out = a b, or a bᵀ.

    Parameters
    ----------
    a : (n, k) or (batch, n, k) array
    b : (k, m), or (m, k) if `transposed`
    out : (n, m) or (batch, n, m)
        All of one type, their last axis contiguous.
    transposed : bool

    Raises
    ------
    ValueError
        If an array cannot be described so.
    """
    size = out.dtype.itemsize
    for array in (a, b, out):
        if array.shape[-1] > 1 and array.strides[-1] != size:
            raise ValueError(f"the last axis of an operand of shape {array.shape} is not contiguous")
    batch = a.shape[0] if a.ndim == 3 else 1

    def leading(array: Any) -> int:
        # Of a single row, the stride means nothing; cuBLAS checks it all the same.
        return max(array.strides[-2] // size if array.shape[-2] > 1 else 0, array.shape[-1], 1)

    def stride(array: Any) -> int:
        return array.strides[0] // size if array.ndim == 3 else 0

    return Operands(
        transposed=transposed,
        m=out.shape[-1],
        n=out.shape[-2],
        k=a.shape[-1],
        first_leading=leading(b),
        first_stride=0,
        second_leading=leading(a),
        second_stride=stride(a),
        out_leading=leading(out),
        out_stride=stride(out),
        batch=batch,
    )


class Cublas:
    """A handle of cuBLAS on one stream.

    Parameters
    ----------
    library
        The loaded library.
    stream : int
        Of CUDA.
    workspace : int
        Address of `WORKSPACE_BYTES` of device memory.
    """

    def __init__(self, library: Any, stream: int, workspace: int) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._check(library.cublasCreate_v2(ctypes.byref(self._handle)), "cublasCreate")
        self._check(library.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream)), "cublasSetStream")
        self._check(
            library.cublasSetWorkspace_v2(
                self._handle, ctypes.c_void_p(workspace), ctypes.c_size_t(WORKSPACE_BYTES)
            ),
            "cublasSetWorkspace",
        )

    def product(
        self,
        a: Any,
        b: Any,
        out: Any,
        *,
        transposed: bool,
        accumulate: bool,
        tf32: bool,
        address: Callable[[Any], int],
    ) -> Callable[[], None]:
        """Return an action: out = a b, or a bᵀ; added to `out` if so wanted.

        Parameters
        ----------
        a, b, out : array
            As in `operands`.
        transposed, accumulate, tf32 : bool
            The last: factors of float32 may be rounded to the 11 bits of TF32.
        address : callable
            Gives the address of an array's first element.
        """
        double = out.dtype == np.float64
        function = (
            self._library.cublasDgemmStridedBatched if double else self._library.cublasSgemmStridedBatched
        )
        scalar = ctypes.c_double if double else ctypes.c_float
        number, distance, pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
        o = operands(a, b, out, transposed)
        one, other = scalar(1.0), scalar(1.0 if accumulate else 0.0)
        arguments: tuple[Any, ...] = (
            self._handle,
            number(_TRANSPOSED if o.transposed else _NORMAL),
            number(_NORMAL),
            number(o.m),
            number(o.n),
            number(o.k),
            ctypes.byref(one),
            pointer(address(b)),
            number(o.first_leading),
            distance(o.first_stride),
            pointer(address(a)),
            number(o.second_leading),
            distance(o.second_stride),
            ctypes.byref(other),
            pointer(address(out)),
            number(o.out_leading),
            distance(o.out_stride),
            number(o.batch),
        )

        if tf32 and not double:
            function = self._library.cublasGemmStridedBatchedEx
            kind = number(_FLOAT32)
            # The types of b, a and out stand behind their addresses.
            arguments = (
                *arguments[:8], kind, *arguments[8:11], kind, *arguments[11:15], kind, *arguments[15:],
                number(_COMPUTE_FAST_TF32), number(_DEFAULT_ALGORITHM),
            )  # fmt: skip

        def act() -> None:
            self._check(function(*arguments), "a matrix product")

        return act

    def _check(self, code: int, what: str) -> None:
        if code != _SUCCESS:
            raise BackendError(f"cuBLAS failed in {what} with status {code}; check the driver and the memory")


def load_library() -> Any:
    """Return the cuBLAS of this Python environment, or else of the system.

    Raises
    ------
    BackendError
        If there is none.
    """
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    # Its own errors differ from release to release.
    except Exception:
        for name in ("libcublas.so.13", "libcublas.so.12", ctypes.util.find_library("cublas")):
            try:
                if name:
                    return ctypes.CDLL(name)
            except OSError:
                continue
    raise BackendError(
        "the cuBLAS library is not found: pip install 'fastdp[cuda12]' (or 'fastdp[cuda13]') brings it"
    )
