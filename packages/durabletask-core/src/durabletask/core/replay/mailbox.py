"""The mailbox: external events that were not read yet, and waits that no event has ended yet.

An event goes to the oldest wait of its name that is still live. A wait whose result can no longer reach user code
(the loser of a ``task_any``) is *parked* instead: it leaves the queue, the event goes to the next wait or stays
unread, and awaiting the parked wait again puts it back. Names are compared without regard to case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from durabletask.core.history import EPOCH, EventRaised
from durabletask.core.open_tasks import OpenTask

from .observed import Observable

__all__ = ["Mailbox", "MailboxWait", "OpenEntry"]


class OpenEntry(Observable, Protocol):
    """A task that is open, as far as the tables know it."""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""

    @property
    def whole(self) -> OpenEntry:
        """The task that this one is a part of, or itself; the timer of a retry is part of the call."""

    def open_task(self) -> OpenTask | None:
        """What it waits for; ``None`` when its answer would reach no code."""


class MailboxWait(OpenEntry, Protocol):
    """A wait for an event."""

    @property
    def event_name(self) -> str:
        """Name of the event."""

    def claim(self) -> bool:
        """Whether it takes an event now; a wait that is not live parks itself and does not."""

    def deliver(self, payload: str | None) -> None:
        """End with an event."""


class Mailbox:
    """See the module. Both unread events and waits are kept in order of arrival."""

    __slots__ = ("_arrivals", "_unread", "_waits")

    def __init__(self) -> None:
        self._unread: dict[str, deque[tuple[int, EventRaised]]] = {}
        self._waits: dict[str, deque[MailboxWait]] = {}
        self._arrivals = 0

    def enter(self, wait: MailboxWait) -> bool:
        """End a wait with an unread event, or queue it; whether it was ended."""
        name = wait.event_name.casefold()
        unread = self._unread.get(name)
        if unread:
            _, event = unread.popleft()
            if not unread:
                del self._unread[name]
            wait.deliver(event.input)
            return True
        queue = self._waits.get(name)
        if queue is None:
            queue = self._waits[name] = deque()
        while queue and not queue[0].claim():
            queue.popleft()
        queue.append(wait)
        return False

    def arrive(self, event: EventRaised) -> None:
        """Give an event to the oldest live wait of its name, or keep it."""
        queue = self._waits.get(event.name.casefold())
        while queue:
            wait = queue.popleft()
            if wait.claim():
                wait.deliver(event.input)
                return
        self.keep(event)

    def keep(self, event: EventRaised) -> None:
        """Keep an event unread."""
        self._arrivals += 1
        self._unread.setdefault(event.name.casefold(), deque()).append((self._arrivals, event))

    def unread(self) -> list[EventRaised]:
        """Every unread event in order of arrival, as it is carried over to the next execution."""
        found = sorted((item for queue in self._unread.values() for item in queue), key=lambda item: item[0])
        return [EventRaised(-1, EPOCH, event.name, event.input) for _, event in found]

    def open_waits(self) -> Iterator[MailboxWait]:
        """Every wait that is still in a queue."""
        return (wait for queue in self._waits.values() for wait in queue if wait.is_open)
