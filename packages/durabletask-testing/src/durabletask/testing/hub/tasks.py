"""What can be waited for: activities, timers, children, messages at a time. Frozen: a task is known by its identity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from durabletask.core.history import EntityOperationCalled, EntityOperationSignaled, TraceContext

__all__ = ["Activity", "Child", "DelayedMessage", "DurableTimer"]


class Activity(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """An activity that was scheduled and has not answered."""

    instance_id: str
    execution_id: str
    task_id: int
    name: str
    version: str | None = None
    input: str | None = None
    tags: Mapping[str, str] | None = None
    trace_context: TraceContext | None = None
    parent_version: str | None = None


class DurableTimer(msgspec.Struct, frozen=True, eq=False):
    """A timer of an orchestration. ``fire_at`` is when it becomes an event."""

    instance_id: str
    timer_id: int
    fire_at: datetime


class Child(msgspec.Struct, frozen=True, eq=False):
    """A child orchestration whose end is awaited."""

    instance_id: str


class DelayedMessage(msgspec.Struct, frozen=True, eq=False):
    """An operation that an entity gets at a later time."""

    entity_id: str
    number: int
    fire_at: datetime
    message: EntityOperationCalled | EntityOperationSignaled
