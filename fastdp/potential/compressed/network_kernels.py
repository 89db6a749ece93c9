"""From the moments of a chunk of atoms of one type to energies and ∂E/∂moments: thin matrix products.

All numbers of the model lie in one flat array, addressed through two integer tables (one row for each
type, one for each layer): the same form serves every shape of network and both precisions.

Rows of all matrices are atoms, or atoms × components with components 0…3 of an atom adjacent. Strides
leave room for whole panels and, where blocks of eight are read from any column on, for eight zeros more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.parallel.symbols import call_at, inner, load
from fastdp.potential.compressed.activation_kernels import load_activation
from fastdp.potential.compressed.clock import ACTIVATIONS, LAYERS, PRODUCTS, PROJECTION, begin, lap
from fastdp.potential.compressed.matrix_kernels import (
    ROWS_PADDED_TO,
    call_times,
    call_times_strided,
    load_products,
    padded,
)
from fastdp.potential.compressed.simd import (
    BLOCK,
    add,
    load_block,
    make_block,
    multiply,
    multiply_add,
    multiply_add_lanes,
    store_block,
    sum_lanes,
)

_FAST = {"reassoc", "contract", "nsz", "arcp"}

# Columns of the table of types; NETWORK is the address of the function for a chunk, which `load_network`
# fills in, RADIAL … AXIS_BACK are places in the flat array, the strides those of rows.
(
    RANK,
    RANK_STRIDE,
    AXIS,
    AXIS_STRIDE,
    PRODUCT,
    WIDTH,
    WIDTH_STRIDE,
    FIRST_LAYER,
    N_LAYERS,
    RADIAL,
    RADIAL_BACK,
    ANGULAR,
    ANGULAR_BACK,
    CONSTANT,
    AXIS_MATRIX,
    AXIS_BACK,
    ANGULAR_COLUMNS,
    NETWORK,
    TYPE_COLUMNS,
) = range(19)
# Columns of the table of layers; LEFT … THRESHOLD are places in the flat array, FUNCTION is the address of
# the activation's kernel, which `load_network` fills in.
(
    N_IN,
    IN_STRIDE,
    N_OUT,
    OUT_STRIDE,
    FACTOR_RANK,
    FACTOR_STRIDE,
    LEFT,
    LEFT_BACK,
    RIGHT,
    RIGHT_BACK,
    BIAS,
    TIMESTEP,
    THRESHOLD,
    ACTIVATION,
    FUNCTION,
    SHORTCUT,
    LAYER_COLUMNS,
) = range(17)
# Values of PRODUCT.
AXIS_PRODUCT, GRAM_PRODUCT, NO_PRODUCT = range(3)
# Values of SHORTCUT.
SHORTCUT_CODES = {"none": 0, "identity": 1, "doubling": 2}
_IDENTITY, _DOUBLING = 1, 2
NONE = -1


@inner()
def matrix(flat, offset, rows, columns):
    """Return part of a flat array as a matrix."""
    return flat[offset : offset + rows * columns].reshape(rows, columns)


@inner(fastmath=_FAST, error_model="numpy")
def axis_product(tau, axis, q, m, descriptor):
    """D'_pl = Σ_c τ_cp T_cl of one atom; tau (4, stride), axis (4, stride), descriptor (q·M + 8,)."""
    for p in range(q):
        for k in range(0, m, BLOCK):
            v = multiply(make_block(tau[0, p]), load_block(axis[0], k))
            v = multiply_add(tau[1, p], load_block(axis[1], k), v)
            v = multiply_add(tau[2, p], load_block(axis[2], k), v)
            v = multiply_add(tau[3, p], load_block(axis[3], k), v)
            # What it writes too much, the next row overwrites.
            store_block(descriptor, p * m + k, v)


@inner(fastmath=_FAST, error_model="numpy")
def axis_product_backward(tau, axis, gradient, q, m, d_tau, d_axis):
    """Fill ∂E/∂τ (its part through the first factor) and ∂E/∂T from ∂E/∂D' of one atom."""
    nothing = make_block(tau.dtype.type(0.0))
    for c in range(4):
        for k in range(0, m, BLOCK):
            store_block(d_axis[c], k, nothing)
    for p in range(q):
        for c in range(4):
            total = nothing
            for k in range(0, m, BLOCK):
                g = load_block(gradient, p * m + k)
                total = multiply_add_lanes(g, load_block(axis[c], k), total)
                store_block(d_axis[c], k, multiply_add(tau[c, p], g, load_block(d_axis[c], k)))
            d_tau[c, p] = sum_lanes(total)


