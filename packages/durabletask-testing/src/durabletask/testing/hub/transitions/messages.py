"""Messages reach an instance: events, requests of clients, answers of activities, timers (7.1, 7.5, 12.3)."""

from __future__ import annotations

from collections.abc import Sequence

from durabletask.core.errors import InstanceNotFoundError, InvalidRequestError
from durabletask.core.history import (
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import ActivityResult
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.state import Instance
from durabletask.testing.hub.tasks import Activity, DelayedMessage
from durabletask.testing.hub.timers import Timer

from .ending import finish
from .entity_messages import deliver_delayed

__all__ = [
    "answer_activity",
    "check_batch",
    "fire_timer",
    "force_terminate",
    "raise_event",
    "resume",
    "suspend",
]

MAXIMUM_BATCH = 500  # instances in one call, protocol sections 12.6 and 12.10


def raise_event(tx: Transition, instance_id: str, name: str, data: str | None) -> None:
    """Deliver an external event; a finished instance drops it.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidRequestError: the event has no name.
    """
    if not name:
        raise InvalidRequestError(f"An event for instance {instance_id!r} needs a name.")
    instance = _find(tx, instance_id, "raise an event at")
    if not instance.is_terminal:
        tx.edit(instance).inbox.append(EventRaised(-1, tx.now, name, data))


def suspend(tx: Transition, instance_id: str, reason: str | None) -> None:  # vector 066
    """Suspend a live instance. A second request changes nothing: engines must not see it.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    instance = _find(tx, instance_id, "suspend")
    if not instance.is_terminal and not instance.is_suspended:
        instance = tx.edit(instance)
        instance.is_suspended = True
        instance.inbox.append(ExecutionSuspended(-1, tx.now, reason))


def resume(tx: Transition, instance_id: str, reason: str | None) -> None:  # vector 067
    """Resume a suspended instance; others are left alone, engines must not see a stray resume.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    instance = _find(tx, instance_id, "resume")
    if not instance.is_terminal and instance.is_suspended:
        instance = tx.edit(instance)
        instance.is_suspended = False
        instance.inbox.append(ExecutionResumed(-1, tx.now, reason))


def _find(tx: Transition, instance_id: str, verb: str) -> Instance:
    instance = tx.read(instance_id)
    if instance is None:
        raise InstanceNotFoundError(
            f"Cannot {verb} {instance_id!r}: there is no such orchestration instance in this task hub. "
            "Check the id, and that the instance was created in this hub and not purged."
        )
    return instance


def answer_activity(tx: Transition, activity: Activity, result: ActivityResult) -> None:
    """An activity answered; the answer is dropped when its execution is over."""
    instance = tx.read(activity.instance_id)
    if instance is None or instance.open.get(activity.task_id) is not activity:
        if activity in tx.state.detached:
            tx.attended.append(activity)
        return
    instance = tx.edit(instance)
    instance.open.discard(activity.task_id)
    event: HistoryEvent
    if result.failure is not None:
        event = TaskFailed(-1, tx.now, activity.task_id, result.failure)
    else:
        event = TaskCompleted(-1, tx.now, activity.task_id, result.result)
    instance.inbox.append(event)


def fire_timer(tx: Transition, timer: Timer) -> None:
    """A timer or a delayed message is due; it is dropped when its execution, or its entity, is over."""
    if isinstance(timer, DelayedMessage):
        deliver_delayed(tx, timer)
        return
    instance = tx.read(timer.instance_id)
    if instance is None or instance.open.get(timer.timer_id) is not timer:
        return
    instance = tx.edit(instance)
    instance.open.discard(timer.timer_id)
    instance.inbox.append(TimerFired(-1, tx.now, timer.fire_at, timer.timer_id))


def force_terminate(tx: Transition, instance_ids: Sequence[str], reason: str | None) -> list[str]:
    """End live instances as TERMINATED without running them; return the ids that could not be."""
    refused: list[str] = []
    for instance_id in instance_ids:
        instance = tx.read(instance_id)
        if instance is None or instance.is_terminal:
            refused.append(instance_id)
            continue
        instance = tx.edit(instance)
        instance.history.extend(
            [
                OrchestratorStarted(-1, tx.now),
                *instance.inbox,
                ExecutionTerminated(-1, tx.now, reason),
                ExecutionCompleted(-1, tx.now, OrchestrationStatus.TERMINATED.value, reason),
            ]
        )
        finish(tx, instance, OrchestrationStatus.TERMINATED, output=reason)
    return refused


def check_batch(instance_ids: Sequence[str]) -> None:
    """Refuse batches beyond the protocol's size.

    Raises:
        InvalidRequestError: more than 500 ids.
    """
    if len(instance_ids) > MAXIMUM_BATCH:
        raise InvalidRequestError(
            f"{len(instance_ids)} instance ids in one call; split them into calls of at most {MAXIMUM_BATCH}."
        )
