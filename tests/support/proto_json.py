"""The protobuf-JSON form of events and actions (as the vectors write it) <-> core's models.

Independent of the gRPC codec on purpose, so that the two can check each other. One table per direction:
a row is ``(attribute of the model, member of the JSON object, how the value is written)``. Members follow
``vectors/README.md``: wrappers are bare values, timestamps RFC 3339; plain ints of value 0, plain empty
strings and unset wrappers are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple, get_args

from durabletask.core import actions as a
from durabletask.core import history as h
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestratorResult

__all__ = [
    "action_to_json",
    "event_from_json",
    "event_to_json",
    "events_from_json",
    "result_to_json",
    "time_from_json",
    "time_to_json",
]

Json = dict[str, Any]

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)\Z",
)
_STATUS_PREFIX = "ORCHESTRATION_STATUS_"


def time_from_json(text: str) -> datetime:
    """An RFC 3339 timestamp; digits beyond microseconds are cut."""
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 timestamp")
    base, fraction, zone = match.groups()
    moment = datetime.fromisoformat(base + ("+00:00" if zone == "Z" else zone))
    return (moment + timedelta(microseconds=int((fraction or "").ljust(6, "0")[:6]))).astimezone(timezone.utc)


def time_to_json(moment: datetime) -> str:
    """RFC 3339 in UTC, with as many groups of three fraction digits as needed."""
    text = moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    if moment.microsecond:
        digits = f"{moment.microsecond:06d}"
        text += "." + (digits[:3] if digits.endswith("000") else digits)
    return text + "Z"


class Kind(NamedTuple):
    """How one kind of value is read and written; ``write`` returning ``None`` leaves the member out."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]
    missing: Callable[[], Any]


def _same(value: Any) -> Any:
    return value


def _unless_empty(value: Any) -> Any:
    return value or None


def _none() -> None:
    return None


def _read_failure(value: Json) -> FailureDetails:
    inner = value.get("innerFailure")
    return FailureDetails(
        error_type=value.get("errorType", ""),
        message=value.get("errorMessage", ""),
        stack_trace=value.get("stackTrace"),
        inner_failure=None if inner is None else _read_failure(inner),
        is_non_retriable=value.get("isNonRetriable", False),
        properties=value.get("properties"),
    )


def _write_failure(value: FailureDetails) -> Json:
    written: Json = {"errorType": value.error_type, "errorMessage": value.message}
    if value.stack_trace is not None:
        written["stackTrace"] = value.stack_trace
    if value.inner_failure is not None:
        written["innerFailure"] = _write_failure(value.inner_failure)
    if value.is_non_retriable:
        written["isNonRetriable"] = True
    if value.properties:
        written["properties"] = dict(value.properties)
    return written


def _read_trace(value: Json) -> h.TraceContext:
    return h.TraceContext(
        trace_parent=value.get("traceParent", ""),
        trace_state=value.get("traceState"),
        span_id=value.get("spanID", value.get("spanId", "")),
    )


def _write_trace(value: h.TraceContext) -> Json:
    written = {"traceParent": value.trace_parent, "spanID": value.span_id, "traceState": value.trace_state}
    return {name: member for name, member in written.items() if member not in (None, "")}


def _read_parent(value: Json) -> h.ParentInstance:
    instance = value.get("orchestrationInstance", {})
    return h.ParentInstance(
        task_scheduled_id=value.get("taskScheduledId", 0),
        instance_id=instance.get("instanceId", ""),
        execution_id=instance.get("executionId"),
        name=value.get("name"),
        version=value.get("version"),
    )


def _write_parent(value: h.ParentInstance) -> Json:
    instance = {"instanceId": value.instance_id or None, "executionId": value.execution_id}
    written: Json = {
        "taskScheduledId": value.task_scheduled_id or None,
        "name": value.name,
        "version": value.version,
        "orchestrationInstance": {k: v for k, v in instance.items() if v is not None},
    }
    return {k: v for k, v in written.items() if v is not None}


