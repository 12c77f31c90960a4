"""The part of ``DurableTaskClient`` that is about entities."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast, overload

import msgspec

from . import telemetry
from .arguments import as_flag, as_name, as_optional_text, as_page_size, as_time, as_timeout
from .built_ins import CALL_ENTITY, HELPER_PREFIX, EntityCallRequest, end_of_helper
from .entities import CleanEntityStorageResult, EntityId, EntityMetadata, EntityQuery
from .entity_context import TaskEntity, read_state
from .errors import SerializationError, TaskFailedError, TransportTimeoutError
from .failures import FailureDetails
from .instances import (
    CreateInstanceRequest,
    OrchestrationState,
    OrchestrationStatus,
    PurgeInstance,
    PurgeResult,
)
from .operations import EntityProxy, Send, entity_id_of, operation_of
from .paging import AsyncPages, clean_all
from .replay.annotations import declared_result
from .requests import entity_key, entity_prefix
from .serialization import DataConverter
from .transport import Transport

__all__ = ["AttributesT", "EntityClient", "EntityHandle", "EntityMessages", "EntityReference"]

EntityT = TypeVar("EntityT")
EntityT_co = TypeVar("EntityT_co", covariant=True)
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
StateT = TypeVar("StateT")

_DEFAULT_WAIT: Final = 60.0


class _ByAttributes:
    """The state type of an entity class that has neither a type parameter nor an ``initial_state``."""


AttributesT = TypeVar("AttributesT", bound=TaskEntity[_ByAttributes])


class EntityMessages(Protocol):
    """A client, blocking or not, that reaches entities."""

    @property
    def call_entity(self) -> Callable[..., object]:
        """Call an operation."""

    @property
    def signal_entity(self) -> Callable[..., object]:
        """Signal an operation."""


class EntityClient:
    """Calls, signals, reads and cleans the entities of a task hub; ``DurableTaskClient`` derives from it.

    An operation is given by its name, or by its method (``Counter.add``), which gives the call the types of the method.
    """

    def __init__(self, transport: Transport, converter: DataConverter) -> None:
        self._transport = transport
        self._converter = converter
        self._state_reader = _StateReader(converter)

    @overload
    def entity(self, entity: type[EntityT], key: str) -> EntityHandle[EntityT]: ...
    @overload
    def entity(self, entity: str | Callable[..., object], key: str) -> EntityHandle[Any]: ...
    def entity(self, entity: object, key: str) -> EntityHandle[Any]:
        """One entity: ``await client.entity(Counter, "k").signal.add(3)``; also ``.call.add(3)`` and ``.state()``.

        Args:
            entity: the entity's class or function, or its registered name.
            key: key of the entity.
        """
        return EntityHandle(self, entity, entity_id_of(entity, key))

    @overload
    async def call_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input: object = None,
        *,
        return_type: type[OutputT],
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...
    @overload
    async def call_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input: object = None,
        *,
        return_type: object = None,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> Any: ...
    @overload
    async def call_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any, InputT], Awaitable[OutputT]],
        input: InputT,
        *,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...
    @overload
    async def call_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any, InputT], OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...
    @overload
    async def call_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any], Awaitable[OutputT]],
        *,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...
    @overload
    async def call_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any], OutputT],
        *,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...
    async def call_entity(
        self,
        entity_id: EntityId | str,
        operation: object,
        input: object = None,
        *,
        return_type: object = None,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> object:
        """Call an operation of an entity and wait for its result.

        The protocol lets only orchestrations call entities. So this starts a helper orchestration, which every worker of
        this SDK runs, waits for its end, and removes it. ``signal_entity`` is much cheaper where no answer is needed.

        Args:
            entity_id: the id, or its text form ``@name@key``.
            operation: name of the operation, or its method, such as ``Counter.add``.
            input: what the operation gets as its input.
            return_type: what the result is converted to; by default the method's return annotation, or plain JSON
                values for a name.
            timeout: how long to wait, on the hub's clock; ``None`` for as long as it takes.

        Raises:
            TaskFailedError: the operation failed; ``details`` has what the hub recorded.
            TransportTimeoutError: there was no answer in time. The helper is terminated; the operation may run all the
                same.
        """
        name, method = operation_of(operation)
        name, target = as_name(name, "operation"), entity_key(entity_id)
        wait = as_timeout(timeout, "timeout")
        helper = await self._start_call(target, name, input)
        state = await end_of_helper(self._transport, helper, wait, is_terminated=True)
        if state is None:
            raise TransportTimeoutError(
                f"Operation {name!r} of entity {target!r} has not answered within {wait}. It may run all the same."
            )
        what = f"operation {name!r} of entity {target!r}"
        if state.runtime_status is not OrchestrationStatus.COMPLETED:
            raise TaskFailedError.of(_failure_of(state, target, name), what, name=name)
        try:
            return self._converter.deserialize(
                state.serialized_output, return_type or declared_result(method)
            )
        except SerializationError as error:
            raise SerializationError(f"Result of {what}: {error}") from None

    async def _start_call(self, target: str, name: str, value: object) -> str:
        instance_id = f"{HELPER_PREFIX}{uuid.uuid4().hex}"
        request = EntityCallRequest(entity_id=target, operation=name, input=value)
        payload = self._serialize(request, f"Input of entity operation {name!r}")
        with telemetry.creating(CALL_ENTITY, instance_id, None) as trace_context:
            return await self._transport.create_instance(
                CreateInstanceRequest(
                    name=CALL_ENTITY,
                    instance_id=instance_id,
                    input=payload,
                    trace_context=trace_context,
                    request_time=self._transport.now(),
                )
            )

    @overload
    async def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input: object = None,
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None: ...
    @overload
    async def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any, InputT], object],
        input: InputT,
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None: ...
    @overload
    async def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any], object],
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None: ...
    async def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: object,
        input: object = None,
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None:
        """Send a one-way message to an entity; the first one creates it.

        Args:
            entity_id: the id, or its text form ``@name@key``.
            operation: name of the operation, or its method, such as ``Counter.add``.
            input: what the operation gets as its input.
            at: deliver it at this time, or after this delay (``timedelta`` or seconds).
        """
        name = as_name(operation_of(operation)[0], "operation")
        await self._transport.signal_entity(
            entity_key(entity_id),
            name,
            input=self._serialize(input, f"Input of entity operation {name!r}"),
            request_id=str(uuid.uuid4()),
            scheduled_time=as_time(at, "at", self._transport.now()),
            trace_context=telemetry.current(),
        )

    @overload
    async def get_entity(
        self, entity_id: EntityId | str, state_type: type[StateT], *, include_state: bool = True
    ) -> EntityMetadata[StateT] | None: ...
    @overload
    async def get_entity(
        self, entity_id: EntityId | str, state_type: None = None, *, include_state: bool = True
    ) -> EntityMetadata | None: ...
    async def get_entity(
        self, entity_id: EntityId | str, state_type: object = None, *, include_state: bool = True
    ) -> EntityMetadata | None:
        """What is known of an entity, or ``None`` when it does not exist or has no state any more.

        Args:
            entity_id: the id, or its text form ``@name@key``.
            state_type: what ``.state`` is converted to; an entity class with attributes gives a detached object of
                the class. Plain JSON values by default.
            include_state: whether the state is wanted.
        """
        wants_state = as_flag(include_state, "include_state")
        found = await self._transport.get_entity(entity_key(entity_id), include_state=wants_state)
        if found is None or (wants_state and not found.serialized_state):
            return None
        return msgspec.structs.replace(found, reader=self._state_reader, state_type=state_type)

    def query_entities(
        self,
        *,
        instance_id_prefix: str | None = None,
        last_modified_from: datetime | None = None,
        last_modified_to: datetime | None = None,
        include_state: bool = True,
        include_transient: bool = False,
        page_size: int = 100,
    ) -> AsyncPages[EntityMetadata]:
        """Entities by id: ``async for entity in client.query_entities(...)``.

        Args:
            instance_id_prefix: only ids that begin with this text: ``@name@`` for all entities of a name.
            last_modified_from: modified at this time or later.
            last_modified_to: modified before this time.
            include_state: whether the states are wanted.
            include_transient: also entities without state, which are locked or have messages.
            page_size: how many to ask the hub for at a time.
        """
        query = EntityQuery(
            instance_id_prefix=entity_prefix(instance_id_prefix),
            last_modified_from=as_time(last_modified_from, "last_modified_from"),
            last_modified_to=as_time(last_modified_to, "last_modified_to"),
            include_state=as_flag(include_state, "include_state"),
            include_transient=as_flag(include_transient, "include_transient"),
            page_size=as_page_size(page_size),
        )

        async def fetch(token: str | None) -> tuple[Sequence[EntityMetadata], str | None]:
            page = await self._transport.query_entities(
                msgspec.structs.replace(query, continuation_token=token)
            )
            found = [msgspec.structs.replace(each, reader=self._state_reader) for each in page.entities]
            return found, page.continuation_token

        return AsyncPages(fetch)

    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
        continue_until_complete: bool = True,
    ) -> CleanEntityStorageResult:
        """Remove empty entities and release locks whose holder is gone; returns what was done.

        Args:
            remove_empty_entities: remove entities without state, lock and messages.
            release_orphaned_locks: release locks of orchestrations that have ended or do not exist.
            continuation_token: where to go on, from the result of an earlier call.
            continue_until_complete: go on to the end. ``False`` does one bounded step; while the result has a
                ``continuation_token``, there is more to do.
        """
        remove = as_flag(remove_empty_entities, "remove_empty_entities")
        release = as_flag(release_orphaned_locks, "release_orphaned_locks")
        token = as_optional_text(continuation_token, "continuation_token")
        if not as_flag(continue_until_complete, "continue_until_complete"):
            return await self._transport.clean_entity_storage(
                remove_empty_entities=remove, release_orphaned_locks=release, continuation_token=token
            )
        return await clean_all(
            self._transport, remove_empty_entities=remove, release_orphaned_locks=release, token=token
        )

    async def purge_entity(self, entity_id: EntityId | str) -> PurgeResult:
        """Delete the state of an entity at once, without a worker; one that has none counts zero.

        Messages that wait and a lock stay. To delete the state in the order of messages, signal ``delete``.
        """
        request = PurgeInstance(instance_id=entity_key(entity_id), is_orchestration=False)
        return await self._transport.purge_instances(request)

    def _serialize(self, value: object, subject: str) -> str | None:
        try:
            return self._converter.serialize(value)
        except SerializationError as error:
            raise SerializationError(f"{subject}: {error}") from error


class EntityReference(Generic[EntityT_co]):
    """One entity and the client that reaches it; the base of ``EntityHandle`` and of its blocking twin.

    For type checkers ``call`` and ``signal`` are objects of the entity's class. ``handle.add(3)`` is the same as
    ``handle.call.add(3)``, without types.
    """

    def __init__(self, client: EntityMessages, entity: object, entity_id: EntityId) -> None:
        self._client = client
        self._kind: Any = entity if isinstance(entity, type) else None
        self._entity_id = entity_id

    def __repr__(self) -> str:
        return f"<entity {self._entity_id}>"

    @property
    def entity_id(self) -> EntityId:
        """Id of the entity."""
        return self._entity_id

    @property
    def call(self) -> EntityT_co:
        """A proxy that calls operations. See ``call_entity`` for what a call costs."""

        def send(name: str, method: Callable[..., object] | None, value: object) -> object:
            return self._client.call_entity(self._entity_id, name, value, return_type=declared_result(method))

        return self._proxy(send)

    @property
    def signal(self) -> EntityT_co:
        """A proxy that signals operations."""

        def send(name: str, _method: object, value: object) -> object:
            return self._client.signal_entity(self._entity_id, name, value)

        return self._proxy(send)

    if not TYPE_CHECKING:  # unknown names are errors for a checker

        def __getattr__(self, name):
            """An operation, to call."""
            return getattr(self.call, name)

    def _proxy(self, send: Send) -> EntityT_co:
        return cast("EntityT_co", EntityProxy(self._kind, self._entity_id, send))


class EntityHandle(EntityReference[EntityT_co]):
    """One entity, as ``client.entity`` returns it: ``await handle.signal.add(3)``, ``await handle.call.add(3)``."""

    _client: EntityClient

    @overload
    async def state(self: EntityHandle[AttributesT]) -> AttributesT | None: ...
    @overload
    async def state(self: EntityHandle[TaskEntity[StateT]]) -> StateT | None: ...
    async def state(self) -> object:
        """The state, or ``None`` when the entity does not exist or has none.

        A class that declares attributes gives a detached object of the class; one with a type parameter gives a value of
        that type.
        """
        found = await self._client.get_entity(self._entity_id, self._kind)
        return None if found is None else found.state


class _StateReader:
    """Reads states as values of a type, or as objects of an entity class."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter

    def deserialize(self, payload: str | None, target: object = None) -> object:
        if payload and isinstance(target, type) and issubclass(target, TaskEntity):
            return read_state(target, payload, self._converter)
        return self._converter.deserialize(payload, target)


def _failure_of(state: OrchestrationState, target: str, name: str) -> FailureDetails:
    """Why the helper of a call ended without a result: the failure of the operation, if there is one."""
    details = state.failure_details
    if details is None:
        return FailureDetails(
            error_type=state.runtime_status.name,
            message=f"The helper orchestration that called operation {name!r} of entity {target!r} was ended.",
        )
    of_operation = details.inner_failure if details.matches(TaskFailedError) else None
    return of_operation or details
