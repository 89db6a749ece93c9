"""Dealing the atoms to threads."""

import numpy as np
import pytest

from fastdp.potential.compressed.chunks import cut_into_chunks

SEGMENTS = np.array([[0, 100, 0, 0], [100, 130, 0, 1], [130, 430, 1, 0], [430, 431, 1, 1]])


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7])
def test_every_atom_is_dealt_once_in_the_stage_of_its_segment(n_parts):
    chunks, bounds = cut_into_chunks(SEGMENTS, n_parts, 48, 12)
    dealt = [atom for start, stop, _ in chunks for atom in range(start, stop)]
    assert sorted(dealt) == list(range(431))
    assert (chunks[:, 1] - chunks[:, 0]).max() <= 48
    for stage, bound in enumerate(bounds):
        assert len(bound) == n_parts + 1
        for start, stop, kind in chunks[bound[0] : bound[-1]]:
            (found,) = [s for s in SEGMENTS if s[0] <= start and stop <= s[1]]
            assert tuple(found[2:]) == (kind, stage)
    assert bounds[1][0] == bounds[0][-1]


@pytest.mark.parametrize("n_parts", [2, 3, 7])
def test_every_part_gets_an_equal_share_of_each_type(n_parts):
    chunks, bounds = cut_into_chunks(SEGMENTS, n_parts, 48, 12)
    for start, stop, kind in ((0, 100, 0), (130, 430, 1)):
        shares = [
            sum(c[1] - c[0] for c in chunks[low:high] if c[2] == kind)
            for low, high in zip(bounds[0][:-1], bounds[0][1:], strict=True)
        ]
        assert sum(shares) == stop - start
        assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7])
def test_few_rows_are_padded(n_parts):
    chunks, bounds = cut_into_chunks(SEGMENTS, n_parts, 48, 12)
    for low, high in zip(bounds[0][:-1], bounds[0][1:], strict=True):
        for kind in (0, 1):
            sizes = [stop - start for start, stop, found in chunks[low:high] if found == kind]
            rows = sum(-(-size // 12) * 12 for size in sizes)
            assert rows - sum(sizes) < 12


def test_a_stage_without_atoms_is_empty():
    chunks, (first, second) = cut_into_chunks(np.array([[0, 5, 0, 1]]), 2, 48, 12)
    assert list(first) == [0, 0, 0]
    assert list(second) == [0, 1, 2]
    assert len(chunks) == 2
