"""Instances and events as bytes (msgpack) and rows, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import msgspec
from durabletask.core.errors import StorageError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EntityOperationCalled,
    EntityOperationSignaled,
    HistoryEvent,
    ParentInstance,
    TraceContext,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestrationTraceContext
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.entity_state import FIRST_DELAYED, Entity, Lock
from durabletask.testing.hub.events import EventLog
from durabletask.testing.hub.order import microseconds
from durabletask.testing.hub.state import ExecutionStart, Instance, Summary
from durabletask.testing.hub.tasks import Activity, DelayedMessage

from .base import Commit, EntityChange, InstanceChange

__all__ = [
    "decode_activity",
    "decode_event",
    "decode_events",
    "encode_commit",
    "entity_of",
    "instance_of",
    "moment",
    "parent_of",
    "place_message",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class _Body(msgspec.Struct, array_like=True):
    """The columns that are not searched by. New members go to the end, with a default."""

    name: str
    execution_id: str
    updated_at: datetime
    version: str | None
    scheduled_start_at: datetime | None
    input: str | None
    output: str | None
    custom_status: str | None
    failure: FailureDetails | None
    parent: ParentInstance | None
    tags: Mapping[str, str]
    trace_context: TraceContext | None
    span: OrchestrationTraceContext | None
    child_ids: list[str] = []  # of an earlier layout, which had no column for the parent


class _EntityBody(msgspec.Struct, array_like=True):
    """The columns of an entity that are not searched by. New members go to the end, with a default."""

    state: str | None
    lock: Lock | None


_encode = msgspec.msgpack.Encoder().encode
_entity_bodies = msgspec.msgpack.Decoder(_EntityBody)
_bodies = msgspec.msgpack.Decoder(_Body)
_events = msgspec.msgpack.Decoder(list[HistoryEvent])
_event = msgspec.msgpack.Decoder(HistoryEvent)
_activities = msgspec.msgpack.Decoder(Activity)


def decode_events(data: bytes) -> list[HistoryEvent]:
    """Read a run of events."""
    return _events.decode(data)


def decode_event(data: bytes) -> HistoryEvent:
    """Read one event."""
    event: HistoryEvent = _event.decode(data)
    return event


def decode_activity(data: bytes) -> Activity:
    """Read a detached activity."""
    return _activities.decode(data)


def encode_commit(tx: Transition) -> Commit | None:
    """What a command has changed; ``None`` if nothing.

    Raises:
        StorageError: a value cannot be encoded.
    """
    instances = tx.state.instances
    changes: list[InstanceChange] = []
    removed = [instance.key for instance, _ in tx.removed] if not tx.clears_hub else []
    entities: list[EntityChange] = []
    instance_id = ""
    try:
        for instance_id, draft in tx.drafts.items():
            if draft is not None:
                change = _change(instances.get(instance_id), draft)
                if change is not None:
                    changes.append(change)
        for instance_id, entity in tx.entities.items():
            old = tx.state.entities.get(instance_id)
            if old is not None and (entity is None or entity.key != old.key) and not tx.clears_hub:
                removed.append(old.key)
            changed = None if entity is None else _entity_change(old, entity)
            if changed is not None:
                entities.append(changed)
        detached = [(key, _encode(activity)) for activity, key in tx.detached.items()]
    except (UnicodeError, TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise StorageError(
            f"A change of {instance_id!r} cannot be stored: {error}. Nothing of it was done."
        ) from error
    attended = [tx.state.detached[activity] for activity in tx.attended]
    if not (changes or removed or detached or attended or tx.clears_hub or entities or tx.request_ids):
        return None
    return Commit(changes, removed, detached, attended, tx.clears_hub, entities, tx.request_ids, tx.forgets)


def _entity_change(old: Entity | None, new: Entity) -> EntityChange | None:
    if old is not None and old.key != new.key:
        old = None  # removed; what it had is written anew
    change = EntityChange(new.key, new.entity_id)
    if old is None or (old.state, old.lock, old.modified_at) != (new.state, new.lock, new.modified_at):
        change.row = _entity_row(new)
    _compare(change, None if old is None else old.urgent, new.urgent)
    _compare(change, None if old is None else old.queue, new.queue)
    for number, task in new.delayed.items() if old is None else new.delayed.changes():
        if isinstance(task, DelayedMessage):
            change.messages[number] = _encode(task.message)
        else:
            change.dropped.append(range(number, number + 1))
    return change if change.row or change.messages or change.dropped else None


def _compare(change: EntityChange, old: EventLog | None, new: EventLog) -> None:
    first, events = (new.first, new.since(new.first)) if old is None else new.beyond(old)
    for number, event in enumerate(events, first):
        change.messages[number] = _encode(event)
    dropped = None if old is None else new.dropped_since(old)
    if dropped:
        change.dropped.append(dropped)


def _entity_row(entity: Entity) -> tuple[object, ...]:
    body = _EntityBody(entity.state, entity.lock)
    flags = entity.state is not None, entity.lock is not None
    return entity.key, entity.entity_id, microseconds(entity.modified_at), *flags, _encode(body)


def entity_of(row: tuple[int, str, int, bytes]) -> Entity:
    """Read a row of the table of entities; the messages are left out.

    Raises:
        ValueError: it cannot be read.
    """
    key, entity_id, modified, body = row
    read = _entity_bodies.decode(body)
    return Entity(
        key=key, entity_id=entity_id, modified_at=moment(modified), state=read.state, lock=read.lock
    )


def place_message(entity: Entity, number: int, data: bytes) -> None:
    """Put a stored message, the next by number, where it belongs.

    Raises:
        ValueError: it cannot be read.
    """
    event = decode_event(data)
    if number < 0:
        if not len(entity.urgent):
            entity.urgent = EventLog(first=number)
        entity.urgent.append(event)
    elif number < FIRST_DELAYED:
        if not len(entity.queue):
            entity.queue = EventLog(first=number)
        entity.queue.append(event)
    elif (
        isinstance(event, (EntityOperationCalled, EntityOperationSignaled))
        and event.scheduled_time is not None
    ):
        entity.delayed.add(number, DelayedMessage(entity.entity_id, number, event.scheduled_time, event))
        entity.delayed.settle()
    else:
        raise ValueError(f"a {type(event).__name__} cannot be delayed")


def _change(old: Instance | None, new: Instance) -> InstanceChange | None:
    if old is not None and old.key != new.key:
        old = None  # replaced; the old one is among those that were removed
    history, inbox = new.history, new.inbox
    change = InstanceChange(new.key, new.execution.instance_id)
    if old is None:
        change.is_new, change.row = True, _row(new)
        first, events = 0, history.since(0)
        number, arrived = inbox.first, inbox.since(inbox.first)
    else:
        if new.summary is not old.summary or new.execution is not old.execution:
            change.row = _row(new)
        change.drops_history = not history.continues(old.history)
        first, events = (0, history.since(0)) if change.drops_history else history.beyond(old.history)
        number, arrived = inbox.beyond(old.inbox)
        change.dropped = inbox.dropped_since(old.inbox)
    if events:
        change.runs = [(first, _encode(events))]
    for event in arrived:
        change.inbox[number] = _encode(event)
        number += 1
    has_changed = events or arrived or change.dropped or change.row or change.drops_history
    return change if has_changed else None


def _row(instance: Instance) -> tuple[object, ...]:
    execution, summary = instance.execution, instance.summary
    completed = summary.completed_at
    body = _Body(
        execution.name,
        execution.execution_id,
        instance.updated_at,
        execution.version,
        execution.scheduled_start_at,
        execution.input,
        summary.output,
        summary.custom_status,
        summary.failure,
        execution.parent,
        execution.tags,
        execution.trace_context,
        summary.span,
    )
    return (
        instance.key,
        execution.instance_id,
        summary.status.value,
        microseconds(instance.created_at),
        None if completed is None else microseconds(completed),
        _encode(body),
        instance.parent_id,
    )


def instance_of(row: tuple[int, str, int, int, int | None, bytes]) -> Instance:
    """Read a row of the table of instances; history and inbox are left empty.

    Raises:
        ValueError: it cannot be read.
    """
    key, instance_id, status, created, completed, body = row
    read = _bodies.decode(body)
    return Instance(
        key=key,
        created_at=moment(created),
        updated_at=read.updated_at,
        execution=ExecutionStart(
            instance_id=instance_id,
            execution_id=read.execution_id,
            name=read.name,
            version=read.version,
            input=read.input,
            parent=read.parent,
            tags=read.tags,
            trace_context=read.trace_context,
            scheduled_start_at=read.scheduled_start_at,
        ),
        summary=Summary(
            status=OrchestrationStatus(status),
            completed_at=None if completed is None else moment(completed),
            output=read.output,
            failure=read.failure,
            custom_status=read.custom_status,
            span=read.span,
        ),
        history=EventLog(),
        inbox=EventLog(),
    )


def parent_of(body: bytes) -> str | None:
    """The id of the parent, out of an encoded body."""
    parent = _bodies.decode(body).parent
    return None if parent is None else parent.instance_id


def moment(microseconds_since_epoch: int) -> datetime:
    """A stored time."""
    return _EPOCH + timedelta(microseconds=microseconds_since_epoch)