@inner(fastmath=_FAST, error_model="numpy")
def gram_product(tau, q, descriptor):
    """Upper triangle of ττᵀ of one atom, row by row; tau (4, stride), descriptor (q(q+1)/2 + 8,)."""
    place = 0
    for p in range(q):
        for k in range(p, q, BLOCK):
            v = multiply(make_block(tau[0, p]), load_block(tau[0], k))
            v = multiply_add(tau[1, p], load_block(tau[1], k), v)
            v = multiply_add(tau[2, p], load_block(tau[2], k), v)
            v = multiply_add(tau[3, p], load_block(tau[3], k), v)
            store_block(descriptor, place + k - p, v)
        place += q - p


@inner(fastmath=_FAST, error_model="numpy")
def gram_product_backward(tau, gradient, q, d_tau):
    """Fill ∂E/∂τ from the gradient of the upper triangle of one atom."""
    nothing = make_block(tau.dtype.type(0.0))
    for c in range(4):
        for k in range(0, q, BLOCK):
            store_block(d_tau[c], k, nothing)
    place = 0
    for p in range(q):
        for c in range(4):
            total = nothing
            for k in range(p, q, BLOCK):
                g = load_block(gradient, place + k - p)
                total = multiply_add_lanes(g, load_block(tau[c], k), total)
                # The diagonal term enters from both sides, once here and once in the sum.
                store_block(d_tau[c], k, multiply_add(tau[c, p], g, load_block(d_tau[c], k)))
            d_tau[c, p] += sum_lanes(total)
        place += q - p


@inner(fastmath=_FAST, error_model="numpy")
def finish_layer(n, width, x, z, slope, timestep, shortcut):
    """Apply time step and shortcut to φ(z): z ← shortcut(x) + φ t, slope ← φ' t."""
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
        half = width // 2
        for i in range(n):
            for h in range(half):
                z[i, h] += x[i, h]
                z[i, half + h] += x[i, h]


@inner(fastmath=_FAST, error_model="numpy")
def network(
    n, first_layer, n_layers, layers, parameters, work, descriptor, gradient, scratch, energies, clock
):
    """Evaluate the fitting network and its gradient for a chunk.

    Parameters
    ----------
    work : (size,) float32 or float64
    descriptor, gradient : int
        Places in `work` of the inputs, and of ∂E/∂descriptor, which is filled.
    scratch : int
        Place in `work` of activations of two layers, slopes of all, one thin intermediate.
    energies : (n,) float64
        Filled with the network's output.
    clock : (n_sections,) int64
    """
    now = begin(clock)
    rows = padded_rows(n)
    widest = 0
    total = 0
    for a in range(first_layer, first_layer + n_layers):
        widest = max(widest, layers[a, OUT_STRIDE])
        if a > first_layer:
            widest = max(widest, layers[a, IN_STRIDE])
        total += layers[a, OUT_STRIDE]
    ping = scratch
    pong = scratch + rows * widest
    at = scratch + 2 * rows * widest
    thin = at + rows * total

    x = descriptor
    for a in range(first_layer, first_layer + n_layers):
        n_in, in_stride = layers[a, N_IN], layers[a, IN_STRIDE]
        n_out, stride = layers[a, N_OUT], layers[a, OUT_STRIDE]
        k, k_stride = layers[a, FACTOR_RANK], layers[a, FACTOR_STRIDE]
        if k == 0:
            call_times(
                (rows, work, x, in_stride, parameters, layers[a, LEFT], n_in, n_out, work, ping, stride)
            )
        else:
            call_times((rows, work, x, in_stride, parameters, layers[a, LEFT], n_in, k, work, thin, k_stride))
            call_times(
                (rows, work, thin, k_stride, parameters, layers[a, RIGHT], k, n_out, work, ping, stride)
            )
        now = lap(clock, LAYERS, now)
        z = matrix(work, ping, n, stride)
        slope = matrix(work, at, n, stride)
        bias = parameters[layers[a, BIAS] : layers[a, BIAS] + n_out]
        threshold = np.float64(parameters[layers[a, THRESHOLD]])
        call_at(layers[a, FUNCTION], (layers[a, ACTIVATION], threshold, z, bias, slope))
        has_timestep = layers[a, TIMESTEP] != NONE
        start = layers[a, TIMESTEP] if has_timestep else 0
        timestep = parameters[start : start + (n_out if has_timestep else 0)]
        finish_layer(n, n_out, matrix(work, x, n, in_stride), z, slope, timestep, layers[a, SHORTCUT])
        now = lap(clock, ACTIVATIONS, now)
        at += rows * stride
        x = ping
        ping, pong = pong, ping
    last = layers[first_layer + n_layers - 1, OUT_STRIDE]
    for i in range(n):
        energies[i] = work[x + i * last]

    g = ping
    for i in range(n):
        work[g + i * last] = 1.0
    for back in range(n_layers):
        a = first_layer + n_layers - 1 - back
        n_in, in_stride = layers[a, N_IN], layers[a, IN_STRIDE]
        n_out, stride = layers[a, N_OUT], layers[a, OUT_STRIDE]
        k, k_stride = layers[a, FACTOR_RANK], layers[a, FACTOR_STRIDE]
        at -= rows * stride
        slope = matrix(work, at, n, stride)
        above = matrix(work, g, n, stride)
        for i in range(n):
            for h in range(n_out):
                slope[i, h] *= above[i, h]
        now = lap(clock, ACTIVATIONS, now)
        below = gradient if a == first_layer else pong
        if k == 0:
            call_times(
                (
                    rows,
                    work,
                    at,
                    stride,
                    parameters,
                    layers[a, LEFT_BACK],
                    n_out,
                    n_in,
                    work,
                    below,
                    in_stride,
                )
            )
        else:
            call_times(
                (rows, work, at, stride, parameters, layers[a, RIGHT_BACK], n_out, k, work, thin, k_stride)
            )
            call_times(
                (
                    rows,
                    work,
                    thin,
                    k_stride,
                    parameters,
                    layers[a, LEFT_BACK],
                    k,
                    n_in,
                    work,
                    below,
                    in_stride,
                )
            )
        now = lap(clock, LAYERS, now)
        down = matrix(work, below, n, in_stride)
        if layers[a, SHORTCUT] == _IDENTITY:
            for i in range(n):
                for h in range(n_in):
                    down[i, h] += above[i, h]
        elif layers[a, SHORTCUT] == _DOUBLING:
            for i in range(n):
                for h in range(n_in):
                    down[i, h] += above[i, h] + above[i, n_in + h]
        now = lap(clock, ACTIVATIONS, now)
        g = below
        ping, pong = pong, ping


