"""What a task hub knows: instances, their open tasks, their inboxes. Plain data, changed by transitions only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import count

import msgspec
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    HistoryEvent,
    ParentInstance,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    TraceContext,
)
from durabletask.core.instances import TERMINAL_STATUSES, OrchestrationState, OrchestrationStatus
from durabletask.core.work_items import OrchestrationTraceContext

__all__ = [
    "Activity",
    "DurableTimer",
    "Episode",
    "HubState",
    "Instance",
    "OpenTasks",
    "open_tasks",
    "snapshot",
]


class Activity(msgspec.Struct, eq=False, kw_only=True):
    """An activity that was scheduled and has not answered. ``token`` is set while a worker has it.

    ``detached_key`` is not zero once nobody waits for the answer any more: its execution has ended.
    """

    instance_id: str
    execution_id: str
    task_id: int
    name: str
    version: str | None = None
    input: str | None = None
    tags: Mapping[str, str] | None = None
    trace_context: TraceContext | None = None
    token: str | None = None
    deliveries: int = 0
    abandons: int = 0
    is_cancelled: bool = False
    detached_key: int = 0


class DurableTimer(msgspec.Struct, eq=False):
    """A timer of an orchestration, tied to one execution. ``fire_at`` is when it becomes an event."""

    instance_id: str
    execution_id: str
    timer_id: int
    fire_at: datetime
    is_cancelled: bool = False


class Episode(msgspec.Struct, eq=False):
    """An episode that a worker has: its token, what it was given, how much of that is the inbox."""

    token: str
    new_events: list[HistoryEvent]
    consumed: int


class Stored(msgspec.Struct, eq=False):
    """How much of an instance is in the store: events of the history, and a range of the inbox."""

    events: int = 0
    inbox_from: int = 0
    inbox_to: int = 0
    row: bool = False


class Instance(msgspec.Struct, eq=False, kw_only=True):
    """One orchestration instance.

    Attributes:
        history: events of the present execution. The list only grows; a new execution gets a new list.
        inbox: events that have arrived and are not yet part of the history.
        is_queued: waits for a worker (or for the end of a back-off) and must not be queued twice.
        is_held: its scheduled start has not come.
        wants_episode: runs an episode although its inbox is empty (after a rewind).
        is_suspended: the last suspend or resume request that was accepted was a suspend.
        is_paused: the last one that an episode has consumed was.
        terminates_children: a recursive terminate request was accepted.
        child_ids: ids of the children of the present execution, finished ones too.
        inbox_base: how many events have left the inbox since the instance was created.
        stored: what the store has of it.
        is_rewritten: the history was replaced since it was stored.
        changed_row: something else than history and inbox has changed since it was stored.
    """

    key: int
    instance_id: str
    execution_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    version: str | None = None
    status: OrchestrationStatus = OrchestrationStatus.PENDING
    completed_at: datetime | None = None
    scheduled_start_at: datetime | None = None
    input: str | None = None
    output: str | None = None
    custom_status: str | None = None
    failure: FailureDetails | None = None
    parent: ParentInstance | None = None
    tags: Mapping[str, str] = {}
    trace_context: TraceContext | None = None
    span: OrchestrationTraceContext | None = None
    history: list[HistoryEvent] = []
    inbox: list[HistoryEvent] = []
    activities: dict[int, Activity] = {}
    timers: dict[int, DurableTimer] = {}
    children: dict[int, str] = {}
    episode: Episode | None = None
    abandons: int = 0
    is_queued: bool = False
    is_held: bool = False
    wants_episode: bool = False
    is_suspended: bool = False
    is_paused: bool = False
    terminates_children: bool = False
    child_ids: list[str] = []
    inbox_base: int = 0
    stored: Stored = msgspec.field(default_factory=Stored)
    is_rewritten: bool = False
    changed_row: bool = True

    @property
    def is_terminal(self) -> bool:
        """Whether the instance has ended."""
        return self.status in TERMINAL_STATUSES

    @property
    def is_runnable(self) -> bool:
        """Whether an episode can be handed out now."""
        return self.episode is None and not self.is_held and (bool(self.inbox) or self.wants_episode)

    def replace_inbox(self, events: list[HistoryEvent]) -> None:
        """Put other events in the place of those that wait."""
        self.inbox_base += len(self.inbox)
        self.inbox = events


class HubState:
    """Everything in one task hub.

    ``new_id`` makes execution ids and instance ids, ``keys`` the numbers under which a store keeps things.
    """

    def __init__(self, new_id: Callable[[], str], keys: Iterator[int] | None = None) -> None:
        self.new_id: Callable[[], str] = new_id
        self.keys: Iterator[int] = keys or count(1)
        self.instances: dict[str, Instance] = {}

    def take_key(self) -> int:
        """A number for a new instance, unique in the store."""
        return next(self.keys)


class OpenTasks(msgspec.Struct):
    """What an execution still waits for, by id."""

    activities: dict[int, TaskScheduled]
    timers: dict[int, TimerCreated]
    children: dict[int, SubOrchestrationInstanceCreated]


def open_tasks(history: Iterable[HistoryEvent]) -> OpenTasks:
    """Read from a history which tasks were started and not answered."""
    found = OpenTasks({}, {}, {})
    for event in history:
        match event:
            case TaskScheduled():
                found.activities[event.event_id] = event
            case TimerCreated():
                found.timers[event.event_id] = event
            case SubOrchestrationInstanceCreated():
                found.children[event.event_id] = event
            case TaskCompleted() | TaskFailed():
                found.activities.pop(event.task_scheduled_id, None)
            case TimerFired():
                found.timers.pop(event.timer_id, None)
            case SubOrchestrationInstanceCompleted() | SubOrchestrationInstanceFailed():
                found.children.pop(event.task_scheduled_id, None)
            case _:
                pass
    return found


def snapshot(instance: Instance, *, include_payloads: bool) -> OrchestrationState:
    """The state of an instance as clients see it; the gate hides all payloads but failure details."""
    return OrchestrationState(
        instance_id=instance.instance_id,
        name=instance.name,
        runtime_status=instance.status,
        created_at=instance.created_at,
        last_updated_at=instance.updated_at,
        completed_at=instance.completed_at,
        scheduled_start_at=instance.scheduled_start_at,
        version=instance.version,
        execution_id=instance.execution_id,
        parent_instance_id=instance.parent.instance_id if instance.parent is not None else None,
        tags=instance.tags,
        serialized_input=instance.input if include_payloads else None,
        serialized_output=instance.output if include_payloads else None,
        serialized_custom_status=instance.custom_status if include_payloads else None,
        failure_details=instance.failure,
    )
