"""Where an orchestration stands: what it waits for, and the lines of user code that ask for it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from .calls import ActivityCall, Call, ChildCall
from .events import EventWait
from .locations import locate
from .locks import EntityCall, LockRequest
from .tasks import PENDING, WAITED_FOR, EngineTask
from .timers import Timer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durabletask.core.history import EventRaised

    from .session import OrchestrationSession

__all__ = ["OpenTask", "OpenTaskKind", "open_tasks", "unread_events"]

OpenTaskKind: TypeAlias = Literal["activity", "sub-orchestration", "timer", "event", "entity", "lock"]
"""What an open task waits for."""


_WORDS: Final[dict[str, str]] = {
    "timer": "timer until {0.name}",
    "sub-orchestration": "sub-orchestration {0.name!r} with the id {0.target!r}",
    "entity": "operation {0.name!r} of entity {0.target!r}",
    "lock": "lock of {0.name}",
}


class OpenTask(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an orchestration has asked for and not got yet.

    Attributes:
        kind: what it is.
        name: name of the activity, child, event or operation; the fire time of a timer; the locked entities.
        location: ``file:line`` of the user code that asked for it.
        task_id: id of the action, where there is one.
        due: when it ends by itself: fire time of a timer, of the time-out of an event or of the next attempt.
        attempts: failed attempts so far, under a retry policy.
        target: instance id of the child or entity.
        is_awaited: whether user code waits for it, directly or through a group.
    """

    kind: OpenTaskKind
    name: str
    location: str
    task_id: int | None = None
    due: datetime | None = None
    attempts: int = 0
    target: str | None = None
    is_awaited: bool = False

    def __str__(self) -> str:
        """One line for people."""
        parts = [_WORDS.get(self.kind, "{0.kind} {0.name!r}").format(self)]
        if self.attempts:
            parts.append(f"after {self.attempts} failed attempt{'s' if self.attempts > 1 else ''}")
        if self.due is not None and self.kind != "timer":
            parts.append(f"{'until' if self.kind == 'event' else 'due again at'} {self.due.isoformat()}")
        return f"{' '.join(parts)}, asked for at {self.location}"


_KINDS: Final[tuple[tuple[type[EngineTask[object]], OpenTaskKind], ...]] = (
    (ActivityCall, "activity"),
    (ChildCall, "sub-orchestration"),
    (EventWait, "event"),
    (EntityCall, "entity"),
    (LockRequest, "lock"),
)


def open_tasks(session: OrchestrationSession) -> list[OpenTask]:
    """Everything that a replayed session still waits for, in the order in which it was asked for."""
    ledger = session._ledger
    if ledger.status is not None:
        return []
    found: dict[int, EngineTask[object]] = {}
    tables: tuple[Iterable[EngineTask[object]], ...] = (
        ledger.activities.values(),
        ledger.children.values(),
        ledger.entity_calls.values(),
        ledger.lock_requests.values(),
        ledger.mailbox.open_waits(),
    )
    for table in tables:
        found.update((id(task), task) for task in table if task.state == PENDING)
    shown = [_describe(task) for task in found.values()]
    for timer in ledger.timers.values():
        owner = timer.waiter
        if timer.state != PENDING or isinstance(owner, EventWait):
            continue
        shown.append(_describe(owner if isinstance(owner, Call) else timer))  # a call: its next attempt
    return sorted(shown, key=lambda task: (task.task_id is None, task.task_id or 0))


def _timer_of(task: EngineTask[object]) -> Timer | None:
    if isinstance(task, EventWait):
        return task._timer
    if isinstance(task, Call) and task._retries is not None:
        return task._retries.timer
    return None


def _describe(task: EngineTask[object]) -> OpenTask:
    location = locate(task.code, task.lasti)
    is_awaited = task.observed == WAITED_FOR
    action = getattr(task, "action", None)
    timer = _timer_of(task)
    if isinstance(task, Timer):
        fire_at = task._fire_at
        return OpenTask(
            kind="timer",
            name=fire_at.isoformat(),
            location=location,
            task_id=task.action.id,
            due=fire_at,
            is_awaited=is_awaited,
        )
    kind = next(word for cls, word in _KINDS if isinstance(task, cls))
    retries = task._retries if isinstance(task, Call) else None
    return OpenTask(
        kind=kind,
        name=_name(task),
        location=location,
        task_id=getattr(action, "id", None),
        due=timer._fire_at if timer is not None else None,
        attempts=retries.attempts if retries is not None else 0,
        target=_target(task),
        is_awaited=is_awaited,
    )


def _name(task: EngineTask[object]) -> str:
    if isinstance(task, EventWait):
        return task._name
    if isinstance(task, EntityCall):
        return task.action.operation
    if isinstance(task, LockRequest):
        return ", ".join(task.action.lock_set)
    assert isinstance(task, Call)  # noqa: S101 - for the type checker
    return task.action.name


def _target(task: EngineTask[object]) -> str | None:
    if isinstance(task, EntityCall):
        return task.action.target_instance_id
    if isinstance(task, ChildCall):
        return str(getattr(task.action, "instance_id", ""))
    return None


def unread_events(session: OrchestrationSession) -> list[EventRaised]:
    """The external events that a replayed session has received and that no wait has taken."""
    return session._ledger.mailbox.unread()
