"""Finding the card that this process is to use, and saying what is missing where there is none.

Nothing here imports CuPy or Numba's CUDA part before it is known that they are installed.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fastdp.errors import BackendError

if TYPE_CHECKING:
    from fastdp.gpu.device.base import Device

INSTALL = "pip install 'fastdp[cuda12]' (or 'fastdp[cuda13]' for a driver of CUDA 13)"

LOCAL_RANK_VARIABLES = (
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "PMI_LOCAL_RANK",
    "SLURM_LOCALID",
)
"""Where Open MPI, MPICH and Intel MPI, MVAPICH, Cray's PMI and Slurm put the number of a rank on its node."""


def simulated() -> bool:
    """Whether Numba runs kernels in its simulator, as it was told by NUMBA_ENABLE_CUDASIM."""
    from numba import config

    return bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]


def why_no_card() -> str | None:
    """Return why there is no card that fastdp can use, or None if there is one."""
    if find_spec("cupy") is None:
        return "CuPy is not installed"
    if simulated():
        return "Numba's CUDA simulator is switched on"
    from numba import cuda

    try:
        if not cuda.is_available():
            return "Numba finds no CUDA driver or no GPU"
        import cupy

        if cupy.cuda.runtime.getDeviceCount() < 1:
            return "CuPy finds no GPU"
    # Drivers, libraries and versions that do not fit announce themselves in many ways.
    except Exception as error:
        return f"the GPU cannot be used ({type(error).__name__}: {error})"
    return None


def open_device(launcher: str = "driver") -> Device:
    """Return the device of this process: the card of its node-local rank, or the simulator.

    Parameters
    ----------
    launcher : {"driver", "numba"}
        What launches kernels on a card, see `launchers.py`.

    Returns
    -------
    Device

    Raises
    ------
    BackendError
        If there is no card; says what to install.
    """
    if simulated():
        from fastdp.gpu.device.stand_in import StandIn

        return StandIn()
    reason = why_no_card()
    if reason is not None:
        raise BackendError(
            f'backend = "cuda" needs an NVIDIA GPU, its driver, CuPy and numba-cuda, but {reason}. {INSTALL} '
            'brings the packages; without a GPU use backend = "cpu" or "auto"'
        )
    from fastdp.gpu.device.card import Card

    return Card(local_rank(), launcher)


def local_rank() -> int:
    """Return the number of this process among those on its node, 0 without MPI."""
    for name in LOCAL_RANK_VARIABLES:
        text = os.environ.get(name, "")
        if text.isdigit():
            return int(text)
    return 0
