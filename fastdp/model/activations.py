"""Activation functions of the networks, with their derivatives.

Each function is stated once, with NumPy's functions only, so that it takes arrays as it stands and
scalars when Numba compiles it. None of them branches or overflows.

The definitions are DeePMD-kit's: https://docs.deepmodeling.com/projects/deepmd, "activation_function".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SQRT_2_OVER_PI = 0.7978845608028654
GELU_COEFFICIENT = 0.044715
GELU_TF_COEFFICIENT = float(np.float32(GELU_COEFFICIENT))
SILUT_THRESHOLD = 3.0

ArrayOrScalar = Any
Function = Callable[[ArrayOrScalar], ArrayOrScalar]


@dataclass(frozen=True)
class Activation:
    """An activation function φ.

    Attributes
    ----------
    value, derivative : callable
        φ(x) and φ'(x), elementwise; Numba can compile both.
    """

    value: Function
    derivative: Function


def _tanh(x: ArrayOrScalar) -> ArrayOrScalar:
    return np.tanh(x)


def _tanh_derivative(x: ArrayOrScalar) -> ArrayOrScalar:
    y = np.tanh(x)
    return 1.0 - y * y


def _relu(x: ArrayOrScalar) -> ArrayOrScalar:
    return np.maximum(x, 0.0)


def _relu_derivative(x: ArrayOrScalar) -> ArrayOrScalar:
    return (x > 0.0) * 1.0


def _relu6(x: ArrayOrScalar) -> ArrayOrScalar:
    return np.minimum(np.maximum(x, 0.0), 6.0)


def _relu6_derivative(x: ArrayOrScalar) -> ArrayOrScalar:
    return (x > 0.0) * (x < 6.0) * 1.0


def _sigmoid(x: ArrayOrScalar) -> ArrayOrScalar:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _sigmoid_derivative(x: ArrayOrScalar) -> ArrayOrScalar:
    y = np.tanh(0.5 * x)
    return 0.25 * (1.0 - y * y)


def _softplus(x: ArrayOrScalar) -> ArrayOrScalar:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _silu(x: ArrayOrScalar) -> ArrayOrScalar:
    return x * 0.5 * (1.0 + np.tanh(0.5 * x))


def _silu_derivative(x: ArrayOrScalar) -> ArrayOrScalar:
    y = np.tanh(0.5 * x)
    return 0.5 * (1.0 + y) + 0.25 * x * (1.0 - y * y)


def _linear(x: ArrayOrScalar) -> ArrayOrScalar:
    return x * 1.0


def _linear_derivative(x: ArrayOrScalar) -> ArrayOrScalar:
    return x * 0.0 + 1.0


def gelu_with_coefficient(c: float) -> Activation:
    """Return φ(x) = ½ x (1 + tanh(√(2/π) (x + c x³))), the tanh form of GELU."""

    def value(x: ArrayOrScalar) -> ArrayOrScalar:
        return 0.5 * x * (1.0 + np.tanh(SQRT_2_OVER_PI * (x + c * x * x * x)))

    def derivative(x: ArrayOrScalar) -> ArrayOrScalar:
        y = np.tanh(SQRT_2_OVER_PI * (x + c * x * x * x))
        return 0.5 * (1.0 + y) + 0.5 * x * (1.0 - y * y) * SQRT_2_OVER_PI * (1.0 + 3.0 * c * x * x)

    return Activation(value, derivative)


def silut_with_threshold(threshold: float) -> Activation:
    """Return φ(x) = silu(x) below the threshold t, tanh(silu'(t) (x − t)) + silu(t) from it on."""
    level = float(_silu(threshold))
    slope = float(_silu_derivative(threshold))

    def value(x: ArrayOrScalar) -> ArrayOrScalar:
        below = x * 0.5 * (1.0 + np.tanh(0.5 * x))
        above = level + np.tanh(slope * (x - threshold))
        return (x < threshold) * below + (x >= threshold) * above

    def derivative(x: ArrayOrScalar) -> ArrayOrScalar:
        y = np.tanh(0.5 * x)
        z = np.tanh(slope * (x - threshold))
        below = 0.5 * (1.0 + y) + 0.25 * x * (1.0 - y * y)
        return (x < threshold) * below + (x >= threshold) * slope * (1.0 - z * z)

    return Activation(value, derivative)


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(_tanh, _tanh_derivative),
    "relu": Activation(_relu, _relu_derivative),
    "relu6": Activation(_relu6, _relu6_derivative),
    "softplus": Activation(_softplus, _sigmoid),
    "sigmoid": Activation(_sigmoid, _sigmoid_derivative),
    "gelu": gelu_with_coefficient(GELU_COEFFICIENT),
    # TensorFlow's own gelu holds the coefficient in float32, also in float64 graphs.
    "gelu_tf": gelu_with_coefficient(GELU_TF_COEFFICIENT),
    "silu": Activation(_silu, _silu_derivative),
    "silut": silut_with_threshold(SILUT_THRESHOLD),
    "linear": Activation(_linear, _linear_derivative),
}
"""Activations by the name that a model description uses. A "silut" of another threshold t is
entered by the reader that meets it, as f"silut:{t!r}", through `register_silut`."""


def register_silut(threshold: float) -> str:
    """Return the name of the silut activation with this threshold, entering it if it is new."""
    if threshold == SILUT_THRESHOLD:
        return "silut"
    name = f"silut:{threshold!r}"
    ACTIVATIONS.setdefault(name, silut_with_threshold(threshold))
    return name
