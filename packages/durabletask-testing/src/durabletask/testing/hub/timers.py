"""Everything that is due at a time, in one heap."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime

from .state import DurableTimer

__all__ = ["Call", "TimerQueue"]


class Call:
    """A function to call when it is due, unless ``is_live`` then says no."""

    __slots__ = ("_is_live", "action")

    def __init__(self, action: Callable[[], None], is_live: Callable[[], bool] | None) -> None:
        self.action: Callable[[], None] = action
        self._is_live = is_live

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._is_live is not None and not self._is_live()


class TimerQueue:
    """A heap of timers and calls.

    Cancelled ones are skipped at the top, and swept out when the heap has doubled, so that the cost per entry
    stays constant.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, DurableTimer | Call]] = []
        self._count = 0
        self._sweep_at = 64

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: datetime, entry: DurableTimer | Call) -> None:
        """Have an entry at ``due``."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, entry))
        if len(self._heap) >= self._sweep_at:
            self._heap = [one for one in self._heap if not one[2].is_cancelled]
            heapq.heapify(self._heap)
            self._sweep_at = max(64, 2 * len(self._heap))

    def next_due(self) -> datetime | None:
        """The earliest time at which something is due."""
        heap = self._heap
        while heap:
            due, _, entry = heap[0]
            if not entry.is_cancelled:
                return due
            heapq.heappop(heap)
        return None

    def take_due(self, now: datetime) -> list[DurableTimer | Call]:
        """Remove and return what is due, earliest first."""
        heap, due = self._heap, []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap)[2])
        return due

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._sweep_at = 64
