"""What ranks tell each other: one small interface, for one process and for MPI.

Everything that needs other ranks goes through a `Communicator`. `SERIAL` stands in where there are none, so
that the code above does not ask how many there are. `fastdp.parallel.mpi` has the one for MPI.

Sums over ranks are taken to be the same, bit for bit, on all of them, which the MPI standard advises and
its implementations keep: integrators that act on such a sum stay in step without being told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from fastdp.errors import FastDPError

if TYPE_CHECKING:
    # The command line imports this module, and is to answer at once.
    import numpy as np
    from numpy.typing import NDArray

Result = TypeVar("Result")

Buffers: TypeAlias = "Sequence[tuple[int, NDArray[Any]]]"
"""Contiguous arrays, each with the rank that it goes to or comes from."""


class Channel(ABC):
    """A set of messages that are sent again and again from the same memory to the same memory."""

    @abstractmethod
    def start(self) -> None:
        """Begin to send and to receive; neither memory may be touched until `finish`."""

    @abstractmethod
    def finish(self) -> None:
        """Wait until everything has been sent and received."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the library holds for these messages."""


class Communicator(ABC):
    """A group of ranks that call the same methods in the same order.

    Attributes
    ----------
    rank : int
        Number of this rank, from 0.
    size : int
        Number of ranks.
    measure : callable
        Given "waiting" or "communication", returns a context in which that is the reason for passing time.
    """

    rank: int
    size: int

    def __init__(self) -> None:
        self.measure: Callable[[str], AbstractContextManager[None]] = lambda category: nullcontext()

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0, which reads and writes for all."""
        return self.rank == 0

    @abstractmethod
    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sum over ranks of `values`, element by element; integers wrap around."""

    @abstractmethod
    def maximum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the largest over ranks of `values`, element by element."""

    @abstractmethod
    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank."""

    @abstractmethod
    def broadcast(self, value: Result | None) -> Result:
        """Return what `value` is on rank 0; small, or rare."""

    @abstractmethod
    def all_gather(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return `values` of all ranks, (size, ...)."""

    @abstractmethod
    def gather_objects(self, value: Result) -> list[Result]:
        """Return `value` of all ranks, on all ranks; small, or rare."""

    @abstractmethod
    def exchange(
        self, rows: NDArray[Any], counts: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Send rows to other ranks, whichever they are.

        Parameters
        ----------
        rows : (n, ...) array, C order
            By rank that they go to.
        counts : (size,) int64
            Rows for each rank.

        Returns
        -------
        rows : (m, ...) array
            By rank that they come from.
        counts : (size,) int64
            Rows from each rank.
        """

    @abstractmethod
    def send_to_root(self, array: NDArray[Any]) -> None:
        """Send an array to rank 0, which is in `receive_from`."""

    @abstractmethod
    def send_from_root(self, rank: int, array: NDArray[Any]) -> None:
        """Send an array from rank 0 to `rank`, which is in `receive_from`."""

    @abstractmethod
    def receive_from(self, rank: int, array: NDArray[Any]) -> None:
        """Fill `array` with what `rank` sends."""

    @abstractmethod
    def channel(self, outgoing: Buffers, incoming: Buffers, tag: int) -> Channel:
        """Return a channel; `outgoing` and `incoming` of the ranks must match."""

    @abstractmethod
    def abort(self, exit_code: int) -> NoReturn:
        """End all ranks at once."""

    def raise_any(self, error: FastDPError | None) -> None:
        """Raise, on all ranks, what any of them failed with; that of the lowest rank if there are several.

        Parameters
        ----------
        error : FastDPError or None
            Of this rank.
        """
        if self.any(error is not None):
            found = next(failure for failure in self.gather_objects(error) if failure is not None)
            found.on_all_ranks = True
            raise found

    def together(self, action: Callable[[], Result]) -> Result:
        """Return the result of `action`, which talks to no rank, or raise on all ranks what it raises on any.

        Raises
        ------
        FastDPError
        """
        failure: FastDPError | None = None
        result: Result | None = None
        try:
            result = action()
        except FastDPError as error:
            failure = error
        self.raise_any(failure)
        return result  # type: ignore[return-value]

    def on_root(self, action: Callable[[], Result]) -> Result | None:
        """Return the result of `action` on rank 0, None on others, or raise on all ranks what it raises.

        Raises
        ------
        FastDPError
        """
        if not self.is_root:
            self.wait_for_root()
            return self.together(lambda: None)
        failure: FastDPError | None = None
        result: Result | None = None
        try:
            result = action()
        except FastDPError as error:
            failure = error
        self.wait_for_root()
        self.raise_any(failure)
        return result

    @abstractmethod
    def wait_for_root(self) -> None:
        """Wait, without using a core, until rank 0 calls this too."""


class SerialCommunicator(Communicator):
    """The one rank that there is."""

    rank = 0
    size = 1

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return `values`."""
        return values

    def maximum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return `values`."""
        return values

    def any(self, flag: bool) -> bool:
        """Return `flag`."""
        return flag

    def broadcast(self, value: Result | None) -> Result:
        """Return `value`."""
        return value  # type: ignore[return-value]

    def all_gather(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return `values` with an axis in front."""
        return values[None]

    def gather_objects(self, value: Result) -> list[Result]:
        """Return a list of `value`."""
        return [value]

    def exchange(
        self, rows: NDArray[Any], counts: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return what was given."""
        return rows, counts

    def send_to_root(self, array: NDArray[Any]) -> None:
        """Refuse: there is no other rank."""
        raise ValueError("a single rank sends nothing")

    def send_from_root(self, rank: int, array: NDArray[Any]) -> None:
        """Refuse: there is no other rank."""
        raise ValueError("a single rank sends nothing")

    def receive_from(self, rank: int, array: NDArray[Any]) -> None:
        """Refuse: there is no other rank."""
        raise ValueError("a single rank receives nothing")

    def channel(self, outgoing: Buffers, incoming: Buffers, tag: int) -> Channel:
        """Return a channel without messages."""
        return _NoChannel()

    def abort(self, exit_code: int) -> NoReturn:
        """End this process in the ordinary way."""
        raise SystemExit(exit_code)

    def wait_for_root(self) -> None:
        """Go on."""

    def raise_any(self, error: FastDPError | None) -> None:
        """Raise `error` if there is one."""
        if error is not None:
            raise error

    def together(self, action: Callable[[], Result]) -> Result:
        """Return the result of `action`."""
        return action()


class _NoChannel(Channel):
    def start(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


SERIAL = SerialCommunicator()
"""Stands in where there is one process."""
