"""The compiled pieces of the compressed potential, each against NumPy or the reference."""

import numpy as np
import pytest
from numba import njit

from fastdp.model.activations import ACTIVATIONS, register_silut
from fastdp.model.description import DenseLayer, Network
from fastdp.model.networks import forward_with_gradient
from fastdp.potential.compressed import network_kernels as layout
from fastdp.potential.compressed.activation_kernels import TANH, activation_code, activation_kernel
from fastdp.potential.compressed.compressed_model import CompressedCentre, CompressedModel, FactoredLayer
from fastdp.potential.compressed.matrix_kernels import (
    ROWS_PADDED_TO,
    padded,
    panels,
    stored_width,
    times,
    times_strided,
)
from fastdp.potential.compressed.packing import pack
from fastdp.potential.compressed.splines import RadialBasis


def called(function):
    """Return a function for Python that calls one that only compiled functions may call."""

    @njit
    def call(*arguments):
        function(*arguments)

    return call


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tanh_is_accurate_to_a_few_ulp(dtype):
    x = np.concatenate([np.linspace(-25, 25, 20001), np.linspace(-1e-3, 1e-3, 2001)]).astype(dtype)
    z, slope = x[None].copy(), np.empty((1, len(x)), dtype)
    activation_kernel(TANH)(*activation_code("tanh"), z, np.zeros(len(x), dtype), slope)
    exact = np.tanh(x.astype(np.longdouble))
    ulp = np.abs(z[0] - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert ulp.max() <= 4.0
    np.testing.assert_allclose(slope[0], 1 - exact**2, atol=4 * np.finfo(dtype).eps)


def test_not_a_number_passes_through_tanh():
    z = np.array([[np.nan, 1.0]])
    activation_kernel(TANH)(*activation_code("tanh"), z, np.zeros(2), np.empty((1, 2)))
    assert np.isnan(z[0, 0])
    assert z[0, 1] == pytest.approx(np.tanh(1.0))


@pytest.mark.parametrize("name", [*sorted(ACTIVATIONS), "silut:1.5"])
def test_activations_are_those_of_the_reference(name):
    if name == "silut:1.5":
        register_silut(1.5)
    x = np.linspace(-8.0, 8.0, 1601)[None]
    bias = np.full(1601, 0.1234)
    z, slope = x.copy(), np.empty_like(x)
    activation_kernel(activation_code(name)[0])(*activation_code(name), z, bias, slope)
    reference = ACTIVATIONS[name]
    np.testing.assert_allclose(z, reference.value(x + bias), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(slope, reference.derivative(x + bias), rtol=1e-12, atol=1e-14)


def small_network(generator, n_in, timesteps=True):
    """A fitting network with every kind of layer."""
    sizes = [(n_in, 10, "none", "tanh"), (10, 10, "identity", "tanh"), (10, 20, "doubling", "gelu")]
    layers = [
        DenseLayer(
            generator.normal(0, a**-0.5, (a, b)),
            generator.normal(size=b),
            generator.normal(1, 0.1, b) if timesteps and shortcut != "none" else None,
            activation,
            shortcut,
        )
        for a, b, shortcut, activation in sizes
    ]
    layers.append(DenseLayer(generator.normal(size=(20, 1)), np.array([0.3]), None, "linear", "none"))
    return Network(tuple(layers))


def packed_chain(layers):
    """Put a chain of factored layers where the kernel expects it."""
    basis = RadialBasis(5, 8, 0.5, 4.0, 2.0)
    centre = CompressedCentre(np.zeros((8, 2)), np.zeros((8, 2)), np.zeros(2), None, tuple(layers), 0.0)
    return pack(CompressedModel(4.0, ((basis,),), (centre,)), np.float64)


@pytest.mark.parametrize("thin", [False, True])
def test_network_and_gradient_are_those_of_the_reference(generator, thin):
    network = small_network(generator, 14)
    factored = []
    for layer in network.layers:
        left, right = layer.weight, None
        if thin and layer.n_out > 1:
            # Full rank, so that the factors reproduce the matrix.
            u, s, vt = np.linalg.svd(layer.weight, full_matrices=False)
            left, right = u * s, vt
        factored.append(
            FactoredLayer(left, right, layer.bias, layer.timestep, layer.activation, layer.shortcut)
        )
    packed = packed_chain(factored)
    layout.load_network(packed.type_table, packed.layers, packed.parameters)
    n, stride = 7, int(packed.layers[0, layout.IN_STRIDE])
    rows = padded(n, ROWS_PADDED_TO)
    x = generator.normal(size=(n, 14))
    # Whatever stands between the numbers that count must not come in.
    inputs = np.full((2, rows, stride), np.nan)
    inputs[0, :n, :14] = x
    scratch = np.full(layout.network_work_size(n, packed.layers), np.nan)
    work = np.concatenate([inputs.ravel(), scratch])
    energies = np.empty(n)
    place = rows * stride
    called(layout.network)(
        n,
        0,
        len(factored),
        packed.layers,
        packed.parameters,
        work,
        0,
        place,
        2 * place,
        energies,
        np.zeros(0, np.int64),
    )
    gradient = work[place : 2 * place].reshape(rows, stride)[:n, :14]
    expected, expected_gradient = forward_with_gradient(network, x)
    np.testing.assert_allclose(energies, np.ravel(expected), rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-11, atol=1e-13)


def with_room(values, zeros=8):
    """Return a copy with columns of zeros behind, as blocks of eight need them."""
    return np.concatenate([values, np.zeros((*values.shape[:-1], zeros))], axis=-1)


@pytest.mark.parametrize(("q", "m"), [(7, 4), (16, 16), (29, 12), (1, 1)])
def test_both_products_and_their_gradients(generator, q, m):
    tau, axis = generator.normal(size=(4, q)), generator.normal(size=(4, m))
    product = np.empty(q * m + 8)
    called(layout.axis_product)(with_room(tau), with_room(axis), q, m, product)
    np.testing.assert_allclose(product[: q * m].reshape(q, m), tau.T @ axis, rtol=1e-12, atol=1e-14)
    seed = generator.normal(size=(q, m))
    d_tau, d_axis = np.full((4, q + 8), np.nan), np.full((4, m + 8), np.nan)
    gradient = with_room(seed.ravel())
    called(layout.axis_product_backward)(with_room(tau), with_room(axis), gradient, q, m, d_tau, d_axis)
    np.testing.assert_allclose(d_tau[:, :q], axis @ seed.T, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(d_axis[:, :m], tau @ seed, rtol=1e-12, atol=1e-13)

    rows, columns = np.triu_indices(q)
    gram = np.empty(len(rows) + 8)
    called(layout.gram_product)(with_room(tau), q, gram)
    np.testing.assert_allclose(gram[:-8], (tau.T @ tau)[rows, columns], rtol=1e-12, atol=1e-14)
    seed = generator.normal(size=len(rows))
    d_tau = np.full((4, q + 8), np.nan)
    called(layout.gram_product_backward)(with_room(tau), with_room(seed), q, d_tau)
    square = np.zeros((q, q))
    square[rows, columns] = seed
    np.testing.assert_allclose(d_tau[:, :q], tau @ (square + square.T), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("width", [1, 3, 4, 7, 8, 9, 16, 17, 24, 40, 57])
def test_products_with_panels(generator, dtype, width):
    rows, depth = 24, 13
    a = generator.normal(size=(rows, depth)).astype(dtype)
    b = generator.normal(size=(depth, width)).astype(dtype)
    stride = 1 if width == 1 else stored_width(width, dtype)
    c = np.full((rows, stride), np.nan, dtype)
    times(rows, a.ravel(), 0, depth, panels(b, dtype).astype(dtype), 0, depth, width, c.ravel(), 0, stride)
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(c[:, :width], a @ b, rtol=tolerance, atol=tolerance * depth)


@pytest.mark.parametrize("width", [1, 5, 8, 12, 20])
def test_strided_products_with_panels(generator, width):
    """Components 1…3 of rows of four are multiplied, and land behind each other."""
    n, depth = 12, 9
    moments = generator.normal(size=(n, depth, 4))
    b = generator.normal(size=(depth, width))
    stride = stored_width(width, np.float64)
    c = np.full((n, 4, stride), np.nan)
    packed = panels(b, np.float64, strided=True)
    times_strided(
        3 * n,
        3,
        moments.ravel(),
        1,
        4 * depth,
        1,
        4,
        packed,
        0,
        depth,
        width,
        c.ravel(),
        stride,
        4 * stride,
        stride,
    )
    times_strided(
        n, 1, moments.ravel(), 0, 4 * depth, 0, 4, packed, 0, depth, width, c.ravel(), 0, 4 * stride, 0
    )
    np.testing.assert_allclose(c[:, :, :width], np.einsum("ipc,ph->ich", moments, b), rtol=1e-12, atol=1e-13)
