"""What a hub asks of a store, and the form in which changes travel: encoded, so that a bad value is found early."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import msgspec
from durabletask.core.errors import StorageError
from durabletask.core.history import HistoryEvent
from durabletask.testing.hub.entity_state import Entity
from durabletask.testing.hub.order import Position
from durabletask.testing.hub.queries import Selection
from durabletask.testing.hub.request_ids import RequestId
from durabletask.testing.hub.state import Instance
from durabletask.testing.hub.tasks import Activity

__all__ = ["Changes", "Commit", "EntityChange", "Found", "HubStore", "InstanceChange", "Loaded"]

T = TypeVar("T")


class InstanceChange(msgspec.Struct, eq=False):
    """What has changed in one instance.

    Attributes:
        key: number of the instance.
        instance_id: its id.
        is_new: the store does not have it.
        row: encoded columns, if anything else than history and inbox has changed.
        drops_history: the old history goes first.
        runs: new events of the history, each run with the number of its first event.
        dropped: numbers of inbox events that go; one that is not stored yet counts as well.
        inbox: new events of the inbox by number.
    """

    key: int
    instance_id: str
    is_new: bool = False
    row: tuple[object, ...] | None = None
    drops_history: bool = False
    runs: list[tuple[int, bytes]] = []
    dropped: range = range(0)
    inbox: dict[int, bytes] = {}

    def then(self, later: InstanceChange) -> InstanceChange:
        """This change and a later one as one."""
        waiting = {number: data for number, data in self.inbox.items() if number < later.dropped.start}
        waiting |= {number: data for number, data in self.inbox.items() if number >= later.dropped.stop}
        is_stored = any(number not in self.inbox for number in later.dropped)
        return InstanceChange(
            key=self.key,
            instance_id=self.instance_id,
            is_new=self.is_new,
            row=later.row or self.row,
            drops_history=self.drops_history or later.drops_history,
            runs=later.runs if later.drops_history else self.runs + later.runs,
            dropped=later.dropped if is_stored else self.dropped,
            inbox=waiting | later.inbox,
        )


class EntityChange(msgspec.Struct, eq=False):
    """What has changed in one entity.

    Attributes:
        key: number of the entity.
        entity_id: its id.
        row: encoded columns, if anything else than the messages has changed.
        dropped: ranges of numbers of messages that go; some may not be stored yet.
        messages: new messages by number.
    """

    key: int
    entity_id: str
    row: tuple[object, ...] | None = None
    dropped: list[range] = []
    messages: dict[int, bytes] = {}

    def absorb(self, later: EntityChange) -> None:
        """Add a later change, in place: many signals of one entity may share a commit."""
        self.row = later.row or self.row
        for numbers in later.dropped:
            if len(numbers) < len(self.messages):
                for number in numbers:
                    self.messages.pop(number, None)
            else:
                self.messages = {
                    number: one for number, one in self.messages.items() if number not in numbers
                }
            if self.dropped and self.dropped[-1].stop == numbers.start:
                self.dropped[-1] = range(self.dropped[-1].start, numbers.stop)
            else:
                self.dropped.append(numbers)
        self.messages.update(later.messages)


class Commit(msgspec.Struct, eq=False):
    """The changes of one command.

    Attributes:
        instances: instances that are new or have changed.
        removed: numbers of instances and entities that go.
        detached: activities whose execution has ended, encoded, with their numbers.
        attended: numbers of those that have answered.
        clears_hub: everything that is stored for the hub goes first.
        entities: entities that are new or have changed.
        request_ids: signals of clients to remember.
        forgets: signals with a lower number go.
    """

    instances: list[InstanceChange]
    removed: list[int]
    detached: list[tuple[int, bytes]]
    attended: list[int]
    clears_hub: bool = False
    entities: list[EntityChange] = []
    request_ids: list[RequestId] = []
    forgets: int | None = None

    def ids(self) -> dict[int, str]:
        """Ids of the instances and entities that are changed, by number."""
        changed = {change.key: change.instance_id for change in self.instances}
        if self.entities:
            changed.update((change.key, change.entity_id) for change in self.entities)
        return changed


class Changes:
    """Commits of one hub as one: an event that came and went in between is never written."""

    __slots__ = (
        "attended",
        "clears_hub",
        "detached",
        "entities",
        "forgets",
        "instances",
        "removed",
        "request_ids",
    )

    def __init__(self, commits: Iterable[Commit]) -> None:
        self.instances: dict[int, InstanceChange] = {}
        self.removed: list[int] = []
        self.detached: list[tuple[int, bytes]] = []
        self.attended: list[int] = []
        self.clears_hub: bool = False
        self.entities: dict[int, EntityChange] = {}
        self.request_ids: list[RequestId] = []
        self.forgets: int | None = None
        for commit in commits:
            self._add(commit)

    def _add(self, commit: Commit) -> None:
        if commit.clears_hub:
            self.clears_hub = True
            self.instances.clear()
            self.removed.clear()
            self.detached.clear()
            self.entities.clear()
            self.request_ids.clear()
        for key in commit.removed:
            self.entities.pop(key, None)
            known = self.instances.pop(key, None)
            if known is None or not known.is_new:
                self.removed.append(key)
        for change in commit.instances:
            known = self.instances.get(change.key)
            self.instances[change.key] = change if known is None else known.then(change)
        for changed in commit.entities:
            whole = self.entities.get(changed.key)
            if whole is None:
                whole = self.entities[changed.key] = EntityChange(changed.key, changed.entity_id)
            whole.absorb(changed)
        self.request_ids += commit.request_ids
        self.forgets = commit.forgets or self.forgets
        self.detached += commit.detached
        self.attended += commit.attended


class Loaded(msgspec.Struct, eq=False):
    """What a hub needs at its start. Errors by id: what cannot be read.

    Attributes:
        instances: the live ones.
        entities: those that are not idle, and those of open critical sections.
        detached: activities whose execution has ended, with their numbers.
        request_ids: signals of clients, in the order of arrival.
    """

    instances: list[Instance]
    entities: list[Entity]
    detached: dict[Activity, int]
    request_ids: list[RequestId]
    unreadable: dict[str, StorageError]


class Found(msgspec.Struct, eq=False):
    """Finished instances and idle entities by id, and errors for those that cannot be read."""

    instances: dict[str, Instance]
    entities: dict[str, Entity]
    unreadable: dict[str, StorageError]


class HubStore(ABC):
    """The part of a store that belongs to one task hub. Futures are resolved on other threads."""

    keys: Iterator[int]

    @abstractmethod
    def load(self) -> Future[Loaded]:
        """Read the live instances, and the entities that must be in memory."""

    @abstractmethod
    def commit(self, commits: Sequence[Commit]) -> Future[list[Exception | None]]:
        """Write commits together; if that fails, one by one. The outcome of each is ``None`` or its error.

        The future fails when nothing could be written at all.
        """

    @abstractmethod
    def find(self, instance_ids: Iterable[str], *, with_history: bool) -> Future[Found]:
        """Read finished instances and idle entities by id."""

    @abstractmethod
    def children(self, instance_ids: Iterable[str]) -> Future[list[str]]:
        """Ids of the children of instances."""

    @abstractmethod
    def select(
        self, selection: Selection[T], start: Position | None, limit: int
    ) -> Future[tuple[list[tuple[Position, T]], bool]]:
        """Read finished instances, or entities, in the order of the selection, and whether there may be more.

        Those that cannot be read are left out. Large rows make the answer shorter than ``limit``.
        """

    @abstractmethod
    def history(self, key: int) -> Future[list[HistoryEvent]]:
        """Read a history."""

    @abstractmethod
    def close(self) -> Future[None]:
        """Let go; the last hub closes the store."""
