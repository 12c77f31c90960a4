"""``EntityTestEnvironment``: one entity, without a hub and without a worker.

    env = EntityTestEnvironment(Counter, state={"value": 1})
    assert await env.call.add(3) == 4

An operation runs as a worker runs it: input, result and state go through the data converter, a failure undoes the
changes, messages count only when the operation succeeds. They are recorded and not delivered, not even those that the
entity sends to itself. Time stands still until ``advance`` moves it.
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast, overload

import msgspec
from durabletask.core.arguments import as_name
from durabletask.core.entities import EntityId
from durabletask.core.entity_client import AttributesT, EntityReference
from durabletask.core.entity_context import TaskEntity, declared_state_of, read_state
from durabletask.core.errors import SerializationError, TaskFailedError
from durabletask.core.execution.entities import EntityExecutor
from durabletask.core.execution.runner import UserCodeRunner
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EntityOperationCalled, EntityOperationSignaled
from durabletask.core.operations import entity_id_of, operation_of
from durabletask.core.options import check_options
from durabletask.core.registry import Registry
from durabletask.core.replay.annotations import declared_result
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter
from durabletask.core.work_items import (
    EntityAction,
    EntitySendSignal,
    EntityStartOrchestration,
    EntityWorkItem,
)
from typing_extensions import Unpack

from .clock import VirtualClock
from .options import (
    AsyncOperation,
    AsyncOperationWithoutInput,
    EntityOptions,
    InputT,
    OutputT,
    PlainOperation,
    PlainOperationWithoutInput,
)

__all__ = ["EntityTestEnvironment", "SentSignal", "StartedOrchestration"]

__tracebackhide__ = True  # pytest shows the line of the test and the operation

EntityT = TypeVar("EntityT")
EntityT_co = TypeVar("EntityT_co", covariant=True)
StateT = TypeVar("StateT")


class SentSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that an entity sent.

    Attributes:
        entity_id: the receiver.
        operation: name of the operation.
        input: its input as plain JSON values.
        at: when it is to be delivered; ``None`` for at once.
    """

    entity_id: EntityId
    operation: str
    input: object = None
    at: datetime | None = None


class StartedOrchestration(msgspec.Struct, frozen=True, kw_only=True):
    """An orchestration that an entity started.

    Attributes:
        name: name of the orchestrator.
        instance_id: id of the instance.
        input: its input as plain JSON values.
        version: its version.
        start_at: when it is to start; ``None`` for at once.
    """

    name: str
    instance_id: str
    input: object = None
    version: str | None = None
    start_at: datetime | None = None


class EntityTestEnvironment(EntityReference[EntityT_co]):
    """Runs the operations of one entity as a worker would, without a hub.

    ``await env.call.add(3)`` runs an operation and returns its result; ``await env.signal.add(3)`` runs it without one.
    A failure is raised as callers get it, ``TaskFailedError``, with the exception of the operation as its cause. That
    includes failures of signals, of which senders never learn.

    Args:
        entity: the entity's class or function.
        key: key of the entity.
        state: the state to begin with: an object of a class with attributes, or what is written as its state.
        start_time: the first virtual time; 2026-01-01 UTC by default.
        data_converter: how values become payloads.
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
        check_options(self, EntityOptions, options)
        self._operations = _Operations(entity, **options)
        super().__init__(self._operations, entity, entity_id_of(entity, key))

    # --- operations -----------------------------------------------------------------------------------------

    @overload
    async def run(self, operation: str, input: object = None, *, return_type: type[OutputT]) -> OutputT: ...
    @overload
    async def run(self, operation: str, input: object = None, *, return_type: object = None) -> Any: ...
    @overload
    async def run(self, operation: AsyncOperation[InputT, OutputT], input: InputT) -> OutputT: ...
    @overload
    async def run(self, operation: PlainOperation[InputT, OutputT], input: InputT) -> OutputT: ...
    @overload
    async def run(self, operation: AsyncOperationWithoutInput[OutputT]) -> OutputT: ...
    @overload
    async def run(self, operation: PlainOperationWithoutInput[OutputT]) -> OutputT: ...
    async def run(self, operation: object, input: object = None, *, return_type: object = None) -> object:
        """Run an operation and return its result, as ``client.call_entity`` does.

        Args:
            operation: name of the operation, or its method, such as ``Counter.add``.
            input: what the operation gets as its input.
            return_type: what the result is converted to; by default the method's return annotation, or plain JSON
                values for a name.

        Raises:
            TaskFailedError: the operation failed.
        """
        return await self._operations.call_entity(self._entity_id, operation, input, return_type=return_type)

    # --- what became of it ----------------------------------------------------------------------------------

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
        return self._operations.state_as(state_type or self._kind)

    @property
    def signals(self) -> Sequence[SentSignal]:
        """The signals that the entity has sent, in order."""
        return [found for action in self._operations.actions if (found := self._operations.signal(action))]

    @property
    def orchestrations(self) -> Sequence[StartedOrchestration]:
        """The orchestrations that the entity has started, in order."""
        return [found for action in self._operations.actions if (found := self._operations.started(action))]

    # --- time -----------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The virtual time, which operations see as ``current_utc_datetime``."""
        return self._operations.now

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
        span = (delta or timedelta(0)) + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if span < timedelta(0):
            raise ValueError(f"Virtual time cannot go back by {-span}.")
        self._operations.now += span


