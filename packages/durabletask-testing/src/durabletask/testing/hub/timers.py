"""Everything that is due at a time, in one heap.

An entry may stay for years, so it holds little: a ``DurableTimer`` names its instance, a ``DelayedMessage`` its entity
and the message, and an ``Alarm`` lets go of its action when it is cancelled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime

from .tasks import DelayedMessage, DurableTimer

__all__ = ["Alarm", "Timer", "TimerQueue"]

Timer = DurableTimer | DelayedMessage


class Alarm:
    """A function to call when it is due, unless it is cancelled before."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Let go of the function."""
        self.action = None

    def ring(self) -> None:
        """Call the function."""
        if self.action is not None:
            self.action()


class TimerQueue:
    """A heap of timers and alarms.

    A timer is live as long as its instance or entity waits for it. What is not live is skipped at the top, and swept out when
    the heap has doubled, so that the cost per entry stays constant.
    """

    def __init__(self, is_awaited: Callable[[Timer], bool]) -> None:
        self._is_awaited = is_awaited
        self._heap: list[tuple[datetime, int, Timer | Alarm]] = []
        self._count = 0
        self._sweep_at = 64

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: datetime, entry: Timer | Alarm) -> None:
        """Have an entry at ``due``."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, entry))
        if len(self._heap) >= self._sweep_at:
            self._heap = [one for one in self._heap if self.is_live(one[2])]
            heapq.heapify(self._heap)
            self._sweep_at = max(64, 2 * len(self._heap))

    def is_live(self, entry: Timer | Alarm) -> bool:
        """Whether something is to happen when the entry is due."""
        return entry.action is not None if type(entry) is Alarm else self._is_awaited(entry)  # type: ignore[arg-type]

    def next_due(self) -> datetime | None:
        """The earliest time at which something is due."""
        heap = self._heap
        while heap:
            due, _, entry = heap[0]
            if self.is_live(entry):
                return due
            heapq.heappop(heap)
        return None

    def take_due(self, now: datetime) -> list[Timer | Alarm]:
        """Remove and return what is due, earliest first."""
        heap, due = self._heap, []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap)[2])
        return due

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._sweep_at = 64
