"""Rewind: undo the failures of a FAILED instance and go on (protocol section 12.8)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
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
from durabletask.core.replay.rewind import obstacle
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.events import EventLog
from durabletask.testing.hub.state import Instance
from durabletask.testing.hub.tasks import Child

from .creation import create_child
from .locks import regain_sections
from .restoring import restore_open_tasks

__all__ = ["apply_rewind", "check_rewound", "rewind_instance"]


def rewind_instance(tx: Transition, instance_id: str, reason: str | None) -> None:
    """Ask the worker of a FAILED instance to rewrite its history.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidOperationError: the instance is not FAILED, or its code has answered the failure that ended it.
    """
    instance = tx.read(instance_id)
    if instance is None:
        raise InstanceNotFoundError(
            f"Cannot rewind {instance_id!r}: there is no such orchestration instance."
        )
    if instance.status is not OrchestrationStatus.FAILED:
        raise InvalidOperationError(
            f"Cannot rewind {instance_id!r}: its status is {instance.status}; only FAILED instances can be rewound."
        )
    reason_against = obstacle(instance.history)
    if reason_against is not None:
        raise InvalidOperationError(f"Cannot rewind {instance_id!r}: {reason_against}.")
    _reopen(tx, instance, ExecutionRewound(-1, tx.now, reason, instance_id=instance_id))


def _reopen(tx: Transition, instance: Instance, event: ExecutionRewound) -> None:
    instance = tx.edit(instance)
    instance.summarize(status=OrchestrationStatus.RUNNING, output=None, failure=None, completed_at=None)
    instance.updated_at = tx.now
    instance.terminates_children = False
    instance.inbox.append(event)


def apply_rewind(tx: Transition, instance: Instance, new_history: Sequence[HistoryEvent]) -> None:
    """Put the rewritten history in place, start again what it waits for, and run an episode."""
    started = check_rewound(instance, new_history)
    instance.history = EventLog(new_history)
    instance.execution = msgspec.structs.replace(
        instance.execution,
        execution_id=started.execution_id or tx.state.new_id(),
        parent=started.parent,
    )
    instance.wants_episode = True
    restore_open_tasks(tx, instance)
    regain_sections(tx, instance)
    created = {
        event.event_id: event
        for event in instance.history
        if isinstance(event, SubOrchestrationInstanceCreated)
    }
    for task_id, task in instance.open.items():
        if type(task) is Child:
            _rewind_child(tx, instance, created[task_id])


def check_rewound(instance: Instance, new_history: Sequence[HistoryEvent]) -> ExecutionStarted:
    """The start of a rewritten history.

    Raises:
        InvalidRequestError: it has none.
    """
    for event in new_history:
        if isinstance(event, ExecutionStarted):
            return event
    raise InvalidRequestError(f"The rewound history of {instance.instance_id!r} has no ExecutionStarted.")


def _rewind_child(tx: Transition, instance: Instance, created: SubOrchestrationInstanceCreated) -> None:
    """A child that was created and has not completed: rewind it, make it anew, or link it again."""
    task_id, child_id = created.event_id, created.instance_id
    child = tx.read(child_id)
    link = ParentInstance(
        task_id,
        instance.instance_id,
        instance.execution_id,
        instance.execution.name,
        instance.execution.version,
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
    elif child.status is OrchestrationStatus.FAILED and obstacle(child.history) is None:
        event = ExecutionRewound(
            -1,
            tx.now,
            parent_execution_id=instance.execution_id,
            instance_id=child_id,
            name=child.execution.name,
            version=child.execution.version,
            input=child.execution.input,
            parent=link,
            tags=child.execution.tags or None,
            trace_context=child.execution.trace_context,
        )
        _reopen(tx, child, event)
    elif child.is_terminal:  # its answer was dropped
        instance.open.discard(task_id)
        summary = child.summary
        if child.status is OrchestrationStatus.COMPLETED:
            instance.inbox.append(SubOrchestrationInstanceCompleted(-1, tx.now, task_id, summary.output))
        else:
            instance.inbox.append(SubOrchestrationInstanceFailed(-1, tx.now, task_id, summary.failure))
    else:
        child = tx.edit(child)
        child.execution = msgspec.structs.replace(child.execution, parent=link)
