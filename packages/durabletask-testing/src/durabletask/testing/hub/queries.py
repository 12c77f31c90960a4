"""Selecting instances: the filters of queries, ordered and paged (protocol sections 12.4 and 12.5)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from durabletask.core.instances import (
    TERMINAL_STATUSES,
    InstanceIdQuery,
    InstanceQuery,
    OrchestrationStatus,
    PurgeFilter,
)

from .paging import Position, microseconds
from .state import Instance

__all__ = ["OrderedIndex", "Selection", "select_completed", "select_instances", "select_purgeable"]


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
        moment = instance.completed_at if self.by_completion else None
        return Position(microseconds(moment or instance.created_at), instance.instance_id)

    def admits(self, instance: Instance) -> bool:
        """Whether the instance belongs to the selection."""
        if self.statuses and instance.status not in self.statuses:
            return False
        if self.by_completion and instance.completed_at is None:
            return False
        if self.prefix and not instance.instance_id.startswith(self.prefix):
            return False
        time = self.position(instance).time
        return (self.since is None or time >= self.since) and (self.before is None or time < self.before)


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


class OrderedIndex:
    """Positions of the instances in memory, sorted when somebody asks and something has changed."""

    def __init__(self, position: Callable[[Instance], Position | None]) -> None:
        self._position = position
        self._sorted: list[Position] | None = []

    def invalidate(self) -> None:
        """The set of instances has changed."""
        self._sorted = None

    def select(
        self, instances: Mapping[str, Instance], selection: Selection, start: Position | None, limit: int
    ) -> list[tuple[Position, Instance]]:
        """The first instances of the selection after ``start``, in order."""
        if self._sorted is None:
            positions = (self._position(one) for one in instances.values())
            self._sorted = sorted(position for position in positions if position is not None)
        first = 0 if start is None else bisect_right(self._sorted, start)
        found: list[tuple[Position, Instance]] = []
        for position in islice(self._sorted, first, None):
            instance = instances[position.instance_id]
            if selection.admits(instance):
                found.append((position, instance))
                if len(found) >= limit:
                    break
        return found
