"""The part of the blocking client that is about entities."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from durabletask.core import entity_client as _client
from durabletask.core.entities import CleanEntityStorageResult, EntityId, EntityMetadata
from durabletask.core.entity_client import AttributesT, EntityReference
from durabletask.core.entity_context import TaskEntity
from durabletask.core.instances import PurgeResult
from durabletask.core.operations import entity_id_of
from durabletask.core.paging import Pages

__all__ = ["EntityClient", "EntityHandle"]

EntityT = TypeVar("EntityT")
EntityT_co = TypeVar("EntityT_co", covariant=True)
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
StateT = TypeVar("StateT")
_T = TypeVar("_T")

_DEFAULT_WAIT = 60.0


class EntityClient(ABC):
    """The blocking twin of ``durabletask.core.entity_client.EntityClient``."""

    _inner: _client.EntityClient

    @abstractmethod
    def _call(self, action: Callable[[], Awaitable[_T]], /) -> _T: ...

    @overload
    def entity(self, entity: type[EntityT], key: str) -> EntityHandle[EntityT]: ...
    @overload
    def entity(self, entity: str | Callable[..., object], key: str) -> EntityHandle[Any]: ...
    def entity(self, entity: object, key: str) -> EntityHandle[Any]:
        """One entity: ``client.entity(Counter, "k").signal.add(3)``; also ``.call.add(3)`` and ``.state()``.

        Args:
            entity: the entity's class or function, or its registered name.
            key: key of the entity.
        """
        return EntityHandle(self, entity, entity_id_of(entity, key))

    # <generated from durabletask.core.entity_client.EntityClient>

    @overload
    def call_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input: object = None,
        *,
        return_type: type[OutputT],
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...

    @overload
    def call_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input: object = None,
        *,
        return_type: object = None,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> Any: ...

    @overload
    def call_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any, InputT], Awaitable[OutputT]],
        input: InputT,
        *,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...

    @overload
    def call_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any, InputT], OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...

    @overload
    def call_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any], Awaitable[OutputT]],
        *,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...

    @overload
    def call_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any], OutputT],
        *,
        timeout: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OutputT: ...

    def call_entity(
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
        any_operation: Any = operation  # checked by the overloads
        any_return_type: Any = return_type  # checked by the overloads
        return self._call(
            lambda: self._inner.call_entity(
                entity_id, any_operation, input, return_type=any_return_type, timeout=timeout
            )
        )

    @overload
    def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input: object = None,
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None: ...

    @overload
    def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any, InputT], object],
        input: InputT,
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None: ...

    @overload
    def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: Callable[[Any], object],
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None: ...

    def signal_entity(
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
        any_operation: Any = operation  # checked by the overloads
        self._call(lambda: self._inner.signal_entity(entity_id, any_operation, input, at=at))

    @overload
    def get_entity(
        self, entity_id: EntityId | str, state_type: type[StateT], *, include_state: bool = True
    ) -> EntityMetadata[StateT] | None: ...

    @overload
    def get_entity(
        self, entity_id: EntityId | str, state_type: None = None, *, include_state: bool = True
    ) -> EntityMetadata | None: ...

    def get_entity(
        self, entity_id: EntityId | str, state_type: object = None, *, include_state: bool = True
    ) -> EntityMetadata | None:
        """What is known of an entity, or ``None`` when it does not exist or has no state any more.

        Args:
            entity_id: the id, or its text form ``@name@key``.
            state_type: what ``.state`` is converted to; an entity class with attributes gives a detached object of
                the class. Plain JSON values by default.
            include_state: whether the state is wanted.
        """
        any_state_type: Any = state_type  # checked by the overloads
        return self._call(
            lambda: self._inner.get_entity(entity_id, any_state_type, include_state=include_state)
        )

    def query_entities(
        self,
        *,
        instance_id_prefix: str | None = None,
        last_modified_from: datetime | None = None,
        last_modified_to: datetime | None = None,
        include_state: bool = True,
        include_transient: bool = False,
        page_size: int = 100,
    ) -> Pages[EntityMetadata]:
        """Entities by id: ``for entity in client.query_entities(...)``.

        Args:
            instance_id_prefix: only ids that begin with this text: ``@name@`` for all entities of a name.
            last_modified_from: modified at this time or later.
            last_modified_to: modified before this time.
            include_state: whether the states are wanted.
            include_transient: also entities without state, which are locked or have messages.
            page_size: how many to ask the hub for at a time.
        """
        return Pages(
            self._inner.query_entities(
                instance_id_prefix=instance_id_prefix,
                last_modified_from=last_modified_from,
                last_modified_to=last_modified_to,
                include_state=include_state,
                include_transient=include_transient,
                page_size=page_size,
            ),
            self._call,
        )

    def clean_entity_storage(
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
        return self._call(
            lambda: self._inner.clean_entity_storage(
                remove_empty_entities=remove_empty_entities,
                release_orphaned_locks=release_orphaned_locks,
                continuation_token=continuation_token,
                continue_until_complete=continue_until_complete,
            )
        )

    def purge_entity(self, entity_id: EntityId | str) -> PurgeResult:
        """Delete the state of an entity at once, without a worker; one that has none counts zero.

        Messages that wait and a lock stay. To delete the state in the order of messages, signal ``delete``.
        """
        return self._call(lambda: self._inner.purge_entity(entity_id))

    # </generated>


class EntityHandle(EntityReference[EntityT_co]):
    """The blocking twin of ``durabletask.core.entity_client.EntityHandle``: ``handle.signal.add(3)``.

    Operations with the decorator ``operation`` are typed as tasks, but return their results. For a typed result use
    ``client.call_entity(id, Counter.add, 3)``.
    """

    _client: EntityClient

    @overload
    def state(self: EntityHandle[AttributesT]) -> AttributesT | None: ...
    @overload
    def state(self: EntityHandle[TaskEntity[StateT]]) -> StateT | None: ...
    def state(self) -> object:
        """The state, or ``None`` when the entity does not exist or has none; see the twin."""
        found = self._client.get_entity(self._entity_id, self._kind)
        return None if found is None else found.state
