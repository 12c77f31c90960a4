"""History events from the wire (protocol section 6): one function per kind, one table.

``decode_event`` is exact. ``decode_past`` serves replay: a past of thousands of events is read at every
cold start, so it leaves the timestamps that mean nothing to replay and tracing at ``EPOCH`` (see
``durabletask.core.history``) and touches each field once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from durabletask.core import history as h
from durabletask.core.errors import InvalidRequestError
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .values import decode_failure, decode_parent, decode_tags, decode_time, decode_trace

__all__ = ["DECODERS", "decode_event", "decode_events", "decode_past"]


def _orchestrator_started(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    return h.OrchestratorStarted(event.eventId, at)


def _orchestrator_completed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    return h.OrchestratorCompleted(event.eventId, at)


def _execution_started(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.executionStarted
    instance = body.orchestrationInstance
    return h.ExecutionStarted(
        event.eventId,
        at,
        body.name,
        instance.instanceId,
        instance.executionId.value if instance.HasField("executionId") else None,
        body.version.value if body.HasField("version") else None,
        body.input.value if body.HasField("input") else None,
        decode_parent(body.parentInstance) if body.HasField("parentInstance") else None,
        decode_time(body.scheduledStartTimestamp) if body.HasField("scheduledStartTimestamp") else None,
        decode_trace(body.parentTraceContext) if body.HasField("parentTraceContext") else None,
        body.orchestrationSpanID.value if body.HasField("orchestrationSpanID") else None,
        decode_tags(body.tags),
    )


def _execution_completed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.executionCompleted
    return h.ExecutionCompleted(
        event.eventId,
        at,
        body.orchestrationStatus,
        body.result.value if body.HasField("result") else None,
        decode_failure(body.failureDetails) if body.HasField("failureDetails") else None,
    )


def _execution_terminated(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.executionTerminated
    return h.ExecutionTerminated(
        event.eventId, at, body.input.value if body.HasField("input") else None, body.recurse
    )


def _execution_suspended(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.executionSuspended
    return h.ExecutionSuspended(event.eventId, at, body.input.value if body.HasField("input") else None)


def _execution_resumed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.executionResumed
    return h.ExecutionResumed(event.eventId, at, body.input.value if body.HasField("input") else None)


def _execution_rewound(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.executionRewound
    return h.ExecutionRewound(
        event.eventId,
        at,
        body.reason.value if body.HasField("reason") else None,
        body.parentExecutionId.value if body.HasField("parentExecutionId") else None,
        body.instanceId.value if body.HasField("instanceId") else None,
        decode_trace(body.parentTraceContext) if body.HasField("parentTraceContext") else None,
        body.name.value if body.HasField("name") else None,
        body.version.value if body.HasField("version") else None,
        body.input.value if body.HasField("input") else None,
        decode_parent(body.parentInstance) if body.HasField("parentInstance") else None,
        decode_tags(body.tags),
    )


def _task_scheduled(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.taskScheduled
    return h.TaskScheduled(
        event.eventId,
        at,
        body.name,
        body.version.value if body.HasField("version") else None,
        body.input.value if body.HasField("input") else None,
        decode_trace(body.parentTraceContext) if body.HasField("parentTraceContext") else None,
        decode_tags(body.tags),
    )


def _task_completed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.taskCompleted
    return h.TaskCompleted(
        event.eventId, at, body.taskScheduledId, body.result.value if body.HasField("result") else None
    )


def _task_failed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.taskFailed
    failure = decode_failure(body.failureDetails) if body.HasField("failureDetails") else None
    return h.TaskFailed(event.eventId, at, body.taskScheduledId, failure)


def _child_created(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.subOrchestrationInstanceCreated
    return h.SubOrchestrationInstanceCreated(
        event.eventId,
        at,
        body.name,
        body.instanceId,
        body.version.value if body.HasField("version") else None,
        body.input.value if body.HasField("input") else None,
        decode_trace(body.parentTraceContext) if body.HasField("parentTraceContext") else None,
        decode_tags(body.tags),
    )


def _child_completed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.subOrchestrationInstanceCompleted
    return h.SubOrchestrationInstanceCompleted(
        event.eventId, at, body.taskScheduledId, body.result.value if body.HasField("result") else None
    )


def _child_failed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.subOrchestrationInstanceFailed
    failure = decode_failure(body.failureDetails) if body.HasField("failureDetails") else None
    return h.SubOrchestrationInstanceFailed(event.eventId, at, body.taskScheduledId, failure)


def _timer_created(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    return h.TimerCreated(event.eventId, at, decode_time(event.timerCreated.fireAt))


def _timer_fired(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.timerFired
    return h.TimerFired(event.eventId, at, decode_time(body.fireAt), body.timerId)


def _event_sent(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.eventSent
    return h.EventSent(
        event.eventId, at, body.instanceId, body.name, body.input.value if body.HasField("input") else None
    )


def _event_raised(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.eventRaised
    return h.EventRaised(event.eventId, at, body.name, body.input.value if body.HasField("input") else None)


def _generic_event(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.genericEvent
    return h.GenericEvent(event.eventId, at, body.data.value if body.HasField("data") else None)


def _history_state(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    return h.HistoryState(event.eventId, at)


def _continue_as_new(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.continueAsNew
    return h.ContinueAsNew(event.eventId, at, body.input.value if body.HasField("input") else None)


def _entity_called(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.entityOperationCalled
    return h.EntityOperationCalled(
        event.eventId,
        at,
        body.requestId,
        body.operation,
        body.targetInstanceId.value if body.HasField("targetInstanceId") else None,
        body.input.value if body.HasField("input") else None,
        decode_time(body.scheduledTime) if body.HasField("scheduledTime") else None,
        body.parentInstanceId.value if body.HasField("parentInstanceId") else None,
        body.parentExecutionId.value if body.HasField("parentExecutionId") else None,
    )


def _entity_signaled(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.entityOperationSignaled
    return h.EntityOperationSignaled(
        event.eventId,
        at,
        body.requestId,
        body.operation,
        body.targetInstanceId.value if body.HasField("targetInstanceId") else None,
        body.input.value if body.HasField("input") else None,
        decode_time(body.scheduledTime) if body.HasField("scheduledTime") else None,
    )


def _entity_completed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.entityOperationCompleted
    return h.EntityOperationCompleted(
        event.eventId, at, body.requestId, body.output.value if body.HasField("output") else None
    )


def _entity_failed(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.entityOperationFailed
    failure = decode_failure(body.failureDetails) if body.HasField("failureDetails") else None
    return h.EntityOperationFailed(event.eventId, at, body.requestId, failure)


def _lock_requested(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.entityLockRequested
    return h.EntityLockRequested(
        event.eventId,
        at,
        body.criticalSectionId,
        tuple(body.lockSet),
        body.position,
        body.parentInstanceId.value if body.HasField("parentInstanceId") else None,
    )


def _lock_granted(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    return h.EntityLockGranted(event.eventId, at, event.entityLockGranted.criticalSectionId)


def _unlock_sent(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    body = event.entityUnlockSent
    return h.EntityUnlockSent(
        event.eventId,
        at,
        body.criticalSectionId,
        body.targetInstanceId.value if body.HasField("targetInstanceId") else None,
        body.parentInstanceId.value if body.HasField("parentInstanceId") else None,
    )


def _unknown(event: pb.HistoryEvent, at: datetime) -> h.HistoryEvent:
    return h.UnknownEvent(event.eventId, at, "not known to this version")


DECODERS: Final[dict[str | None, Callable[[pb.HistoryEvent, datetime], h.HistoryEvent]]] = {
    "orchestratorStarted": _orchestrator_started,
    "orchestratorCompleted": _orchestrator_completed,
    "executionStarted": _execution_started,
    "executionCompleted": _execution_completed,
    "executionTerminated": _execution_terminated,
    "executionSuspended": _execution_suspended,
    "executionResumed": _execution_resumed,
    "executionRewound": _execution_rewound,
    "taskScheduled": _task_scheduled,
    "taskCompleted": _task_completed,
    "taskFailed": _task_failed,
    "subOrchestrationInstanceCreated": _child_created,
    "subOrchestrationInstanceCompleted": _child_completed,
    "subOrchestrationInstanceFailed": _child_failed,
    "timerCreated": _timer_created,
    "timerFired": _timer_fired,
    "eventSent": _event_sent,
    "eventRaised": _event_raised,
    "genericEvent": _generic_event,
    "historyState": _history_state,
    "continueAsNew": _continue_as_new,
    "entityOperationCalled": _entity_called,
    "entityOperationSignaled": _entity_signaled,
    "entityOperationCompleted": _entity_completed,
    "entityOperationFailed": _entity_failed,
    "entityLockRequested": _lock_requested,
    "entityLockGranted": _lock_granted,
    "entityUnlockSent": _unlock_sent,
    None: _unknown,
}
"""Member of the oneof -> how to read it."""


def decode_event(event: pb.HistoryEvent) -> h.HistoryEvent:
    """One event, exactly."""
    return DECODERS[event.WhichOneof("eventType")](event, decode_time(event.timestamp))


def decode_events(events: Iterable[pb.HistoryEvent]) -> list[h.HistoryEvent]:
    """Events in order, exactly."""
    return [decode_event(event) for event in events]


_BEGINNINGS = frozenset({"executionStarted", "subOrchestrationInstanceCreated", "timerCreated"})
_TRACE = "parentTraceContext"


def decode_past(events: Iterable[pb.HistoryEvent]) -> list[h.HistoryEvent]:
    """Events in order, for replay: timestamps are read only where replay, or a span that is emitted later, needs them."""
    decoders, which, epoch, delta = DECODERS, pb.HistoryEvent.WhichOneof, h.EPOCH, timedelta
    found: list[h.HistoryEvent] = []
    append = found.append
    for event in events:
        kind = which(event, "eventType")
        if kind == "orchestratorStarted":
            at = event.timestamp
            try:
                append(h.OrchestratorStarted(event.eventId, epoch + delta(0, at.seconds, at.nanos // 1000)))
            except OverflowError:
                raise InvalidRequestError("A history has a time outside the years 1 to 9999.") from None
        elif kind in _BEGINNINGS or (kind == "taskScheduled" and event.taskScheduled.HasField(_TRACE)):
            append(decoders[kind](event, decode_time(event.timestamp)))
        else:
            append(decoders[kind](event, epoch))
    return found
