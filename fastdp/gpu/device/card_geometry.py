"""How work is laid out over the threads of a card."""

from __future__ import annotations

from fastdp.gpu.kernels.reductions import BLOCKS, THREADS

ELEMENT_BLOCK = 256
SMALLEST_ROW_BLOCK = 32
LARGEST_ROW_BLOCK = 256
MOST_ROW_BLOCKS = 1 << 16


class CardGeometry:
    """The part of a `Device` that says how many threads a kernel gets."""

    def elements(self, n: int) -> tuple[int, int]:
        """Return grid and block for one thread for each of n elements."""
        return max(1, -(-n // ELEMENT_BLOCK)), ELEMENT_BLOCK

    def rows(self, n: int, width: int) -> tuple[int, int]:
        """Return grid and block for kernels that take rows by blocks and columns by threads."""
        block = min(LARGEST_ROW_BLOCK, max(SMALLEST_ROW_BLOCK, -(-width // 32) * 32))
        return min(max(n, 1), MOST_ROW_BLOCKS), block

    def sums(self) -> tuple[int, int]:
        """Return grid and block of sums over all atoms: the same on every card."""
        return BLOCKS, THREADS
