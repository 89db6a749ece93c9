"""Compiling plain Python functions for the device."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numba import config, cuda

from fastdp.parallel.rebinding import rebound

SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
"""Whether Numba runs kernels in its simulator, one Python thread for each CUDA thread."""

# numba-cuda (0.30.4) asks for this other name of vstack whatever it compiles; NumPy 2.5 has dropped it.
vars(np).setdefault("row_stack", np.vstack)


def device_function(function: Callable[..., Any], **called: Callable[..., Any]) -> Any:
    """Return a plain scalar function as one that kernels can call.

    Parameters
    ----------
    function : callable
        Of numbers and arrays; calls no compiled code.
    **called : callable
        Device functions that take the place of the functions of these names that `function` calls.
    """
    if called:
        function = rebound(function, **called)
    return function if SIMULATED else cuda.jit(device=True)(function)


def block_function(function: Callable[..., Any], module: dict[str, Any]) -> Any:
    """Return a plain function that synchronises threads, as one that the kernels of a module can call.

    Parameters
    ----------
    function : callable
    module : dict
        `globals()` of the module. The simulator gives meaning to the name `cuda` there, while a kernel runs.
    """
    local = FunctionType(function.__code__, module, function.__name__)
    return local if SIMULATED else cuda.jit(device=True)(local)
