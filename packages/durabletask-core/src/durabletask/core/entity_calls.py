"""The part of ``OrchestrationContext`` that is about entities: calls, signals, proxies and critical sections."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from typing_extensions import Self

from .entities import EntityId
from .errors import EntityLockError
from .tasks import Task

__all__ = ["EntityCalls", "EntityLock", "EntityLockTask", "HasEntityId"]

EntityT = TypeVar("EntityT")
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


class HasEntityId(Protocol):
    """What stands for an entity, such as the proxy that ``ctx.entity`` returns."""

    @property
    def entity_id(self) -> EntityId:
        """Id of the entity."""


class EntityLock(ABC):
    """The locks of a critical section; leaving the ``with`` block releases them."""

    __slots__ = ()

    @property
    @abstractmethod
    def entities(self) -> tuple[EntityId, ...]:
        """The locked entities in the order in which they were locked."""

    @abstractmethod
    def release(self) -> None:
        """Release every lock now; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class EntityLockTask(Task[EntityLock]):
    """The wait for the locks of a critical section; ``async with task:`` waits and enters at once."""

    __slots__ = ()

    async def __aenter__(self) -> EntityLock:
        return await self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.result.release()

    if not TYPE_CHECKING:  # a checker knows that a plain 'with' does not fit

        def __enter__(self):
            """Refuse a block that would run before the locks are granted."""
            raise EntityLockError(
                "lock_entities was entered before its locks were granted. Write 'async with ctx.lock_entities(...):', or "
                "'with (yield ctx.lock_entities(...)):' in a generator."
            )

        def __exit__(self, kind, error, trace):
            """Never reached."""


class EntityCalls(ABC):
    """What orchestrators do with entities; ``OrchestrationContext`` derives from it.

    An operation is given by its name, or by its method (``Counter.add``), which gives the call the types of the method.
    """

    __slots__ = ()

    @overload
    def entity(self, entity: type[EntityT], key: str) -> EntityT: ...
    @overload
    def entity(self, entity: str | Callable[..., object], key: str) -> Any: ...
    @abstractmethod
    def entity(self, entity: object, key: str) -> Any:
        """A proxy of an entity: ``await ctx.entity(Counter, "k").add(3)`` calls, ``.signal.add(3)`` signals.

        For type checkers the proxy is an object of the class. So they accept an ``async def`` operation in a call as it
        is, and a plain one with the decorator ``durabletask.operation``.

        Args:
            entity: the entity's class or function, or its registered name.
            key: key of the entity.
        """

    @overload
    def call_entity(
        self, entity: EntityId | str, operation: str, input: object = None, *, return_type: type[OutputT]
    ) -> Task[OutputT]: ...
    @overload
    def call_entity(
        self, entity: EntityId | str, operation: str, input: object = None, *, return_type: object = None
    ) -> Task[Any]: ...
    @overload
    def call_entity(
        self,
        entity: EntityId | str,
        operation: Callable[[Any, InputT], Awaitable[OutputT]],
        input: InputT,
    ) -> Task[OutputT]: ...
    @overload
    def call_entity(
        self, entity: EntityId | str, operation: Callable[[Any, InputT], OutputT], input: InputT
    ) -> Task[OutputT]: ...
    @overload
    def call_entity(
        self, entity: EntityId | str, operation: Callable[[Any], Awaitable[OutputT]]
    ) -> Task[OutputT]: ...
    @overload
    def call_entity(self, entity: EntityId | str, operation: Callable[[Any], OutputT]) -> Task[OutputT]: ...
    @abstractmethod
    def call_entity(
        self,
        entity: EntityId | str,
        operation: object,
        input: object = None,
        *,
        return_type: object = None,
    ) -> Task[Any]:
        """Call an operation of an entity and wait for its answer.

        Args:
            entity: the id, or its text form ``@name@key``.
            operation: name of the operation, or its method, such as ``Counter.add``.
            input: serialized at once.
            return_type: what the result is converted to; by default the method's return annotation, or plain JSON
                values for a name.

        Raises:
            EntityLockError: inside a critical section, the entity is not locked or already has a call in flight.
            ValueError: the operation is empty.
        """

    @overload
    def signal_entity(
        self,
        entity: EntityId | str,
        operation: str,
        input: object = None,
        *,
        at: datetime | timedelta | float | None = None,
        signal_time: datetime | timedelta | float | None = None,
    ) -> None: ...
    @overload
    def signal_entity(
        self,
        entity: EntityId | str,
        operation: Callable[[Any, InputT], object],
        input: InputT,
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None: ...
    @overload
    def signal_entity(
        self,
        entity: EntityId | str,
        operation: Callable[[Any], object],
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None: ...
    @abstractmethod
    def signal_entity(
        self,
        entity: EntityId | str,
        operation: object,
        input: object = None,
        *,
        at: datetime | timedelta | float | None = None,
        signal_time: datetime | timedelta | float | None = None,
    ) -> None:
        """Send an operation to an entity without waiting for an answer.

        Args:
            entity: the id, or its text form ``@name@key``.
            operation: name of the operation, or its method, such as ``Counter.add``.
            input: serialized at once.
            at: deliver it at this time (naive ones are UTC), or after this delay (``timedelta`` or seconds).
            signal_time: another name of ``at``, which other SDKs use.

        Raises:
            EntityLockError: the entity is locked by the present critical section.
            ValueError: the operation is empty.
        """

    @abstractmethod
    def lock_entities(
        self, *entities: EntityId | str | HasEntityId | Iterable[EntityId | str | HasEntityId]
    ) -> EntityLockTask:
        """Enter a critical section over one or more entities, given by ids or proxies.

        ``async with ctx.lock_entities(a, b):`` (or ``async with await ...``) in an ``async def`` orchestrator,
        ``with (yield ctx.lock_entities(a, b)):`` in a generator. An entity that is given twice is locked once. Entities
        are locked in the order of their ids, so that sections cannot wait for each other in a circle.

        Inside the section, only the locked entities can be called, each by one call at a time; they cannot be
        signalled, and no other section and no sub-orchestration can be started. Locks that are still held when the
        orchestration ends are released.

        Raises:
            EntityLockError: the orchestration is already in a critical section.
            ValueError: there are no entities.
        """
