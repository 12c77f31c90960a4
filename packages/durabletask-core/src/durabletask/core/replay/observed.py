"""How far user code has looked at its tasks; tasks that were never awaited are reported at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["LOOKED_AT", "UNSEEN", "WAITED_FOR", "Observable", "Unobserved"]

UNSEEN: Final = 0
LOOKED_AT: Final = 1  # its state was read
WAITED_FOR: Final = 2


class Observable(Protocol):
    """A task, as far as it matters here."""

    observed: int


T = TypeVar("T", bound=Observable)


class Unobserved(Generic[T]):
    """Tasks that may have to be reported: they were unseen when they were added.

    Tasks that have been looked at since are dropped whenever the number doubles, so that each addition costs
    constant time however many tasks there are.
    """

    __slots__ = ("_limit", "_smallest", "_tasks")

    def __init__(self, smallest: int) -> None:
        self._smallest = self._limit = smallest
        self._tasks: list[T] = []

    def add(self, task: T) -> None:
        """Keep a task that is unseen."""
        if len(self._tasks) >= self._limit:
            self._tasks = [kept for kept in self._tasks if kept.observed == UNSEEN]
            self._limit = max(self._smallest, 2 * len(self._tasks))
        self._tasks.append(task)

    def __iter__(self) -> Iterator[T]:
        return iter(self._tasks)
