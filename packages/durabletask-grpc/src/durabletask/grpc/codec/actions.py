"""Actions of an orchestrator, both ways (protocol section 7.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from durabletask.core import actions as a
from durabletask.core.errors import InvalidRequestError
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .entity_messages import write_called, write_lock_requested, write_signaled, write_unlock_sent
from .history import decode_events
from .history_encoding import encode_events
from .values import (
    decode_failure,
    decode_status,
    decode_tags,
    decode_time,
    decode_trace,
    encode_failure,
    encode_status,
    encode_time,
    encode_trace,
)

__all__ = ["ACTION_DECODERS", "ACTION_ENCODERS", "decode_action", "encode_action"]


# --- from the wire ----------------------------------------------------------------------------------------


def _schedule_task(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    body = action.scheduleTask
    return a.ScheduleTask(
        action.id,
        body.name,
        body.version.value if body.HasField("version") else None,
        body.input.value if body.HasField("input") else None,
        decode_tags(body.tags),
        decode_trace(body.parentTraceContext) if body.HasField("parentTraceContext") else None,
    )


def _create_timer(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    return a.CreateTimer(action.id, decode_time(action.createTimer.fireAt))


def _create_child(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    body = action.createSubOrchestration
    return a.CreateSubOrchestration(
        action.id,
        body.name,
        body.instanceId,
        body.version.value if body.HasField("version") else None,
        body.input.value if body.HasField("input") else None,
        decode_tags(body.tags),
        decode_trace(body.parentTraceContext) if body.HasField("parentTraceContext") else None,
    )


def _send_event(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    body = action.sendEvent
    return a.SendEvent(
        action.id,
        body.instance.instanceId,
        body.name,
        body.data.value if body.HasField("data") else None,
        body.instance.executionId.value if body.instance.HasField("executionId") else None,
    )


def _complete(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    body = action.completeOrchestration
    return a.CompleteOrchestration(
        action.id,
        decode_status(body.orchestrationStatus),
        body.result.value if body.HasField("result") else None,
        decode_failure(body.failureDetails) if body.HasField("failureDetails") else None,
        body.newVersion.value if body.HasField("newVersion") else None,
        decode_events(body.carryoverEvents) if body.carryoverEvents else (),
        body.details.value if body.HasField("details") else None,
        decode_tags(body.tags),
    )


def _terminate(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    body = action.terminateOrchestration
    return a.TerminateOrchestration(
        action.id, body.instanceId, body.reason.value if body.HasField("reason") else None, body.recurse
    )


def _rewind(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    return a.RewindOrchestration(action.id, decode_events(action.rewindOrchestration.newHistory))


def _entity_message(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    kind = action.sendEntityMessage.WhichOneof("EntityMessageType")
    if kind is None:
        raise InvalidRequestError(f"Action {action.id} sends an entity message of no known kind.")
    return _ENTITY_DECODERS[kind](action.id, action.sendEntityMessage)


def _signal(number: int, message: pb.SendEntityMessageAction) -> a.OrchestratorAction:
    body = message.entityOperationSignaled
    return a.SignalEntity(
        number,
        body.requestId,
        body.operation,
        body.targetInstanceId.value,
        body.input.value if body.HasField("input") else None,
        decode_time(body.scheduledTime) if body.HasField("scheduledTime") else None,
    )


def _call(number: int, message: pb.SendEntityMessageAction) -> a.OrchestratorAction:
    body = message.entityOperationCalled
    return a.CallEntity(
        number,
        body.requestId,
        body.operation,
        body.targetInstanceId.value,
        body.input.value if body.HasField("input") else None,
        decode_time(body.scheduledTime) if body.HasField("scheduledTime") else None,
        body.parentInstanceId.value if body.HasField("parentInstanceId") else None,
        body.parentExecutionId.value if body.HasField("parentExecutionId") else None,
    )


def _lock(number: int, message: pb.SendEntityMessageAction) -> a.OrchestratorAction:
    body = message.entityLockRequested
    return a.RequestEntityLock(
        number,
        body.criticalSectionId,
        tuple(body.lockSet),
        body.position,
        body.parentInstanceId.value if body.HasField("parentInstanceId") else None,
    )


def _unlock(number: int, message: pb.SendEntityMessageAction) -> a.OrchestratorAction:
    body = message.entityUnlockSent
    return a.UnlockEntity(
        number,
        body.criticalSectionId,
        body.targetInstanceId.value,
        body.parentInstanceId.value if body.HasField("parentInstanceId") else None,
    )


_ENTITY_DECODERS: Final[dict[str, Callable[[int, pb.SendEntityMessageAction], a.OrchestratorAction]]] = {
    "entityOperationSignaled": _signal,
    "entityOperationCalled": _call,
    "entityLockRequested": _lock,
    "entityUnlockSent": _unlock,
}

ACTION_DECODERS: Final[dict[str, Callable[[pb.OrchestratorAction], a.OrchestratorAction]]] = {
    "scheduleTask": _schedule_task,
    "createTimer": _create_timer,
    "createSubOrchestration": _create_child,
    "sendEvent": _send_event,
    "completeOrchestration": _complete,
    "terminateOrchestration": _terminate,
    "sendEntityMessage": _entity_message,
    "rewindOrchestration": _rewind,
}
"""Member of the oneof -> how to read it."""


def decode_action(action: pb.OrchestratorAction) -> a.OrchestratorAction:
    """One action.

    Raises:
        InvalidRequestError: no known member of the oneof is set, or a value cannot be read.
    """
    kind = action.WhichOneof("orchestratorActionType")
    if kind is None:
        raise InvalidRequestError(f"Action {action.id} is of no known kind.")
    return ACTION_DECODERS[kind](action)


# --- to the wire ------------------------------------------------------------------------------------------


def _to_schedule_task(target: pb.OrchestratorAction, action: a.ScheduleTask) -> None:
    body = target.scheduleTask
    body.name = action.name
    if action.version is not None:
        body.version.value = action.version
    if action.input is not None:
        body.input.value = action.input
    if action.tags:
        body.tags.update(action.tags)
    if action.trace_context is not None:
        encode_trace(body.parentTraceContext, action.trace_context)


def _to_create_timer(target: pb.OrchestratorAction, action: a.CreateTimer) -> None:
    encode_time(target.createTimer.fireAt, action.fire_at)


def _to_create_child(target: pb.OrchestratorAction, action: a.CreateSubOrchestration) -> None:
    body = target.createSubOrchestration
    body.name = action.name
    body.instanceId = action.instance_id
    if action.version is not None:
        body.version.value = action.version
    if action.input is not None:
        body.input.value = action.input
    if action.tags:
        body.tags.update(action.tags)
    if action.trace_context is not None:
        encode_trace(body.parentTraceContext, action.trace_context)


def _to_send_event(target: pb.OrchestratorAction, action: a.SendEvent) -> None:
    body = target.sendEvent
    body.instance.instanceId = action.instance_id
    if action.execution_id is not None:
        body.instance.executionId.value = action.execution_id
    body.name = action.name
    if action.data is not None:
        body.data.value = action.data


def _to_complete(target: pb.OrchestratorAction, action: a.CompleteOrchestration) -> None:
    body = target.completeOrchestration
    body.orchestrationStatus = encode_status(action.status)
    if action.result is not None:
        body.result.value = action.result
    if action.failure is not None:
        encode_failure(body.failureDetails, action.failure)
    if action.new_version is not None:
        body.newVersion.value = action.new_version
    if action.carryover_events:
        encode_events(body.carryoverEvents, action.carryover_events)
    if action.details is not None:
        body.details.value = action.details
    if action.tags:
        body.tags.update(action.tags)


def _to_terminate(target: pb.OrchestratorAction, action: a.TerminateOrchestration) -> None:
    body = target.terminateOrchestration
    body.instanceId = action.instance_id
    if action.reason is not None:
        body.reason.value = action.reason
    body.recurse = action.recurse


def _to_rewind(target: pb.OrchestratorAction, action: a.RewindOrchestration) -> None:
    target.rewindOrchestration.SetInParent()
    encode_events(target.rewindOrchestration.newHistory, action.new_history)


def _to_call(target: pb.OrchestratorAction, action: a.CallEntity) -> None:
    write_called(target.sendEntityMessage.entityOperationCalled, action)


def _to_signal(target: pb.OrchestratorAction, action: a.SignalEntity) -> None:
    write_signaled(target.sendEntityMessage.entityOperationSignaled, action)


def _to_lock(target: pb.OrchestratorAction, action: a.RequestEntityLock) -> None:
    write_lock_requested(target.sendEntityMessage.entityLockRequested, action)


def _to_unlock(target: pb.OrchestratorAction, action: a.UnlockEntity) -> None:
    write_unlock_sent(target.sendEntityMessage.entityUnlockSent, action)


ACTION_ENCODERS: Final[dict[type[a.OrchestratorActionBase], Callable[[pb.OrchestratorAction, Any], None]]] = {
    a.ScheduleTask: _to_schedule_task,
    a.CreateTimer: _to_create_timer,
    a.CreateSubOrchestration: _to_create_child,
    a.SendEvent: _to_send_event,
    a.CompleteOrchestration: _to_complete,
    a.TerminateOrchestration: _to_terminate,
    a.RewindOrchestration: _to_rewind,
    a.CallEntity: _to_call,
    a.SignalEntity: _to_signal,
    a.RequestEntityLock: _to_lock,
    a.UnlockEntity: _to_unlock,
}
"""Kind of action -> how to write it into its member of the oneof."""


def encode_action(target: pb.OrchestratorAction, action: a.OrchestratorActionBase) -> None:
    """Write one action into a message."""
    target.id = action.id
    ACTION_ENCODERS[type(action)](target, action)
