import numpy as np
import pytest

from fastdp.potential.compressed.splines import RadialBasis, segment_polynomials


@pytest.mark.parametrize("degree", [3, 5])
def test_basis_is_a_smooth_partition_of_unity(degree):
    basis = RadialBasis(degree, 40, 0.7, 6.0, 3.0)
    r = np.linspace(0.7, 6.0, 997)
    values, slopes = basis.evaluate(r)
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-13)
    assert (values > -1e-15).all()
    # Central differences, h = 1e-5 Å: truncation h² f'''/6 is below 1e-6 for these spacings.
    h = 1e-5
    inner = slice(1, -1)
    numeric = (basis.evaluate(r[inner] + h)[0] - basis.evaluate(r[inner] - h)[0]) / (2 * h)
    np.testing.assert_allclose(slopes[inner], numeric, atol=2e-6)


def test_cubic_segments_are_the_textbook_ones():
    expected = np.array([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6.0
    np.testing.assert_allclose(segment_polynomials(3), expected, atol=1e-13)


@pytest.mark.parametrize("degree", [3, 5])
def test_fit_converges_with_the_order_of_the_splines(degree):
    r = np.linspace(0.8, 6.0, 4000)
    w = (1 - r / 6.0) ** 3
    target = (w * np.sin(3 * r))[:, None]
    slope = (w * 3 * np.cos(3 * r) - (1 - r / 6.0) ** 2 / 2 * np.sin(3 * r))[:, None]
    errors = []
    for n in (40, 80):
        basis = RadialBasis(degree, n, 0.8, 6.0, 3.0)
        coefficients = basis.fit(r, np.ones_like(r), target, slope, 0.1)
        errors.append(np.abs(basis.evaluate(r)[0] @ coefficients - target)[:3500].max())
    # Halving the spacing gains 2^(degree + 1) at best; half of that rules out a lower order.
    assert errors[0] / errors[1] > 2.0**degree


@pytest.mark.parametrize("degree", [3, 5])
def test_fit_vanishes_twice_differentiably_at_the_cutoff(degree):
    r = np.linspace(0.8, 6.0, 2000)
    target = ((6.0 - r) ** 3 * np.cos(r))[:, None]
    slope = (-3 * (6.0 - r) ** 2 * np.cos(r) - (6.0 - r) ** 3 * np.sin(r))[:, None]
    basis = RadialBasis(degree, 64, 0.8, 6.0, 3.0)
    coefficients = basis.fit(r, np.ones_like(r), target, slope, 0.1)
    near = np.array([6.0 - 2e-3, 6.0 - 1e-3])
    value = basis.evaluate(near)[0] @ coefficients
    # ∝ (6 − r)³ to leading order, as a C² function that is zero beyond must be.
    assert value[0, 0] / value[1, 0] == pytest.approx(8.0, rel=0.02)
    at_end, slope_at_end = (part @ coefficients for part in basis.evaluate(np.array([6.0])))
    assert abs(at_end[0, 0]) < 1e-12
    assert abs(slope_at_end[0, 0]) < 1e-11
