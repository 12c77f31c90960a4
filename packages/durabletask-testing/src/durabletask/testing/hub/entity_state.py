"""The state of one entity: its value, its messages, its lock (protocol section 11.5).

A message stays in its queue until it is answered: a batch is a copy of the head, and its completion drops what has
been run. So what a worker loses is still there, and a lock request that has reached the head of an entity can never
overtake a batch in flight.

There are two queues. While an entity is locked, the messages of the holder go to ``urgent`` and only those are served;
everything else waits in ``queue``. ``urgent`` is always served first, so the messages that a former holder has left
there keep their place. Three ranges of numbers keep both, and the delayed messages, apart in one table of a storage.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from durabletask.core.entities import EntityMetadata
from durabletask.core.history import EntityLockRequested, HistoryEvent

from .events import EventLog, OpenTasks
from .order import Position

__all__ = ["FIRST_DELAYED", "FIRST_URGENT", "Entity", "Lock", "entity_position", "metadata_of"]

FIRST_URGENT: Final = -(1 << 62)
FIRST_DELAYED: Final = 1 << 62


class Lock(msgspec.Struct, frozen=True, eq=False):
    """Who has locked an entity: an orchestration instance, for one of its critical sections."""

    holder: str
    section_id: str


def _urgent() -> EventLog:
    return EventLog(first=FIRST_URGENT)


class Entity(msgspec.Struct, eq=False, kw_only=True):
    """One entity.

    Attributes:
        key: number of the entity in the hub; an entity that was purged or removed comes back with another.
        entity_id: ``@name@key``.
        modified_at: when it came into being or its last batch was committed.
        state: serialized; ``None``: it has none.
        lock: who holds it.
        urgent: messages of the holder.
        queue: operations and lock requests in the order of arrival.
        delayed: operations whose time has not come, by number.
    """

    key: int
    entity_id: str
    modified_at: datetime
    state: str | None = None
    lock: Lock | None = None
    urgent: EventLog = msgspec.field(default_factory=_urgent)
    queue: EventLog = msgspec.field(default_factory=EventLog)
    delayed: OpenTasks = msgspec.field(default_factory=OpenTasks)

    @property
    def is_runnable(self) -> bool:
        """Whether a batch can be delivered, unless one is in flight."""
        if self.urgent.head is not None:
            return True
        return self.lock is None and self.queue.head is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to happen: no message waits, and there is no lock."""
        return not (self.lock or len(self.urgent) or len(self.queue) or self.delayed)

    @property
    def is_void(self) -> bool:
        """Whether there is nothing to remember."""
        return self.state is None and self.is_idle

    def accept(self, message: HistoryEvent, sender: str | None) -> None:
        """Queue a message of an orchestration instance, or of anything else that can hold no lock."""
        is_holder = self.lock is not None and self.lock.holder == sender
        (self.urgent if is_holder else self.queue).append(message)

    def withdraw(self, section_id: str) -> bool:
        """Take the lock request of a critical section out of the queue; whether it was there."""
        queue = self.queue
        rest = [
            one
            for one in queue
            if type(one) is not EntityLockRequested or one.critical_section_id != section_id
        ]
        if len(rest) == len(queue):
            return False
        self.queue = EventLog(rest, queue.end)
        return True

    def draft(self) -> Entity:
        """A copy to change, in constant time; see ``events``."""
        draft: Entity = self.__copy__()  # type: ignore[attr-defined]  # half the time of copy.copy
        draft.urgent, draft.queue, draft.delayed = self.urgent.fork(), self.queue.fork(), self.delayed.fork()
        return draft


def entity_position(entity_id: str) -> Position:
    """Where an entity stands in the order of ids."""
    return Position(0, entity_id)


def metadata_of(entity: Entity, *, include_state: bool) -> EntityMetadata:
    """The entity as clients see it."""
    return EntityMetadata(
        instance_id=entity.entity_id,
        last_modified_at=entity.modified_at,
        backlog_queue_size=len(entity.urgent) + len(entity.queue),
        locked_by=None if entity.lock is None else entity.lock.holder,
        serialized_state=entity.state if include_state else None,
    )
