"""Entity ids and what clients learn about entities (protocol section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Generic, cast

import msgspec
from typing_extensions import TypeVar

from .errors import SerializationError
from .instances import PayloadReader, decode_payload
from .reprs import WithPayloads

__all__ = [
    "MAXIMUM_ENTITY_ID",
    "CleanEntityStorageResult",
    "EntityId",
    "EntityMetadata",
    "EntityPage",
    "EntityQuery",
]

StateT = TypeVar("StateT", default=Any)

MAXIMUM_ENTITY_ID: Final = 100
"""Characters that hubs allow in the id of an entity."""


class EntityId(msgspec.Struct, frozen=True, order=True):
    """Name and key of an entity. The name is folded to lower case; the key is kept as it is.

    Raises:
        ValueError: the name is empty or contains ``@``.
    """

    name: str
    key: str

    def __post_init__(self) -> None:
        if not self.name or "@" in self.name:
            raise ValueError(f"Entity name {self.name!r} must not be empty and must not contain '@'.")
        msgspec.structs.force_setattr(self, "name", self.name.lower())

    def __str__(self) -> str:
        return f"@{self.name}@{self.key}"

    @property
    def instance_id(self) -> str:
        """The id as the hub stores it, ``@name@key``."""
        return str(self)

    @classmethod
    def parse(cls, instance_id: str) -> EntityId:
        """Read ``@name@key``; the second ``@`` ends the name, the rest is the key.

        Raises:
            ValueError: the text is not of that form.
        """
        name, separator, key = instance_id[1:].partition("@")
        if not instance_id.startswith("@") or not separator:
            raise ValueError(f"{instance_id[:100]!r} is not an entity id; the form is '@name@key'.")
        return cls(name, key)


class EntityMetadata(WithPayloads, Generic[StateT], frozen=True, kw_only=True):
    """A snapshot of an entity.

    ``locked_by`` is the instance id of the orchestration that holds it. ``state_type`` and ``reader`` say how to read the
    state; snapshots are equal without regard to them.
    """

    instance_id: str
    last_modified_at: datetime
    backlog_queue_size: int = 0
    locked_by: str | None = None
    serialized_state: str | None = None
    state_type: object = None
    reader: PayloadReader | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntityMetadata) and self._recorded() == other._recorded()

    def __hash__(self) -> int:
        return hash(self._recorded())

    def _recorded(self) -> tuple[object, ...]:
        return (
            self.instance_id,
            self.last_modified_at,
            self.backlog_queue_size,
            self.locked_by,
            self.serialized_state,
        )

    @property
    def entity_id(self) -> EntityId:
        """The id in its parsed form."""
        return EntityId.parse(self.instance_id)

    @property
    def state(self) -> StateT:
        """The state, converted to the type that was given to ``get_entity``, or as plain JSON values.

        Raises:
            SerializationError: the state does not fit the type.
        """
        if self.reader is None:
            return cast("StateT", decode_payload(self.serialized_state))
        try:
            return cast("StateT", self.reader.deserialize(self.serialized_state, self.state_type))
        except SerializationError as error:
            raise SerializationError(f"State of entity {self.instance_id!r}: {error}") from None


class EntityQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter and page of ``query_entities``; ``include_transient`` adds entities without state."""

    instance_id_prefix: str | None = None
    last_modified_from: datetime | None = None
    last_modified_to: datetime | None = None
    include_state: bool = True
    include_transient: bool = False
    page_size: int = 100
    continuation_token: str | None = None


class EntityPage(msgspec.Struct, frozen=True):
    """One page; ``continuation_token=None`` on the last."""

    entities: Sequence[EntityMetadata]
    continuation_token: str | None = None


class CleanEntityStorageResult(msgspec.Struct, frozen=True):
    """What one call cleaned; call again while ``continuation_token`` is set."""

    empty_entities_removed: int = 0
    orphaned_locks_released: int = 0
    continuation_token: str | None = None
