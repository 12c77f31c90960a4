"""The two containers of an instance or entity that grow, copied in constant time.

A transition works on a draft of an instance; the draft becomes the instance or is thrown away. Copying a history of
100,000 events for each episode would make the cost quadratic, so drafts share storage with what they were made of:

* ``EventLog`` is a view of an append-only list: the list, and the range that belongs to the view. A draft appends
  behind the range of its origin. What a refused draft has appended lies outside every view that is in use, and the
  next draft overwrites it.
* ``OpenTasks`` keeps the changes of a draft apart from the dictionary it shares, until ``settle`` merges them.

Two drafts of one origin must not be used at the same time: the second overwrites what the first has appended. A hub
runs one command at a time and a command makes at most one draft per instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from durabletask.core.history import HistoryEvent, HistorySlice

from .tasks import Activity, Child, DelayedMessage, DurableTimer

__all__ = ["EventLog", "OpenTask", "OpenTasks"]

OpenTask = Activity | DurableTimer | Child | DelayedMessage

_COMPACT_AT = 64  # events that were dropped from the front, before the rest moves to a new list


class EventLog:
    """Events, numbered from ``first`` to ``end`` (exclusive) since the log began.

    Events are appended at the end and dropped from the front; a number never means another event.
    """

    __slots__ = ("_base", "_events", "_start", "_stop")

    def __init__(self, events: Iterable[HistoryEvent] = (), first: int = 0) -> None:
        self._events = list(events)
        self._base = first
        self._start = 0
        self._stop = len(self._events)

    @property
    def first(self) -> int:
        """The number of the first event."""
        return self._base + self._start

    @property
    def end(self) -> int:
        """The number that the next event gets."""
        return self._base + self._stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __iter__(self) -> Iterator[HistoryEvent]:
        return iter(self._events[self._start : self._stop])

    def __reversed__(self) -> Iterator[HistoryEvent]:
        events = self._events
        return (events[place] for place in range(self._stop - 1, self._start - 1, -1))

    @property
    def head(self) -> HistoryEvent | None:
        """The first event."""
        return self._events[self._start] if self._stop > self._start else None

    @property
    def last(self) -> HistoryEvent | None:
        """The latest event."""
        return self._events[self._stop - 1] if self._stop > self._start else None

    def fork(self) -> EventLog:
        """A log of the same events that shares storage with this one; only one of the two may grow."""
        fork = EventLog.__new__(EventLog)
        # Four assignments rather than a constructor with a copy: this runs twice for each draft.
        fork._events, fork._base = self._events, self._base  # noqa: SLF001 - its own class
        fork._start, fork._stop = self._start, self._stop  # noqa: SLF001
        return fork

    def append(self, event: HistoryEvent) -> None:
        """Add an event at the end."""
        events, stop = self._events, self._stop
        if len(events) != stop:  # left by a draft that was refused
            del events[stop:]
        events.append(event)
        self._stop = stop + 1

    def extend(self, more: Iterable[HistoryEvent]) -> None:
        """Add events at the end."""
        events = self._events
        if len(events) != self._stop:
            del events[self._stop :]
        events.extend(more)
        self._stop = len(events)

    def drop(self, count: int) -> None:
        """Drop events from the front."""
        self._start += count
        if self._start >= _COMPACT_AT and 2 * self._start >= self._stop:
            self._events = self._events[self._start : self._stop]
            self._base += self._start
            self._start, self._stop = 0, len(self._events)

    def since(self, number: int) -> list[HistoryEvent]:
        """The events from a number on."""
        return self._events[max(number - self._base, self._start) : self._stop]

    def beyond(self, origin: EventLog) -> tuple[int, list[HistoryEvent]]:
        """What this log has that its origin lacks: the number of the first event, and the events."""
        end = max(origin._base + origin._stop, self._base + self._start)
        return end, self._events[end - self._base : self._stop]

    def dropped_since(self, origin: EventLog) -> range:
        """The numbers of the events of its origin that this log has dropped."""
        first = origin._base + origin._start
        return range(first, min(self._base + self._start, origin._base + origin._stop))

    def slice(self) -> HistorySlice:
        """The events as they are now, for a reader that may keep them. Of a log that drops none."""
        return HistorySlice(self._events, self._stop)

    def continues(self, other: EventLog) -> bool:
        """Whether this log has grown from the other, rather than being written anew."""
        return self._events is other._events


class OpenTasks:
    """What an execution waits for, by the id of the action that asked for it; delayed messages by number."""

    __slots__ = ("_base", "_changes")

    def __init__(self, tasks: dict[int, OpenTask] | None = None) -> None:
        self._base: dict[int, OpenTask] = {} if tasks is None else tasks
        self._changes: dict[int, OpenTask | None] = {}

    def get(self, task_id: int) -> OpenTask | None:
        """The task of an id, if it is open."""
        if task_id in self._changes:
            return self._changes[task_id]
        return self._base.get(task_id)

    def add(self, task_id: int, task: OpenTask) -> None:
        """Open a task."""
        self._changes[task_id] = task

    def discard(self, task_id: int) -> None:
        """A task has been answered."""
        self._changes[task_id] = None

    def values(self) -> list[OpenTask]:
        """All open tasks, without their ids."""
        return [task for _, task in self.items()]

    def items(self) -> list[tuple[int, OpenTask]]:
        """All open tasks."""
        if not self._changes:
            return list(self._base.items())
        merged = {**self._base, **self._changes}
        return [(task_id, task) for task_id, task in merged.items() if task is not None]

    def changes(self) -> Iterable[tuple[int, OpenTask | None]]:
        """What a draft has opened or, as ``None``, discarded."""
        return self._changes.items()

    def __bool__(self) -> bool:
        changes, base = self._changes, self._base
        if any(task is not None for task in changes.values()):
            return True
        return len(base) > sum(task_id in base for task_id in changes)

    def fork(self) -> OpenTasks:
        """Tasks that share storage with these; these must not change any more, and must be settled."""
        return OpenTasks(self._base)

    def settle(self) -> None:
        """Merge the changes into the storage that is shared."""
        if not self._changes:
            return
        for task_id, task in self._changes.items():
            if task is None:
                self._base.pop(task_id, None)
            else:
                self._base[task_id] = task
        self._changes = {}
