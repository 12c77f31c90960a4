"""The mailbox: external events that were not read yet, and waits that no event has ended yet.

An event goes to the oldest wait of its name that is still live. A wait whose result can no longer reach user code
(the loser of a ``task_any``) is *parked* instead: it leaves the queue, the event goes to the next wait or stays
unread, and awaiting the parked wait again puts it back. Names are compared without regard to case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, Protocol

from durabletask.core.history import EPOCH, EventRaised
from durabletask.core.open_tasks import OpenTask

from .observed import Observable

__all__ = ["Mailbox", "MailboxWait", "OpenEntry"]


_FEWEST_TAKEN: Final = 64  # events that are kept without a look at whether they were read


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

    @property
    def is_read(self) -> bool:
        """Whether code has learned of the event that ended it."""

    def claim(self) -> bool:
        """Whether it takes an event now; a wait that is not live parks itself and does not."""

    def deliver(self, payload: str | None) -> None:
        """End with an event."""


class Mailbox:
    """See the module. Both unread events and waits are kept in order of arrival.

    Events that ended a wait are kept, too, until code has read them: ``continue_as_new`` carries them over.
    """

    __slots__ = ("_arrivals", "_taken", "_taken_limit", "_unread", "_waits")

    def __init__(self) -> None:
        self._unread: dict[str, deque[tuple[int, EventRaised]]] = {}
        self._waits: dict[str, deque[MailboxWait]] = {}
        self._taken: list[tuple[int, EventRaised, MailboxWait]] = []
        self._taken_limit = _FEWEST_TAKEN
        self._arrivals = 0

    def enter(self, wait: MailboxWait) -> bool:
        """End a wait with an unread event, or queue it; whether it was ended."""
        name = wait.event_name.casefold()
        unread = self._unread.get(name)
        if unread:
            number, event = unread.popleft()
            if not unread:
                del self._unread[name]
            self._give(wait, number, event)
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
                self._arrivals += 1
                self._give(wait, self._arrivals, event)
                return
        self.keep(event)

    def keep(self, event: EventRaised) -> None:
        """Keep an event unread."""
        self._arrivals += 1
        self._unread.setdefault(event.name.casefold(), deque()).append((self._arrivals, event))

    def _give(self, wait: MailboxWait, number: int, event: EventRaised) -> None:
        if len(self._taken) >= self._taken_limit:  # at each doubling, so that an event costs constant time
            self._taken = [item for item in self._taken if not item[2].is_read]
            self._taken_limit = max(_FEWEST_TAKEN, 2 * len(self._taken))
        self._taken.append((number, event, wait))
        wait.deliver(event.input)

    def unread(self) -> list[EventRaised]:
        """Every event that no wait has taken, in order of arrival."""
        return _in_order(item for queue in self._unread.values() for item in queue)

    def carried_over(self) -> list[EventRaised]:
        """The events for the next execution: those that no code has read, also if a wait has taken them."""
        taken = ((number, event) for number, event, wait in self._taken if not wait.is_read)
        return _in_order(chain((item for queue in self._unread.values() for item in queue), taken))

    def open_waits(self) -> Iterator[MailboxWait]:
        """Every wait that is still in a queue."""
        return (wait for queue in self._waits.values() for wait in queue if wait.is_open)


def _in_order(found: Iterable[tuple[int, EventRaised]]) -> list[EventRaised]:
    ordered = sorted(found, key=lambda item: item[0])
    return [EventRaised(-1, EPOCH, event.name, event.input) for _, event in ordered]
