"""Executions end: completion, failure, termination, removal (sections 7.4, 7.5, 12.6)."""

from __future__ import annotations

from durabletask.core.failures import FailureDetails, qualified_name
from durabletask.core.history import (
    ExecutionCompleted,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.events import EventLog, OpenTasks
from durabletask.testing.hub.state import Instance
from durabletask.testing.hub.tasks import Activity, Child

from .locks import leave_sections

__all__ = ["FIRE_AND_FORGET", "drop_open_tasks", "fail", "finish", "remove", "terminate"]

FIRE_AND_FORGET = "FireAndForget"
"""A tag of the protocol: the end of the orchestration is not awaited. Children do not inherit it."""


def finish(
    tx: Transition,
    instance: Instance,
    status: OrchestrationStatus,
    *,
    output: str | None = None,
    failure: FailureDetails | None = None,
) -> None:
    """End an instance: its state, its parent's answer, its open tasks, its children if they were meant too."""
    instance.summarize(status=status, output=output, failure=failure, completed_at=tx.now)
    instance.updated_at = tx.now
    instance.inbox = EventLog(first=instance.inbox.end)
    instance.is_held = instance.wants_episode = instance.is_suspended = instance.is_paused = False
    drop_open_tasks(tx, instance)
    _answer_parent(tx, instance)
    if instance.terminates_children and status is OrchestrationStatus.TERMINATED:
        for child in list(tx.children_of(instance.instance_id)):
            terminate(tx, child.instance_id, output=output, recurse=True)


def fail(tx: Transition, instance: Instance, error: Exception) -> None:
    """End a live instance as FAILED for a reason of the hub's."""
    instance = tx.edit(instance)
    failure = FailureDetails(qualified_name(type(error)), str(error), is_non_retriable=True)
    ended = ExecutionCompleted(-1, tx.now, OrchestrationStatus.FAILED.value, None, failure)
    instance.history.extend([OrchestratorStarted(-1, tx.now), *instance.inbox, ended])
    finish(tx, instance, OrchestrationStatus.FAILED, failure=failure)


def terminate(tx: Transition, instance_id: str, *, output: str | None, recurse: bool) -> None:
    """Ask a live instance to end as TERMINATED; missing and finished ones are left alone."""
    instance = tx.read(instance_id)
    if instance is None or instance.is_terminal:
        return
    instance = tx.edit(instance)
    instance.terminates_children |= recurse
    instance.is_held = False  # a scheduled start does not postpone the end
    instance.regains = frozenset()
    instance.inbox.append(ExecutionTerminated(-1, tx.now, output, recurse))


def remove(tx: Transition, instance: Instance, *, tell_waiting: bool) -> None:
    """Take an instance out of the hub, with its history."""
    drop_open_tasks(tx, tx.edit(instance))
    tx.remove(instance, tell_waiting=tell_waiting)


def drop_open_tasks(tx: Transition, instance: Instance) -> None:
    """Wait for nothing any more, and hold no lock. Activities that were promised still run; their answers are dropped."""
    for task in instance.open.values():
        if type(task) is Activity:
            tx.detached[task] = tx.state.take_key()
    instance.open = OpenTasks()
    leave_sections(tx, instance)


def _answer_parent(tx: Transition, instance: Instance) -> None:
    link = instance.execution.parent
    if link is None or FIRE_AND_FORGET in instance.execution.tags:
        return
    parent = tx.read(link.instance_id)
    if parent is None or parent.execution_id != link.execution_id:
        return
    task = parent.open.get(link.task_scheduled_id)
    if type(task) is not Child or task.instance_id != instance.instance_id:
        return  # answered already
    event: HistoryEvent
    if instance.status is OrchestrationStatus.COMPLETED:
        event = SubOrchestrationInstanceCompleted(-1, tx.now, link.task_scheduled_id, instance.summary.output)
    else:  # a terminated child has no failure details
        event = SubOrchestrationInstanceFailed(-1, tx.now, link.task_scheduled_id, instance.summary.failure)
    parent = tx.edit(parent)
    parent.open.discard(link.task_scheduled_id)
    parent.inbox.append(event)
