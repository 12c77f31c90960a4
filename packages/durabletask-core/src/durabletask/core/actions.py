"""Orchestrator actions: requests to the hub that an episode makes (protocol section 7.2).

``id`` is unique within an execution; the event that confirms an action carries it as ``event_id``.
Payloads are serialized text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias, Union

from .failures import FailureDetails
from .history import HistoryEvent, TraceContext
from .instances import OrchestrationStatus
from .reprs import WithPayloads

__all__ = [
    "CallEntity",
    "CompleteOrchestration",
    "CreateSubOrchestration",
    "CreateTimer",
    "OrchestratorAction",
    "OrchestratorActionBase",
    "RequestEntityLock",
    "RewindOrchestration",
    "ScheduleTask",
    "SendEvent",
    "SignalEntity",
    "TerminateOrchestration",
    "UnlockEntity",
]


class OrchestratorActionBase(
    WithPayloads, frozen=True, omit_defaults=True, rename="camel", tag=True, tag_field="type"
):
    """The members that every action has."""

    id: int


class ScheduleTask(OrchestratorActionBase, frozen=True):
    """Run an activity."""

    name: str
    version: str | None = None
    input: str | None = None
    tags: Mapping[str, str] | None = None
    trace_context: TraceContext | None = None


class CreateTimer(OrchestratorActionBase, frozen=True):
    """Fire at an absolute UTC time."""

    fire_at: datetime


class CreateSubOrchestration(OrchestratorActionBase, frozen=True):
    """Start a child orchestration."""

    name: str
    instance_id: str
    version: str | None = None
    input: str | None = None
    tags: Mapping[str, str] | None = None
    trace_context: TraceContext | None = None


class SendEvent(OrchestratorActionBase, frozen=True):
    """Raise an event at another instance."""

    instance_id: str
    name: str
    data: str | None = None
    execution_id: str | None = None


class CompleteOrchestration(OrchestratorActionBase, frozen=True):
    """End the execution: completed, failed, terminated, or continued as new."""

    status: OrchestrationStatus
    result: str | None = None
    failure: FailureDetails | None = None
    new_version: str | None = None
    carryover_events: Sequence[HistoryEvent] = ()
    details: str | None = None
    tags: Mapping[str, str] | None = None


class TerminateOrchestration(OrchestratorActionBase, frozen=True):
    """Terminate another instance."""

    instance_id: str
    reason: str | None = None
    recurse: bool = False


class RewindOrchestration(OrchestratorActionBase, frozen=True):  # protocol section 12.8
    """Replace the history of the instance, so that failed work runs again."""

    new_history: Sequence[HistoryEvent]


class CallEntity(OrchestratorActionBase, frozen=True):
    """Call an entity and wait for the result."""

    request_id: str
    operation: str
    target_instance_id: str
    input: str | None = None
    scheduled_time: datetime | None = None
    parent_instance_id: str | None = None
    parent_execution_id: str | None = None


class SignalEntity(OrchestratorActionBase, frozen=True):
    """Signal an entity without waiting."""

    request_id: str
    operation: str
    target_instance_id: str
    input: str | None = None
    scheduled_time: datetime | None = None


class RequestEntityLock(OrchestratorActionBase, frozen=True):
    """Request the locks of a critical section."""

    critical_section_id: str
    lock_set: tuple[str, ...]
    position: int = 0
    parent_instance_id: str | None = None


class UnlockEntity(OrchestratorActionBase, frozen=True):
    """Release one entity of a critical section."""

    critical_section_id: str
    target_instance_id: str
    parent_instance_id: str | None = None


OrchestratorAction: TypeAlias = Union[
    ScheduleTask,
    CreateTimer,
    CreateSubOrchestration,
    SendEvent,
    CompleteOrchestration,
    TerminateOrchestration,
    RewindOrchestration,
    CallEntity,
    SignalEntity,
    RequestEntityLock,
    UnlockEntity,
]
"""Any action of an orchestrator."""
