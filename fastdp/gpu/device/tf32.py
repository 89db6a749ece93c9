"""TF32, the numbers that tensor cores take for float32: 8 bits of exponent, 11 of the fraction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rounded_to_tf32(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return numbers rounded to the 11 bits of TF32; halves go away from zero."""
    bits = np.ascontiguousarray(values).view(np.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(np.float32)
