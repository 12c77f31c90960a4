"""Entity batches, and requests about entities, in both directions (protocol section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, Union

from durabletask.core.entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from durabletask.core.errors import InvalidRequestError
from durabletask.core.history import EPOCH, EntityOperationCalled, EntityOperationSignaled
from durabletask.core.work_items import (
    EntityAction,
    EntityBatchResult,
    EntityOperationResult,
    EntitySendSignal,
    EntityStartOrchestration,
    EntityWorkItem,
)
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .history import decode_event
from .history_encoding import encode_event
from .values import (
    decode_failure,
    decode_time,
    decode_trace,
    encode_failure,
    encode_time,
    encode_trace,
)

__all__ = [
    "decode_clean_result",
    "decode_entity_page",
    "decode_entity_query",
    "decode_entity_request",
    "decode_entity_result",
    "decode_legacy_batch",
    "decode_metadata",
    "encode_clean_result",
    "encode_entity_page",
    "encode_entity_query",
    "encode_entity_request",
    "encode_entity_result",
    "encode_metadata",
]

_Operation: TypeAlias = Union[EntityOperationCalled, EntityOperationSignaled]
_DEFAULT_PAGE = 100


# --- batches ----------------------------------------------------------------------------------------------


def encode_entity_request(target: pb.EntityRequest, item: EntityWorkItem) -> None:
    """Write a batch in its present form."""
    target.instanceId = item.instance_id
    target.executionId = item.execution_id or ""
    if item.state is not None:
        target.entityState.value = item.state
    for operation in item.operations:
        encode_event(target.operationRequests.add(), operation)


def decode_entity_request(request: pb.EntityRequest, token: str) -> EntityWorkItem:
    """Read a batch in its present form."""
    operations: list[_Operation] = []
    for message in request.operationRequests:
        event = decode_event(message)
        if not isinstance(event, (EntityOperationCalled, EntityOperationSignaled)):
            raise InvalidRequestError(
                f"The batch of entity {request.instanceId!r} contains a {type(event).__name__}, "
                "which is no operation."
            )
        operations.append(event)
    return EntityWorkItem(
        instance_id=request.instanceId,
        operations=operations,
        state=request.entityState.value if request.HasField("entityState") else None,
        execution_id=request.executionId or None,
        completion_token=token,
    )


def decode_legacy_batch(request: pb.EntityBatchRequest, token: str) -> EntityWorkItem:
    """Read a batch in its first form: the hub remembers who called, so every operation looks one-way."""
    return EntityWorkItem(
        instance_id=request.instanceId,
        operations=[
            EntityOperationSignaled(
                -1,
                EPOCH,
                each.requestId,
                each.operation,
                None,
                each.input.value if each.HasField("input") else None,
                trace_context=decode_trace(each.traceContext) if each.HasField("traceContext") else None,
            )
            for each in request.operations
        ],
        state=request.entityState.value if request.HasField("entityState") else None,
        completion_token=token,
        is_legacy=True,
    )


def encode_entity_result(result: EntityBatchResult) -> pb.EntityBatchResult:
    """The answer to a batch; by ``operations`` the hub finds where each result goes."""
    message = pb.EntityBatchResult(
        completionToken=result.completion_token, requiresState=result.requires_state
    )
    for outcome in result.results:
        _write_outcome(message.results.add(), outcome)
    for action in result.actions:
        _write_action(message.actions.add(), action)
    if result.state is not None:
        message.entityState.value = result.state
    if result.failure is not None:
        encode_failure(message.failureDetails, result.failure)
    for operation in result.operations:
        info = message.operationInfos.add(requestId=operation.request_id)
        if isinstance(operation, EntityOperationCalled) and operation.parent_instance_id is not None:
            info.responseDestination.instanceId = operation.parent_instance_id
            if operation.parent_execution_id is not None:
                info.responseDestination.executionId.value = operation.parent_execution_id
    return message


def decode_entity_result(message: pb.EntityBatchResult, instance_id: str = "") -> EntityBatchResult:
    """The answer to a batch. The message does not name the entity; the token does."""
    return EntityBatchResult(
        instance_id=instance_id,
        results=[_read_outcome(each) for each in message.results],
        actions=[_read_action(each) for each in message.actions],
        state=message.entityState.value if message.HasField("entityState") else None,
        failure=decode_failure(message.failureDetails) if message.HasField("failureDetails") else None,
        operations=_read_infos(message.operationInfos),
        completion_token=message.completionToken,
        requires_state=message.requiresState,
    )


def _read_infos(infos: Sequence[pb.OperationInfo]) -> list[_Operation]:
    found: list[_Operation] = []
    for info in infos:
        if info.HasField("responseDestination"):
            caller = info.responseDestination
            found.append(
                EntityOperationCalled(
                    -1,
                    EPOCH,
                    info.requestId,
                    "",
                    parent_instance_id=caller.instanceId,
                    parent_execution_id=(
                        caller.executionId.value if caller.HasField("executionId") else None
                    ),
                )
            )
        else:
            found.append(EntityOperationSignaled(-1, EPOCH, info.requestId, ""))
    return found


def _write_outcome(target: pb.OperationResult, outcome: EntityOperationResult) -> None:
    body: pb.OperationResultSuccess | pb.OperationResultFailure
    if outcome.failure is not None:
        body = target.failure
        encode_failure(body.failureDetails, outcome.failure)
    else:
        body = target.success
        body.SetInParent()
        if outcome.result is not None:
            body.result.value = outcome.result
    if outcome.started_at is not None:
        encode_time(body.startTimeUtc, outcome.started_at)
    if outcome.ended_at is not None:
        encode_time(body.endTimeUtc, outcome.ended_at)


def _read_outcome(message: pb.OperationResult) -> EntityOperationResult:
    kind = message.WhichOneof("resultType")
    if kind is None:
        raise InvalidRequestError("The result of an entity operation is neither a success nor a failure.")
    body = message.failure if kind == "failure" else message.success
    started = decode_time(body.startTimeUtc) if body.HasField("startTimeUtc") else None
    ended = decode_time(body.endTimeUtc) if body.HasField("endTimeUtc") else None
    if isinstance(body, pb.OperationResultFailure):
        failure = decode_failure(body.failureDetails)
        return EntityOperationResult(failure=failure, started_at=started, ended_at=ended)
    result = body.result.value if body.HasField("result") else None
    return EntityOperationResult(result=result, started_at=started, ended_at=ended)


def _write_action(target: pb.OperationAction, action: EntityAction) -> None:
    target.id = action.id
    body: pb.SendSignalAction | pb.StartNewOrchestrationAction
    if isinstance(action, EntitySendSignal):
        body = target.sendSignal
    else:
        body = target.startNewOrchestration
        if action.version is not None:
            body.version.value = action.version
    body.instanceId = action.instance_id
    body.name = action.name
    if action.input is not None:
        body.input.value = action.input
    if action.scheduled_time is not None:
        encode_time(body.scheduledTime, action.scheduled_time)
    if action.request_time is not None:
        encode_time(body.requestTime, action.request_time)
    if action.trace_context is not None:
        encode_trace(body.parentTraceContext, action.trace_context)


def _read_action(message: pb.OperationAction) -> EntityAction:
    kind = message.WhichOneof("operationActionType")
    if kind is None:
        raise InvalidRequestError(f"Action {message.id} of an entity is of no known kind.")
    body = message.sendSignal if kind == "sendSignal" else message.startNewOrchestration
    payload = body.input.value if body.HasField("input") else None
    scheduled = decode_time(body.scheduledTime) if body.HasField("scheduledTime") else None
    requested = decode_time(body.requestTime) if body.HasField("requestTime") else None
    trace = decode_trace(body.parentTraceContext) if body.HasField("parentTraceContext") else None
    if isinstance(body, pb.SendSignalAction):
        return EntitySendSignal(
            id=message.id,
            instance_id=body.instanceId,
            name=body.name,
            input=payload,
            scheduled_time=scheduled,
            request_time=requested,
            trace_context=trace,
        )
    return EntityStartOrchestration(
        id=message.id,
        instance_id=body.instanceId,
        name=body.name,
        version=body.version.value if body.HasField("version") else None,
        input=payload,
        scheduled_time=scheduled,
        request_time=requested,
        trace_context=trace,
    )


# --- clients ----------------------------------------------------------------------------------------------


def encode_metadata(target: pb.EntityMetadata, entity: EntityMetadata) -> None:
    """Write a snapshot of an entity."""
    target.instanceId = entity.instance_id
    encode_time(target.lastModifiedTime, entity.last_modified_at)
    target.backlogQueueSize = entity.backlog_queue_size
    if entity.locked_by is not None:
        target.lockedBy.value = entity.locked_by
    if entity.serialized_state is not None:
        target.serializedState.value = entity.serialized_state


def decode_metadata(message: pb.EntityMetadata) -> EntityMetadata:
    """Read a snapshot of an entity."""
    return EntityMetadata(
        instance_id=message.instanceId,
        last_modified_at=decode_time(message.lastModifiedTime),
        backlog_queue_size=message.backlogQueueSize,
        locked_by=message.lockedBy.value if message.HasField("lockedBy") else None,
        serialized_state=message.serializedState.value if message.HasField("serializedState") else None,
    )


def encode_entity_query(query: EntityQuery) -> pb.QueryEntitiesRequest:
    """A query for entities."""
    request = pb.QueryEntitiesRequest()
    target = request.query
    target.includeState = query.include_state
    target.includeTransient = query.include_transient
    target.pageSize.value = query.page_size
    if query.instance_id_prefix is not None:
        target.instanceIdStartsWith.value = query.instance_id_prefix
    if query.last_modified_from is not None:
        encode_time(target.lastModifiedFrom, query.last_modified_from)
    if query.last_modified_to is not None:
        encode_time(target.lastModifiedTo, query.last_modified_to)
    if query.continuation_token is not None:
        target.continuationToken.value = query.continuation_token
    return request


def decode_entity_query(request: pb.QueryEntitiesRequest) -> EntityQuery:
    """A query for entities; no page size is the default one."""
    query = request.query
    if query.pageSize.value < 0:
        raise InvalidRequestError(f"pageSize is {query.pageSize.value}; it counts entities.")
    return EntityQuery(
        instance_id_prefix=query.instanceIdStartsWith.value or None,
        last_modified_from=decode_time(query.lastModifiedFrom)
        if query.HasField("lastModifiedFrom")
        else None,
        last_modified_to=decode_time(query.lastModifiedTo) if query.HasField("lastModifiedTo") else None,
        include_state=query.includeState,
        include_transient=query.includeTransient,
        page_size=query.pageSize.value or _DEFAULT_PAGE,
        continuation_token=query.continuationToken.value or None,
    )


def encode_entity_page(page: EntityPage) -> pb.QueryEntitiesResponse:
    """A page of entities."""
    response = pb.QueryEntitiesResponse()
    for entity in page.entities:
        encode_metadata(response.entities.add(), entity)
    if page.continuation_token is not None:
        response.continuationToken.value = page.continuation_token
    return response


def decode_entity_page(response: pb.QueryEntitiesResponse) -> EntityPage:
    """A page of entities; an empty token ends the pages."""
    return EntityPage(
        [decode_metadata(each) for each in response.entities], response.continuationToken.value or None
    )


def encode_clean_result(result: CleanEntityStorageResult) -> pb.CleanEntityStorageResponse:
    """What one call cleaned."""
    response = pb.CleanEntityStorageResponse(
        emptyEntitiesRemoved=result.empty_entities_removed,
        orphanedLocksReleased=result.orphaned_locks_released,
    )
    if result.continuation_token is not None:
        response.continuationToken.value = result.continuation_token
    return response


def decode_clean_result(response: pb.CleanEntityStorageResponse) -> CleanEntityStorageResult:
    """What one call cleaned; an empty token ends the cleaning."""
    return CleanEntityStorageResult(
        response.emptyEntitiesRemoved,
        response.orphanedLocksReleased,
        response.continuationToken.value or None,
    )
