import numba
import numpy as np
import pytest

from fastdp.model.activations import ACTIVATIONS, GELU_COEFFICIENT, GELU_TF_COEFFICIENT, register_silut

# Away from the kinks of relu (0), relu6 (0, 6) and silut (3).
POINTS = np.linspace(-8.0, 9.0, 173) + 0.0123


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_is_the_slope(name):
    activation = ACTIVATIONS[name]
    h = 1e-5
    slope = (activation.value(POINTS + h) - activation.value(POINTS - h)) / (2 * h)
    # Truncation h²/6 · |φ'''| and rounding 1e-16 · 8 / h, both near 1e-10.
    np.testing.assert_allclose(activation.derivative(POINTS), slope, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_numba_compiles_the_same_statement(name):
    activation = ACTIVATIONS[name]
    for function in (activation.value, activation.derivative):
        compiled = numba.njit(function)
        values = [compiled(float(x)) for x in POINTS]
        assert all(isinstance(value, float) for value in values)
        # The last digits of tanh and exp differ between NumPy and the C library.
        np.testing.assert_allclose(values, function(POINTS), atol=1e-14)


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("tanh", 0.5, 0.46211715726000976),
        ("relu", -2.0, 0.0),
        ("relu6", 7.5, 6.0),
        ("softplus", 1.0, 1.3132616875182228),
        ("sigmoid", -1.0, 0.2689414213699951),
        ("gelu", 1.0, 0.8411919906082768),
        ("silu", 2.0, 1.7615941559557646),
        ("silut", 2.0, 1.7615941559557646),
        ("linear", -3.25, -3.25),
    ],
)
def test_known_values(name, x, expected):
    assert ACTIVATIONS[name].value(np.array(x)) == pytest.approx(expected, abs=1e-15)


def test_nothing_overflows():
    with np.errstate(all="raise", under="ignore"):
        for activation in ACTIVATIONS.values():
            assert np.isfinite(activation.value(np.array([-800.0, 800.0]))).all()
            assert np.isfinite(activation.derivative(np.array([-800.0, 800.0]))).all()


def test_gelu_of_tensorflow_has_a_rounded_coefficient():
    x = np.array(2.0)
    difference = ACTIVATIONS["gelu_tf"].value(x) - ACTIVATIONS["gelu"].value(x)
    assert 1e-10 < abs(difference) < 1e-8
    assert float(np.float32(GELU_COEFFICIENT)) == GELU_TF_COEFFICIENT != GELU_COEFFICIENT


def test_silut_is_smooth_at_its_threshold():
    name = register_silut(1.5)
    activation = ACTIVATIONS[name]
    below, above = np.array(1.5 - 1e-9), np.array(1.5 + 1e-9)
    assert activation.value(above) == pytest.approx(activation.value(below), abs=1e-8)
    assert activation.derivative(above) == pytest.approx(activation.derivative(below), abs=1e-8)
    # Far above, the tanh has levelled off; silu itself would be 50.
    assert activation.value(np.array(50.0)) < 1.5 + 1.0
    assert register_silut(3.0) == "silut"
