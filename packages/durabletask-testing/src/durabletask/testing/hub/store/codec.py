"""Instances and events as bytes (msgpack) and rows, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

import msgspec
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    ExecutionResumed,
    ExecutionRewound,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    ParentInstance,
    TraceContext,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestrationTraceContext
from durabletask.testing.hub.paging import microseconds
from durabletask.testing.hub.state import Activity, Instance

from .base import InstanceChange

__all__ = [
    "decode_activity",
    "decode_event",
    "decode_events",
    "encode",
    "instance_of",
    "mark_stored",
    "restore_flags",
    "take_change",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class _Body(msgspec.Struct, array_like=True):
    """The columns nobody searches by. New members go to the end, with a default."""

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
    child_ids: list[str]


_encoder = msgspec.msgpack.Encoder()
_bodies = msgspec.msgpack.Decoder(_Body)
_events = msgspec.msgpack.Decoder(list[HistoryEvent])
_event = msgspec.msgpack.Decoder(HistoryEvent)
_activities = msgspec.msgpack.Decoder(Activity)


def encode(value: HistoryEvent | Sequence[HistoryEvent] | Activity) -> bytes:
    """The stored form of events and activities."""
    return _encoder.encode(value)


def decode_events(data: bytes) -> list[HistoryEvent]:
    """Read a run of events."""
    return _events.decode(data)


def decode_event(data: bytes) -> HistoryEvent:
    """Read one event."""
    event: HistoryEvent = _event.decode(data)
    return event


def decode_activity(data: bytes, key: int) -> Activity:
    """Read an activity that nobody waits for."""
    activity = _activities.decode(data)
    activity.token, activity.detached_key, activity.is_cancelled = None, key, False
    return activity


def _row(instance: Instance) -> tuple[object, ...]:
    completed = instance.completed_at
    body = _Body(
        instance.name,
        instance.execution_id,
        instance.updated_at,
        instance.version,
        instance.scheduled_start_at,
        instance.input,
        instance.output,
        instance.custom_status,
        instance.failure,
        instance.parent,
        instance.tags,
        instance.trace_context,
        instance.span,
        instance.child_ids if completed is not None else [],
    )
    return (
        instance.key,
        instance.instance_id,
        instance.status.value,
        microseconds(instance.created_at),
        None if completed is None else microseconds(completed),
        _encoder.encode(body),
    )


def instance_of(row: tuple[int, str, int, int, int | None, bytes]) -> Instance:
    """Read a row of the table of instances; history and inbox are left empty."""
    key, instance_id, status, created, completed, body = row
    read = _bodies.decode(body)
    instance = Instance(
        key=key,
        instance_id=instance_id,
        execution_id=read.execution_id,
        name=read.name,
        created_at=_moment(created),
        updated_at=read.updated_at,
        version=read.version,
        status=OrchestrationStatus(status),
        completed_at=None if completed is None else _moment(completed),
        scheduled_start_at=read.scheduled_start_at,
        input=read.input,
        output=read.output,
        custom_status=read.custom_status,
        failure=read.failure,
        parent=read.parent,
        tags=read.tags,
        trace_context=read.trace_context,
        span=read.span,
        child_ids=read.child_ids,
        changed_row=False,
    )
    instance.stored.row = True
    return instance


def _moment(microseconds_since_epoch: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds_since_epoch)


def mark_stored(instance: Instance, *, inbox_base: int) -> None:
    """Note that history and inbox are as the store has them."""
    stored = instance.stored
    stored.events = len(instance.history)
    instance.inbox_base = stored.inbox_from = inbox_base
    stored.inbox_to = inbox_base + len(instance.inbox)


def restore_flags(instance: Instance, now: datetime) -> None:
    """Work out of history and inbox what is not stored by itself."""
    if instance.history:
        instance.updated_at = max(instance.updated_at, instance.history[-1].timestamp)
        instance.wants_episode = isinstance(instance.history[-1], ExecutionRewound)
    for event in instance.history:
        if isinstance(event, (ExecutionSuspended, ExecutionResumed)):
            instance.is_paused = isinstance(event, ExecutionSuspended)
    instance.is_suspended = instance.is_paused
    terminated = False
    for event in [*instance.history, *instance.inbox]:
        if isinstance(event, ExecutionTerminated):
            terminated = True
            instance.terminates_children |= event.recurse
    for event in instance.inbox:
        if isinstance(event, (ExecutionSuspended, ExecutionResumed)):
            instance.is_suspended = isinstance(event, ExecutionSuspended)
    start = instance.scheduled_start_at
    instance.is_held = start is not None and start > now and not instance.history and not terminated


def take_change(instance: Instance) -> InstanceChange:
    """What of an instance is not stored; from now on it counts as stored."""
    stored = instance.stored
    drops_history = instance.is_rewritten and stored.events > 0
    if instance.is_rewritten:
        stored.events = 0
    base = instance.inbox_base
    drops_inbox = base if stored.inbox_from < min(base, stored.inbox_to) else None
    first_inbox = max(stored.inbox_to, base)
    change = InstanceChange(
        instance.key,
        _row(instance) if instance.changed_row or not stored.row else None,
        drops_history,
        stored.events,
        instance.history[stored.events :],
        drops_inbox,
        first_inbox,
        instance.inbox[first_inbox - base :],
    )
    stored.events = len(instance.history)
    stored.inbox_from, stored.inbox_to = base, base + len(instance.inbox)
    stored.row = True
    instance.changed_row = instance.is_rewritten = False
    return change
