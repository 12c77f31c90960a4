"""The part of the blocking client that is about entities."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from durabletask.core import entity_client as _client
from durabletask.core.entities import CleanEntityStorageResult, EntityId, EntityMetadata
from durabletask.core.paging import Pages

__all__ = ["EntityClient"]

_T = TypeVar("_T")


class EntityClient(ABC):
    """The blocking twin of ``durabletask.core.entity_client.EntityClient``."""

    _inner: _client.EntityClient

    @abstractmethod
    def _call(self, action: Callable[[], Awaitable[_T]], /) -> _T: ...

    # <generated from durabletask.core.entity_client.EntityClient>

    def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input: object = None,
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None:
        """Send a one-way message to an entity; the first one creates it.

        Args:
            entity_id: the id, or its text form ``@name@key``.
            operation: name of the operation.
            input: what the operation gets as its input.
            at: deliver it at this time, or after this delay (``timedelta`` or seconds).
        """
        self._call(lambda: self._inner.signal_entity(entity_id, operation, input, at=at))

    def get_entity(self, entity_id: EntityId | str, *, include_state: bool = True) -> EntityMetadata | None:
        """What is known of an entity, or ``None`` when it does not exist."""
        return self._call(lambda: self._inner.get_entity(entity_id, include_state=include_state))

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
            instance_id_prefix: only ids that begin with this text, ``@name@...``.
            last_modified_from: modified at this time or later.
            last_modified_to: modified before this time.
            include_state: whether the states are wanted.
            include_transient: also entities without state.
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
        self, *, remove_empty_entities: bool = True, release_orphaned_locks: bool = True
    ) -> CleanEntityStorageResult:
        """Remove empty entities and release locks whose holder is gone; returns what was done."""
        return self._call(
            lambda: self._inner.clean_entity_storage(
                remove_empty_entities=remove_empty_entities, release_orphaned_locks=release_orphaned_locks
            )
        )

    # </generated>
