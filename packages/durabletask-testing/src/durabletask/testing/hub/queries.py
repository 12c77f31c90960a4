"""Selecting instances and entities: the filters of queries (protocol sections 11.8, 12.4 and 12.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from durabletask.core.entities import EntityQuery
from durabletask.core.instances import (
    TERMINAL_STATUSES,
    InstanceIdQuery,
    InstanceQuery,
    OrchestrationStatus,
    PurgeFilter,
)

from .entity_ids import fold, is_entity_id
from .entity_state import Entity, entity_position
from .order import OrderedIndex, Position, microseconds
from .state import HubState, Instance, completion_position, creation_position

__all__ = [
    "EntitySelection",
    "InstanceSelection",
    "Selection",
    "select_completed",
    "select_instances",
    "select_purgeable",
]

T = TypeVar("T")


class Selection(ABC, Generic[T]):
    """Which instances, or which entities, in which order."""

    __slots__ = ()

    @abstractmethod
    def present(self, state: HubState) -> Container[str]:
        """Ids of what is in memory."""

    @abstractmethod
    def find(self, state: HubState, start: Position | None, limit: int) -> list[tuple[Position, T]]:
        """The first in memory after ``start``, in order."""


class EntitySelection(Selection[Entity]):
    """Which entities: a prefix of the id, a half-open interval of time, with or without those that have no state."""

    __slots__ = ("before", "includes_transient", "prefix", "since")

    def __init__(self, query: EntityQuery) -> None:
        prefix, since, before = (
            query.instance_id_prefix or "",
            query.last_modified_from,
            query.last_modified_to,
        )
        self.prefix: str = fold(prefix) if is_entity_id(prefix) else prefix
        self.since: int | None = microseconds(since) if since is not None else None
        self.before: int | None = microseconds(before) if before is not None else None
        self.includes_transient: bool = query.include_transient

    def admits(self, entity: Entity) -> bool:
        """Whether an entity whose id has the prefix belongs to the selection."""
        if entity.state is None and not self.includes_transient:
            return False
        time = microseconds(entity.modified_at)
        return (self.since is None or time >= self.since) and (self.before is None or time < self.before)

    def present(self, state: HubState) -> Container[str]:
        """Their ids."""
        return state.entities

    def find(self, state: HubState, start: Position | None, limit: int) -> list[tuple[Position, Entity]]:
        """In the order of this selection."""
        found: list[tuple[Position, Entity]] = []
        first = entity_position(self.prefix)  # what has the prefix stands together
        index = state.by_entity_id
        for position in index.starting(first) if start is None or start < first else index.after(start):
            if not position.instance_id.startswith(self.prefix):
                break
            entity = state.entities[position.instance_id]
            if self.admits(entity):
                found.append((position, entity))
                if len(found) >= limit:
                    break
        return found


class InstanceSelection(Selection[Instance]):
    """Which instances: statuses (empty: all), a half-open interval of time, a prefix of the id."""

    __slots__ = ("before", "by_completion", "prefix", "since", "statuses")

    def __init__(
        self,
        statuses: Iterable[OrchestrationStatus],
        since: datetime | None,
        before: datetime | None,
        *,
        prefix: str = "",
        by_completion: bool = False,
    ) -> None:
        self.statuses: frozenset[OrchestrationStatus] = frozenset(statuses)
        self.since: int | None = microseconds(since) if since is not None else None
        self.before: int | None = microseconds(before) if before is not None else None
        self.prefix: str = prefix
        self.by_completion: bool = by_completion

    def position(self, instance: Instance) -> Position:
        """Where the instance stands in the order of this selection."""
        return completion_position(instance) if self.by_completion else creation_position(instance)

    def admits(self, position: Position, instance: Instance) -> bool:
        """Whether the instance, which stands at ``position``, belongs to the selection."""
        if self.statuses and instance.status not in self.statuses:
            return False
        if self.prefix and not position.instance_id.startswith(self.prefix):
            return False
        time = position.time
        return (self.since is None or time >= self.since) and (self.before is None or time < self.before)

    def present(self, state: HubState) -> Container[str]:
        """Their ids."""
        return state.instances

    def find(self, state: HubState, start: Position | None, limit: int) -> list[tuple[Position, Instance]]:
        """In the order of this selection."""
        index: OrderedIndex = state.by_completion if self.by_completion else state.by_creation
        found: list[tuple[Position, Instance]] = []
        for position in index.after(start):
            instance = state.instances[position.instance_id]
            if self.admits(position, instance):
                found.append((position, instance))
                if len(found) >= limit:
                    break
        return found


def select_instances(query: InstanceQuery) -> InstanceSelection:
    """The selection of ``query_instances``."""
    return InstanceSelection(
        query.runtime_statuses, query.created_from, query.created_to, prefix=query.instance_id_prefix or ""
    )


def select_completed(query: InstanceIdQuery) -> InstanceSelection:
    """The selection of ``list_instance_ids``: finished instances only."""
    statuses = _terminal_only(query.runtime_statuses)
    return InstanceSelection(statuses, query.completed_from, query.completed_to, by_completion=True)


def select_purgeable(purge: PurgeFilter) -> InstanceSelection:
    """The selection of a purge by filter: finished instances only."""
    return InstanceSelection(_terminal_only(purge.runtime_statuses), purge.created_from, purge.created_to)


def _terminal_only(asked: Sequence[OrchestrationStatus]) -> frozenset[OrchestrationStatus]:
    if not asked:
        return TERMINAL_STATUSES
    # An impossible status keeps "nothing matches" apart from "no filter".
    return (TERMINAL_STATUSES & frozenset(asked)) or frozenset({OrchestrationStatus.CONTINUED_AS_NEW})
