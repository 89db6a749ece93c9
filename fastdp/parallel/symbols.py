"""Calling a compiled function by symbol, so that Numba does not compile its body again in each caller.

Numba links the code of a callee into the caller and optimises all of it once more, and inside `prange` it
does so three times; for large functions that is most of the time a user waits at first start. A function
called by symbol is compiled once, cached by itself, and only its address is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from llvmlite import binding
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic


def _register(name: str, compiled: Any) -> None:
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    binding.add_symbol(name, address)


def _symbol(dispatcher: Any, argument_types: tuple[types.Type, ...]) -> str:
    """Return a name that is the same in every process: cached callers look for it when they are loaded."""
    function = dispatcher.py_func
    digest = hashlib.sha256(f"{function.__module__}.{function.__qualname__}{argument_types}".encode())
    return f"fastdp_{function.__name__}_{digest.hexdigest()[:16]}"


def publish(dispatcher: Any) -> None:
    """Make the compiled versions of a function known by symbol.

    To be called after the function was compiled or loaded from its cache (by calling it), and before a
    caller is.

    Parameters
    ----------
    dispatcher : function decorated with `numba.njit`
        Returns nothing.
    """
    for argument_types, compiled in dispatcher.overloads.items():
        _register(_symbol(dispatcher, tuple(argument_types)), compiled)


def by_symbol(dispatcher: Any) -> Callable[..., None]:
    """Return a function that compiled code calls with one tuple, the arguments of `dispatcher`.

    Parameters
    ----------
    dispatcher : function decorated with `numba.njit`
        Returns nothing.
    """

    @intrinsic
    def call(typingctx: Any, arguments: Any) -> Any:
        given: tuple[types.Type, ...] = tuple(arguments)
        argument_types = tuple(types.unliteral(item) for item in given)
        if argument_types not in dispatcher.overloads:
            # Compiled here, it would be missing when the caller is next loaded from its cache.
            raise TypingError(f"{dispatcher.py_func.__name__} was not published for {argument_types}")
        name = _symbol(dispatcher, argument_types)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            function_type = context.call_conv.get_function_type(types.none, argument_types)
            function = cgutils.get_or_insert_function(builder.module, function_type, name)
            unpacked = [
                context.cast(builder, value, have, wanted)
                for value, have, wanted in zip(
                    cgutils.unpack_tuple(builder, values[0], len(given)), given, argument_types, strict=True
                )
            ]
            status, _ = context.call_conv.call_function(
                builder, function, types.none, argument_types, unpacked
            )
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.none(arguments), codegen

    return call
