"""The declared result of a function: the type to which an orchestrator's calls convert its result."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, cast

__all__ = ["declared_result"]

_ASYNC = (collections.abc.Awaitable, collections.abc.Coroutine)
_YIELDING = (collections.abc.Generator,)


@functools.lru_cache(maxsize=4096)
def _declared(function: Callable[..., object]) -> object:
    function = inspect.unwrap(function)
    annotation = getattr(function, "__annotations__", {}).get("return")
    if annotation is None:
        return None

    def holder() -> None: ...  # resolves this one annotation, whatever the others need

    holder.__annotations__ = {"return": annotation}
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells = getattr(function, "__closure__", None) or ()
    try:
        local = {name: cell.cell_contents for name, cell in zip(names, cells, strict=False)}
        found = typing.get_type_hints(holder, getattr(function, "__globals__", {}), local)["return"]
    except (NameError, AttributeError, TypeError, SyntaxError, ValueError):
        return None  # plain JSON values, as for a call by name
    origin, arguments = typing.get_origin(found), typing.get_args(found)
    if origin in _ASYNC or origin in _YIELDING:
        found = arguments[-1] if arguments else None
    if found in (Any, object, type(None), *_ASYNC, *_YIELDING) or isinstance(found, typing.TypeVar):
        return None
    return found


def declared_result(target: object) -> object:
    """The return annotation of a function, of the ``run`` of a class or object, or ``None`` without one."""
    if target is None:
        return None
    while isinstance(target, functools.partial):
        target = target.func
    run = getattr(target, "run", None)
    if run is not None:
        target = getattr(run, "__func__", run)
    elif not hasattr(target, "__code__"):
        target = getattr(type(target), "__call__", target)  # noqa: B004 - its annotations are wanted
    try:
        return _declared(cast("Callable[..., object]", target))
    except TypeError:  # cannot be hashed
        return None
