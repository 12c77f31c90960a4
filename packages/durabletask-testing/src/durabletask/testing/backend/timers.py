"""Everything that is due at a time, in one heap."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime

__all__ = ["Timer", "TimerQueue"]


class Timer:
    """One entry: when, and what to call. ``is_live`` lets its owner cancel without touching the heap."""

    __slots__ = ("action", "due", "is_live")

    def __init__(self, due: datetime, action: Callable[[], None], is_live: Callable[[], bool] | None) -> None:
        self.due: datetime = due
        self.action: Callable[[], None] = action
        self.is_live: Callable[[], bool] | None = is_live


class TimerQueue:
    """A heap of timers. Cancelled ones are skipped at the top and swept out when they are the majority."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Timer]] = []
        self._count = 0
        self._sweep_at = 64

    def __len__(self) -> int:
        return len(self._heap)

    def add(
        self, due: datetime, action: Callable[[], None], is_live: Callable[[], bool] | None = None
    ) -> None:
        """Call ``action`` at ``due`` unless ``is_live`` then says no."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, Timer(due, action, is_live)))
        if len(self._heap) >= self._sweep_at:
            self._sweep()

    def next_due(self) -> datetime | None:
        """The earliest time at which something is due."""
        heap = self._heap
        while heap:
            due, _, timer = heap[0]
            if timer.is_live is None or timer.is_live():
                return due
            heapq.heappop(heap)
        return None

    def take_due(self, now: datetime) -> list[Timer]:
        """Remove and return what is due, earliest first."""
        heap, due = self._heap, []
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            if timer.is_live is None or timer.is_live():
                due.append(timer)
        return due

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._sweep_at = 64

    def _sweep(self) -> None:
        # The next sweep comes when the heap has doubled, so that the cost per entry stays constant.
        self._heap = [entry for entry in self._heap if entry[2].is_live is None or entry[2].is_live()]
        heapq.heapify(self._heap)
        self._sweep_at = max(64, 2 * len(self._heap))
