"""Whether MPI sends and receives memory of GPUs itself."""

from __future__ import annotations

import ctypes
import os

CRAY_SWITCH = "MPICH_GPU_SUPPORT_ENABLED"
"""Without it, Cray's MPI has the support and does not use it."""


def mpi_takes_device_memory() -> bool:
    """Return whether the MPI of this process says that it takes CUDA memory; MPI must have been initialised.

    Open MPI (https://docs.open-mpi.org/en/v5.0.x/tuning-apps/networking/cuda.html) and MPICH have
    `MPIX_Query_cuda_support` for that.
    """
    from mpi4py import MPI

    # Symbols are looked up in what the module is linked to as well.
    query = getattr(ctypes.CDLL(MPI.__file__), "MPIX_Query_cuda_support", None)
    if query is None or not query():
        return False
    return "cray" not in MPI.Get_library_version().lower() or os.environ.get(CRAY_SWITCH) == "1"
