"""Open tasks: what an orchestration has asked for and not been given yet."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, TypeAlias, Union

import msgspec

from .history import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    HistoryEvent,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)

__all__ = ["OpenTask", "OpenTaskKind", "OpeningEvent", "open_tasks"]

OpenTaskKind: TypeAlias = Literal["activity", "sub-orchestration", "timer", "event", "entity", "lock"]
"""What an open task waits for."""

_WORDS: Final[dict[str, str]] = {
    "timer": "timer until {0.name}",
    "sub-orchestration": "sub-orchestration {0.name!r} with the id {0.target!r}",
    "entity": "operation {0.name!r} of entity {0.target!r}",
    "lock": "lock of {0.name}",
}


class OpenTask(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an orchestration has asked for and not been given yet.

    Attributes:
        kind: what it is.
        name: name of the activity, child, event or operation; the fire time of a timer; the locked entities.
        location: ``file:line`` of the user code that asked for it.
        task_id: id of the action, where there is one.
        due: when it ends by itself: fire time of a timer, of the time-out of an event or of the next attempt.
        attempts: failed attempts so far, under a retry policy.
        target: instance id of the child or entity.
        lock_set: ids of the entities of a lock, in the order in which they are locked.
        since: when the hub recorded a call or a lock of entities; only a diagnosis sets it.
        is_awaited: whether user code waits for it, directly or through a group.
    """

    kind: OpenTaskKind
    name: str
    location: str
    task_id: int | None = None
    due: datetime | None = None
    attempts: int = 0
    target: str | None = None
    lock_set: tuple[str, ...] = ()
    since: datetime | None = None
    is_awaited: bool = False

    def __str__(self) -> str:
        """One line for people."""
        parts = [_WORDS.get(self.kind, "{0.kind} {0.name!r}").format(self)]
        if self.attempts:
            parts.append(f"after {self.attempts} failed attempt{'s' if self.attempts > 1 else ''}")
        if self.due is not None and self.kind != "timer":
            parts.append(f"{'until' if self.kind == 'event' else 'due again at'} {self.due.isoformat()}")
        if self.since is not None:
            parts.append(f"since {self.since.isoformat()}")
        return f"{' '.join(parts)}, asked for at {self.location}"


OpeningEvent: TypeAlias = Union[
    TaskScheduled,
    TimerCreated,
    SubOrchestrationInstanceCreated,
    EntityOperationCalled,
    EntityLockRequested,
]
"""An event that confirms a task of which the hub owes an answer."""


def open_tasks(history: Iterable[HistoryEvent]) -> list[OpeningEvent]:
    """The tasks that a history opens and does not answer, as the events that opened them, in their order.

    External events that are waited for are not in a history; only a replay of the code finds them.
    """
    found: dict[tuple[str, int | str], OpeningEvent] = {}
    for event in history:
        match event:
            case TaskScheduled():
                found["activity", event.event_id] = event
            case TimerCreated():
                found["timer", event.event_id] = event
            case SubOrchestrationInstanceCreated():
                found["child", event.event_id] = event
            case EntityOperationCalled():
                found["entity", event.request_id] = event
            case EntityLockRequested():
                found["lock", event.critical_section_id] = event
            case TaskCompleted() | TaskFailed():
                found.pop(("activity", event.task_scheduled_id), None)
            case TimerFired():
                found.pop(("timer", event.timer_id), None)
            case SubOrchestrationInstanceCompleted() | SubOrchestrationInstanceFailed():
                found.pop(("child", event.task_scheduled_id), None)
            case EntityOperationCompleted() | EntityOperationFailed():
                found.pop(("entity", event.request_id), None)
            case EntityLockGranted():
                found.pop(("lock", event.critical_section_id), None)
            case _:
                pass
    return list(found.values())
