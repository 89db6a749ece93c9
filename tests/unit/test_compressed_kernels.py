"""The compiled pieces of the compressed potential, each against NumPy or the reference."""

import numpy as np
import pytest

from fastdp.model.activations import ACTIVATIONS, register_silut
from fastdp.model.description import DenseLayer, Network
from fastdp.model.networks import forward_with_gradient
from fastdp.potential.compressed import network_kernels as layout
from fastdp.potential.compressed.activation_kernels import activate, activation_code
from fastdp.potential.compressed.compressed_model import CompressedCentre, CompressedModel, FactoredLayer
from fastdp.potential.compressed.packing import pack
from fastdp.potential.compressed.splines import RadialBasis


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tanh_is_accurate_to_a_few_ulp(dtype):
    x = np.concatenate([np.linspace(-25, 25, 20001), np.linspace(-1e-3, 1e-3, 2001)]).astype(dtype)
    z, slope = x[None].copy(), np.empty((1, len(x)), dtype)
    activate(*activation_code("tanh"), z, np.zeros(len(x), dtype), slope)
    exact = np.tanh(x.astype(np.longdouble))
    ulp = np.abs(z[0] - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert ulp.max() <= 4.0
    np.testing.assert_allclose(slope[0], 1 - exact**2, atol=4 * np.finfo(dtype).eps)


def test_not_a_number_passes_through_tanh():
    z = np.array([[np.nan, 1.0]])
    activate(*activation_code("tanh"), z, np.zeros(2), np.empty((1, 2)))
    assert np.isnan(z[0, 0])
    assert z[0, 1] == pytest.approx(np.tanh(1.0))


@pytest.mark.parametrize("name", [*sorted(ACTIVATIONS), "silut:1.5"])
def test_activations_are_those_of_the_reference(name):
    if name == "silut:1.5":
        register_silut(1.5)
    x = np.linspace(-8.0, 8.0, 1601)[None]
    bias = np.full(1601, 0.1234)
    z, slope = x.copy(), np.empty_like(x)
    activate(*activation_code(name), z, bias, slope)
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
    basis = RadialBasis(3, 8, 0.5, 4.0, 2.0)
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
    x = generator.normal(size=(7, 14))
    gradient, energies = np.empty_like(x), np.empty(7)
    work = np.full(layout.network_work_size(7, packed.layers), np.nan)
    layout.network(7, 0, len(factored), packed.layers, packed.parameters, x, gradient, work, energies)
    expected, expected_gradient = forward_with_gradient(network, x)
    np.testing.assert_allclose(energies, np.ravel(expected), rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-11, atol=1e-13)


def test_both_products_and_their_gradients(generator):
    q, m, n = 7, 4, 3
    tau, axis = generator.normal(size=(4, n, q)), generator.normal(size=(4, n, m))
    product = np.empty((n, q * m))
    layout.axis_product(n, tau, axis, product)
    np.testing.assert_allclose(product.reshape(n, q, m), np.einsum("cnp,cnl->npl", tau, axis), rtol=1e-13)
    seed = generator.normal(size=(n, q * m))
    d_tau, d_axis = np.empty_like(tau), np.empty_like(axis)
    layout.axis_product_backward(n, tau, axis, seed, d_tau, d_axis)
    g = seed.reshape(n, q, m)
    np.testing.assert_allclose(d_tau, np.einsum("npl,cnl->cnp", g, axis), rtol=1e-12)
    np.testing.assert_allclose(d_axis, np.einsum("npl,cnp->cnl", g, tau), rtol=1e-12)

    rows, columns = np.triu_indices(q)
    gram = np.empty((n, len(rows)))
    layout.gram_product(n, tau, gram)
    full = np.einsum("cnp,cnk->npk", tau, tau)
    np.testing.assert_allclose(gram, full[:, rows, columns], rtol=1e-13)
    seed = generator.normal(size=gram.shape)
    layout.gram_product_backward(n, tau, seed, d_tau)
    square = np.zeros((n, q, q))
    square[:, rows, columns] = seed
    np.testing.assert_allclose(
        d_tau, np.einsum("npk,cnk->cnp", square + square.transpose(0, 2, 1), tau), rtol=1e-12
    )
