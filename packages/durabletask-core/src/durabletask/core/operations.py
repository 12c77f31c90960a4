"""Operations of entities: which methods they are, how code refers to them, and the proxies that send them.

A proxy stands for one entity. ``proxy.add(3)`` sends the operation ``add``; what sending means is up to the context or
client that made the proxy. A proxy of a class knows the operations, so a wrong name or a wrong number of arguments is
an error where the call is written, and the result is converted to the annotation of the method.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

from .arguments import as_name, as_text
from .definitions import name_of, operations_of
from .entities import EntityId
from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from .tasks import Task

__all__ = [
    "EntityProxy",
    "Send",
    "entity_id_of",
    "operation",
    "operation_of",
]

_Self = TypeVar("_Self")
_P = ParamSpec("_P")
_R = TypeVar("_R")

Function: TypeAlias = Callable[..., object]
Send: TypeAlias = Callable[[str, "Function | None", object], object]
"""Sends an operation: its name, its method if that is known, and its input."""


@overload
def operation(
    function: Callable[Concatenate[_Self, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[_Self, _P], Task[_R]]: ...
@overload
def operation(
    function: Callable[Concatenate[_Self, _P], _R],
) -> Callable[Concatenate[_Self, _P], Task[_R]]: ...
def operation(function: Function) -> Function:
    """Type a method of an entity class as what it is on a proxy: something to await.

        class Counter(TaskEntity):
            value: int = 0

            @operation
            def add(self, amount: int) -> int:
                self.value += amount
                return self.value

    For type checkers, ``ctx.entity(Counter, "k").add(3)`` is then a ``Task[int]``. At run time the decorator returns
    the function as it is: methods without it are operations as well, and ``self.add(3)`` inside the class is a plain
    call. A type checker takes that for a task, too, so put what operations share into a method whose name begins with
    an underscore.
    """
    return function


def operation_of(reference: object) -> tuple[object, Function | None]:
    """Name and method of an operation that is given as a method, such as ``Counter.add``, or as its name.

    The name of what is no function is returned as it is, for the caller to check.
    """
    if inspect.isfunction(reference):
        return reference.__name__, reference
    return reference, None


def entity_id_of(entity: object, key: object) -> EntityId:
    """Id of the entity with a key. ``entity`` is a class, a function, or a registered name.

    Raises:
        InvalidArgumentError: ``entity`` is a class that does not derive from ``TaskEntity``.
    """
    if isinstance(entity, type) and not hasattr(entity, "initial_state"):
        raise InvalidArgumentError(
            f"{entity.__qualname__} is no entity class: it must derive from TaskEntity."
        )
    return EntityId(as_name(name_of(entity), "The name of the entity"), as_text(key, "key"))


class EntityProxy:
    """An entity as an object whose methods send its operations.

    Args:
        entity: the class of the entity; anything else leaves the operations unchecked.
        entity_id: the entity.
        send: what calling a method does.
        signal: what calling a method of ``proxy.signal`` does, if the proxy has that attribute.
    """

    __slots__ = ("_entity_id", "_kind", "_send", "_signal")

    def __init__(self, entity: object, entity_id: EntityId, send: Send, signal: Send | None = None) -> None:
        self._kind = entity if isinstance(entity, type) else None
        self._entity_id = entity_id
        self._send = send
        self._signal = signal

    def __repr__(self) -> str:
        return f"<proxy of entity {self._entity_id}>"

    def __getattr__(self, name: str) -> object:
        if name == "entity_id":
            return self._entity_id
        if name == "signal" and self._signal is not None:
            return EntityProxy(self._kind, self._entity_id, self._signal)
        if name.startswith("_"):
            raise AttributeError(
                f"{name!r} is no operation: names of operations do not begin with an underscore."
            )
        method = None
        if self._kind is not None:
            method = operations_of(self._kind).get(name)
            if method is None:
                raise AttributeError(_unknown(self._kind, name), name=name, obj=self)
        return functools.partial(_send, self._send, name, method)


def _send(send: Send, name: str, method: Function | None, /, *args: object, **kwargs: object) -> object:
    return send(name, method, _input_of(name, method, args, kwargs))


def _input_of(
    name: str, method: Function | None, args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """The one argument of an operation; ``None`` without one."""
    given = args
    if method is not None:
        try:
            bound = _signature(method).bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{method.__qualname__}(): {error}") from None
        given = (*bound.args, *bound.kwargs.values())[1:]
    elif kwargs:
        raise TypeError(f"Operation {name!r} takes its input as a positional argument.")
    if len(given) > 1:
        raise TypeError(
            f"Operation {name!r} was given {len(given)} arguments; it takes one input. Several values: pass one "
            "dataclass, dict or list."
        )
    return given[0] if given else None


@functools.lru_cache(maxsize=1024)
def _signature(method: Function) -> inspect.Signature:
    return inspect.signature(method)


def _unknown(kind: type, name: str) -> str:
    known = ", ".join(sorted(operations_of(kind)))
    return f"{kind.__qualname__} has no operation {name!r}. Its operations are: {known}."
