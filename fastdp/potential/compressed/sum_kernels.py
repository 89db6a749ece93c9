"""From the moments of a chunk to energies and ∂E/∂moments where the network takes sums, not their products.

se_e2_r: only component 0 of the moments counts, and its projection is the input of the network.
"""

from __future__ import annotations

from fastdp.parallel.symbols import inner
from fastdp.potential.compressed.clock import PROJECTION, begin, lap
from fastdp.potential.compressed.matrix_kernels import call_times_strided
from fastdp.potential.compressed.network_kernels import (
    ANGULAR_COLUMNS,
    CONSTANT,
    FIRST_LAYER,
    N_LAYERS,
    RADIAL,
    RADIAL_BACK,
    RANK,
    WIDTH_STRIDE,
    network,
    padded_rows,
)

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@inner(cache=True, fastmath=_FAST, error_model="numpy")
def chunk_of_sums(n, alpha, type_table, layers, parameters, columns, moments, work, energies, clock):
    """Turn the moments of a chunk into energies, and into ∂E/∂moments in the same place.

    Arguments as `network_kernels.chunk_energy_and_gradient`.
    """
    now = begin(clock)
    rows = padded_rows(n)
    row = type_table[alpha]
    q, stride = row[RANK], row[WIDTH_STRIDE]
    per_atom = moments.shape[0] // rows
    gradient_at = rows * stride
    call_times_strided(
        (rows, 1, moments, 0, per_atom, 0, 4, parameters, row[RADIAL], columns, q, work, 0, stride, 0)
    )
    for i in range(n):
        for p in range(q):
            work[i * stride + p] += parameters[row[CONSTANT] + p]
    lap(clock, PROJECTION, now)
    network(
        n,
        row[FIRST_LAYER],
        row[N_LAYERS],
        layers,
        parameters,
        work,
        0,
        gradient_at,
        2 * gradient_at,
        energies,
        clock,
    )
    now = begin(clock)
    call_times_strided(
        (
            rows,
            1,
            work,
            gradient_at,
            stride,
            0,
            1,
            parameters,
            row[RADIAL_BACK],
            q,
            columns,
            moments,
            0,
            per_atom,
            0,
        )
    )
    # Three-body moments have no other components, and nothing reads them.
    of_pairs = row[ANGULAR_COLUMNS]
    for i in range(n):
        for c in range(1, 4):
            start = i * per_atom + c * (per_atom // 4)
            moments[start : start + of_pairs] = 0.0
    lap(clock, PROJECTION, now)
