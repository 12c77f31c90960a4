"""Executions of an instance: the first event of each, and continue-as-new (protocol section 7.3)."""

from __future__ import annotations

import msgspec
from durabletask.core.actions import CompleteOrchestration
from durabletask.core.history import (
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.events import EventLog
from durabletask.testing.hub.state import ExecutionStart, Instance

from .ending import drop_open_tasks

__all__ = ["continue_as_new", "started_event"]

_SURVIVES_EXECUTION = (EventRaised, ExecutionSuspended, ExecutionResumed, ExecutionTerminated)


def started_event(tx: Transition, execution: ExecutionStart) -> ExecutionStarted:
    """The first inbound event of an execution."""
    return ExecutionStarted(
        -1,
        tx.now,
        name=execution.name,
        instance_id=execution.instance_id,
        execution_id=execution.execution_id,
        version=execution.version,
        input=execution.input,
        parent=execution.parent,
        scheduled_start=execution.scheduled_start_at,
        trace_context=execution.trace_context,
        tags=execution.tags or None,
    )


def continue_as_new(tx: Transition, instance: Instance, action: CompleteOrchestration) -> None:
    """Start a new execution in place: the instance stays as it is and runs its first episode at once."""
    kept: list[HistoryEvent] = [event for event in instance.inbox if isinstance(event, _SURVIVES_EXECUTION)]
    if instance.is_paused:  # asked for while the old execution was already about to end
        kept.insert(0, _last_suspension(instance.history))
    drop_open_tasks(tx, instance)
    instance.execution = execution = msgspec.structs.replace(
        instance.execution,
        execution_id=tx.state.new_id(),
        input=action.result,
        version=action.new_version or instance.execution.version,
        scheduled_start_at=None,
    )
    instance.history = EventLog()
    status = OrchestrationStatus.SUSPENDED if instance.is_paused else OrchestrationStatus.RUNNING
    instance.summarize(status=status, span=None)
    instance.is_paused = False  # until the suspension is consumed again
    events = [started_event(tx, execution), *action.carryover_events, *kept]
    instance.inbox = EventLog(events, instance.inbox.end)


def _last_suspension(history: EventLog) -> HistoryEvent:
    return next(event for event in reversed(history) if isinstance(event, ExecutionSuspended))
