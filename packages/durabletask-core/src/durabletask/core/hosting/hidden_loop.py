"""Hides the worker's event loop from the code of orchestrators.

An episode runs inside a task of the worker's loop. Code that reaches this loop can do harm in silence:
``asyncio.timeout`` around a durable wait cancels the worker's own task, and ``loop.call_later`` runs code that no
replay knows. So while an episode runs, another object takes the loop's place. It can do nothing: each use raises an
error that names the line and the durable form, and the orchestration fails, also if its code catches the error.

``None`` as the running loop would make asyncio raise errors as well. But ``asyncio.get_event_loop()`` would then find
the worker's loop by the event loop policy, and ``asyncio.run()`` would start a loop inside the episode.

The running loop belongs to a thread, and so does the replacement. Installing and restoring it costs less than 0.2 µs
per episode. Code that holds the loop in a variable of its own is not stopped here.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, _get_running_loop, _set_running_loop
from collections.abc import Callable
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from sys import _getframe
from types import CoroutineType, FrameType
from typing import Final, NoReturn, cast

from durabletask.core.replay import misuse
from durabletask.core.replay.locations import user_line
from durabletask.core.tasks import current_scope, running_scopes

__all__ = ["hide_event_loop"]

# Code that runs in the middle of the user's code without being called by it.
_UNRELATED: Final = frozenset({"__del__", "emit", "handle", "callHandlers"})


class HiddenLoop:
    """Takes the place of the running loop. Any use of it is a mistake of the orchestrator."""

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        _refuse(name, is_use=True)

    def __hash__(self) -> int:  # noqa: PLE0309 - it returns nothing
        # ``asyncio.current_task`` looks the loop up. Logging asks for the current task too, and catches the error.
        _refuse("current_task", is_use=False)


_HIDDEN: Final = cast("AbstractEventLoop", HiddenLoop())


def hide_event_loop() -> Callable[[], None]:
    """Put the replacement in place of the running loop of this thread; the function that undoes it is returned."""
    undo = partial(_set_running_loop, _get_running_loop())
    _set_running_loop(_HIDDEN)
    return undo


def _refuse(name: str, *, is_use: bool) -> NoReturn:
    """Raise the error for what the library that the user's code called wants from the loop."""
    frame: FrameType | None = _getframe(2)
    library = ""
    while frame is not None and misuse.library_of(frame):
        library = misuse.library_of(frame)
        name = misuse.replaceable(frame) or name
        _drop_coroutines(frame)
        frame = frame.f_back
    error = misuse.HiddenLoopError(misuse.foreign_call(library or "asyncio", name, user_line(frame)))
    if is_use and running_scopes and _is_called_by_the_orchestrator(frame):
        current_scope("the event loop").fail_for(error)
    raise error


def _drop_coroutines(frame: FrameType) -> None:
    """Close coroutines that asyncio was given and can no longer run: Python would warn that they are never awaited."""
    for value in frame.f_locals.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, CoroutineType) and getcoroutinestate(item) == CORO_CREATED:
                item.close()


def _is_called_by_the_orchestrator(frame: FrameType | None) -> bool:
    """Whether it is the orchestrator's code that calls, and no finalizer or logging handler in the middle of it."""
    while frame is not None:
        if misuse.is_core(frame):
            return True
        if frame.f_code.co_name in _UNRELATED:
            return False
        frame = frame.f_back
    return False
