"""Entities in plain tests; ``sync`` has the names.

``tools/generate_sync.py`` writes the methods between the ``generated`` comments from the async class.
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar, cast, overload

from durabletask.core.entities import EntityId
from durabletask.core.entity_client import AttributesT, EntityReference
from durabletask.core.entity_context import TaskEntity
from durabletask.core.portal import Call
from typing_extensions import Unpack

from . import entity_environment as _entity
from .entity_environment import SentSignal, StartedOrchestration
from .entity_handles import EnvironmentEntities
from .options import (
    AsyncOperation,
    AsyncOperationWithoutInput,
    EntityOptions,
    InputT,
    OutputT,
    PlainOperation,
    PlainOperationWithoutInput,
)

__all__ = ["BlockingEntities", "EntityTestEnvironment"]

__tracebackhide__ = True  # pytest shows the line of the test instead

T = TypeVar("T")
EntityT = TypeVar("EntityT")
EntityT_co = TypeVar("EntityT_co", covariant=True)
StateT = TypeVar("StateT")


class _AsyncMessages(Protocol):
    """What asynchronous entity handles stand on, as far as the blocking ones use it."""

    @property
    def call_entity(self) -> Callable[..., Awaitable[object]]:
        """Call an operation."""

    @property
    def signal_entity(self) -> Callable[..., Awaitable[None]]:
        """Signal an operation."""


class BlockingEntities:
    """Takes the place of the client in blocking entity handles; ``inner`` does so in the asynchronous ones."""

    def __init__(self, inner: _AsyncMessages, call: Call) -> None:
        self._inner = inner
        self._call = call

    def call_entity(self, entity_id: EntityId, operation: str, value: object, **options: object) -> object:
        """Call an operation."""
        return self._call(lambda: self._inner.call_entity(entity_id, operation, value, **options))

    def signal_entity(self, entity_id: EntityId, operation: str, value: object) -> None:
        """Signal an operation."""
        self._call(lambda: self._inner.signal_entity(entity_id, operation, value))

    def get_entity(self, entity_id: EntityId, state_type: type[object] | None) -> object:
        """What is known of an entity."""
        inner = cast("EnvironmentEntities", self._inner)  # a single entity has no hub to ask
        return self._call(lambda: inner.get_entity(entity_id, state_type))


class EntityTestEnvironment(EntityReference[EntityT_co]):
    """The blocking twin of ``durabletask.testing.EntityTestEnvironment``: ``env.call.add(3)``; see there.

    Operations with the decorator ``operation`` are typed as tasks, but return their results. ``env.run(Counter.add, 3)``
    has the type of the result.
    """

    @overload
    def __init__(
        self: EntityTestEnvironment[EntityT],
        entity: type[EntityT],
        key: str = ...,
        **options: Unpack[EntityOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: EntityTestEnvironment[Any],
        entity: Callable[..., object],
        key: str = ...,
        **options: Unpack[EntityOptions],
    ) -> None: ...
    def __init__(self, entity: object, key: str = "test", **options: Unpack[EntityOptions]) -> None:
        given = cast("type[EntityT_co]", entity)
        self._inner = _entity.EntityTestEnvironment(given, key, **options)
        messages = BlockingEntities(self._inner._operations, self._call)  # noqa: SLF001
        super().__init__(messages, entity, self._inner.entity_id)

    def _call(self, action: Callable[[], Awaitable[T]], /) -> T:
        async def carry_out() -> T:
            return await action()

        return asyncio.run(carry_out())

    # <generated from durabletask.testing.entity_environment.EntityTestEnvironment>

    @overload
    def run(self, operation: str, input: object = None, *, return_type: type[OutputT]) -> OutputT: ...

    @overload
    def run(self, operation: str, input: object = None, *, return_type: object = None) -> Any: ...

    @overload
    def run(self, operation: AsyncOperation[InputT, OutputT], input: InputT) -> OutputT: ...

    @overload
    def run(self, operation: PlainOperation[InputT, OutputT], input: InputT) -> OutputT: ...

    @overload
    def run(self, operation: AsyncOperationWithoutInput[OutputT]) -> OutputT: ...

    @overload
    def run(self, operation: PlainOperationWithoutInput[OutputT]) -> OutputT: ...

    def run(self, operation: object, input: object = None, *, return_type: object = None) -> object:
        """Run an operation and return its result, as ``client.call_entity`` does.

        Args:
            operation: name of the operation, or its method, such as ``Counter.add``.
            input: what the operation gets as its input.
            return_type: what the result is converted to; by default the method's return annotation, or plain JSON
                values for a name.

        Raises:
            TaskFailedError: the operation failed.
        """
        any_operation: Any = operation  # checked by the overloads
        any_return_type: Any = return_type  # checked by the overloads
        return self._call(lambda: self._inner.run(any_operation, input, return_type=any_return_type))

    @overload
    def state(self: EntityTestEnvironment[AttributesT]) -> AttributesT | None: ...

    @overload
    def state(self: EntityTestEnvironment[TaskEntity[StateT]]) -> StateT | None: ...

    @overload
    def state(self, state_type: type[StateT]) -> StateT | None: ...

    def state(self, state_type: object = None) -> object:
        """The state, or ``None`` when the entity has none.

        A class that declares attributes gives a detached object of the class; one with a type parameter gives a value of
        that type.

        Args:
            state_type: what the state of a function entity is converted to.
        """
        any_state_type: Any = state_type  # checked by the overloads
        return self._inner.state(any_state_type)

    @property
    def signals(self) -> Sequence[SentSignal]:
        """The signals that the entity has sent, in order."""
        return self._inner.signals

    @property
    def orchestrations(self) -> Sequence[StartedOrchestration]:
        """The orchestrations that the entity has started, in order."""
        return self._inner.orchestrations

    @property
    def now(self) -> datetime:
        """The virtual time, which operations see as ``current_utc_datetime``."""
        return self._inner.now

    def advance(
        self,
        delta: timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Move virtual time on.

        Args:
            delta: how far; the other arguments are added.
            days: days to add.
            hours: hours to add.
            minutes: minutes to add.
            seconds: seconds to add.
        """
        self._inner.advance(delta, days=days, hours=hours, minutes=minutes, seconds=seconds)

    # </generated>
