"""Calling a compiled function by symbol, so that Numba does not compile its body again in each caller.

Numba links the code of a callee into the caller and optimises all of it once more, and inside `prange` it
does so three times; for large functions that is most of the time a user waits at first start. A function
called by symbol is compiled once, cached by itself, and only its address is taken.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import njit, typeof
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model


def inner(**options: Any) -> Any:
    """Compile a function that only compiled functions call.

    Without the two wrappers for callers in Python and C, which take a third of the time of a short function.
    Called from Python it would crash.

    Parameters
    ----------
    options
        As of `numba.njit`.
    """
    # Numba's own options for what it calls `overload`, missing in its annotations.
    return njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)  # type: ignore[call-overload]


def _symbol(dispatcher: Any, argument_types: tuple[types.Type, ...]) -> str:
    """Return a name that is the same in every process: cached callers look for it when they are loaded."""
    function = dispatcher.py_func
    digest = hashlib.sha256(f"{function.__module__}.{function.__qualname__}{argument_types}".encode())
    return f"fastdp_{function.__name__}_{digest.hexdigest()[:16]}"


def load(dispatcher: Any, *arguments: Any) -> int:
    """Compile a function for these types, or load it from its cache, and make it known by symbol.

    Parameters
    ----------
    dispatcher : function decorated with `inner` or `numba.njit`
        Returns nothing.
    arguments
        Only their types count: the function is not called.

    Returns
    -------
    int
        Its address, for `call_at`.
    """
    argument_types = tuple(typeof(item) for item in arguments)
    # Compiling makes objects by the million, few of them garbage: looking for it takes a tenth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        dispatcher.compile(argument_types)
    finally:
        if collecting:
            gc.enable()
    compiled = dispatcher.overloads[argument_types]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    binding.add_symbol(_symbol(dispatcher, argument_types), address)
    return int(address)


def _loaded_types(dispatcher: Any, given: tuple[types.Type, ...]) -> tuple[types.Type, ...]:
    argument_types = tuple(types.unliteral(item) for item in given)
    if argument_types not in dispatcher.overloads:
        # Compiled here, it would be missing when the caller is next loaded from its cache.
        raise TypingError(f"{dispatcher.py_func.__name__} was not loaded for {argument_types}")
    return argument_types


def _call(context: Any, builder: Any, function: Any, argument_types: Any, given: Any, values: Any) -> Any:
    """Emit the call of a function that returns nothing."""
    cast = [
        context.cast(builder, value, have, wanted)
        for value, have, wanted in zip(values, given, argument_types, strict=True)
    ]
    status, _ = context.call_conv.call_function(builder, function, types.none, argument_types, cast)
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return context.get_dummy_value()


def by_symbol(dispatcher: Any) -> Callable[..., None]:
    """Return a function that compiled code calls with one tuple, the arguments of `dispatcher`.

    Parameters
    ----------
    dispatcher : function decorated with `inner` or `numba.njit`
        Returns nothing. It has to be loaded (`load`) before a caller is compiled or loaded.
    """

    @intrinsic
    def call(typingctx: Any, arguments: Any) -> Any:
        given: tuple[types.Type, ...] = tuple(arguments)
        argument_types = _loaded_types(dispatcher, given)
        name = _symbol(dispatcher, argument_types)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            function_type = context.call_conv.get_function_type(types.none, argument_types)
            function = cgutils.get_or_insert_function(builder.module, function_type, name)
            unpacked = cgutils.unpack_tuple(builder, values[0], len(given))
            return _call(context, builder, function, argument_types, given, unpacked)

        return types.none(arguments), codegen

    return call


def outer(*signature: str, **options: Any) -> Any:
    """Compile a function that Python calls: without the wrapper for callers in C, which there are none of.

    Parameters
    ----------
    signature, options
        As of `numba.njit`.
    """
    return njit(*signature, no_cfunc_wrapper=True, **options)  # type: ignore[call-overload]


class Held(types.Type):
    """Numba type of the address of a tuple on the stack."""

    def __init__(self, content: types.BaseTuple) -> None:
        self.content = content
        super().__init__(name=f"Held({content})")


@register_model(Held)
class _HeldModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: Held) -> None:
        super().__init__(manager, frontend_type, ir.IntType(64))


@intrinsic
def _hold(typingctx: Any, arguments: Any) -> Any:
    """Return a tuple by its address, for use until the calling function returns.

    What runs in parallel takes its arguments one by one through four layers of generated code, and compiling
    these is most of the time that it takes: one address instead of thirty arrays is a third of it.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(cgutils.alloca_once_value(builder, values[0]), ir.IntType(64))

    return Held(arguments)(arguments), codegen


hold: Any = _hold


@intrinsic
def _call_at(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the function at an address that `load` returned, with one tuple of its arguments.

    For functions of which only some are needed: by symbol, all of them would have to be compiled.
    """
    given: tuple[types.Type, ...] = tuple(arguments)
    argument_types = tuple(types.unliteral(item) for item in given)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function_type = context.call_conv.get_function_type(types.none, argument_types)
        function = builder.inttoptr(values[0], function_type.as_pointer())
        unpacked = cgutils.unpack_tuple(builder, values[1], len(given))
        return _call(context, builder, function, argument_types, given, unpacked)

    return types.none(types.int64, arguments), codegen


call_at: Any = _call_at


@intrinsic
def _call_held_at(typingctx: Any, address: Any, first: Any, second: Any, held: Any) -> Any:
    """Call the function at an address with two integers and what `hold` returned of its other arguments."""
    given = (types.int64, types.int64, *held.content)
    argument_types = tuple(types.unliteral(item) for item in given)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function_type = context.call_conv.get_function_type(types.none, argument_types)
        function = builder.inttoptr(values[0], function_type.as_pointer())
        content = context.get_value_type(held.content)
        rest = builder.load(builder.inttoptr(values[3], content.as_pointer()))
        unpacked = [values[1], values[2], *cgutils.unpack_tuple(builder, rest, len(held.content))]
        return _call(context, builder, function, argument_types, given, unpacked)

    return types.none(types.int64, types.int64, types.int64, held), codegen


call_held_at: Any = _call_held_at