def _read_status(value: str | int) -> OrchestrationStatus:
    if isinstance(value, int):
        return OrchestrationStatus(value)
    return OrchestrationStatus[value.removeprefix(_STATUS_PREFIX)]


def _write_status(value: OrchestrationStatus | int) -> str | None:
    status = OrchestrationStatus(value)
    return None if status.value == 0 else _STATUS_PREFIX + status.name


TEXT = Kind(_same, _unless_empty, str)
OPTIONAL = Kind(_same, _same, _none)
INT = Kind(_same, _unless_empty, int)
BOOL = Kind(_same, _unless_empty, bool)
TIME = Kind(time_from_json, time_to_json, lambda: h.EPOCH)
OPTIONAL_TIME = Kind(time_from_json, lambda v: None if v is None else time_to_json(v), _none)
TAGS = Kind(_same, lambda v: dict(v) if v else None, _none)
NAMES = Kind(tuple, lambda v: list(v) or None, tuple)
FAILURE = Kind(_read_failure, lambda v: None if v is None else _write_failure(v), _none)
TRACE = Kind(_read_trace, lambda v: None if v is None else _write_trace(v), _none)
PARENT = Kind(_read_parent, lambda v: None if v is None else _write_parent(v), _none)
STATUS = Kind(_read_status, _write_status, lambda: OrchestrationStatus.RUNNING)
STATUS_NUMBER = Kind(lambda v: _read_status(v).value, _write_status, int)
EVENTS = Kind(
    lambda v: tuple(events_from_json(v)),
    lambda v: [event_to_json(event) for event in v] or None,
    tuple,
)

_Row = tuple[str, str, Kind]

# Members that lie one level deeper are written with a dot.
_CALL: tuple[_Row, ...] = (
    ("request_id", "requestId", TEXT),
    ("operation", "operation", TEXT),
    ("target_instance_id", "targetInstanceId", OPTIONAL),
    ("input", "input", OPTIONAL),
    ("scheduled_time", "scheduledTime", OPTIONAL_TIME),
    ("parent_instance_id", "parentInstanceId", OPTIONAL),
    ("parent_execution_id", "parentExecutionId", OPTIONAL),
)
_LOCK: tuple[_Row, ...] = (
    ("critical_section_id", "criticalSectionId", TEXT),
    ("lock_set", "lockSet", NAMES),
    ("position", "position", INT),
    ("parent_instance_id", "parentInstanceId", OPTIONAL),
)
_UNLOCK: tuple[_Row, ...] = (
    ("critical_section_id", "criticalSectionId", TEXT),
    ("target_instance_id", "targetInstanceId", OPTIONAL),
    ("parent_instance_id", "parentInstanceId", OPTIONAL),
)
_SCHEDULED: tuple[_Row, ...] = (
    ("name", "name", TEXT),
    ("version", "version", OPTIONAL),
    ("input", "input", OPTIONAL),
    ("tags", "tags", TAGS),
    ("trace_context", "parentTraceContext", TRACE),
)
_CHILD: tuple[_Row, ...] = (*_SCHEDULED, ("instance_id", "instanceId", TEXT))
_ANSWERED: tuple[_Row, ...] = (
    ("task_scheduled_id", "taskScheduledId", INT),
    ("result", "result", OPTIONAL),
)
_FAILED: tuple[_Row, ...] = (
    ("task_scheduled_id", "taskScheduledId", INT),
    ("failure", "failureDetails", FAILURE),
)
_REASON: tuple[_Row, ...] = (("input", "input", OPTIONAL),)

