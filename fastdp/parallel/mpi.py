"""The communicator for MPI, the only module that talks to mpi4py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdp.parallel.communicator import Buffers, Channel, Communicator

if TYPE_CHECKING:
    from mpi4py import MPI

Result = TypeVar("Result")

EXCHANGE_TAG = 1
PIECE_TAG = 2
FIRST_CHANNEL_TAG = 10

SECONDS_BETWEEN_LOOKS = 0.002

SHORTEST_PAUSE, LONGEST_PAUSE = 1e-5, 5e-4
"""Seconds between two looks of a patient rank; longer and longer, for looking costs time of the others."""


class MPICommunicator(Communicator):
    """Ranks of an MPI communicator.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Used by nothing else from now on.
    patient : bool, optional
        Whether waiting leaves the core to others; by default where ranks of a machine have to share cores.
        MPI waits by looking all the time, which is fastest, but then whom it waits for gets half a core.
    """

    def __init__(self, comm: MPI.Intracomm, *, patient: bool | None = None) -> None:
        # Importing mpi4py's MPI starts MPI, so this happens nowhere before somebody holds a communicator.
        from mpi4py import MPI

        super().__init__()
        self._mpi = MPI
        self._comm = comm
        self.rank = comm.Get_rank()
        self.size = comm.Get_size()
        self.patient = _cores_are_shared(comm, MPI) if patient is None else patient
        self._flag = np.zeros(1, dtype=np.int8)
        self._flags = np.zeros(1, dtype=np.int8)

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sum over ranks of `values`, element by element; integers wrap around."""
        result = np.empty_like(values)
        with self.measure("waiting"):
            self._wait([self._comm.Iallreduce(values, result, op=self._mpi.SUM)])
        return result

    def maximum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the largest over ranks of `values`, element by element."""
        result = np.empty_like(values)
        with self.measure("waiting"):
            self._wait([self._comm.Iallreduce(values, result, op=self._mpi.MAX)])
        return result

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank."""
        self._flag[0] = flag
        with self.measure("waiting"):
            self._wait([self._comm.Iallreduce(self._flag, self._flags, op=self._mpi.MAX)])
        return bool(self._flags[0])

    def broadcast(self, value: Result | None) -> Result:
        """Return what `value` is on rank 0; small, or rare."""
        with self.measure("waiting"):
            return self._comm.bcast(value, root=0)

    def all_gather(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return `values` of all ranks, (size, ...)."""
        values = np.ascontiguousarray(values)
        result = np.empty((self.size, *values.shape), dtype=values.dtype)
        with self.measure("waiting"):
            self._wait([self._comm.Iallgather(values, result)])
        return result

    def gather_objects(self, value: Result) -> list[Result]:
        """Return `value` of all ranks, on all ranks; small, or rare."""
        with self.measure("waiting"):
            return self._comm.allgather(value)

    def exchange(
        self, rows: NDArray[Any], counts: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Send rows to other ranks, whichever they are."""
        incoming = np.empty(self.size, dtype=np.int64)
        with self.measure("waiting"):
            outgoing = np.ascontiguousarray(counts, dtype=np.int64)
            self._wait([self._comm.Ialltoall(outgoing, incoming)])
        result = np.empty((int(incoming.sum()), *rows.shape[1:]), dtype=rows.dtype)
        source, target = _parts(rows, counts), _parts(result, incoming)
        with self.measure("communication"):
            requests = [
                self._comm.Irecv(target[rank], source=rank, tag=EXCHANGE_TAG)
                for rank in np.flatnonzero(incoming).tolist()
                if rank != self.rank
            ]
            requests += [
                self._comm.Isend(source[rank], dest=rank, tag=EXCHANGE_TAG)
                for rank in np.flatnonzero(counts).tolist()
                if rank != self.rank
            ]
            target[self.rank][:] = source[self.rank]
            self._wait(requests)
        return result, incoming

    def wait_for_root(self) -> None:
        """Wait, without using a core, until all ranks call this."""
        request = self._comm.Ibarrier()
        with self.measure("waiting"):
            while not request.Test():
                # MPI's own waiting would take the core away from threads of rank 0.
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def send_to_root(self, array: NDArray[Any]) -> None:
        """Send an array to rank 0, which is in `receive_from`."""
        # Synchronous: rank 0 takes one rank after the other, and must not have to store what comes early.
        with self.measure("waiting"):
            self._wait([self._comm.Issend(np.ascontiguousarray(array), dest=0, tag=PIECE_TAG)])

    def send_from_root(self, rank: int, array: NDArray[Any]) -> None:
        """Send an array from rank 0 to `rank`, which is in `receive_from`."""
        with self.measure("communication"):
            self._wait([self._comm.Isend(np.ascontiguousarray(array), dest=rank, tag=PIECE_TAG)])

    def receive_from(self, rank: int, array: NDArray[Any]) -> None:
        """Fill `array` with what `rank` sends."""
        with self.measure("communication"):
            self._wait([self._comm.Irecv(array, source=rank, tag=PIECE_TAG)])

    def channel(self, outgoing: Buffers, incoming: Buffers, tag: int) -> Channel:
        """Return a channel; `outgoing` and `incoming` of the ranks must match."""
        tag += FIRST_CHANNEL_TAG
        requests = [self._comm.Recv_init(array, source=rank, tag=tag) for rank, array in incoming]
        requests += [self._comm.Send_init(array, dest=rank, tag=tag) for rank, array in outgoing]
        return _PersistentChannel(self._mpi, requests, self._wait)

    def _wait(self, requests: Sequence[MPI.Request]) -> None:
        if self.patient:
            pause = SHORTEST_PAUSE
            while not self._mpi.Request.Testall(requests):
                time.sleep(pause)
                pause = min(2.0 * pause, LONGEST_PAUSE)
        else:
            self._mpi.Request.Waitall(requests)

    def abort(self, exit_code: int) -> NoReturn:
        """End all ranks at once."""
        self._comm.Abort(exit_code)
        raise SystemExit(exit_code)  # not reached


class _PersistentChannel(Channel):
    def __init__(
        self, mpi: Any, requests: list[MPI.Prequest], wait: Callable[[Sequence[MPI.Request]], None]
    ) -> None:
        self._mpi = mpi
        self._requests = requests
        self._wait = wait

    def start(self) -> None:
        self._mpi.Prequest.Startall(self._requests)

    def finish(self) -> None:
        self._wait(self._requests)

    def close(self) -> None:
        for request in self._requests:
            request.Free()
        self._requests = []


def _cores_are_shared(comm: MPI.Intracomm, mpi: Any) -> bool:
    """Return whether the ranks of this machine are more than the cores that they may run on."""
    node = comm.Split_type(mpi.COMM_TYPE_SHARED)
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set().union(*node.allgather(own))
    ranks = node.Get_size()
    node.Free()
    return ranks > len(cores)


def _parts(rows: NDArray[Any], counts: NDArray[np.int64]) -> list[NDArray[Any]]:
    return np.split(rows, np.cumsum(counts)[:-1])