class _Runner(UserCodeRunner):
    """Calls the operation and keeps what it raised."""

    def __init__(self) -> None:
        super().__init__(max_threads=1)
        self.raised: BaseException | None = None

    def failure_of(self, error: BaseException) -> FailureDetails:
        self.raised = error
        return super().failure_of(error)


class _Operations:
    """State and messages of the entity, and the way of an operation through an executor.

    Attributes:
        now: the virtual time.
        actions: the messages of the operations that succeeded.
    """

    def __init__(
        self,
        entity: object,
        state: object = None,
        start_time: datetime | None = None,
        data_converter: DataConverter | None = None,
    ) -> None:
        self.now: datetime = VirtualClock(start_time).now()
        self.actions: list[EntityAction] = []
        self._registry = Registry(entities=[entity])
        self._converter = data_converter or DEFAULT_CONVERTER
        declared = declared_state_of(entity) if isinstance(entity, type) else None
        if declared is not None and isinstance(state, cast("type", entity)):
            state = declared.values(state)
        self._text = self._converter.serialize(state)
        self._lock = asyncio.Lock()  # operations of one entity run one after another

    async def call_entity(
        self, entity_id: EntityId, operation: object, input: object = None, *, return_type: object = None
    ) -> object:
        name, method = operation_of(operation)
        name = as_name(name, "operation")
        called = EntityOperationCalled(
            -1, self.now, "test", name, str(entity_id), self._serialize(name, input)
        )
        result = await self._run(entity_id, called)
        try:
            return self._converter.deserialize(result, return_type or declared_result(method))
        except SerializationError as error:
            raise SerializationError(f"Result of {_subject(entity_id, name)}: {error}") from None

    async def signal_entity(self, entity_id: EntityId, operation: object, input: object = None) -> None:
        name = as_name(operation_of(operation)[0], "operation")
        signal = EntityOperationSignaled(
            -1, self.now, "test", name, str(entity_id), self._serialize(name, input)
        )
        await self._run(entity_id, signal)

    async def _run(
        self, entity_id: EntityId, operation: EntityOperationCalled | EntityOperationSignaled
    ) -> str | None:
        runner = _Runner()
        executor = EntityExecutor(self._registry, self._converter, runner, now=lambda: self.now)
        async with self._lock:
            item = EntityWorkItem(instance_id=str(entity_id), operations=[operation], state=self._text)
            try:
                batch = await executor.execute(item)
            finally:
                runner.close()
            self._text = batch.state
            self.actions += batch.actions
        (outcome,) = batch.results
        if outcome.failure is not None:
            what, name = _subject(entity_id, operation.operation), operation.operation
            raise TaskFailedError.of(outcome.failure, what, name=name) from runner.raised
        return outcome.result

    def _serialize(self, name: str, value: object) -> str | None:
        try:
            return self._converter.serialize(value)
        except SerializationError as error:
            raise SerializationError(f"Input of entity operation {name!r}: {error}") from error

    def state_as(self, target: object) -> object:
        """The state as a value of a type, or of an entity class."""
        if self._text is None:
            return None
        if isinstance(target, type) and issubclass(target, TaskEntity):
            return read_state(target, self._text, self._converter)
        return self._converter.deserialize(self._text, target)

    def signal(self, action: EntityAction) -> SentSignal | None:
        """The record of a signal."""
        if not isinstance(action, EntitySendSignal):
            return None
        return SentSignal(
            entity_id=EntityId.parse(action.instance_id),
            operation=action.name,
            input=self._converter.deserialize(action.input),
            at=action.scheduled_time,
        )

    def started(self, action: EntityAction) -> StartedOrchestration | None:
        """The record of a started orchestration."""
        if not isinstance(action, EntityStartOrchestration):
            return None
        return StartedOrchestration(
            name=action.name,
            instance_id=action.instance_id,
            input=self._converter.deserialize(action.input),
            version=action.version,
            start_at=action.scheduled_time,
        )


def _subject(entity_id: EntityId, name: str) -> str:
    return f"operation {name!r} of entity {str(entity_id)!r}"
