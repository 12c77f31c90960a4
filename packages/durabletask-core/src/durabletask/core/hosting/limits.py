"""How many work items a worker runs at once, and the lanes that enforce it."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, TypeVar

from durabletask.core.arguments import as_count

__all__ = ["ConcurrencyOptions", "Lane"]

_ItemT = TypeVar("_ItemT")


def _per_core() -> int:
    return 100 * (os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class ConcurrencyOptions:
    """How many work items of each kind a worker holds at once; 0 means no limit. Both hub and worker enforce it.

    Attributes:
        max_orchestrations: orchestration episodes; by default 100 per core.
        max_activities: activities, running or waiting for a thread; by default 100 per core.
        max_entities: batches of entity operations; by default 100 per core.
        max_threads: threads for activities that are plain functions; at least 1.

    Raises:
        ValueError: a number is out of its range; the message names it.
        TypeError: a value is no whole number; the message names it.
    """

    max_orchestrations: int | None = None
    max_activities: int | None = None
    max_entities: int | None = None
    max_threads: int = 32

    def __post_init__(self) -> None:
        for name in ("max_orchestrations", "max_activities", "max_entities"):
            value: int | None = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, _per_core())
            else:
                as_count(value, name)
        as_count(self.max_threads, "max_threads", least=1)


class Lane(Generic[_ItemT]):
    """Work items of one kind: at most ``limit`` run at once, each in a task; the others wait in order.

    With a hub that keeps to the announced limit, no item ever waits here.
    """

    def __init__(self, limit: int, handle: Callable[[_ItemT], Coroutine[object, object, None]]) -> None:
        self.limit: int = limit
        self.running: set[asyncio.Task[None]] = set()
        self.waiting: deque[_ItemT] = deque()
        self._handle = handle

    def submit(self, item: _ItemT) -> None:
        """Run the item now, or as soon as the limit allows."""
        if self.limit and len(self.running) >= self.limit:
            self.waiting.append(item)
        else:
            self._start(item)

    def _start(self, item: _ItemT) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(item))
        self.running.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        if self.waiting:
            self._start(self.waiting.popleft())
