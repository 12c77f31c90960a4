"""The state of a task hub: instances, with their open tasks and inboxes, entities, and activities without an owner.

``Instance`` is made of three kinds of parts. ``execution`` and ``summary`` are frozen and replaced as a whole, so a
change is seen by identity. Logs and open tasks share storage with the draft's origin (see ``events``). The rest are
plain flags.

Only ``HubState.put``, ``drop`` and ``clear`` change what the hub remembers, and only ``Engine`` calls them. A
transition reads the state and changes drafts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import count

import msgspec
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    ExecutionResumed,
    ExecutionRewound,
    ExecutionSuspended,
    ExecutionTerminated,
    ParentInstance,
    TraceContext,
)
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.work_items import OrchestrationTraceContext

from .entity_state import Entity, entity_position
from .events import EventLog, OpenTasks
from .order import OrderedIndex, Position, microseconds
from .request_ids import RequestIds
from .sections import Sections, open_sections
from .tasks import Activity, DelayedMessage, DurableTimer

__all__ = ["ExecutionStart", "HubState", "Instance", "Summary", "restore_flags", "snapshot"]


class ExecutionStart(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What the present execution of an instance was started with."""

    instance_id: str
    execution_id: str
    name: str
    version: str | None = None
    input: str | None = None
    parent: ParentInstance | None = None
    tags: Mapping[str, str] = {}
    trace_context: TraceContext | None = None
    scheduled_start_at: datetime | None = None