@inner()
def padded_rows(n):
    """Return the number of rows that a matrix for `n` atoms has."""
    return (n + ROWS_PADDED_TO - 1) // ROWS_PADDED_TO * ROWS_PADDED_TO


def network_work_size(n: int, layers: np.ndarray) -> int:
    """Return how many numbers `network` needs as scratch for a chunk of `n` atoms."""
    strides = layers[:, OUT_STRIDE]
    widest = max([int(strides.max()), *(int(w) for w in layers[1:, IN_STRIDE])])
    thickest = int(layers[:, FACTOR_STRIDE].max())
    return padded(n, ROWS_PADDED_TO) * (2 * widest + int(strides.sum()) + thickest)


@inner(cache=True, fastmath=_FAST, error_model="numpy")
def chunk_energy_and_gradient(
    n, alpha, type_table, layers, parameters, columns, moments, work, energies, clock
):
    """Turn the moments of a chunk into energies, and into ∂E/∂moments in the same place.

    Parameters
    ----------
    n : int
        Atoms in the chunk, all of type `alpha`.
    columns : int
        P = n_types·N, and those of triples.
    moments : (rows·4·stride,) float32 or float64
        In: M of each atom, (P, 4). Out: ∂E_i/∂M of each atom, (4, stride) with P columns used.
    work : (size,)
        Scratch.
    energies : (n,) float64
        Filled.
    clock : (n_sections,) int64
    """
    now = begin(clock)
    rows = padded_rows(n)
    row = type_table[alpha]
    q, stride = row[RANK], row[RANK_STRIDE]
    m, axis_stride = row[AXIS], row[AXIS_STRIDE]
    width_stride = row[WIDTH_STRIDE]
    per_atom = moments.shape[0] // rows
    tau_at = 0
    d_tau_at = 4 * rows * stride
    axis_at = 8 * rows * stride
    d_axis_at = axis_at + 4 * rows * axis_stride
    descriptor_at = axis_at + 8 * rows * axis_stride
    gradient_at = descriptor_at + rows * width_stride
    scratch = gradient_at + rows * width_stride

    call_times_strided(
        (
            rows,
            1,
            moments,
            0,
            per_atom,
            0,
            4,
            parameters,
            row[RADIAL],
            columns,
            q,
            work,
            tau_at,
            4 * stride,
            0,
        )
    )
    call_times_strided(
        (
            3 * rows,
            3,
            moments,
            1,
            per_atom,
            1,
            4,
            parameters,
            row[ANGULAR],
            row[ANGULAR_COLUMNS],
            q,
            work,
            tau_at + stride,
            4 * stride,
            stride,
        )
    )
    tau = work[tau_at : tau_at + 4 * rows * stride].reshape(rows, 4, stride)
    d_tau = work[d_tau_at : d_tau_at + 4 * rows * stride].reshape(rows, 4, stride)
    descriptor = matrix(work, descriptor_at, rows, width_stride)
    gradient = matrix(work, gradient_at, rows, width_stride)
    for i in range(n):
        for p in range(q):
            tau[i, 0, p] += parameters[row[CONSTANT] + p]
        for c in range(4):
            tau[i, c, q:] = 0.0
    now = lap(clock, PROJECTION, now)

    gram = row[PRODUCT] == GRAM_PRODUCT
    if gram:
        for i in range(n):
            gram_product(tau[i], q, descriptor[i])
    else:
        call_times(
            (4 * rows, work, tau_at, stride, parameters, row[AXIS_MATRIX], q, m, work, axis_at, axis_stride)
        )
        axis = work[axis_at : axis_at + 4 * rows * axis_stride].reshape(rows, 4, axis_stride)
        d_axis = work[d_axis_at : d_axis_at + 4 * rows * axis_stride].reshape(rows, 4, axis_stride)
        for i in range(n):
            for c in range(4):
                axis[i, c, m:] = 0.0
            axis_product(tau[i], axis[i], q, m, descriptor[i])
    lap(clock, PRODUCTS, now)
    network(
        n,
        row[FIRST_LAYER],
        row[N_LAYERS],
        layers,
        parameters,
        work,
        descriptor_at,
        gradient_at,
        scratch,
        energies,
        clock,
    )
    now = begin(clock)
    if gram:
        for i in range(n):
            gradient[i, row[WIDTH] :] = 0.0
            gram_product_backward(tau[i], gradient[i], q, d_tau[i])
    else:
        for i in range(n):
            gradient[i, row[WIDTH] :] = 0.0
            axis_product_backward(tau[i], axis[i], gradient[i], q, m, d_tau[i], d_axis[i])
        # τ enters the second factor too, through T_l = Σ_p R_lp τ_p.
        call_times(
            (4 * rows, work, d_axis_at, axis_stride, parameters, row[AXIS_BACK], m, q, work, tau_at, stride)
        )
        flat = 4 * n * stride
        for k in range(0, flat, BLOCK):
            total = add(load_block(work, d_tau_at + k), load_block(work, tau_at + k))
            store_block(work, d_tau_at + k, total)
    now = lap(clock, PRODUCTS, now)
    out = per_atom // 4
    call_times_strided(
        (
            rows,
            1,
            work,
            d_tau_at,
            4 * stride,
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
    call_times_strided(
        (
            3 * rows,
            3,
            work,
            d_tau_at + stride,
            4 * stride,
            stride,
            1,
            parameters,
            row[ANGULAR_BACK],
            q,
            row[ANGULAR_COLUMNS],
            moments,
            out,
            per_atom,
            out,
        )
    )
    lap(clock, PROJECTION, now)


def load_network(
    type_table: NDArray, layers: NDArray, parameters: NDArray, chunk: Any = chunk_energy_and_gradient
) -> None:
    """Make the function for a chunk ready for parameters of this type, and fill in `NETWORK` and `FUNCTION`.

    Parameters
    ----------
    type_table, layers, parameters
        Of the packed model.
    chunk : compiled function
        What `NETWORK` is to be.
    """
    load_products(parameters)
    for layer in layers:
        layer[FUNCTION] = load_activation(int(layer[ACTIVATION]), parameters)
    empty = parameters[:0]
    nothing = np.zeros(0), np.zeros(0, np.int64)
    type_table[:, NETWORK] = load(chunk, 0, 0, type_table, layers, parameters, 0, empty, empty, *nothing)


def chunk_work_size(n: int, type_row: np.ndarray, layers: np.ndarray) -> int:
    """Return how many numbers `chunk_energy_and_gradient` needs as scratch."""
    first, count = int(type_row[FIRST_LAYER]), int(type_row[N_LAYERS])
    per_row = 8 * int(type_row[RANK_STRIDE] + type_row[AXIS_STRIDE]) + 2 * int(type_row[WIDTH_STRIDE])
    size = padded(n, ROWS_PADDED_TO) * per_row + network_work_size(n, layers[first : first + count])
    return size + BLOCK
