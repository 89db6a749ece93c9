"""The table of instructions; the modules `arithmetic`, `logic`, `memory` and `control` fill it."""

from __future__ import annotations

from collections.abc import Callable

from ptx.context import Context

Handler = Callable[[Context], None]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Enter what translates the instructions of these names."""

    def enter(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return enter
