"""Executions end: completion, failure, termination, removal (sections 7.4, 7.5, 12.6)."""

from __future__ import annotations

from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    ExecutionTerminated,
    HistoryEvent,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.state import Instance

__all__ = ["FIRE_AND_FORGET", "drop_open_tasks", "finish", "remove", "terminate"]

FIRE_AND_FORGET = "FireAndForget"
"""A tag of the protocol: no parent waits for the orchestration. Children do not inherit it."""


def finish(
    tx: Transition,
    instance: Instance,
    status: OrchestrationStatus,
    *,
    output: str | None = None,
    failure: FailureDetails | None = None,
) -> None:
    """End an instance: its state, its parent's answer, its open tasks, its children if they were meant too."""
    instance.status = status
    instance.output = output
    instance.failure = failure
    instance.updated_at = instance.completed_at = tx.now
    instance.replace_inbox([])
    instance.is_held = instance.wants_episode = instance.is_suspended = instance.is_paused = False
    instance.changed_row = True
    tx.changed[instance] = None
    drop_open_tasks(tx, instance)
    if instance.parent is not None:
        _answer_parent(tx, instance)
    if instance.terminates_children and status is OrchestrationStatus.TERMINATED:
        for child_id in instance.children.values():
            terminate(tx, child_id, output=instance.output, recurse=True)
    instance.children.clear()
    tx.reached.append(instance)


def terminate(tx: Transition, instance_id: str, *, output: str | None, recurse: bool) -> None:
    """Ask a live instance to end as TERMINATED; missing and finished ones are left alone."""
    instance = tx.state.instances.get(instance_id)
    if instance is None or instance.is_terminal:
        return
    instance.terminates_children |= recurse
    instance.is_held = False  # a scheduled start does not postpone the end
    tx.deliver(instance, ExecutionTerminated(-1, tx.now, output, recurse))


def remove(tx: Transition, instance: Instance, *, tell_waiting: bool) -> None:
    """Take an instance out of the hub, with its history."""
    drop_open_tasks(tx, instance)
    del tx.state.instances[instance.instance_id]
    instance.replace_inbox([])
    instance.wants_episode = False
    tx.changed.pop(instance, None)
    tx.removed.append((instance, tell_waiting))


def drop_open_tasks(tx: Transition, instance: Instance) -> None:
    """Nobody waits any more: timers go, activities still run (they were promised), their answers are dropped."""
    episode = instance.episode
    if episode is not None:
        tx.revoked.append(episode.token)
        instance.episode = None
    for timer in instance.timers.values():
        timer.is_cancelled = True
    instance.timers.clear()
    if instance.activities:
        for activity in instance.activities.values():
            activity.detached_key = tx.state.take_key()
            tx.detached.append(activity)
        instance.activities.clear()


def _answer_parent(tx: Transition, instance: Instance) -> None:
    if FIRE_AND_FORGET in instance.tags:
        return
    link = instance.parent
    parent = tx.state.instances.get(link.instance_id) if link is not None else None
    if link is None or parent is None or parent.execution_id != link.execution_id:
        return
    if parent.children.get(link.task_scheduled_id) != instance.instance_id:
        return  # answered already
    del parent.children[link.task_scheduled_id]
    event: HistoryEvent
    if instance.status is OrchestrationStatus.COMPLETED:
        event = SubOrchestrationInstanceCompleted(-1, tx.now, link.task_scheduled_id, instance.output)
    else:  # a terminated child has no failure details
        event = SubOrchestrationInstanceFailed(-1, tx.now, link.task_scheduled_id, instance.failure)
    tx.deliver(parent, event)
