"""One plain function for several compilers: the functions that it calls are exchanged."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any


def rebound(function: Callable[..., Any], **called: Any) -> Callable[..., Any]:
    """Return a function that does the same, but calls others.

    A plain function that calls another plain function runs as it stands in Python. A compiler wants the
    other to be compiled already, each compiler by itself.

    Parameters
    ----------
    function : callable
        A plain Python function.
    **called : callable
        By the names that `function` calls them.
    """
    if not isinstance(function, FunctionType):
        raise TypeError(f"{function!r} is not a plain function")
    result = FunctionType(
        function.__code__, {**function.__globals__, **called}, function.__name__, function.__defaults__
    )
    result.__module__ = function.__module__
    result.__doc__ = function.__doc__
    return result
