"""Atoms and everything that belongs to them, on their way between ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fastdp_ext.exchange as exchange
import numpy as np
from numpy.typing import NDArray

from fastdp.parallel.communicator import Communicator

Arrays = Mapping[str, NDArray[Any]]


def migrate(arrays: Arrays, ranks: NDArray[np.int32], communicator: Communicator) -> dict[str, NDArray[Any]]:
    """Send atoms to the ranks that own them.

    Parameters
    ----------
    arrays : mapping of str to (n_atoms, ...) array
        Everything that belongs to the atoms of this rank, the same names on all ranks; `identifiers` is one.
    ranks : (n_atoms,) int32
        Where each atom belongs.
    communicator : Communicator

    Returns
    -------
    dict of str to (m_atoms, ...) array
        Of the atoms that this rank owns now, by ascending identifier.
    """
    order = np.argsort(ranks, kind="stable")
    rows, _ = communicator.exchange(
        pack(arrays, order), np.bincount(ranks, minlength=communicator.size).astype(np.int64)
    )
    return unpack(rows, arrays)


def pack(arrays: Arrays, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the chosen atoms, one row of bytes for each with all of its data one after the other."""
    views = [_bytes_of(array) for array in arrays.values()]
    rows = np.empty((len(chosen), sum(view.shape[1] for view in views)), dtype=np.uint8)
    offset = 0
    for view in views:
        exchange.pack_rows(view, chosen, offset, rows)
        offset += view.shape[1]
    return rows


def unpack(rows: NDArray[np.uint8], like: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays that `pack` made rows of, by ascending identifier.

    Parameters
    ----------
    rows : (n_atoms, width) uint8
    like : mapping of str to (any, ...) array
        Names, shapes and types; the contents do not matter.
    """
    result = {
        name: np.empty((len(rows), *array.shape[1:]), dtype=array.dtype) for name, array in like.items()
    }
    place = np.arange(len(rows))
    offsets = np.cumsum([0] + [_bytes_of(array).shape[1] for array in like.values()])
    identifiers = list(like).index("identifiers")
    found = result["identifiers"]
    exchange.unpack_rows(rows, place, int(offsets[identifiers]), _bytes_of(found))
    # The same order whoever sent them, so that sums over atoms do not depend on the way that they came.
    order = np.argsort(found, kind="stable")
    for offset, array in zip(offsets, result.values(), strict=False):
        exchange.unpack_rows(rows, order, int(offset), _bytes_of(array))
    return result


def scatter(
    arrays: Arrays | None, like: Arrays, ranks: NDArray[np.int32] | None, communicator: Communicator
) -> dict[str, NDArray[Any]]:
    """Give each rank its atoms, one rank after the other.

    Parameters
    ----------
    arrays : mapping of str to (n_total, ...) array, or None
        On rank 0, all atoms; None elsewhere.
    like : mapping of str to (any, ...) array
        On all ranks: names, shapes and types of `arrays`; the contents do not matter.
    ranks : (n_total,) int32 or None
        On rank 0, where each atom belongs.
    communicator : Communicator

    Returns
    -------
    dict of str to (n_atoms, ...) array
        By ascending identifier.
    """
    if communicator.is_root:
        assert arrays is not None
        assert ranks is not None
        order = np.argsort(ranks, kind="stable")
        start = np.searchsorted(ranks[order], np.arange(communicator.size + 1))
        counts = communicator.broadcast(np.diff(start))
        for rank in range(1, communicator.size):
            communicator.send_from_root(rank, pack(arrays, order[start[rank] : start[rank + 1]]))
        return unpack(pack(arrays, order[: start[1]]), like)
    counts = communicator.broadcast(None)
    width = sum(_bytes_of(array).shape[1] for array in like.values())
    rows = np.empty((int(counts[communicator.rank]), width), dtype=np.uint8)
    communicator.receive_from(0, rows)
    return unpack(rows, like)


def gather(
    arrays: Sequence[NDArray[Any]],
    identifiers: NDArray[np.int64],
    whole: Sequence[NDArray[Any]] | None,
    communicator: Communicator,
) -> None:
    """Bring atoms together on rank 0, one rank after the other, in the order of the input.

    Parameters
    ----------
    arrays : sequence of (n_atoms, ...) array
        Of this rank.
    identifiers : (n_atoms,) int64
        Of this rank's atoms.
    whole : sequence of (n_total, ...) array, or None
        On rank 0, what is filled; atoms that are on no rank are left as they are.
    communicator : Communicator
    """
    counts = communicator.all_gather(np.array([len(identifiers)]))[:, 0]
    if not communicator.is_root:
        if len(identifiers):
            communicator.send_to_root(identifiers)
            for array in arrays:
                communicator.send_to_root(array)
        return
    assert whole is not None
    for array, target in zip(arrays, whole, strict=True):
        target[identifiers] = array
    for rank in range(1, communicator.size):
        if counts[rank]:
            found = np.empty(counts[rank], dtype=np.int64)
            communicator.receive_from(rank, found)
            for target in whole:
                piece = np.empty((counts[rank], *target.shape[1:]), dtype=target.dtype)
                communicator.receive_from(rank, piece)
                target[found] = piece


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the same memory as one row of bytes for each atom."""
    width = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(len(array), width)
