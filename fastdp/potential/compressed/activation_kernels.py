"""Activation functions for the compiled networks: value and derivative of a whole block at once.

tanh is written out so that the loop vectorises (libm's is a call for each number); the others are
rare and use libm.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

TANH, LINEAR, RELU, RELU6, SOFTPLUS, SIGMOID, GELU, GELU_TF, SILU = range(9)

ACTIVATION_CODES = {
    "tanh": TANH,
    "linear": LINEAR,
    "none": LINEAR,
    "relu": RELU,
    "relu6": RELU6,
    "softplus": SOFTPLUS,
    "sigmoid": SIGMOID,
    "gelu": GELU,
    "gelu_tf": GELU_TF,
    "silu": SILU,
}
"""Names of `fastdp.model.activations` to the codes that the kernels understand."""

# No "reassoc" and no "nnan": Cody-Waite reduction needs its order, and NaN must stay NaN.
_ORDERED = {"contract", "nsz", "arcp"}


@intrinsic
def _power_of_two_64(typingctx, k):
    """2^k as a float64 from its exponent bits, for −1022 ≤ k ≤ 1023."""

    def codegen(context, builder, signature, args):
        i64 = ir.IntType(64)
        biased = builder.add(args[0], ir.Constant(i64, 1023))
        return builder.bitcast(builder.shl(biased, ir.Constant(i64, 52)), ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def _power_of_two_32(typingctx, k):
    """2^k as a float32 from its exponent bits, for −126 ≤ k ≤ 127."""

    def codegen(context, builder, signature, args):
        i32 = ir.IntType(32)
        biased = builder.add(args[0], ir.Constant(i32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(i32, 23)), ir.FloatType())

    return types.float32(types.int32), codegen


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
    k = math.floor(y * _LOG2_E + 0.5)
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
    scale = _power_of_two_64(np.int64(k))
    m = scale * (p * g) + (scale - 1.0)
    return m / (m + 2.0)


@njit(fastmath=_ORDERED, inline="always")
def _tanh_32(x):
    two = np.float32(2.0)
    y = two * x
    y = np.float32(20.0) if y > np.float32(20.0) else y
    y = np.float32(-20.0) if y < np.float32(-20.0) else y
    k = np.float32(math.floor(y * _LOG2_E_32 + np.float32(0.5)))
    g = (y - k * _LN2_HIGH_32) - k * _LN2_LOW_32
    c = _EXPM1_32
    p = c[6]
    p = p * g + c[5]
    p = p * g + c[4]
    p = p * g + c[3]
    p = p * g + c[2]
    p = p * g + c[1]
    p = p * g + c[0]
    scale = _power_of_two_32(np.int32(k))
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


_SQRT_2_OVER_PI = 0.7978845608028654
_GELU = 0.044715
_GELU_TF = float(np.float32(0.044715))  # TensorFlow graphs hold the coefficient in float32


@njit(cache=True, inline="always")
def _logistic(x):
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


@njit(cache=True)
def _gelu(x, coefficient):
    inner = _SQRT_2_OVER_PI * (x + coefficient * x * x * x)
    t = math.tanh(inner)
    slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * _SQRT_2_OVER_PI * (1.0 + 3.0 * coefficient * x * x)
    return 0.5 * x * (1.0 + t), slope


@njit(cache=True)
def _libm_activation(code, x):
    """Value and derivative of an activation other than tanh, in float64."""
    if code == RELU:
        return (x, 1.0) if x > 0.0 else (0.0, 0.0)
    if code == RELU6:
        if x >= 6.0:
            return 6.0, 0.0
        return (x, 1.0) if x > 0.0 else (0.0, 0.0)
    if code == SOFTPLUS:
        return max(x, 0.0) + math.log1p(math.exp(-abs(x))), _logistic(x)
    if code == SIGMOID:
        s = _logistic(x)
        return s, s * (1.0 - s)
    if code == SILU:
        s = _logistic(x)
        return x * s, s * (1.0 + x * (1.0 - s))
    return _gelu(x, _GELU if code == GELU else _GELU_TF)


@njit(fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def activate(code, z, bias, slope):
    """Replace z by φ(z + bias) and fill `slope` with φ'(z + bias).

    Parameters
    ----------
    code : int
        One of `ACTIVATION_CODES`.
    z, slope : (n, width) float32 or float64
    bias : (width,) of the same type
    """
    n, width = z.shape
    if code == TANH:
        for i in range(n):
            for h in range(width):
                y = vector_tanh(z[i, h] + bias[h])
                z[i, h] = y
                slope[i, h] = z.dtype.type(1.0) - y * y
    elif code == LINEAR:
        for i in range(n):
            for h in range(width):
                z[i, h] += bias[h]
                slope[i, h] = 1.0
    else:
        for i in range(n):
            for h in range(width):
                value, derivative = _libm_activation(code, np.float64(z[i, h] + bias[h]))
                z[i, h] = value
                slope[i, h] = derivative
