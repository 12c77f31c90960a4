"""Work items, and the results that answer them (protocol section 3).

A work item carries a ``completion_token``, which is opaque and belongs to one delivery. The result or the abandon call
echoes it. Results repeat the instance id (and the task id), because on some servers a token alone does not identify an
item (decisions, "Facts about existing clients").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias, Union

import msgspec

from .actions import OrchestratorAction
from .failures import FailureDetails
from .history import EntityOperationCalled, EntityOperationSignaled, HistoryEvent, TraceContext
from .reprs import WithPayloads

__all__ = [
    "ActivityFilter",
    "ActivityResult",
    "ActivityWorkItem",
    "EntityAction",
    "EntityBatchResult",
    "EntityFilter",
    "EntityOperationResult",
    "EntitySendSignal",
    "EntityStartOrchestration",
    "EntityWorkItem",
    "OrchestrationFilter",
    "OrchestrationTraceContext",
    "OrchestratorResult",
    "OrchestratorWorkItem",
    "WorkItem",
    "WorkItemFilters",
    "WorkItemStreamOptions",
    "WorkerCapability",
]


class OrchestrationTraceContext(msgspec.Struct, frozen=True):
    """Span of the whole orchestration. The first episode generates it, and the hub echoes it."""

    span_id: str | None = None
    span_start: datetime | None = None


class OrchestratorWorkItem(WithPayloads, frozen=True, kw_only=True):
    """One episode of one instance. ``past_events`` may be a lazy sequence."""

    instance_id: str
    new_events: Sequence[HistoryEvent]
    past_events: Sequence[HistoryEvent] = ()
    execution_id: str | None = None
    trace_context: OrchestrationTraceContext | None = None
    completion_token: str = ""


class OrchestratorResult(WithPayloads, frozen=True, kw_only=True):
    """The result of an ``OrchestratorWorkItem``.

    ``custom_status=None`` means that the instance has none. ``requires_history`` asks the hub to deliver
    the item again with its whole past. ``num_events_processed=None`` means all new events.
    """

    instance_id: str
    actions: Sequence[OrchestratorAction]
    custom_status: str | None = None
    completion_token: str = ""
    num_events_processed: int | None = None
    trace_context: OrchestrationTraceContext | None = None
    requires_history: bool = False


class ActivityWorkItem(WithPayloads, frozen=True, kw_only=True):
    """One delivery of one activity. ``task_id`` is the id of the action that scheduled it."""

    name: str
    instance_id: str
    task_id: int
    execution_id: str | None = None
    version: str | None = None
    input: str | None = None
    tags: Mapping[str, str] | None = None
    trace_context: TraceContext | None = None
    completion_token: str = ""


class ActivityResult(WithPayloads, frozen=True, kw_only=True):
    """The result of an ``ActivityWorkItem``: a failure if ``failure`` is set."""

    instance_id: str
    task_id: int
    result: str | None = None
    failure: FailureDetails | None = None
    completion_token: str = ""


class EntityWorkItem(WithPayloads, frozen=True, kw_only=True):
    """A batch of operations for one entity. ``state=None``: the entity has no state."""

    instance_id: str
    operations: Sequence[EntityOperationCalled | EntityOperationSignaled]
    state: str | None = None
    execution_id: str | None = None
    completion_token: str = ""
    is_legacy: bool = False  # received as the first form of the message (protocol section 11.4)


class EntityOperationResult(WithPayloads, frozen=True, kw_only=True):
    """The result of one operation: a failure if ``failure`` is set."""

    result: str | None = None
    failure: FailureDetails | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class EntitySendSignal(WithPayloads, frozen=True, kw_only=True):
    """Signal another entity."""

    id: int
    instance_id: str
    name: str
    input: str | None = None
    scheduled_time: datetime | None = None
    request_time: datetime | None = None
    trace_context: TraceContext | None = None


class EntityStartOrchestration(WithPayloads, frozen=True, kw_only=True):
    """Start an orchestration without waiting for it."""

    id: int
    instance_id: str
    name: str
    version: str | None = None
    input: str | None = None
    scheduled_time: datetime | None = None
    request_time: datetime | None = None
    trace_context: TraceContext | None = None


EntityAction: TypeAlias = Union[EntitySendSignal, EntityStartOrchestration]
"""Any action of an entity."""


class EntityBatchResult(WithPayloads, frozen=True, kw_only=True):
    """The result of an ``EntityWorkItem``; ``results`` are in the order of the operations."""

    instance_id: str
    results: Sequence[EntityOperationResult]
    actions: Sequence[EntityAction] = ()
    state: str | None = None
    failure: FailureDetails | None = None
    operations: Sequence[EntityOperationCalled | EntityOperationSignaled] = ()
    completion_token: str = ""
    requires_state: bool = False


WorkItem: TypeAlias = Union[OrchestratorWorkItem, ActivityWorkItem, EntityWorkItem]
"""Any work item."""


class WorkerCapability:  # protocol section 1.4
    """Names of what a worker announces."""

    HISTORY_STREAMING = "history-streaming"
    SCHEDULED_TASKS = "scheduled-tasks"
    LARGE_PAYLOADS = "large-payloads"


class OrchestrationFilter(msgspec.Struct, frozen=True):
    """Accept orchestrations of this name; no versions = any version."""

    name: str
    versions: tuple[str, ...] = ()


class ActivityFilter(msgspec.Struct, frozen=True):
    """Accept activities of this name; no versions = any version."""

    name: str
    versions: tuple[str, ...] = ()


class EntityFilter(msgspec.Struct, frozen=True):
    """Accept entities of this (lower-case) name."""

    name: str


class WorkItemFilters(msgspec.Struct, frozen=True):  # protocol section 1.6
    """What a worker accepts: an empty category means nothing of it."""

    orchestrations: tuple[OrchestrationFilter, ...] = ()
    activities: tuple[ActivityFilter, ...] = ()
    entities: tuple[EntityFilter, ...] = ()


class WorkItemStreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that a worker sends when it opens a stream. A limit of 0 means no limit."""

    max_orchestrations: int = 0
    max_activities: int = 0
    max_entities: int = 0
    filters: WorkItemFilters | None = None
    capabilities: frozenset[str] = frozenset()
