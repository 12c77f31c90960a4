"""Work items and their answers, both ways (protocol section 3).

A worker reads with ``decode_work_item`` and writes with ``encode_*_result``; a server writes with
``encode_work_item`` and reads with ``decode_*_result``. Entity batches are in ``entities``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import msgspec
from durabletask.core.errors import InvalidRequestError
from durabletask.core.history import ExecutionRewound, HistoryEvent
from durabletask.core.work_items import (
    ActivityFilter,
    ActivityResult,
    ActivityWorkItem,
    EntityFilter,
    EntityWorkItem,
    OrchestrationFilter,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkerCapability,
    WorkItem,
    WorkItemFilters,
    WorkItemStreamOptions,
)
from durabletask.grpc.proto._generated import lean_pb2 as lean
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .actions import decode_action, encode_action
from .entities import decode_entity_request, decode_legacy_batch, encode_entity_request
from .history import decode_events
from .past import EncodedPasts, LazyPast, encode_length
from .scanner import find_past
from .values import (
    decode_failure,
    decode_span,
    decode_tags,
    decode_trace,
    encode_failure,
    encode_span,
    encode_trace,
)

__all__ = [
    "HEALTH_PING",
    "decode_activity_result",
    "decode_orchestrator_result",
    "decode_stream_options",
    "decode_streamed_past",
    "decode_work_item",
    "encode_activity_result",
    "encode_orchestrator_result",
    "encode_stream_options",
    "encode_work_item",
    "find_token",
]

HEALTH_PING: Final[bytes] = pb.WorkItem(healthPing=pb.HealthPing()).SerializeToString()
"""The bytes of a keep-alive."""

_MOST_IN_ONE_MESSAGE: Final = 3_900_000
"""Bytes of events that leave room for the rest in 4 MiB, which is what clients take unless they are configured."""

_CAPABILITIES: Final[dict[str, pb.WorkerCapability]] = {
    WorkerCapability.HISTORY_STREAMING: pb.WORKER_CAPABILITY_HISTORY_STREAMING,
    WorkerCapability.SCHEDULED_TASKS: pb.WORKER_CAPABILITY_SCHEDULED_TASKS,
    WorkerCapability.LARGE_PAYLOADS: pb.WORKER_CAPABILITY_LARGE_PAYLOADS,
}
_CAPABILITY_NAMES: Final[dict[int, str]] = {number: name for name, number in _CAPABILITIES.items()}


# --- the stream -------------------------------------------------------------------------------------------


def encode_stream_options(options: WorkItemStreamOptions) -> pb.GetWorkItemsRequest:
    """The options that a worker sends when it opens a stream. Unknown capabilities are left out."""
    request = pb.GetWorkItemsRequest(
        maxConcurrentOrchestrationWorkItems=options.max_orchestrations,
        maxConcurrentActivityWorkItems=options.max_activities,
        maxConcurrentEntityWorkItems=options.max_entities,
        capabilities=[_CAPABILITIES[name] for name in sorted(options.capabilities) if name in _CAPABILITIES],
    )
    filters = options.filters
    if filters is not None:
        target = request.workItemFilters
        target.SetInParent()
        for orchestration in filters.orchestrations:
            target.orchestrations.add(name=orchestration.name, versions=orchestration.versions)
        for activity in filters.activities:
            target.activities.add(name=activity.name, versions=activity.versions)
        for entity in filters.entities:
            target.entities.add(name=entity.name)
    return request


def decode_stream_options(request: pb.GetWorkItemsRequest) -> WorkItemStreamOptions:
    """The options that a worker sent. A limit of 0 or less means no limit; unknown capabilities are ignored."""
    filters: WorkItemFilters | None = None
    if request.HasField("workItemFilters"):
        given = request.workItemFilters
        filters = WorkItemFilters(
            tuple([OrchestrationFilter(each.name, tuple(each.versions)) for each in given.orchestrations]),
            tuple([ActivityFilter(each.name, tuple(each.versions)) for each in given.activities]),
            tuple([EntityFilter(each.name) for each in given.entities]),
        )
    return WorkItemStreamOptions(
        max_orchestrations=max(0, request.maxConcurrentOrchestrationWorkItems),
        max_activities=max(0, request.maxConcurrentActivityWorkItems),
        max_entities=max(0, request.maxConcurrentEntityWorkItems),
        filters=filters,
        capabilities=frozenset(
            _CAPABILITY_NAMES[number] for number in request.capabilities if number in _CAPABILITY_NAMES
        ),
    )


# --- items, as a worker reads them ------------------------------------------------------------------------


def decode_work_item(data: bytes, *, is_scanning: bool = True) -> tuple[WorkItem | None, bool]:
    """The item, and whether its past has to be fetched first; no item is a sign of life.

    Args:
        data: a ``WorkItem`` message.
        is_scanning: whether a past is scanned instead of parsed; see ``scanner``.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no work item.
        InvalidRequestError: a value cannot be read.
    """
    message = lean.WorkItem.FromString(data)
    kind = message.WhichOneof("request")
    token = message.completionToken
    if kind == "orchestratorRequest":
        request = message.orchestratorRequest
        whole = partial(find_past, data) if is_scanning else None
        return _orchestrator_item(request, token, whole), request.requiresHistoryStreaming
    if kind == "activityRequest":
        return _activity_item(message.activityRequest, token), False
    if kind == "entityRequestV2":
        return decode_entity_request(message.entityRequestV2, token), False
    if kind == "entityRequest":
        return decode_legacy_batch(message.entityRequest, token), False
    return None, False


_KINDS: Final = {
    1: "an episode",
    2: "an activity",
    3: "an entity batch",
    5: "an entity batch",
}  # by field number
_TOKEN_FIELD: Final = 10


def find_token(data: bytes) -> tuple[str, str] | None:
    """Kind and completion token of a work item that cannot be parsed, from its outermost fields alone."""
    kind = token = None
    position = 0
    try:
        while position < len(data):
            tag, position = _varint(data, position)
            if tag & 7 != 2:  # all fields of the item are length-delimited
                return None
            size, position = _varint(data, position)
            number = tag >> 3
            if number in _KINDS:
                kind = _KINDS[number]
            elif number == _TOKEN_FIELD:
                token = data[position : position + size].decode()
            position += size
    except (IndexError, UnicodeDecodeError):
        return None
    return (kind, token) if kind and token else None


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise IndexError("a varint is too long")


def _orchestrator_item(
    request: lean.OrchestratorRequest, token: str, whole: Callable[[], bytes | None] | None
) -> OrchestratorWorkItem:
    new_events = decode_events(request.newEvents)
    encoded = request.pastEvents
    past: LazyPast | tuple[HistoryEvent, ...] = ()
    if encoded:
        past = LazyPast(encoded, whole=None if _rewinds(new_events) else whole)
    return OrchestratorWorkItem(
        instance_id=request.instanceId,
        new_events=new_events,
        past_events=past,
        execution_id=request.executionId.value if request.HasField("executionId") else None,
        trace_context=(
            decode_span(request.orchestrationTraceContext)
            if request.HasField("orchestrationTraceContext")
            else None
        ),
        completion_token=token,
    )


def _rewinds(new_events: Iterable[HistoryEvent]) -> bool:
    """Whether the result will repeat the whole past, so that nothing may be left out of it."""
    return ExecutionRewound in map(type, new_events)


def decode_streamed_past(
    item: OrchestratorWorkItem, chunks: Sequence[bytes], *, is_scanning: bool = True
) -> OrchestratorWorkItem:
    """The item with a past that came as ``HistoryChunk`` messages; see ``decode_work_item``."""
    encoded = [event for chunk in chunks for event in lean.HistoryChunk.FromString(chunk).events]
    whole = partial(b"".join, chunks) if is_scanning and not _rewinds(item.new_events) else None
    return msgspec.structs.replace(item, past_events=LazyPast(encoded, whole=whole))


def _activity_item(request: pb.ActivityRequest, token: str) -> ActivityWorkItem:
    instance = request.orchestrationInstance
    return ActivityWorkItem(
        name=request.name,
        instance_id=instance.instanceId,
        task_id=request.taskId,
        execution_id=instance.executionId.value if instance.HasField("executionId") else None,
        version=request.version.value if request.HasField("version") else None,
        input=request.input.value if request.HasField("input") else None,
        tags=decode_tags(request.tags),
        trace_context=(
            decode_trace(request.parentTraceContext) if request.HasField("parentTraceContext") else None
        ),
        completion_token=token,
    )


# --- items, as a server writes them -----------------------------------------------------------------------


def encode_work_item(item: WorkItem, pasts: EncodedPasts, *, stream_above: int | None = None) -> bytes:
    """The bytes of a work item.

    Args:
        item: the item.
        pasts: the cache of what was sent before.
        stream_above: a past of more bytes is left out, for the worker to fetch; ``None``: never.
    """
    if isinstance(item, OrchestratorWorkItem):
        return _orchestrator_request(item, pasts, stream_above)
    message = pb.WorkItem(completionToken=item.completion_token)
    if isinstance(item, EntityWorkItem):
        encode_entity_request(message.entityRequestV2, item)
    else:
        _write_activity(message.activityRequest, item)
    return message.SerializeToString()


def _orchestrator_request(item: OrchestratorWorkItem, pasts: EncodedPasts, stream_above: int | None) -> bytes:
    past, new = pasts.encode(item.instance_id, item.execution_id, item.past_events, item.new_events)
    rest = pb.OrchestratorRequest(instanceId=item.instance_id)
    if item.execution_id is not None:
        rest.executionId.value = item.execution_id
    if item.trace_context is not None:
        encode_span(rest.orchestrationTraceContext, item.trace_context)
    if stream_above is not None and (len(past) > stream_above or len(past) + len(new) > _MOST_IN_ONE_MESSAGE):
        rest.requiresHistoryStreaming = True
        past = bytearray()
    head = rest.SerializeToString()
    tail = pb.WorkItem(completionToken=item.completion_token).SerializeToString()
    size = len(head) + len(past) + len(new)
    # Fields may come in any order: WorkItem.orchestratorRequest (field 1), then the token.
    return b"".join((b"\x0a", encode_length(size), head, past, new, tail))


def _write_activity(target: pb.ActivityRequest, item: ActivityWorkItem) -> None:
    target.name = item.name
    target.taskId = item.task_id
    target.orchestrationInstance.instanceId = item.instance_id
    if item.execution_id is not None:
        target.orchestrationInstance.executionId.value = item.execution_id
    if item.version is not None:
        target.version.value = item.version
    if item.input is not None:
        target.input.value = item.input
    if item.tags:
        target.tags.update(item.tags)
    if item.trace_context is not None:
        encode_trace(target.parentTraceContext, item.trace_context)


# --- answers ----------------------------------------------------------------------------------------------


def encode_orchestrator_result(result: OrchestratorResult) -> pb.OrchestratorResponse:
    """The answer to an episode, as one message."""
    response = pb.OrchestratorResponse(
        instanceId=result.instance_id,
        completionToken=result.completion_token,
        requiresHistory=result.requires_history,
    )
    for action in result.actions:
        encode_action(response.actions.add(), action)
    if result.custom_status is not None:
        response.customStatus.value = result.custom_status
    if result.num_events_processed is not None:
        response.numEventsProcessed.value = result.num_events_processed
    if result.trace_context is not None:
        encode_span(response.orchestrationTraceContext, result.trace_context)
    return response


def decode_orchestrator_result(response: pb.OrchestratorResponse) -> OrchestratorResult:
    """The answer to an episode, from one message; ``isPartial`` is the caller's concern.

    Raises:
        InvalidRequestError: an action of no known kind, or a value that cannot be read.
    """
    processed = response.numEventsProcessed.value if response.HasField("numEventsProcessed") else None
    if processed is not None and processed < 0:
        raise InvalidRequestError(f"numEventsProcessed is {processed}; it counts events.")
    return OrchestratorResult(
        instance_id=response.instanceId,
        actions=[decode_action(action) for action in response.actions],
        custom_status=response.customStatus.value if response.HasField("customStatus") else None,
        completion_token=response.completionToken,
        num_events_processed=processed,
        trace_context=(
            decode_span(response.orchestrationTraceContext)
            if response.HasField("orchestrationTraceContext")
            else None
        ),
        requires_history=response.requiresHistory,
    )


def encode_activity_result(result: ActivityResult) -> pb.ActivityResponse:
    """The answer to an activity."""
    response = pb.ActivityResponse(
        instanceId=result.instance_id, taskId=result.task_id, completionToken=result.completion_token
    )
    if result.failure is not None:
        encode_failure(response.failureDetails, result.failure)
    if result.result is not None:
        response.result.value = result.result
    return response


def decode_activity_result(response: pb.ActivityResponse) -> ActivityResult:
    """The answer to an activity."""
    return ActivityResult(
        instance_id=response.instanceId,
        task_id=response.taskId,
        result=response.result.value if response.HasField("result") else None,
        failure=decode_failure(response.failureDetails) if response.HasField("failureDetails") else None,
        completion_token=response.completionToken,
    )
