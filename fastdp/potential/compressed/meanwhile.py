"""Compiling the float32 kernels in another process while this one compresses.

Making a compressed model takes the kernels in float64. A run in mixed precision needs them in float32 as
well, at its very first start on a machine; compiled one after the other, the user would wait for both.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from fastdp.parallel.threads import available_threads
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.compressed_model import CompressedCentre, CompressedModel, FactoredLayer
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.pair_kernels import DEGREE
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.compressed.splines import RadialBasis

LONGEST_S = 120.0
"""s; how long to wait for the other process: it is only a help."""


@contextmanager
def compiled_meanwhile(activations: Sequence[str]) -> Iterator[None]:
    """Compile the float32 kernels into the cache until the context ends, if there is a core for it.

    Parameters
    ----------
    activations : sequence of str
        Of the network, named as in `fastdp.model.activations`.
    """
    if available_threads() < 2:
        yield
        return
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *sorted(set(activations))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        yield  # not all systems let a process start others
        return
    try:
        yield
        process.wait(LONGEST_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()


def compile_single_precision(activations: Sequence[str]) -> None:
    """Evaluate the smallest model there is, so that all kernels are compiled for float32.

    Parameters
    ----------
    activations : sequence of str
    """
    basis = RadialBasis(DEGREE, 8, 0.5, 2.0, 1.0)
    one = np.ones((1, 1))
    layers = tuple(
        FactoredLayer(one, None, np.zeros(1), None, name, "none") for name in ("tanh", "linear", *activations)
    )
    centre = CompressedCentre(np.zeros((8, 1)), np.zeros((8, 1)), np.zeros(1), None, layers, 0.0)
    model = CompressedModel(2.0, ((basis,),), (centre,))
    atoms = Atoms(np.eye(2, 3), np.zeros(2, np.int32), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    neighbours = atoms.neighbours(model.cutoff)
    CompressedPotential(model, "mixed").evaluate(neighbours, Evaluation.empty(neighbours.n_atoms))


if __name__ == "__main__":
    compile_single_precision(sys.argv[1:])
