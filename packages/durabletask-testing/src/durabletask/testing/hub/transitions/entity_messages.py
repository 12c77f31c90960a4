"""Messages on their way to entities: from orchestrators, from entities, and at a later time (protocol section 11.3)."""

from __future__ import annotations

from durabletask.core.actions import CallEntity, RequestEntityLock, SignalEntity, UnlockEntity
from durabletask.core.errors import InvalidRequestError
from durabletask.core.failures import FailureDetails, qualified_name
from durabletask.core.history import (
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityUnlockSent,
    TraceContext,
)
from durabletask.core.telemetry import with_span
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.entity_ids import checked_entity_id, fold, targets_of
from durabletask.testing.hub.entity_state import FIRST_DELAYED
from durabletask.testing.hub.state import Instance
from durabletask.testing.hub.tasks import DelayedMessage

from .locks import enter_section
from .locks import unlock as _unlock

__all__ = ["call", "deliver", "deliver_delayed", "request_lock", "signal", "unlock"]


def deliver(
    tx: Transition,
    entity_id: str,
    message: EntityOperationCalled | EntityOperationSignaled,
    sender: str | None = None,
) -> None:
    """Queue an operation, or keep it until its time has come. ``sender`` is an orchestration instance."""
    entity = tx.open_entity(entity_id)
    due = message.scheduled_time
    if due is None or due <= tx.now:
        entity.accept(message, sender)
        return
    delayed = DelayedMessage(entity_id, FIRST_DELAYED + tx.state.take_key(), due, message)
    entity.delayed.add(delayed.number, delayed)
    tx.timers.append(delayed)


def deliver_delayed(tx: Transition, delayed: DelayedMessage) -> None:
    """The time of an operation has come; the entity may have been purged."""
    entity = tx.read_entity(delayed.entity_id)
    if entity is None or entity.delayed.get(delayed.number) is not delayed:
        return
    entity, message = tx.edit_entity(entity), delayed.message
    entity.delayed.discard(delayed.number)
    entity.accept(message, message.parent_instance_id if isinstance(message, EntityOperationCalled) else None)


# --- actions of orchestrators -------------------------------------------------------------------------------


def call(tx: Transition, instance: Instance, action: CallEntity) -> None:
    """Record a call and send it; a call of what is no entity is answered with a failure."""
    called = EntityOperationCalled(
        action.id,
        tx.now,
        action.request_id,
        action.operation,
        action.target_instance_id,
        action.input,
        action.scheduled_time,
        action.parent_instance_id,
        action.parent_execution_id,
    )
    instance.history.append(called)
    try:
        target = checked_entity_id(action.target_instance_id)
    except InvalidRequestError as error:
        failure = FailureDetails(qualified_name(type(error)), str(error), is_non_retriable=True)
        instance.inbox.append(EntityOperationFailed(-1, tx.now, action.request_id, failure))
        return
    message = EntityOperationCalled(
        -1,
        tx.now,
        action.request_id,
        action.operation,
        target,
        action.input,
        action.scheduled_time,
        instance.instance_id,
        action.parent_execution_id or instance.execution_id,
        _trace_of(instance),
    )
    deliver(tx, target, message, instance.instance_id)


def signal(tx: Transition, instance: Instance, action: SignalEntity) -> None:
    """Record a signal and send it.

    Raises:
        InvalidRequestError: the target is no entity.
    """
    target = checked_entity_id(action.target_instance_id)
    request, operation = action.request_id, action.operation
    payload, due = action.input, action.scheduled_time
    instance.history.append(
        EntityOperationSignaled(
            action.id, tx.now, request, operation, action.target_instance_id, payload, due
        )
    )
    message = EntityOperationSignaled(
        -1, tx.now, request, operation, target, payload, due, _trace_of(instance)
    )
    deliver(tx, target, message, instance.instance_id)


def _trace_of(instance: Instance) -> TraceContext | None:
    """The span of an orchestration, or where that is not known the one that has started it."""
    started_by, own = instance.execution.trace_context, instance.summary.span
    if started_by is None or own is None or not own.span_id:
        return started_by
    return with_span(started_by, own.span_id)


def request_lock(tx: Transition, instance: Instance, action: RequestEntityLock) -> None:
    """Record a lock request and send it on its way.

    Raises:
        InvalidRequestError: one of the targets is no entity.
    """
    section_id = action.critical_section_id
    targets = targets_of(checked_entity_id(one) for one in action.lock_set)
    instance.history.append(
        EntityLockRequested(
            action.id, tx.now, section_id, tuple(action.lock_set), action.position, action.parent_instance_id
        )
    )
    enter_section(tx, instance, section_id, targets)


def unlock(tx: Transition, instance: Instance, action: UnlockEntity) -> None:
    """Record an unlock and carry it out."""
    section_id, target = action.critical_section_id, action.target_instance_id
    instance.history.append(
        EntityUnlockSent(action.id, tx.now, section_id, target, action.parent_instance_id)
    )
    _unlock(tx, instance, section_id, fold(target))
