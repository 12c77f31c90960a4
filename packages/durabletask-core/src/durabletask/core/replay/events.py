"""External events: who waits, what waits to be read (protocol section 8.6, decisions rows 5 and 6)."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from types import CodeType
from typing import TYPE_CHECKING

from durabletask.core.history import EPOCH, EventRaised

from .tasks import FAILURE, PENDING, RAW_RESULT, EngineTask, Waiter
from .timers import Timer

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["EventWait", "Mailbox"]


class EventWait(EngineTask[object], Waiter):
    """A wait for one event. It is *parked* when an event came by while nobody waited for it any more."""

    __slots__ = ("_data_type", "_is_parked", "_name", "_timer")

    sink: Ledger

    def __init__(
        self, ledger: Ledger, name: str, data_type: object, code: CodeType | None, lasti: int
    ) -> None:
        super().__init__(ledger, code, lasti)
        self._name = name
        self._data_type = data_type
        self._is_parked = False
        self._timer: Timer | None = None

    def limit_to(self, fire_at: datetime) -> None:
        """Give up at that time."""
        self._timer = Timer(self.sink, fire_at, self.code, self.lasti)
        self._timer.subscribe(self)

    def deliver(self, payload: str | None) -> None:
        """End with an event."""
        self._stop_timer()
        self.settle(RAW_RESULT, payload)

    def wake(self, task: EngineTask[object]) -> None:
        """The time is over."""
        self._timer = None
        if self.state == PENDING:
            self.settle(FAILURE, TimeoutError(f"No event named {self._name!r} arrived in time."))

    def park(self) -> None:
        """Leave the queue; being awaited again brings it back."""
        self._is_parked = True

    def subscribe(self, waiter: Waiter) -> None:
        super().subscribe(waiter)
        if self._is_parked:
            self._is_parked = False
            self.sink.mailbox.enter(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.unsubscribe(self)
            self._timer.cancel()
            self._timer = None

    def withdraw(self) -> None:
        self._stop_timer()

    def decode(self, raw: object) -> object:
        return self.sink.decode(raw, self._data_type, f"Data of the event {self._name!r}")

    def describe(self) -> str:
        return f"wait for the event {self._name!r}"


class Mailbox:
    """Events that nobody has read, and waits that no event has ended; both in order of arrival."""

    __slots__ = ("_arrivals", "_unread", "_waits")

    def __init__(self) -> None:
        self._unread: dict[str, deque[tuple[int, EventRaised]]] = {}
        self._waits: dict[str, deque[EventWait]] = {}
        self._arrivals = 0

    def enter(self, wait: EventWait) -> bool:
        """Serve a wait from the unread events or queue it; whether it was served."""
        name = wait._name.casefold()
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
        while queue and not _wants_event(queue[0]):
            queue.popleft()
        queue.append(wait)
        return False

    def arrive(self, event: EventRaised) -> None:
        """Give an event to the oldest live wait of its name, or keep it."""
        queue = self._waits.get(event.name.casefold())
        while queue:
            wait = queue.popleft()
            if _wants_event(wait):
                wait.deliver(event.input)
                return
        self.keep(event)

    def keep(self, event: EventRaised) -> None:
        """Keep an event unread."""
        self._arrivals += 1
        self._unread.setdefault(event.name.casefold(), deque()).append((self._arrivals, event))

    def unread(self) -> list[EventRaised]:
        """Every unread event in order of arrival, as it is carried over to the next generation."""
        found = sorted((item for queue in self._unread.values() for item in queue), key=lambda item: item[0])
        return [EventRaised(-1, EPOCH, event.name, event.input) for _, event in found]

    def open_waits(self) -> list[EventWait]:
        """Every wait that is still in a queue."""
        return [wait for queue in self._waits.values() for wait in queue if wait.state == PENDING]


def _wants_event(wait: EventWait) -> bool:
    if wait.state != PENDING:
        return False
    if not wait.is_live:
        wait.park()
        return False
    return True
