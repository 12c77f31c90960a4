"""Rewind: undo the failures of a FAILED instance and go on (protocol section 12.8)."""

from __future__ import annotations

from collections.abc import Sequence

from durabletask.core.actions import CreateSubOrchestration
from durabletask.core.errors import InstanceNotFoundError, InvalidOperationError, InvalidRequestError
from durabletask.core.history import (
    ExecutionRewound,
    ExecutionStarted,
    HistoryEvent,
    ParentInstance,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.state import Activity, DurableTimer, Instance, open_tasks

from .creation import create_child

__all__ = ["apply_rewind", "check_rewound", "restore_open_tasks", "rewind_instance"]


def rewind_instance(tx: Transition, instance_id: str, reason: str | None) -> None:
    """Ask the worker of a FAILED instance to rewrite its history.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidOperationError: the instance is not FAILED.
    """
    instance = tx.state.instances.get(instance_id)
    if instance is None:
        raise InstanceNotFoundError(
            f"Cannot rewind {instance_id!r}: there is no such orchestration instance."
        )
    if instance.status is not OrchestrationStatus.FAILED:
        raise InvalidOperationError(
            f"Cannot rewind {instance_id!r}: its status is {instance.status}; only FAILED instances can be rewound."
        )
    _reopen(tx, instance, ExecutionRewound(-1, tx.now, reason, instance_id=instance_id))


def _reopen(tx: Transition, instance: Instance, event: ExecutionRewound) -> None:
    instance.status = OrchestrationStatus.RUNNING
    instance.output = instance.failure = instance.completed_at = None
    instance.updated_at = tx.now
    instance.terminates_children = False
    instance.changed_row = True
    tx.deliver(instance, event)


def apply_rewind(tx: Transition, instance: Instance, new_history: Sequence[HistoryEvent]) -> None:
    """Put the rewritten history in place, start again what it waits for, and run an episode."""
    started = check_rewound(instance, new_history)
    instance.history = list(new_history)
    instance.execution_id = started.execution_id or tx.state.new_id()
    instance.parent = started.parent
    instance.is_rewritten = instance.changed_row = True
    instance.wants_episode = True
    for orphan in instance.activities.values():
        orphan.is_cancelled = True
    for timer in instance.timers.values():
        timer.is_cancelled = True
    restore_open_tasks(tx, instance)
    for task_id, child_id in list(instance.children.items()):
        created = next(
            event
            for event in instance.history
            if isinstance(event, SubOrchestrationInstanceCreated) and event.event_id == task_id
        )
        _rewind_child(tx, instance, created, child_id)


def check_rewound(instance: Instance, new_history: Sequence[HistoryEvent]) -> ExecutionStarted:
    """The start of a rewritten history.

    Raises:
        InvalidRequestError: it has none.
    """
    for event in new_history:
        if isinstance(event, ExecutionStarted):
            return event
    raise InvalidRequestError(f"The rewound history of {instance.instance_id!r} has no ExecutionStarted.")


def restore_open_tasks(tx: Transition, instance: Instance) -> None:
    """Schedule again, from the history, everything that the execution still waits for."""
    found = open_tasks([*instance.history, *instance.inbox])
    instance.activities = {
        task_id: Activity(
            instance_id=instance.instance_id,
            execution_id=instance.execution_id,
            task_id=task_id,
            name=event.name,
            version=event.version,
            input=event.input,
            tags=event.tags,
            trace_context=event.trace_context,
        )
        for task_id, event in found.activities.items()
    }
    instance.timers = {
        timer_id: DurableTimer(instance.instance_id, instance.execution_id, timer_id, event.fire_at)
        for timer_id, event in found.timers.items()
    }
    instance.children = {task_id: event.instance_id for task_id, event in found.children.items()}
    created = (event for event in instance.history if isinstance(event, SubOrchestrationInstanceCreated))
    instance.child_ids = [event.instance_id for event in created]
    tx.activities.extend(instance.activities.values())
    tx.timers.extend(instance.timers.values())


def _rewind_child(
    tx: Transition, instance: Instance, created: SubOrchestrationInstanceCreated, child_id: str
) -> None:
    """A child that was created and has not completed: rewind it, make it anew, or link it again."""
    task_id = created.event_id
    child = tx.state.instances.get(child_id)
    link = ParentInstance(
        task_id, instance.instance_id, instance.execution_id, instance.name, instance.version
    )
    if child is None:  # purged
        action = CreateSubOrchestration(
            task_id,
            created.name,
            child_id,
            created.version,
            created.input,
            created.tags,
            created.trace_context,
        )
        create_child(tx, instance, action)
    elif child.status is OrchestrationStatus.FAILED:
        event = ExecutionRewound(
            -1,
            tx.now,
            parent_execution_id=instance.execution_id,
            instance_id=child_id,
            name=child.name,
            version=child.version,
            input=child.input,
            parent=link,
            tags=child.tags or None,
            trace_context=child.trace_context,
        )
        _reopen(tx, child, event)
    elif child.is_terminal:  # ended while nobody listened
        del instance.children[task_id]
        if child.status is OrchestrationStatus.COMPLETED:
            tx.deliver(instance, SubOrchestrationInstanceCompleted(-1, tx.now, task_id, child.output))
        else:
            tx.deliver(instance, SubOrchestrationInstanceFailed(-1, tx.now, task_id, child.failure))
    else:
        child.parent = link
        child.changed_row = True
        tx.changed[child] = None
