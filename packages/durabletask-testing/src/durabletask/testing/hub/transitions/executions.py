"""Generations of an instance: the first event of each, and continue-as-new (protocol section 7.3)."""

from __future__ import annotations

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
from durabletask.testing.hub.state import Instance

from .ending import drop_open_tasks

__all__ = ["continue_as_new", "started_event"]

_SURVIVES_GENERATION = (EventRaised, ExecutionSuspended, ExecutionResumed, ExecutionTerminated)


def started_event(tx: Transition, instance: Instance) -> ExecutionStarted:
    """The first inbound event of the present execution."""
    return ExecutionStarted(
        -1,
        tx.now,
        name=instance.name,
        instance_id=instance.instance_id,
        execution_id=instance.execution_id,
        version=instance.version,
        input=instance.input,
        parent=instance.parent,
        scheduled_start=instance.scheduled_start_at,
        trace_context=instance.trace_context,
        tags=instance.tags or None,
    )


def continue_as_new(tx: Transition, instance: Instance, action: CompleteOrchestration) -> None:
    """Start a new generation in place: the instance stays as it is and runs its first episode at once."""
    consumed = instance.history  # of the generation that ends here
    kept: list[HistoryEvent] = [event for event in instance.inbox if isinstance(event, _SURVIVES_GENERATION)]
    if instance.is_paused:  # asked for while the old generation was already about to end
        kept.insert(0, _last_suspension(consumed))
    drop_open_tasks(tx, instance)
    instance.children.clear()
    instance.child_ids = []
    instance.execution_id = tx.state.new_id()
    instance.input = action.result
    instance.version = action.new_version or instance.version
    instance.scheduled_start_at = None
    instance.span = None
    instance.history = []
    instance.status = OrchestrationStatus.SUSPENDED if instance.is_paused else OrchestrationStatus.RUNNING
    instance.is_paused = False  # until the suspension is consumed again
    instance.replace_inbox([started_event(tx, instance), *action.carryover_events, *kept])
    instance.is_rewritten = instance.changed_row = True


def _last_suspension(history: list[HistoryEvent]) -> HistoryEvent:
    return next(event for event in reversed(history) if isinstance(event, ExecutionSuspended))
