"""What a hub asks of a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future

import msgspec
from durabletask.core.history import HistoryEvent
from durabletask.testing.hub.paging import Position
from durabletask.testing.hub.queries import Selection
from durabletask.testing.hub.state import Activity, Instance

__all__ = ["Changes", "HubStore", "InstanceChange", "Loaded", "Store"]


class InstanceChange(msgspec.Struct, eq=False):
    """What has changed in one instance since it was last written.

    Attributes:
        key: number of the instance.
        row: encoded columns, if anything else than history and inbox has changed.
        drops_history: the old history goes first.
        first_event: number of the first of ``events`` in the history.
        events: new events of the history.
        drops_inbox_before: stored inbox events with a lower number go; ``None``: none.
        first_inbox: number of the first of ``inbox``.
        inbox: new events of the inbox.
    """

    key: int
    row: tuple[object, ...] | None
    drops_history: bool
    first_event: int
    events: Sequence[HistoryEvent]
    drops_inbox_before: int | None
    first_inbox: int
    inbox: Sequence[HistoryEvent]


class Changes(msgspec.Struct, eq=False):
    """One commit of one hub."""

    instances: list[InstanceChange]
    removed: list[int]
    detached: list[Activity]
    attended: list[int]
    clears_hub: bool = False


class Loaded(msgspec.Struct, eq=False):
    """What a hub needs at its start: live instances, and activities nobody waits for."""

    instances: list[Instance]
    detached: list[Activity]


class HubStore(ABC):
    """The part of a store that belongs to one task hub. Futures are resolved on other threads."""

    keys: Iterator[int]

    @abstractmethod
    def load(self) -> Future[Loaded]:
        """Read the live instances."""

    @abstractmethod
    def commit(self, changes: Changes) -> Future[None]:
        """Write changes, all or none. A failure is a ``StorageError``."""

    @abstractmethod
    def find(self, instance_ids: Iterable[str], *, with_history: bool) -> Future[dict[str, Instance]]:
        """Read finished instances by id."""

    @abstractmethod
    def select(
        self, selection: Selection, start: Position | None, limit: int
    ) -> Future[list[tuple[Position, Instance]]]:
        """Read finished instances in the order of the selection."""

    @abstractmethod
    def history(self, key: int) -> Future[list[HistoryEvent]]:
        """Read a history."""

    @abstractmethod
    def close(self) -> Future[None]:
        """Let go; the last hub closes the store."""


class Store(ABC):
    """A place for the state of any number of task hubs."""

    @abstractmethod
    def open_hub(self, task_hub: str) -> Future[HubStore]:
        """Take part in the store, opening it if need be.

        Raises:
            OwnershipError: another process has it (through the future).
            StorageError: it cannot be opened (through the future).
        """
