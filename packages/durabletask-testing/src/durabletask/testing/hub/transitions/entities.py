"""Entities (protocol section 11): the place for their state and scheduling; so far they are refused.

A call is answered with a failure, so that the orchestrator that made it can go on. A lock request has no
failing answer in the protocol; it is answered by ending the wait the only way there is, and the messages
without an answer are dropped.
"""

from __future__ import annotations

from durabletask.core.actions import CallEntity, RequestEntityLock, SignalEntity, UnlockEntity
from durabletask.core.errors import NotSupportedError
from durabletask.core.failures import FailureDetails, qualified_name
from durabletask.core.history import (
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityUnlockSent,
    ExecutionTerminated,
)
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.state import Instance

__all__ = ["NOT_YET", "call", "request_lock", "signal", "unlock"]

NOT_YET = "The local task hub does not run entities yet; use a hub that does."


def call(tx: Transition, instance: Instance, action: CallEntity) -> None:
    """Record a call and answer it with a failure."""
    instance.history.append(
        EntityOperationCalled(
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
    )
    failure = FailureDetails(qualified_name(NotSupportedError), NOT_YET, is_non_retriable=True)
    instance.inbox.append(EntityOperationFailed(-1, tx.now, action.request_id, failure))


def signal(tx: Transition, instance: Instance, action: SignalEntity) -> None:
    """Record a signal and drop it."""
    instance.history.append(
        EntityOperationSignaled(
            action.id,
            tx.now,
            action.request_id,
            action.operation,
            action.target_instance_id,
            action.input,
            action.scheduled_time,
        )
    )


def request_lock(tx: Transition, instance: Instance, action: RequestEntityLock) -> None:
    """Record a lock request; it can never be granted, so the orchestration is ended."""
    instance.history.append(
        EntityLockRequested(
            action.id,
            tx.now,
            action.critical_section_id,
            tuple(action.lock_set),
            action.position,
            action.parent_instance_id,
        )
    )
    instance.inbox.append(ExecutionTerminated(-1, tx.now, f'"{NOT_YET}"'))


def unlock(tx: Transition, instance: Instance, action: UnlockEntity) -> None:
    """Record an unlock."""
    instance.history.append(
        EntityUnlockSent(
            action.id,
            tx.now,
            action.critical_section_id,
            action.target_instance_id,
            action.parent_instance_id,
        )
    )
