"""The part of ``DurableTaskClient`` that is about entities."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from .arguments import as_flag, as_name, as_optional_text, as_page_size, as_time
from .entities import CleanEntityStorageResult, EntityId, EntityMetadata, EntityQuery
from .errors import SerializationError
from .paging import AsyncPages, clean_all
from .requests import entity_key
from .serialization import DataConverter
from .transport import Transport

__all__ = ["EntityClient"]


class EntityClient:
    """Signals, reads and cleans the entities of a task hub; ``DurableTaskClient`` derives from it."""

    def __init__(self, transport: Transport, converter: DataConverter) -> None:
        self._transport = transport
        self._converter = converter

    async def signal_entity(
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
        operation = as_name(operation, "operation")
        await self._transport.signal_entity(
            entity_key(entity_id),
            operation,
            input=self._serialize(input, f"Input of entity operation {operation!r}"),
            request_id=str(uuid.uuid4()),
            scheduled_time=as_time(at, "at", self._transport.now()),
        )

    async def get_entity(
        self, entity_id: EntityId | str, *, include_state: bool = True
    ) -> EntityMetadata | None:
        """What is known of an entity, or ``None`` when it does not exist."""
        return await self._transport.get_entity(
            entity_key(entity_id), include_state=as_flag(include_state, "include_state")
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
    ) -> AsyncPages[EntityMetadata]:
        """Entities by id: ``async for entity in client.query_entities(...)``.

        Args:
            instance_id_prefix: only ids that begin with this text, ``@name@...``.
            last_modified_from: modified at this time or later.
            last_modified_to: modified before this time.
            include_state: whether the states are wanted.
            include_transient: also entities without state.
            page_size: how many to ask the hub for at a time.
        """
        query = EntityQuery(
            instance_id_prefix=as_optional_text(instance_id_prefix, "instance_id_prefix"),
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
            return page.entities, page.continuation_token

        return AsyncPages(fetch)

    async def clean_entity_storage(
        self, *, remove_empty_entities: bool = True, release_orphaned_locks: bool = True
    ) -> CleanEntityStorageResult:
        """Remove empty entities and release locks whose holder is gone; returns what was done."""
        return await clean_all(
            self._transport,
            remove_empty_entities=as_flag(remove_empty_entities, "remove_empty_entities"),
            release_orphaned_locks=as_flag(release_orphaned_locks, "release_orphaned_locks"),
        )

    def _serialize(self, value: object, subject: str) -> str | None:
        try:
            return self._converter.serialize(value)
        except SerializationError as error:
            raise SerializationError(f"{subject}: {error}") from error
