"""The four messages of entities, which the protocol uses as events and as actions alike (section 11.3)."""

from __future__ import annotations

from typing import TypeAlias, Union

from durabletask.core import actions as a
from durabletask.core import history as h
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .values import encode_time

__all__ = ["write_called", "write_lock_requested", "write_signaled", "write_unlock_sent"]

_Called: TypeAlias = Union[h.EntityOperationCalled, a.CallEntity]
_Signaled: TypeAlias = Union[h.EntityOperationSignaled, a.SignalEntity]
_LockRequested: TypeAlias = Union[h.EntityLockRequested, a.RequestEntityLock]
_UnlockSent: TypeAlias = Union[h.EntityUnlockSent, a.UnlockEntity]


def write_called(target: pb.EntityOperationCalledEvent, source: _Called) -> None:
    """A two-way operation."""
    target.requestId = source.request_id
    target.operation = source.operation
    if source.target_instance_id is not None:
        target.targetInstanceId.value = source.target_instance_id
    if source.input is not None:
        target.input.value = source.input
    if source.scheduled_time is not None:
        encode_time(target.scheduledTime, source.scheduled_time)
    if source.parent_instance_id is not None:
        target.parentInstanceId.value = source.parent_instance_id
    if source.parent_execution_id is not None:
        target.parentExecutionId.value = source.parent_execution_id


def write_signaled(target: pb.EntityOperationSignaledEvent, source: _Signaled) -> None:
    """A one-way operation."""
    target.requestId = source.request_id
    target.operation = source.operation
    if source.target_instance_id is not None:
        target.targetInstanceId.value = source.target_instance_id
    if source.input is not None:
        target.input.value = source.input
    if source.scheduled_time is not None:
        encode_time(target.scheduledTime, source.scheduled_time)


def write_lock_requested(target: pb.EntityLockRequestedEvent, source: _LockRequested) -> None:
    """A request for the locks of a critical section."""
    target.criticalSectionId = source.critical_section_id
    target.lockSet.extend(source.lock_set)
    target.position = source.position
    if source.parent_instance_id is not None:
        target.parentInstanceId.value = source.parent_instance_id


def write_unlock_sent(target: pb.EntityUnlockSentEvent, source: _UnlockSent) -> None:
    """The release of one entity."""
    target.criticalSectionId = source.critical_section_id
    if source.target_instance_id is not None:
        target.targetInstanceId.value = source.target_instance_id
    if source.parent_instance_id is not None:
        target.parentInstanceId.value = source.parent_instance_id
