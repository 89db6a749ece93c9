"""Instructions on elements, as cases of tests: what they are given and what they are to give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptx.machine import Kernel, Memory, load
from ptx.writing import DTYPES, HEADER, elementwise

RANDOM = np.random.default_rng(5)
N = 64
SINGLES = np.concatenate([RANDOM.normal(0, 10, N - 8), [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 1e-40]]).astype(
    np.float32
)
BITS64 = RANDOM.integers(0, 2**64, N, np.uint64)
S32, S64 = RANDOM.integers(-(2**31), 2**31, N, np.int32), RANDOM.integers(-(2**63), 2**63, N, np.int64)


@dataclass(frozen=True)
class Case:
    """Types and code of a kernel, its sources, what it is to give, and the relative error that is allowed."""

    kinds: str
    code: str
    sources: tuple[np.ndarray, ...]
    expected: Callable[..., Any]
    error: float = 0.0


def kernels_of(cases: Mapping[str, Case]) -> dict[str, Kernel]:
    """Return the kernels of all cases, compiled at once."""
    texts = [
        elementwise(f"case{number}", one.kinds.split()[:-1], one.kinds.split()[-1], one.code)
        for number, one in enumerate(cases.values())
    ]
    found = load(HEADER + "".join(texts))
    return {name: found[f"case{number}"] for number, name in enumerate(cases)}


def check(case: Case, kernel: Kernel) -> None:
    """Run a case and compare."""
    memory = Memory()
    n = len(case.sources[0])
    sources = [memory.upload(one) for one in case.sources]
    result = memory.empty(n, DTYPES[case.kinds.split()[-1]])
    kernel.launch(1, n, kernel.packed(*sources, result), memory)
    expected = np.asarray(case.expected(*case.sources)).astype(result.dtype)
    if case.error:
        np.testing.assert_allclose(result, expected, rtol=case.error, atol=case.error)
        return
    np.testing.assert_array_equal(result, expected)
    if result.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))
