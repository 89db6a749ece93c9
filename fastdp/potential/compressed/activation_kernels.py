"""Activation functions for the compiled networks: value and derivative of a whole block at once.

tanh is written out so that the loop vectorises (libm's is a call for each number); the others are
rare and use libm.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from fastdp.errors import UnsupportedModelError
from fastdp.model.activations import ACTIVATIONS, SILUT_THRESHOLD
from fastdp.parallel.symbols import inner, load, outer

TANH, LINEAR, RELU, RELU6, SOFTPLUS, SIGMOID, GELU, GELU_TF, SILU, SILUT = range(10)

_CODES = {
    "tanh": TANH,
    "linear": LINEAR,
    "relu": RELU,
    "relu6": RELU6,
    "softplus": SOFTPLUS,
    "sigmoid": SIGMOID,
    "gelu": GELU,
    "gelu_tf": GELU_TF,
    "silu": SILU,
    "silut": SILUT,
}


def activation_code(name: str) -> tuple[int, float]:
    """Return the code of an activation and its threshold, from its name in `fastdp.model.activations`.

    Parameters
    ----------
    name : str
        For example "tanh" or "silut:10.0".

    Raises
    ------
    UnsupportedModelError
        If there is no kernel for it.
    """
    kind, _, threshold = name.partition(":")
    if kind not in _CODES:
        raise UnsupportedModelError(
            f'the compiled kernels have no activation function {name!r}; use backend = "reference"'
        )
    return _CODES[kind], float(threshold) if threshold else SILUT_THRESHOLD


# No "reassoc" and no "nnan": Cody-Waite reduction needs its order, and NaN must stay NaN.
_ORDERED = {"contract", "nsz", "arcp"}


def _bits_to_power(name, integer, real, mantissa, bias):
    """Return an intrinsic: 2^k from the sum of k and 1.5·2^mantissa, whose last bits are those of k."""

    def function(typingctx, t):
        def codegen(context, builder, signature, args):
            whole = ir.IntType(integer.bitwidth)
            bits = builder.add(builder.bitcast(args[0], whole), ir.Constant(whole, bias))
            return builder.bitcast(
                builder.shl(bits, ir.Constant(whole, mantissa)), context.get_value_type(real)
            )

        return real(real), codegen

    function.__name__ = name
    return intrinsic(function)


# Adding 1.5·2^52 (1.5·2^23) rounds to a whole number and leaves it in the last bits: unlike a conversion
# to integers, AVX2 has that for vectors of float64 as well.
_ROUND_64 = 1.5 * 2.0**52
_ROUND_32 = np.float32(1.5 * 2.0**23)
_power_64 = _bits_to_power("_power_64", types.int64, types.float64, 52, 1023)
_power_32 = _bits_to_power("_power_32", types.int32, types.float32, 23, 127)


# tanh x = m/(m + 2) with m = exp(2x) − 1, and m = 2^k expm1(g) + (2^k − 1), 2x = k ln 2 + g,
# |g| ≤ ½ ln 2; expm1 by its Taylor series, whose first term left out is below half an ulp.
# ln 2 is split in two parts so that k·high is exact (Cody and Waite 1980).
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_LOG2_E = 1.4426950408889634074
_EXPM1_64 = tuple(1.0 / math.factorial(n) for n in range(1, 14))
_EXPM1_32 = tuple(np.float32(1.0 / math.factorial(n)) for n in range(1, 8))
_LN2_HIGH_32 = np.float32(0.693359375)
_LN2_LOW_32 = np.float32(-2.12194440e-4)
_LOG2_E_32 = np.float32(_LOG2_E)


@njit(fastmath=_ORDERED, inline="always")
def _tanh_64(x):
    y = 2.0 * x
    y = 40.0 if y > 40.0 else y
    y = -40.0 if y < -40.0 else y
    t = y * _LOG2_E + _ROUND_64
    k = t - _ROUND_64
    g = (y - k * _LN2_HIGH) - k * _LN2_LOW
    c = _EXPM1_64
    p = c[12]
    p = p * g + c[11]
    p = p * g + c[10]
    p = p * g + c[9]
    p = p * g + c[8]
    p = p * g + c[7]
    p = p * g + c[6]
    p = p * g + c[5]
    p = p * g + c[4]
    p = p * g + c[3]
    p = p * g + c[2]
    p = p * g + c[1]
    p = p * g + c[0]
    scale = _power_64(t)
    m = scale * (p * g) + (scale - 1.0)
    return m / (m + 2.0)


@njit(fastmath=_ORDERED, inline="always")
def _tanh_32(x):
    two = np.float32(2.0)
    y = two * x
    y = np.float32(20.0) if y > np.float32(20.0) else y
    y = np.float32(-20.0) if y < np.float32(-20.0) else y
    t = y * _LOG2_E_32 + _ROUND_32
    k = t - _ROUND_32
    g = (y - k * _LN2_HIGH_32) - k * _LN2_LOW_32
    c = _EXPM1_32
    p = c[6]
    p = p * g + c[5]
    p = p * g + c[4]
    p = p * g + c[3]
    p = p * g + c[2]
    p = p * g + c[1]
    p = p * g + c[0]
    scale = _power_32(t)
    m = scale * (p * g) + (scale - np.float32(1.0))
    return m / (m + two)


def vector_tanh(x):
    """Return tanh(x) to a few ulp, in the precision of `x`, as code that vectorises."""
    return math.tanh(x)


@overload(vector_tanh, inline="always")
def _vector_tanh(x):
    if x == types.float32:
        return lambda x: _tanh_32(x)
    return lambda x: _tanh_64(x)


def _compiled(name):
    """Return value and derivative of an activation, compiled from its one statement in the model package."""
    activation = ACTIVATIONS[name]
    return inner()(activation.value), inner()(activation.derivative)


_relu, _relu_slope = _compiled("relu")
_relu6, _relu6_slope = _compiled("relu6")
_softplus, _softplus_slope = _compiled("softplus")
_sigmoid, _sigmoid_slope = _compiled("sigmoid")
_gelu, _gelu_slope = _compiled("gelu")
_gelu_tf, _gelu_tf_slope = _compiled("gelu_tf")
_silu, _silu_slope = _compiled("silu")


@inner()
def _scalar_activation(code, x, threshold):
    """Value and derivative of an activation other than tanh, in float64."""
    if code == RELU:
        return _relu(x), _relu_slope(x)
    if code == RELU6:
        return _relu6(x), _relu6_slope(x)
    if code == SOFTPLUS:
        return _softplus(x), _softplus_slope(x)
    if code == SIGMOID:
        return _sigmoid(x), _sigmoid_slope(x)
    if code == GELU:
        return _gelu(x), _gelu_slope(x)
    if code == GELU_TF:
        return _gelu_tf(x), _gelu_tf_slope(x)
    if code == SILU or x < threshold:
        return _silu(x), _silu_slope(x)
    slope = _silu_slope(threshold)
    y = math.tanh(slope * (x - threshold))
    return _silu(threshold) + y, slope * (1.0 - y * y)


@outer(cache=True, fastmath=_ORDERED, error_model="numpy")
def activate(code, threshold, z, bias, slope):
    """Replace z by φ(z + bias) and fill `slope` with φ'(z + bias), for `TANH` and `LINEAR`.

    Parameters
    ----------
    code : int
        One of the codes of this module.
    threshold : float
        Of silut.
    z, slope : (n, stride) float32 or float64
        With at least as many columns as there are biases.
    bias : (width,) of the same type
    """
    n, width = z.shape[0], bias.shape[0]
    if code == TANH:
        for i in range(n):
            for h in range(width):
                y = vector_tanh(z[i, h] + bias[h])
                z[i, h] = y
                slope[i, h] = z.dtype.type(1.0) - y * y
    else:
        for i in range(n):
            for h in range(width):
                z[i, h] += bias[h]
                slope[i, h] = 1.0


@outer(cache=True, fastmath=_ORDERED, error_model="numpy")
def activate_other(code, threshold, z, bias, slope):
    """Do the same for all other activations, by the functions of `fastdp.model.activations` in float64."""
    for i in range(z.shape[0]):
        for h in range(bias.shape[0]):
            value, derivative = _scalar_activation(code, np.float64(z[i, h] + bias[h]), threshold)
            z[i, h] = value
            slope[i, h] = derivative


def activation_kernel(code: int) -> Any:
    """Return the function that evaluates an activation: most models need only the first of them compiled."""
    return activate if code in (TANH, LINEAR) else activate_other


def load_activation(code: int, parameters: NDArray) -> int:
    """Return the address of the kernel of an activation for matrices of the type of `parameters`."""
    empty = parameters[:0]
    block = empty.reshape(0, 1)
    return load(activation_kernel(code), code, 0.0, block, empty, block)
