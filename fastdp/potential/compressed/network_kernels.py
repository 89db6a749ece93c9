"""From the moments of a chunk of atoms of one type to energies and ∂E/∂moments: thin GEMMs.

All numbers of the model lie in one flat array, addressed through two integer tables (one row for each
type, one for each layer): the same form serves every shape of network and both precisions, and can be
sent to a device as it is.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from fastdp.potential.compressed.activation_kernels import activate

_FAST = {"reassoc", "contract", "nsz", "arcp"}

# Columns of the table of types.
RANK, AXIS, PRODUCT, WIDTH, FIRST_LAYER, N_LAYERS, RADIAL, ANGULAR, CONSTANT, AXIS_MATRIX, TYPE_COLUMNS = (
    range(11)
)
# Columns of the table of layers.
# LEFT … THRESHOLD are places in the flat array.
N_IN, N_OUT, FACTOR_RANK, LEFT, RIGHT, BIAS, TIMESTEP, THRESHOLD, ACTIVATION, SHORTCUT, LAYER_COLUMNS = range(
    11
)
# Values of PRODUCT.
AXIS_PRODUCT, GRAM_PRODUCT = range(2)
# Values of SHORTCUT.
SHORTCUT_CODES = {"none": 0, "identity": 1, "doubling": 2}
_IDENTITY, _DOUBLING = 1, 2
NONE = -1


@njit
def multiply(a, b, out):
    """BLAS gemm: out = a b. A function of its own, so that its code exists once."""
    np.dot(a, b, out)


@njit
def multiply_transposed(a, b, out):
    """BLAS gemm: out = a bᵀ."""
    np.dot(a, b.T, out)


@njit
def matrix(flat, offset, rows, columns):
    """Return part of a flat array as a matrix."""
    return flat[offset : offset + rows * columns].reshape(rows, columns)


@njit(fastmath=_FAST, error_model="numpy")
def axis_product(n, tau, axis, descriptor):
    """D'_pl = Σ_c τ_pc T_lc for each atom; tau (4, n, q), axis (4, n, M), descriptor (n, q·M)."""
    q = tau.shape[2]
    m = axis.shape[2]
    for i in range(n):
        for p in range(q):
            t0 = tau[0, i, p]
            t1 = tau[1, i, p]
            t2 = tau[2, i, p]
            t3 = tau[3, i, p]
            for k in range(m):
                descriptor[i, p * m + k] = (
                    t0 * axis[0, i, k] + t1 * axis[1, i, k] + t2 * axis[2, i, k] + t3 * axis[3, i, k]
                )


@njit(fastmath=_FAST, error_model="numpy")
def axis_product_backward(n, tau, axis, gradient, d_tau, d_axis):
    """Fill ∂E/∂τ (its part through the first factor) and ∂E/∂T from ∂E/∂D'."""
    q = tau.shape[2]
    m = axis.shape[2]
    for i in range(n):
        for c in range(4):
            for k in range(m):
                d_axis[c, i, k] = 0.0
        for p in range(q):
            for c in range(4):
                t = tau[c, i, p]
                total = tau.dtype.type(0.0)
                for k in range(m):
                    g = gradient[i, p * m + k]
                    total += g * axis[c, i, k]
                    d_axis[c, i, k] += g * t
                d_tau[c, i, p] = total


@njit(fastmath=_FAST, error_model="numpy")
def gram_product(n, tau, descriptor):
    """Upper triangle of τ τᵀ, row by row; descriptor (n, q(q+1)/2)."""
    q = tau.shape[2]
    for i in range(n):
        start = 0
        for p in range(q):
            t0 = tau[0, i, p]
            t1 = tau[1, i, p]
            t2 = tau[2, i, p]
            t3 = tau[3, i, p]
            for k in range(p, q):
                descriptor[i, start + k - p] = (
                    t0 * tau[0, i, k] + t1 * tau[1, i, k] + t2 * tau[2, i, k] + t3 * tau[3, i, k]
                )
            start += q - p