_EVENTS: dict[str, tuple[type[h.HistoryEventBase], tuple[_Row, ...]]] = {
    "orchestratorStarted": (h.OrchestratorStarted, ()),
    "orchestratorCompleted": (h.OrchestratorCompleted, ()),
    "executionStarted": (
        h.ExecutionStarted,
        (
            ("name", "name", TEXT),
            ("instance_id", "orchestrationInstance.instanceId", TEXT),
            ("execution_id", "orchestrationInstance.executionId", OPTIONAL),
            ("version", "version", OPTIONAL),
            ("input", "input", OPTIONAL),
            ("parent", "parentInstance", PARENT),
            ("scheduled_start", "scheduledStartTimestamp", OPTIONAL_TIME),
            ("trace_context", "parentTraceContext", TRACE),
            ("orchestration_span_id", "orchestrationSpanID", OPTIONAL),
            ("tags", "tags", TAGS),
        ),
    ),
    "executionCompleted": (
        h.ExecutionCompleted,
        (
            ("status", "orchestrationStatus", STATUS_NUMBER),
            ("result", "result", OPTIONAL),
            ("failure", "failureDetails", FAILURE),
        ),
    ),
    "executionTerminated": (h.ExecutionTerminated, (*_REASON, ("recurse", "recurse", BOOL))),
    "executionSuspended": (h.ExecutionSuspended, _REASON),
    "executionResumed": (h.ExecutionResumed, _REASON),
    "executionRewound": (
        h.ExecutionRewound,
        (
            ("reason", "reason", OPTIONAL),
            ("parent_execution_id", "parentExecutionId", OPTIONAL),
            ("instance_id", "instanceId", OPTIONAL),
            ("trace_context", "parentTraceContext", TRACE),
            ("name", "name", OPTIONAL),
            ("version", "version", OPTIONAL),
            ("input", "input", OPTIONAL),
            ("parent", "parentInstance", PARENT),
            ("tags", "tags", TAGS),
        ),
    ),
    "taskScheduled": (h.TaskScheduled, _SCHEDULED),
    "taskCompleted": (h.TaskCompleted, _ANSWERED),
    "taskFailed": (h.TaskFailed, _FAILED),
    "subOrchestrationInstanceCreated": (h.SubOrchestrationInstanceCreated, _CHILD),
    "subOrchestrationInstanceCompleted": (h.SubOrchestrationInstanceCompleted, _ANSWERED),
    "subOrchestrationInstanceFailed": (h.SubOrchestrationInstanceFailed, _FAILED),
    "timerCreated": (h.TimerCreated, (("fire_at", "fireAt", TIME),)),
    "timerFired": (h.TimerFired, (("fire_at", "fireAt", TIME), ("timer_id", "timerId", INT))),
    "eventSent": (
        h.EventSent,
        (("instance_id", "instanceId", TEXT), ("name", "name", TEXT), ("input", "input", OPTIONAL)),
    ),
    "eventRaised": (h.EventRaised, (("name", "name", TEXT), ("input", "input", OPTIONAL))),
    "genericEvent": (h.GenericEvent, (("data", "data", OPTIONAL),)),
    "historyState": (h.HistoryState, ()),
    "continueAsNew": (h.ContinueAsNew, _REASON),
    "entityOperationCalled": (h.EntityOperationCalled, _CALL),
    "entityOperationSignaled": (h.EntityOperationSignaled, _CALL[:5]),
    "entityOperationCompleted": (
        h.EntityOperationCompleted,
        (("request_id", "requestId", TEXT), ("output", "output", OPTIONAL)),
    ),
    "entityOperationFailed": (
        h.EntityOperationFailed,
        (("request_id", "requestId", TEXT), ("failure", "failureDetails", FAILURE)),
    ),
    "entityLockRequested": (h.EntityLockRequested, _LOCK),
    "entityLockGranted": (h.EntityLockGranted, (("critical_section_id", "criticalSectionId", TEXT),)),
    "entityUnlockSent": (h.EntityUnlockSent, _UNLOCK),
}
_KIND_OF_EVENT = {event_type: kind for kind, (event_type, _) in _EVENTS.items()}

