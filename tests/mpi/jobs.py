"""Starting jobs with mpirun."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import fastdp

TESTS = Path(__file__).resolve().parents[1]
INSTALLED = Path(fastdp.__file__).parents[1]


def launcher() -> str | None:
    """Return mpirun: that which came with Python's packages, or else that of the system."""
    own = Path(sys.executable).parent / "mpiexec"
    return str(own) if own.exists() else shutil.which("mpiexec")


def job(mpirun: str, ranks: int, arguments: Sequence[str], *, folder: Path) -> subprocess.Popen[str]:
    """Start Python on some ranks, with the tests' own modules in reach."""
    paths = [str(INSTALLED), str(TESTS), str(TESTS / "mpi"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "NUMBA_NUM_THREADS": "2"}
    # Open MPI refuses more ranks than cores, and root, unless told so; MPICH does not know these.
    environment |= {
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    return subprocess.Popen(
        [mpirun, "-n", str(ranks), sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