@njit(fastmath=_FAST, error_model="numpy")
def gram_product_backward(n, tau, gradient, d_tau):
    """Fill ∂E/∂τ from the gradient of the upper triangle."""
    q = tau.shape[2]
    for i in range(n):
        for c in range(4):
            for p in range(q):
                d_tau[c, i, p] = 0.0
        start = 0
        for p in range(q):
            for c in range(4):
                t = tau[c, i, p]
                # The diagonal term enters from both sides, hence once here and once in the loop.
                total = gradient[i, start] * t
                for k in range(p, q):
                    g = gradient[i, start + k - p]
                    total += g * tau[c, i, k]
                    if k > p:
                        d_tau[c, i, k] += g * t
                d_tau[c, i, p] += total
            start += q - p


@njit(fastmath=_FAST, error_model="numpy")
def finish_layer(x, z, slope, timestep, shortcut):
    """Apply time step and shortcut to φ(z): z ← shortcut(x) + φ t, slope ← φ' t."""
    n, width = z.shape
    if timestep.shape[0] == width:
        for i in range(n):
            for h in range(width):
                z[i, h] *= timestep[h]
                slope[i, h] *= timestep[h]
    if shortcut == _IDENTITY:
        for i in range(n):
            for h in range(width):
                z[i, h] += x[i, h]
    elif shortcut == _DOUBLING:
        half = x.shape[1]
        for i in range(n):
            for h in range(half):
                z[i, h] += x[i, h]
                z[i, half + h] += x[i, h]


@njit(fastmath=_FAST, error_model="numpy")
def network(n, first_layer, n_layers, layers, parameters, descriptor, gradient, work, energies):
    """Evaluate the fitting network and its gradient for a chunk.

    Parameters
    ----------
    descriptor : (n, width) float32 or float64
    gradient : (n, width)
        Filled with ∂E/∂descriptor.
    work : (size,)
        Scratch: activations of two layers, slopes of all, one thin intermediate.
    energies : (n,) float64
        Filled with the network's output.
    """
    widest = 0
    total = 0
    thickest = 0
    for a in range(first_layer, first_layer + n_layers):
        widest = max(widest, layers[a, N_OUT])
        total += layers[a, N_OUT]
        thickest = max(thickest, layers[a, FACTOR_RANK])
    ping = 0
    pong = n * widest
    slopes = 2 * n * widest
    thin = slopes + n * total

    x = descriptor
    at = slopes
    for a in range(first_layer, first_layer + n_layers):
        n_in = layers[a, N_IN]
        n_out = layers[a, N_OUT]
        k = layers[a, FACTOR_RANK]
        z = matrix(work, ping, n, n_out)
        if k == 0:
            multiply(x, matrix(parameters, layers[a, LEFT], n_in, n_out), z)
        else:
            between = matrix(work, thin, n, k)
            multiply(x, matrix(parameters, layers[a, LEFT], n_in, k), between)
            multiply(between, matrix(parameters, layers[a, RIGHT], k, n_out), z)
        slope = matrix(work, at, n, n_out)
        bias = parameters[layers[a, BIAS] : layers[a, BIAS] + n_out]
        activate(layers[a, ACTIVATION], np.float64(parameters[layers[a, THRESHOLD]]), z, bias, slope)
        has_timestep = layers[a, TIMESTEP] != NONE
        start = layers[a, TIMESTEP] if has_timestep else 0
        timestep = parameters[start : start + (n_out if has_timestep else 0)]
        finish_layer(x, z, slope, timestep, layers[a, SHORTCUT])
        at += n * n_out
        x = z
        ping, pong = pong, ping
    for i in range(n):
        energies[i] = x[i, 0]

    g = matrix(work, ping, n, 1)
    g[:, :] = 1.0
    for back in range(n_layers):
        a = first_layer + n_layers - 1 - back
        n_in = layers[a, N_IN]
        n_out = layers[a, N_OUT]
        k = layers[a, FACTOR_RANK]
        at -= n * n_out
        slope = matrix(work, at, n, n_out)
        for i in range(n):
            for h in range(n_out):
                slope[i, h] *= g[i, h]
        below = gradient if a == first_layer else matrix(work, pong, n, n_in)
        if k == 0:
            multiply_transposed(slope, matrix(parameters, layers[a, LEFT], n_in, n_out), below)
        else:
            between = matrix(work, thin, n, k)
            multiply_transposed(slope, matrix(parameters, layers[a, RIGHT], k, n_out), between)
            multiply_transposed(between, matrix(parameters, layers[a, LEFT], n_in, k), below)
        if layers[a, SHORTCUT] == _IDENTITY:
            for i in range(n):
                for h in range(n_in):
                    below[i, h] += g[i, h]
        elif layers[a, SHORTCUT] == _DOUBLING:
            for i in range(n):
                for h in range(n_in):
                    below[i, h] += g[i, h] + g[i, n_in + h]
        g = below
        ping, pong = pong, ping