class Summary(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """How far an instance has come, as clients see it. ``span`` is that of the whole orchestration."""

    status: OrchestrationStatus = OrchestrationStatus.PENDING
    completed_at: datetime | None = None
    output: str | None = None
    failure: FailureDetails | None = None
    custom_status: str | None = None
    span: OrchestrationTraceContext | None = None


class Instance(msgspec.Struct, eq=False, kw_only=True):
    """One orchestration instance.

    Attributes:
        key: number of the instance in the hub; a new instance of an old id has another.
        history: events of the present execution. Empty for a finished instance that is in memory without it.
        inbox: events that have arrived and are not yet part of the history.
        open: what the execution waits for.
        sections: ids of critical sections, with the entities that are not unlocked yet. Replaced as a whole.
        regains: sections that a rewound history is in, whose locks were released when it ended and are not back yet.
        is_held: its scheduled start has not come.
        wants_episode: runs an episode although its inbox is empty (after a rewind).
        is_suspended: the last suspend or resume request that was accepted was a suspend.
        is_paused: the last one that an episode has consumed was.
        terminates_children: a recursive terminate request was accepted.
    """

    key: int
    created_at: datetime
    updated_at: datetime
    execution: ExecutionStart
    summary: Summary = msgspec.field(default_factory=Summary)
    history: EventLog = msgspec.field(default_factory=EventLog)
    inbox: EventLog = msgspec.field(default_factory=EventLog)
    open: OpenTasks = msgspec.field(default_factory=OpenTasks)
    sections: Sections = {}
    regains: frozenset[str] = frozenset()
    is_held: bool = False
    wants_episode: bool = False
    is_suspended: bool = False
    is_paused: bool = False
    terminates_children: bool = False

    @property
    def instance_id(self) -> str:
        """The id that clients know."""
        return self.execution.instance_id

    @property
    def execution_id(self) -> str:
        """The id of the present execution."""
        return self.execution.execution_id

    @property
    def status(self) -> OrchestrationStatus:
        """The runtime status."""
        return self.summary.status

    @property
    def is_terminal(self) -> bool:
        """Whether the instance has ended."""
        return self.summary.completed_at is not None

    @property
    def is_runnable(self) -> bool:
        """Whether an episode can be delivered, unless one is in flight."""
        return (len(self.inbox) > 0 or self.wants_episode) and not self.is_held and not self.regains

    @property
    def parent_id(self) -> str | None:
        """The id of the instance that started this one as its child."""
        parent = self.execution.parent
        return None if parent is None else parent.instance_id

    def draft(self) -> Instance:
        """A copy to change, in constant time; see ``events``."""
        draft: Instance = self.__copy__()  # type: ignore[attr-defined]  # half the time of copy.copy
        draft.history, draft.inbox, draft.open = self.history.fork(), self.inbox.fork(), self.open.fork()
        return draft

    def summarize(self, **changes: object) -> None:
        """Replace parts of the summary."""
        self.summary = msgspec.structs.replace(self.summary, **changes)


class HubState:
    """Everything in one task hub.

    Attributes:
        new_id: makes execution ids and instance ids.
        keys: numbers for whatever is new and has a row of its own, unique in the storage.
        instances: by id. With a storage of its own, finished instances may be missing.
        entities: by id. With a storage of its own, idle entities may be missing, but none of an open critical section.
        request_ids: of the signals that clients have sent lately.
        detached: activities whose execution has ended before they answered, with their numbers.
        by_creation: order of all instances.
        by_completion: order of the finished ones.
        by_entity_id: order of all entities.
    """

    def __init__(self, new_id: Callable[[], str], keys: Iterator[int] | None = None) -> None:
        self.new_id: Callable[[], str] = new_id
        self.keys: Iterator[int] = keys or count(1)
        self.instances: dict[str, Instance] = {}
        self.detached: dict[Activity, int] = {}
        self.by_creation: OrderedIndex = OrderedIndex()
        self.by_completion: OrderedIndex = OrderedIndex()
        self.entities: dict[str, Entity] = {}
        self.by_entity_id: OrderedIndex = OrderedIndex()
        self.request_ids: RequestIds = RequestIds()
        self._in_sections: Counter[str] = Counter()
        self._children: dict[str, dict[str, None]] = {}

    def take_key(self) -> int:
        """A number for a new instance or entity, a detached activity, a delayed message or a request id."""
        return next(self.keys)

    def children_of(self, instance_id: str) -> list[str]:
        """Ids of the children that an instance has started in all of its executions."""
        return list(self._children.get(instance_id, ()))

    def put(self, instance: Instance) -> None:
        """Remember a new instance, or a draft in the place of its origin."""
        instance.open.settle()
        instance_id = instance.execution.instance_id
        old = self.instances.get(instance_id)
        self.instances[instance_id] = instance
        if instance.sections or (old is not None and old.sections):
            self._count_sections(old, instance)
        if old is not None and old.summary is instance.summary and old.key == instance.key:
            return  # in the same place of every order
        if old is None or old.key != instance.key:
            if old is not None:
                self._unlink(old)
            self.by_creation.add(creation_position(instance))
            parent_id = instance.parent_id
            if parent_id is not None:
                self._children.setdefault(parent_id, {})[instance_id] = None
            old = None
        before = None if old is None else old.summary.completed_at
        if instance.summary.completed_at != before:
            if old is not None and before is not None:
                self.by_completion.discard(completion_position(old))
            if instance.summary.completed_at is not None:
                self.by_completion.add(completion_position(instance))

    def drop(self, instance: Instance) -> None:
        """Forget an instance."""
        old = self.instances.pop(instance.instance_id, None)
        if old is not None:
            self._count_sections(old, None)
            self._unlink(instance)

    def is_awaited(self, timer: DurableTimer | DelayedMessage) -> bool:
        """Whether an instance or an entity waits for a timer."""
        if isinstance(timer, DelayedMessage):
            entity = self.entities.get(timer.entity_id)
            return entity is not None and entity.delayed.get(timer.number) is timer
        instance = self.instances.get(timer.instance_id)
        return instance is not None and instance.open.get(timer.timer_id) is timer

    def put_entity(self, entity: Entity) -> None:
        """Remember a new entity, or a draft in the place of its origin."""
        entity.delayed.settle()
        if entity.entity_id not in self.entities:
            self.by_entity_id.add(entity_position(entity.entity_id))
        self.entities[entity.entity_id] = entity

    def drop_entity(self, entity_id: str) -> None:
        """Forget an entity."""
        if self.entities.pop(entity_id, None) is not None:
            self.by_entity_id.discard(entity_position(entity_id))

    def evict(self, instance_id: str) -> None:
        """Forget an instance or an entity of an id, until it is read again."""
        instance = self.instances.get(instance_id)
        if instance is None:
            self.drop_entity(instance_id)
        else:
            self.drop(instance)

    def is_in_section(self, entity_id: str) -> bool:
        """Whether a critical section has locked an entity or may come to lock it."""
        return entity_id in self._in_sections

    def _count_sections(self, old: Instance | None, new: Instance | None) -> None:
        for targets in () if new is None else new.sections.values():
            self._in_sections.update(targets)
        for targets in () if old is None else old.sections.values():
            for target in targets:
                self._in_sections[target] -= 1
                if not self._in_sections[target]:
                    del self._in_sections[target]

    def _unlink(self, instance: Instance) -> None:
        self.by_creation.discard(creation_position(instance))
        if instance.summary.completed_at is not None:
            self.by_completion.discard(completion_position(instance))
        parent_id = instance.parent_id
        siblings = None if parent_id is None else self._children.get(parent_id)
        if parent_id is not None and siblings is not None:
            siblings.pop(instance.instance_id, None)
            if not siblings:
                del self._children[parent_id]

    def clear(self) -> None:
        """Forget everything but the numbers that are taken."""
        self.instances.clear()
        self.detached.clear()
        self.by_creation.clear()
        self.by_completion.clear()
        self.entities.clear()
        self.by_entity_id.clear()
        self.request_ids.clear()
        self._in_sections.clear()
        self._children.clear()


def creation_position(instance: Instance) -> Position:
    """Where an instance stands in the order of creation."""
    return Position(microseconds(instance.created_at), instance.instance_id)


def completion_position(instance: Instance) -> Position:
    """Where a finished instance stands in the order of completion."""
    moment = instance.summary.completed_at or instance.created_at
    return Position(microseconds(moment), instance.instance_id)


def restore_flags(instance: Instance, now: datetime) -> None:
    """Derive from history and inbox what a storage does not hold by itself."""
    last = instance.history.last
    if last is not None:
        instance.updated_at = max(instance.updated_at, last.timestamp)
        instance.wants_episode = isinstance(last, ExecutionRewound)
    instance.sections = open_sections(instance.history)
    terminated = False
    for event in instance.history:
        kind = type(event)
        if kind is ExecutionSuspended or kind is ExecutionResumed:
            instance.is_paused = kind is ExecutionSuspended
    instance.is_suspended = instance.is_paused
    for event in [*instance.history, *instance.inbox]:
        if isinstance(event, ExecutionTerminated):
            terminated = True
            instance.terminates_children |= event.recurse
    for event in instance.inbox:
        kind = type(event)
        if kind is ExecutionSuspended or kind is ExecutionResumed:
            instance.is_suspended = kind is ExecutionSuspended
    start = instance.execution.scheduled_start_at
    instance.is_held = start is not None and start > now and not len(instance.history) and not terminated


def snapshot(instance: Instance, *, include_payloads: bool) -> OrchestrationState:
    """The state of an instance as clients see it; the gate hides all payloads but failure details."""
    execution, summary = instance.execution, instance.summary
    return OrchestrationState(
        instance_id=execution.instance_id,
        name=execution.name,
        runtime_status=summary.status,
        created_at=instance.created_at,
        last_updated_at=instance.updated_at,
        completed_at=summary.completed_at,
        scheduled_start_at=execution.scheduled_start_at,
        version=execution.version,
        execution_id=execution.execution_id,
        parent_instance_id=instance.parent_id,
        tags=execution.tags,
        serialized_input=execution.input if include_payloads else None,
        serialized_output=summary.output if include_payloads else None,
        serialized_custom_status=summary.custom_status if include_payloads else None,
        failure_details=summary.failure,
    )
