"""Selecting instances: the filters of queries (protocol sections 12.4 and 12.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from durabletask.core.instances import (
    TERMINAL_STATUSES,
    InstanceIdQuery,
    InstanceQuery,
    OrchestrationStatus,
    PurgeFilter,
)

from .order import Position, microseconds
from .state import HubState, Instance, completion_position, creation_position

__all__ = ["Selection", "select_completed", "select_instances", "select_purgeable"]


class Selection:
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

    def find(self, state: HubState, start: Position | None, limit: int) -> list[tuple[Position, Instance]]:
        """The first instances in memory after ``start``, in order."""
        index = state.by_completion if self.by_completion else state.by_creation
        found: list[tuple[Position, Instance]] = []
        for position in index.after(start):
            instance = state.instances[position.instance_id]
            if self.admits(position, instance):
                found.append((position, instance))
                if len(found) >= limit:
                    break
        return found


def select_instances(query: InstanceQuery) -> Selection:
    """The selection of ``query_instances``."""
    return Selection(
        query.runtime_statuses, query.created_from, query.created_to, prefix=query.instance_id_prefix or ""
    )


def select_completed(query: InstanceIdQuery) -> Selection:
    """The selection of ``list_instance_ids``: finished instances only."""
    statuses = _terminal_only(query.runtime_statuses)
    return Selection(statuses, query.completed_from, query.completed_to, by_completion=True)


def select_purgeable(purge: PurgeFilter) -> Selection:
    """The selection of a purge by filter: finished instances only."""
    return Selection(_terminal_only(purge.runtime_statuses), purge.created_from, purge.created_to)


def _terminal_only(asked: Sequence[OrchestrationStatus]) -> frozenset[OrchestrationStatus]:
    if not asked:
        return TERMINAL_STATUSES
    # An impossible status keeps "nothing matches" apart from "no filter".
    return (TERMINAL_STATUSES & frozenset(asked)) or frozenset({OrchestrationStatus.CONTINUED_AS_NEW})
