"""Small values that occur everywhere: times, statuses, tags, trace contexts, failures.

Rules of the whole codec: optional text is a ``StringValue``, so unset (``None``) and empty differ; an
empty map is no map; times are aware UTC, naive ones are taken as UTC (decisions, row 18). What cannot be
converted raises ``InvalidRequestError``, because the sender is at fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from datetime import datetime, timedelta, timezone
from typing import Final, cast

from durabletask.core.errors import InvalidRequestError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EPOCH, ParentInstance, TraceContext
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestrationTraceContext
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = [
    "decode_duration",
    "decode_failure",
    "decode_parent",
    "decode_span",
    "decode_status",
    "decode_statuses",
    "decode_tags",
    "decode_time",
    "decode_trace",
    "encode_duration",
    "encode_failure",
    "encode_parent",
    "encode_span",
    "encode_status",
    "encode_time",
    "encode_trace",
    "encode_value",
]

_UTC: Final = timezone.utc
_STATUSES: Final = {status.value: status for status in OrchestrationStatus}
_WIRE_STATUSES: Final = {
    status: cast("pb.OrchestrationStatus", status.value) for status in OrchestrationStatus
}
_MAX_DEPTH: Final = 100  # of nested failures and values; deeper ones are cut instead of exhausting the stack

_EXACT_INTEGERS: Final = 2**53  # the wire knows doubles only


# --- times ------------------------------------------------------------------------------------------------


def decode_time(value: Timestamp) -> datetime:
    """An instant, to the microsecond."""
    try:
        return EPOCH + timedelta(0, value.seconds, value.nanos // 1000)
    except OverflowError:
        raise InvalidRequestError(
            f"A time of {value.seconds} seconds since 1970 is outside the years 1 to 9999."
        ) from None


def encode_time(target: Timestamp, value: datetime) -> None:
    """Write an instant into a field of a message."""
    if value.tzinfo is None:
        value = value.replace(tzinfo=_UTC)
    delta = value - EPOCH
    target.seconds = delta.days * 86400 + delta.seconds
    target.nanos = delta.microseconds * 1000


def decode_duration(value: Duration) -> timedelta:
    """A span of time, to the microsecond."""
    try:
        return timedelta(0, value.seconds, value.nanos // 1000)
    except OverflowError:
        raise InvalidRequestError(f"A duration of {value.seconds} seconds is too long.") from None


def encode_duration(target: Duration, value: timedelta) -> None:
    """Write a span of time into a field of a message; seconds and nanos have the same sign."""
    micros = (value.days * 86400 + value.seconds) * 1_000_000 + value.microseconds
    seconds, rest = divmod(abs(micros), 1_000_000)
    sign = -1 if micros < 0 else 1
    target.seconds = sign * seconds
    target.nanos = sign * rest * 1000


# --- statuses ---------------------------------------------------------------------------------------------


def decode_status(value: int) -> OrchestrationStatus:
    """A status of the protocol."""
    try:
        return _STATUSES[value]
    except KeyError:
        raise InvalidRequestError(f"{value} is not a status of an orchestration (0 to 7 are).") from None


def decode_statuses(values: Iterable[int]) -> tuple[OrchestrationStatus, ...]:
    """Statuses of the protocol, in order."""
    return tuple([decode_status(value) for value in values])


def encode_status(value: OrchestrationStatus) -> pb.OrchestrationStatus:
    """The number of a status."""
    return _WIRE_STATUSES[value]


# --- tags, trace contexts, parents ------------------------------------------------------------------------


def decode_tags(value: Mapping[str, str]) -> dict[str, str] | None:
    """Tags; an empty map is no tags."""
    return dict(value) if value else None


def decode_trace(value: pb.TraceContext) -> TraceContext:
    """A trace context that is present."""
    state = value.traceState.value if value.HasField("traceState") else None
    return TraceContext(value.traceParent, state, value.spanID)


def encode_trace(target: pb.TraceContext, value: TraceContext) -> None:
    """Write a trace context into a field of a message."""
    target.traceParent = value.trace_parent
    target.spanID = value.span_id
    if value.trace_state is not None:
        target.traceState.value = value.trace_state


def decode_span(value: pb.OrchestrationTraceContext) -> OrchestrationTraceContext:
    """The span of a whole orchestration."""
    return OrchestrationTraceContext(
        value.spanID.value if value.HasField("spanID") else None,
        decode_time(value.spanStartTime) if value.HasField("spanStartTime") else None,
    )


def encode_span(target: pb.OrchestrationTraceContext, value: OrchestrationTraceContext) -> None:
    """Write the span of a whole orchestration into a field of a message."""
    target.SetInParent()
    if value.span_id is not None:
        target.spanID.value = value.span_id
    if value.span_start is not None:
        encode_time(target.spanStartTime, value.span_start)


def decode_parent(value: pb.ParentInstanceInfo) -> ParentInstance:
    """The parent of a sub-orchestration."""
    instance = value.orchestrationInstance
    return ParentInstance(
        value.taskScheduledId,
        instance.instanceId,
        instance.executionId.value if instance.HasField("executionId") else None,
        value.name.value if value.HasField("name") else None,
        value.version.value if value.HasField("version") else None,
    )


def encode_parent(target: pb.ParentInstanceInfo, value: ParentInstance) -> None:
    """Write the parent of a sub-orchestration into a field of a message."""
    target.taskScheduledId = value.task_scheduled_id
    target.orchestrationInstance.instanceId = value.instance_id
    if value.execution_id is not None:
        target.orchestrationInstance.executionId.value = value.execution_id
    if value.name is not None:
        target.name.value = value.name
    if value.version is not None:
        target.version.value = value.version


# --- failures ---------------------------------------------------------------------------------------------


def decode_failure(value: pb.TaskFailureDetails) -> FailureDetails:
    """A failure with all its causes."""
    chain = [value]
    while chain[-1].HasField("innerFailure") and len(chain) < _MAX_DEPTH:
        chain.append(chain[-1].innerFailure)
    inner: FailureDetails | None = None
    for link in reversed(chain):
        inner = FailureDetails(
            link.errorType,
            link.errorMessage,
            link.stackTrace.value if link.HasField("stackTrace") else None,
            inner,
            link.isNonRetriable,
            {key: _decode_value(link.properties[key], _MAX_DEPTH) for key in link.properties} or None,
        )
    assert inner is not None  # noqa: S101 - the chain has at least one link
    return inner


def encode_failure(target: pb.TaskFailureDetails, value: FailureDetails) -> None:
    """Write a failure with all its causes into a field of a message."""
    for _ in range(_MAX_DEPTH):
        target.SetInParent()
        target.errorType = value.error_type
        target.errorMessage = value.message
        target.isNonRetriable = value.is_non_retriable
        if value.stack_trace is not None:
            target.stackTrace.value = value.stack_trace
        if value.properties:
            _encode_map(target.properties, value.properties)
        if value.inner_failure is None:
            return
        target, value = target.innerFailure, value.inner_failure


def _decode_value(value: Value, depth: int) -> object:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        if depth == 0:
            return None
        fields = value.struct_value.fields
        return {key: _decode_value(fields[key], depth - 1) for key in fields}
    if kind == "list_value":
        return [_decode_value(item, depth - 1) for item in value.list_value.values] if depth else None
    if kind is None or kind == "null_value":
        return None
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT_INTEGERS else number
    found: object = getattr(value, kind)
    return found


def _encode_map(target: MutableMapping[str, Value], values: Mapping[str, object]) -> None:
    for key, item in values.items():
        encode_value(target[key], item)


def encode_value(target: Value, value: object, depth: int = _MAX_DEPTH) -> None:
    """Write a JSON-like value; anything else is written as its text."""
    if value is None or depth == 0:
        target.null_value = 0  # type: ignore[assignment]  # NULL_VALUE; the stubs want the enum's own type
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, (int, float)):
        try:
            target.number_value = float(value)
        except OverflowError:
            target.string_value = str(value)
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            encode_value(target.struct_value.fields[str(key)], item, depth - 1)
    elif isinstance(value, (list, tuple)):
        target.list_value.SetInParent()
        for item in value:
            encode_value(target.list_value.values.add(), item, depth - 1)
    else:
        target.string_value = str(value)