def network_work_size(n: int, layers: np.ndarray) -> int:
    """Return how many numbers `network` needs as scratch for a chunk of `n` atoms."""
    widths = layers[:, N_OUT]
    inputs = layers[1:, N_IN]
    widest = max([int(widths.max()), *(int(w) for w in inputs)])
    return n * (2 * widest + int(widths.sum()) + int(layers[:, FACTOR_RANK].max()))


@njit(fastmath=_FAST, error_model="numpy")
def chunk_energy_and_gradient(n, alpha, type_table, layers, parameters, moments, work, energies):
    """Turn the moments of a chunk into energies, and into ∂E/∂moments in the same place.

    Parameters
    ----------
    n : int
        Atoms in the chunk, all of type `alpha`.
    moments : (4, n, P) float32 or float64
        In: M_0 … M_3 with P = n_types·N columns. Out: ∂E_i/∂M.
    work : (size,)
        Scratch.
    energies : (n,) float64
        Filled.
    """
    columns = moments.shape[2]
    q = type_table[alpha, RANK]
    m = type_table[alpha, AXIS]
    width = type_table[alpha, WIDTH]
    radial = matrix(parameters, type_table[alpha, RADIAL], columns, q)
    angular = matrix(parameters, type_table[alpha, ANGULAR], columns, q)
    constant = parameters[type_table[alpha, CONSTANT] : type_table[alpha, CONSTANT] + q]
    axis_matrix = matrix(parameters, type_table[alpha, AXIS_MATRIX], q, m)

    tau_rows = matrix(work, 0, 4 * n, q)
    d_tau_rows = matrix(work, 4 * n * q, 4 * n, q)
    axis_rows = matrix(work, 8 * n * q, 4 * n, m)
    d_axis_rows = matrix(work, 8 * n * q + 4 * n * m, 4 * n, m)
    at = 8 * n * (q + m)
    descriptor = matrix(work, at, n, width)
    gradient = matrix(work, at + n * width, n, width)
    rest = work[at + 2 * n * width :]
    tau = tau_rows.reshape(4, n, q)
    d_tau = d_tau_rows.reshape(4, n, q)
    axis = axis_rows.reshape(4, n, m)
    d_axis = d_axis_rows.reshape(4, n, m)
    moment_rows = moments.reshape(4 * n, columns)

    multiply(moment_rows[:n], radial, tau_rows[:n])
    multiply(moment_rows[n:], angular, tau_rows[n:])
    for i in range(n):
        for p in range(q):
            tau[0, i, p] += constant[p]

    gram = type_table[alpha, PRODUCT] == GRAM_PRODUCT
    if gram:
        gram_product(n, tau, descriptor)
    else:
        multiply(tau_rows, axis_matrix, axis_rows)
        axis_product(n, tau, axis, descriptor)
    network(
        n,
        type_table[alpha, FIRST_LAYER],
        type_table[alpha, N_LAYERS],
        layers,
        parameters,
        descriptor,
        gradient,
        rest,
        energies,
    )
    if gram:
        gram_product_backward(n, tau, gradient, d_tau)
    else:
        axis_product_backward(n, tau, axis, gradient, d_tau, d_axis)
        # τ enters the second factor too, through T_l = Σ_p R_lp τ_p.
        multiply_transposed(d_axis_rows, axis_matrix, tau_rows)
        for c in range(4):
            for i in range(n):
                for p in range(q):
                    d_tau[c, i, p] += tau[c, i, p]
    multiply_transposed(d_tau_rows[:n], radial, moment_rows[:n])
    multiply_transposed(d_tau_rows[n:], angular, moment_rows[n:])


def chunk_work_size(n: int, type_row: np.ndarray, layers: np.ndarray) -> int:
    """Return how many numbers `chunk_energy_and_gradient` needs as scratch."""
    q, m, width = (int(type_row[c]) for c in (RANK, AXIS, WIDTH))
    first, count = int(type_row[FIRST_LAYER]), int(type_row[N_LAYERS])
    return 8 * n * (q + m) + 2 * n * width + network_work_size(n, layers[first : first + count])