_ACTIONS: dict[type[a.OrchestratorActionBase], tuple[str, tuple[_Row, ...]]] = {
    a.ScheduleTask: ("scheduleTask", _SCHEDULED),
    a.CreateTimer: ("createTimer", (("fire_at", "fireAt", TIME),)),
    a.CreateSubOrchestration: ("createSubOrchestration", _CHILD),
    a.SendEvent: (
        "sendEvent",
        (
            ("instance_id", "instance.instanceId", TEXT),
            ("execution_id", "instance.executionId", OPTIONAL),
            ("name", "name", TEXT),
            ("data", "data", OPTIONAL),
        ),
    ),
    a.CompleteOrchestration: (
        "completeOrchestration",
        (
            ("status", "orchestrationStatus", STATUS),
            ("result", "result", OPTIONAL),
            ("failure", "failureDetails", FAILURE),
            ("new_version", "newVersion", OPTIONAL),
            ("carryover_events", "carryoverEvents", EVENTS),
            ("details", "details", OPTIONAL),
            ("tags", "tags", TAGS),
        ),
    ),
    a.TerminateOrchestration: (
        "terminateOrchestration",
        (
            ("instance_id", "instanceId", TEXT),
            ("reason", "reason", OPTIONAL),
            ("recurse", "recurse", BOOL),
        ),
    ),
    a.RewindOrchestration: ("rewindOrchestration", (("new_history", "newHistory", EVENTS),)),
    a.CallEntity: ("sendEntityMessage.entityOperationCalled", _CALL),
    a.SignalEntity: ("sendEntityMessage.entityOperationSignaled", _CALL[:5]),
    a.RequestEntityLock: ("sendEntityMessage.entityLockRequested", _LOCK),
    a.UnlockEntity: ("sendEntityMessage.entityUnlockSent", _UNLOCK),
}


def _find(value: Mapping[str, Any], path: str) -> Any:
    for name in path.split("."):
        if value is None:
            return None
        value = value.get(name)  # type: ignore[assignment]
    return value


def _put(target: Json, path: str, value: object) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target[name] = value


def _write(value: object, rows: Sequence[_Row]) -> Json:
    written: Json = {}
    for attribute, path, kind in rows:
        member = kind.write(getattr(value, attribute))
        if member is not None:
            _put(written, path, member)
    return written


def event_from_json(value: Mapping[str, Any]) -> h.HistoryEvent:
    """Read one event; a kind that the protocol does not have becomes an ``UnknownEvent``."""
    event_id = value.get("eventId", 0)
    timestamp = time_from_json(value["timestamp"]) if "timestamp" in value else h.EPOCH
    kinds = [name for name in value if name not in ("eventId", "timestamp")]
    if len(kinds) != 1 or kinds[0] not in _EVENTS:
        return h.UnknownEvent(event_id, timestamp, kind=",".join(kinds) or "unset")
    event_type, rows = _EVENTS[kinds[0]]
    body = value[kinds[0]]
    members: Json = {}
    for attribute, path, kind in rows:
        found = _find(body, path)
        members[attribute] = kind.missing() if found is None else kind.read(found)
    return event_type(event_id, timestamp, **members)  # type: ignore[return-value]


def events_from_json(values: Sequence[Mapping[str, Any]]) -> list[h.HistoryEvent]:
    """Read a list of events."""
    return [event_from_json(value) for value in values]


def event_to_json(event: h.HistoryEvent) -> Json:
    """Write one event."""
    kind = _KIND_OF_EVENT[type(event)]
    return {
        "eventId": event.event_id,
        "timestamp": time_to_json(event.timestamp),
        kind: _write(event, _EVENTS[kind][1]),
    }


def action_to_json(action: a.OrchestratorAction) -> Json:
    """Write one action."""
    path, rows = _ACTIONS[type(action)]
    written: Json = {"id": action.id}
    _put(written, path, _write(action, rows))
    return written


def result_to_json(result: OrchestratorResult) -> Json:
    """What a vector's ``expect`` says about a result: ``actions`` and, when set, ``customStatus``."""
    written: Json = {"actions": [action_to_json(action) for action in result.actions]}
    if result.custom_status is not None:
        written["customStatus"] = result.custom_status
    return written


# Every event and every action has a row in the tables; forgetting one fails at import.
assert set(get_args(h.HistoryEvent)) == {*_KIND_OF_EVENT, h.UnknownEvent}
assert set(get_args(a.OrchestratorAction)) == set(_ACTIONS)
