"""History events to the wire (protocol section 6): one function per kind, one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from durabletask.core import history as h
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .entity_messages import write_called, write_lock_requested, write_signaled, write_unlock_sent
from .values import decode_status, encode_failure, encode_parent, encode_status, encode_time, encode_trace

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

__all__ = ["ENCODERS", "encode_event", "encode_events"]


def _to_orchestrator_started(target: pb.HistoryEvent, _: h.OrchestratorStarted) -> None:
    target.orchestratorStarted.SetInParent()


def _to_orchestrator_completed(target: pb.HistoryEvent, _: h.OrchestratorCompleted) -> None:
    target.orchestratorCompleted.SetInParent()


def _to_execution_started(target: pb.HistoryEvent, event: h.ExecutionStarted) -> None:
    body = target.executionStarted
    body.name = event.name
    instance = body.orchestrationInstance
    instance.instanceId = event.instance_id
    if event.execution_id is not None:
        instance.executionId.value = event.execution_id
    if event.version is not None:
        body.version.value = event.version
    if event.input is not None:
        body.input.value = event.input
    if event.parent is not None:
        encode_parent(body.parentInstance, event.parent)
    if event.scheduled_start is not None:
        encode_time(body.scheduledStartTimestamp, event.scheduled_start)
    if event.trace_context is not None:
        encode_trace(body.parentTraceContext, event.trace_context)
    if event.orchestration_span_id is not None:
        body.orchestrationSpanID.value = event.orchestration_span_id
    if event.tags:
        body.tags.update(event.tags)


def _to_execution_completed(target: pb.HistoryEvent, event: h.ExecutionCompleted) -> None:
    body = target.executionCompleted
    body.SetInParent()
    body.orchestrationStatus = encode_status(decode_status(event.status))
    if event.result is not None:
        body.result.value = event.result
    if event.failure is not None:
        encode_failure(body.failureDetails, event.failure)


def _to_execution_terminated(target: pb.HistoryEvent, event: h.ExecutionTerminated) -> None:
    body = target.executionTerminated
    body.SetInParent()
    body.recurse = event.recurse
    if event.input is not None:
        body.input.value = event.input


def _to_execution_suspended(target: pb.HistoryEvent, event: h.ExecutionSuspended) -> None:
    target.executionSuspended.SetInParent()
    if event.input is not None:
        target.executionSuspended.input.value = event.input


def _to_execution_resumed(target: pb.HistoryEvent, event: h.ExecutionResumed) -> None:
    target.executionResumed.SetInParent()
    if event.input is not None:
        target.executionResumed.input.value = event.input


def _to_execution_rewound(target: pb.HistoryEvent, event: h.ExecutionRewound) -> None:
    body = target.executionRewound
    body.SetInParent()
    if event.reason is not None:
        body.reason.value = event.reason
    if event.parent_execution_id is not None:
        body.parentExecutionId.value = event.parent_execution_id
    if event.instance_id is not None:
        body.instanceId.value = event.instance_id
    if event.trace_context is not None:
        encode_trace(body.parentTraceContext, event.trace_context)
    if event.name is not None:
        body.name.value = event.name
    if event.version is not None:
        body.version.value = event.version
    if event.input is not None:
        body.input.value = event.input
    if event.parent is not None:
        encode_parent(body.parentInstance, event.parent)
    if event.tags:
        body.tags.update(event.tags)


def _to_task_scheduled(target: pb.HistoryEvent, event: h.TaskScheduled) -> None:
    body = target.taskScheduled
    body.name = event.name
    if event.version is not None:
        body.version.value = event.version
    if event.input is not None:
        body.input.value = event.input
    if event.trace_context is not None:
        encode_trace(body.parentTraceContext, event.trace_context)
    if event.tags:
        body.tags.update(event.tags)


def _to_task_completed(target: pb.HistoryEvent, event: h.TaskCompleted) -> None:
    body = target.taskCompleted
    body.taskScheduledId = event.task_scheduled_id
    if event.result is not None:
        body.result.value = event.result


def _to_task_failed(target: pb.HistoryEvent, event: h.TaskFailed) -> None:
    body = target.taskFailed
    body.taskScheduledId = event.task_scheduled_id
    if event.failure is not None:
        encode_failure(body.failureDetails, event.failure)


def _to_child_created(target: pb.HistoryEvent, event: h.SubOrchestrationInstanceCreated) -> None:
    body = target.subOrchestrationInstanceCreated
    body.instanceId = event.instance_id
    body.name = event.name
    if event.version is not None:
        body.version.value = event.version
    if event.input is not None:
        body.input.value = event.input
    if event.trace_context is not None:
        encode_trace(body.parentTraceContext, event.trace_context)
    if event.tags:
        body.tags.update(event.tags)


def _to_child_completed(target: pb.HistoryEvent, event: h.SubOrchestrationInstanceCompleted) -> None:
    body = target.subOrchestrationInstanceCompleted
    body.taskScheduledId = event.task_scheduled_id
    if event.result is not None:
        body.result.value = event.result


def _to_child_failed(target: pb.HistoryEvent, event: h.SubOrchestrationInstanceFailed) -> None:
    body = target.subOrchestrationInstanceFailed
    body.taskScheduledId = event.task_scheduled_id
    if event.failure is not None:
        encode_failure(body.failureDetails, event.failure)


def _to_timer_created(target: pb.HistoryEvent, event: h.TimerCreated) -> None:
    encode_time(target.timerCreated.fireAt, event.fire_at)


def _to_timer_fired(target: pb.HistoryEvent, event: h.TimerFired) -> None:
    target.timerFired.timerId = event.timer_id
    encode_time(target.timerFired.fireAt, event.fire_at)


def _to_event_sent(target: pb.HistoryEvent, event: h.EventSent) -> None:
    body = target.eventSent
    body.instanceId = event.instance_id
    body.name = event.name
    if event.input is not None:
        body.input.value = event.input


def _to_event_raised(target: pb.HistoryEvent, event: h.EventRaised) -> None:
    body = target.eventRaised
    body.name = event.name
    if event.input is not None:
        body.input.value = event.input


def _to_generic_event(target: pb.HistoryEvent, event: h.GenericEvent) -> None:
    target.genericEvent.SetInParent()
    if event.data is not None:
        target.genericEvent.data.value = event.data


def _to_history_state(target: pb.HistoryEvent, _: h.HistoryState) -> None:
    target.historyState.SetInParent()


def _to_continue_as_new(target: pb.HistoryEvent, event: h.ContinueAsNew) -> None:
    target.continueAsNew.SetInParent()
    if event.input is not None:
        target.continueAsNew.input.value = event.input


def _to_entity_called(target: pb.HistoryEvent, event: h.EntityOperationCalled) -> None:
    write_called(target.entityOperationCalled, event)


def _to_entity_signaled(target: pb.HistoryEvent, event: h.EntityOperationSignaled) -> None:
    write_signaled(target.entityOperationSignaled, event)


def _to_entity_completed(target: pb.HistoryEvent, event: h.EntityOperationCompleted) -> None:
    body = target.entityOperationCompleted
    body.requestId = event.request_id
    if event.output is not None:
        body.output.value = event.output


def _to_entity_failed(target: pb.HistoryEvent, event: h.EntityOperationFailed) -> None:
    body = target.entityOperationFailed
    body.requestId = event.request_id
    if event.failure is not None:
        encode_failure(body.failureDetails, event.failure)


def _to_lock_requested(target: pb.HistoryEvent, event: h.EntityLockRequested) -> None:
    write_lock_requested(target.entityLockRequested, event)


def _to_lock_granted(target: pb.HistoryEvent, event: h.EntityLockGranted) -> None:
    target.entityLockGranted.criticalSectionId = event.critical_section_id


def _to_unlock_sent(target: pb.HistoryEvent, event: h.EntityUnlockSent) -> None:
    write_unlock_sent(target.entityUnlockSent, event)


def _to_unknown(target: pb.HistoryEvent, event: h.UnknownEvent) -> None:
    """The member of the oneof is lost; the envelope is kept."""


ENCODERS: Final[dict[type[h.HistoryEventBase], Callable[[pb.HistoryEvent, Any], None]]] = {
    h.OrchestratorStarted: _to_orchestrator_started,
    h.OrchestratorCompleted: _to_orchestrator_completed,
    h.ExecutionStarted: _to_execution_started,
    h.ExecutionCompleted: _to_execution_completed,
    h.ExecutionTerminated: _to_execution_terminated,
    h.ExecutionSuspended: _to_execution_suspended,
    h.ExecutionResumed: _to_execution_resumed,
    h.ExecutionRewound: _to_execution_rewound,
    h.TaskScheduled: _to_task_scheduled,
    h.TaskCompleted: _to_task_completed,
    h.TaskFailed: _to_task_failed,
    h.SubOrchestrationInstanceCreated: _to_child_created,
    h.SubOrchestrationInstanceCompleted: _to_child_completed,
    h.SubOrchestrationInstanceFailed: _to_child_failed,
    h.TimerCreated: _to_timer_created,
    h.TimerFired: _to_timer_fired,
    h.EventSent: _to_event_sent,
    h.EventRaised: _to_event_raised,
    h.GenericEvent: _to_generic_event,
    h.HistoryState: _to_history_state,
    h.ContinueAsNew: _to_continue_as_new,
    h.EntityOperationCalled: _to_entity_called,
    h.EntityOperationSignaled: _to_entity_signaled,
    h.EntityOperationCompleted: _to_entity_completed,
    h.EntityOperationFailed: _to_entity_failed,
    h.EntityLockRequested: _to_lock_requested,
    h.EntityLockGranted: _to_lock_granted,
    h.EntityUnlockSent: _to_unlock_sent,
    h.UnknownEvent: _to_unknown,
}
"""Kind of event -> how to write it into its member of the oneof."""


def encode_event(target: pb.HistoryEvent, event: h.HistoryEventBase) -> None:
    """Write one event into a message."""
    target.eventId = event.event_id
    encode_time(target.timestamp, event.timestamp)
    ENCODERS[type(event)](target, event)


def encode_events(
    target: RepeatedCompositeFieldContainer[pb.HistoryEvent], events: Iterable[h.HistoryEventBase]
) -> None:
    """Append events to a field of a message, in order."""
    for event in events:
        encode_event(target.add(), event)
