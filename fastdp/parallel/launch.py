"""Whether this process is one of several that a launcher started, and joining them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from fastdp.errors import InputError
from fastdp.parallel.communicator import SERIAL, Communicator

LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "mpirun of Open MPI"),
    ("PMI_SIZE", "PMI_RANK", "mpirun or mpiexec"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "mpirun of MVAPICH2"),
    ("PALS_SIZE", "PALS_RANKID", "PALS"),
    ("PMIX_SIZE", "PMIX_RANK", "a launcher with PMIx"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun"),
)
"""Variables that launchers set: number of processes, number of this one; and what the launcher is called.

Slurm sets SLURM_NTASKS in batch scripts too, which are one process; only srun makes a step.
"""


@dataclass(frozen=True)
class Launch:
    """How this process was started.

    Attributes
    ----------
    size : int
        Number of processes.
    rank : int
        Number of this one, from 0.
    launcher : str
        What started them, in words.
    """

    size: int = 1
    rank: int = 0
    launcher: str = ""


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """Return how this process was started, as far as the environment tells; MPI is not touched.

    Parameters
    ----------
    environment : mapping of str to str
    """
    for size, rank, launcher in LAUNCHERS:
        if environment.get(size, "").isdigit() and environment.get(rank, "").isdigit():
            return Launch(int(environment[size]), int(environment[rank]), launcher)
    return Launch()


def connect(launch: Launch) -> Communicator:
    """Join the other processes; one that is alone does not start MPI.

    Parameters
    ----------
    launch : Launch
        What `launched` returned.

    Returns
    -------
    Communicator

    Raises
    ------
    InputError
        If there are others, but MPI cannot be used with them: each would do the whole run.
    """
    if launch.size <= 1:
        return SERIAL
    try:
        import mpi4py

        # Only the main thread talks to MPI, which saves it locks.
        mpi4py.rc.thread_level = "funneled"
        with warnings.catch_warnings():
            # About a launcher of another MPI, which is refused below.
            warnings.simplefilter("ignore", RuntimeWarning)
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{launch.launcher} started {launch.size} processes, but mpi4py cannot be used here ({reason});"
            " `pip install 'fastdp[mpi]'` brings it with an MPI, or start a single process"
        ) from None
    size = MPI.COMM_WORLD.Get_size()
    if size != launch.size:
        own = os.path.join(sys.prefix, "bin", "mpirun")
        raise InputError(
            f"{launch.launcher} started {launch.size} processes, but MPI ({_library(MPI)}) sees {size}: it is"
            f" not the MPI that this launcher belongs to; use the mpirun of that MPI ({own} if it came with"
            " pip), or with srun the right --mpi"
        )
    # A communicator of our own: other libraries cannot get in the way.
    from fastdp.parallel.mpi import MPICommunicator

    return MPICommunicator(MPI.COMM_WORLD.Dup())


def _library(mpi: object) -> str:
    return str(mpi.Get_library_version()).split(",")[0].split("\n")[0].strip()  # type: ignore[attr-defined]
