"""Requests about orchestrations, and their answers, in both directions (protocol section 12)."""

from __future__ import annotations

from typing import Final

from durabletask.core.errors import InvalidRequestError
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    PurgeBatch,
    PurgeFilter,
    PurgeInstance,
    PurgeRequest,
    PurgeResult,
    ReusePolicy,
)
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .values import (
    decode_duration,
    decode_failure,
    decode_status,
    decode_statuses,
    decode_time,
    decode_trace,
    encode_duration,
    encode_failure,
    encode_status,
    encode_time,
    encode_trace,
)

__all__ = [
    "decode_create_request",
    "decode_id_page",
    "decode_id_query",
    "decode_page",
    "decode_purge_request",
    "decode_purge_result",
    "decode_query",
    "decode_state",
    "encode_create_request",
    "encode_id_page",
    "encode_id_query",
    "encode_page",
    "encode_purge_request",
    "encode_purge_result",
    "encode_query",
    "encode_state",
]

_DEFAULT_PAGE: Final = 100
_MAX_BATCH: Final = 500


# --- creation ---------------------------------------------------------------------------------------------


def encode_create_request(request: CreateInstanceRequest) -> pb.CreateInstanceRequest:
    """A request for a new instance."""
    message = pb.CreateInstanceRequest(instanceId=request.instance_id or "", name=request.name)
    if request.version is not None:
        message.version.value = request.version
    if request.input is not None:
        message.input.value = request.input
    if request.scheduled_start_at is not None:
        encode_time(message.scheduledStartTimestamp, request.scheduled_start_at)
    if request.reuse_policy is not None:
        policy = message.orchestrationIdReusePolicy
        policy.SetInParent()
        wanted = sorted(request.reuse_policy.replaceable, key=lambda status: status.value)
        policy.replaceableStatus.extend([encode_status(status) for status in wanted])
    if request.execution_id is not None:
        message.executionId.value = request.execution_id
    if request.tags:
        message.tags.update(request.tags)
    if request.trace_context is not None:
        encode_trace(message.parentTraceContext, request.trace_context)
    if request.request_time is not None:
        encode_time(message.requestTime, request.request_time)
    return message


def decode_create_request(message: pb.CreateInstanceRequest) -> CreateInstanceRequest:
    """A request for a new instance. The epoch as start time is no start time: one SDK sends it so."""
    policy: ReusePolicy | None = None
    if message.HasField("orchestrationIdReusePolicy"):
        policy = ReusePolicy(frozenset(decode_statuses(message.orchestrationIdReusePolicy.replaceableStatus)))
    start = message.scheduledStartTimestamp
    return CreateInstanceRequest(
        name=message.name,
        instance_id=message.instanceId or None,
        input=message.input.value if message.HasField("input") else None,
        version=message.version.value if message.HasField("version") else None,
        scheduled_start_at=decode_time(start) if start.seconds or start.nanos else None,
        reuse_policy=policy,
        execution_id=message.executionId.value or None,
        tags=dict(message.tags),
        trace_context=(
            decode_trace(message.parentTraceContext) if message.HasField("parentTraceContext") else None
        ),
        request_time=decode_time(message.requestTime) if message.HasField("requestTime") else None,
    )


# --- states -----------------------------------------------------------------------------------------------


def encode_state(target: pb.OrchestrationState, state: OrchestrationState) -> None:
    """Write a snapshot of an instance."""
    target.instanceId = state.instance_id
    target.name = state.name
    target.orchestrationStatus = encode_status(state.runtime_status)
    encode_time(target.createdTimestamp, state.created_at)
    encode_time(target.lastUpdatedTimestamp, state.last_updated_at)
    if state.completed_at is not None:
        encode_time(target.completedTimestamp, state.completed_at)
    if state.scheduled_start_at is not None:
        encode_time(target.scheduledStartTimestamp, state.scheduled_start_at)
    if state.version is not None:
        target.version.value = state.version
    if state.execution_id is not None:
        target.executionId.value = state.execution_id
    if state.parent_instance_id is not None:
        target.parentInstanceId.value = state.parent_instance_id
    if state.tags:
        target.tags.update(state.tags)
    if state.serialized_input is not None:
        target.input.value = state.serialized_input
    if state.serialized_output is not None:
        target.output.value = state.serialized_output
    if state.serialized_custom_status is not None:
        target.customStatus.value = state.serialized_custom_status
    if state.failure_details is not None:
        encode_failure(target.failureDetails, state.failure_details)


def decode_state(message: pb.OrchestrationState) -> OrchestrationState:
    """Read a snapshot of an instance."""
    has = message.HasField
    return OrchestrationState(
        instance_id=message.instanceId,
        name=message.name,
        runtime_status=decode_status(message.orchestrationStatus),
        created_at=decode_time(message.createdTimestamp),
        last_updated_at=decode_time(message.lastUpdatedTimestamp),
        completed_at=decode_time(message.completedTimestamp) if has("completedTimestamp") else None,
        scheduled_start_at=(
            decode_time(message.scheduledStartTimestamp) if has("scheduledStartTimestamp") else None
        ),
        version=message.version.value if has("version") else None,
        execution_id=message.executionId.value if has("executionId") else None,
        parent_instance_id=message.parentInstanceId.value if has("parentInstanceId") else None,
        tags=dict(message.tags),
        serialized_input=message.input.value if has("input") else None,
        serialized_output=message.output.value if has("output") else None,
        serialized_custom_status=message.customStatus.value if has("customStatus") else None,
        failure_details=decode_failure(message.failureDetails) if has("failureDetails") else None,
    )


# --- queries ----------------------------------------------------------------------------------------------


def _page_size(value: int, field: str) -> int:
    if value < 0:
        raise InvalidRequestError(f"{field} is {value}; it counts instances.")
    return value or _DEFAULT_PAGE


def encode_query(query: InstanceQuery) -> pb.QueryInstancesRequest:
    """A query for instances."""
    request = pb.QueryInstancesRequest()
    target = request.query
    target.runtimeStatus.extend([encode_status(status) for status in query.runtime_statuses])
    target.maxInstanceCount = query.page_size
    target.fetchInputsAndOutputs = query.include_payloads
    if query.created_from is not None:
        encode_time(target.createdTimeFrom, query.created_from)
    if query.created_to is not None:
        encode_time(target.createdTimeTo, query.created_to)
    if query.instance_id_prefix is not None:
        target.instanceIdPrefix.value = query.instance_id_prefix
    if query.continuation_token is not None:
        target.continuationToken.value = query.continuation_token
    return request


def decode_query(request: pb.QueryInstancesRequest) -> InstanceQuery:
    """A query for instances; no page size is the default one."""
    query = request.query
    return InstanceQuery(
        runtime_statuses=decode_statuses(query.runtimeStatus),
        created_from=decode_time(query.createdTimeFrom) if query.HasField("createdTimeFrom") else None,
        created_to=decode_time(query.createdTimeTo) if query.HasField("createdTimeTo") else None,
        instance_id_prefix=query.instanceIdPrefix.value or None,
        include_payloads=query.fetchInputsAndOutputs,
        page_size=_page_size(query.maxInstanceCount, "maxInstanceCount"),
        continuation_token=query.continuationToken.value or None,
    )


def encode_page(page: InstancePage) -> pb.QueryInstancesResponse:
    """A page of instances."""
    response = pb.QueryInstancesResponse()
    for state in page.states:
        encode_state(response.orchestrationState.add(), state)
    if page.continuation_token is not None:
        response.continuationToken.value = page.continuation_token
    return response


def decode_page(response: pb.QueryInstancesResponse) -> InstancePage:
    """A page of instances; an empty token ends the pages."""
    return InstancePage(
        [decode_state(state) for state in response.orchestrationState],
        response.continuationToken.value or None,
    )


def encode_id_query(query: InstanceIdQuery) -> pb.ListInstanceIdsRequest:
    """A query for ids of finished instances."""
    request = pb.ListInstanceIdsRequest(pageSize=query.page_size)
    request.runtimeStatus.extend([encode_status(status) for status in query.runtime_statuses])
    if query.completed_from is not None:
        encode_time(request.completedTimeFrom, query.completed_from)
    if query.completed_to is not None:
        encode_time(request.completedTimeTo, query.completed_to)
    if query.last_instance_key is not None:
        request.lastInstanceKey.value = query.last_instance_key
    return request


def decode_id_query(request: pb.ListInstanceIdsRequest) -> InstanceIdQuery:
    """A query for ids of finished instances; no page size is the default one."""
    has = request.HasField
    return InstanceIdQuery(
        runtime_statuses=decode_statuses(request.runtimeStatus),
        completed_from=decode_time(request.completedTimeFrom) if has("completedTimeFrom") else None,
        completed_to=decode_time(request.completedTimeTo) if has("completedTimeTo") else None,
        page_size=_page_size(request.pageSize, "pageSize"),
        last_instance_key=request.lastInstanceKey.value or None,
    )


def encode_id_page(page: InstanceIdPage) -> pb.ListInstanceIdsResponse:
    """A page of ids."""
    response = pb.ListInstanceIdsResponse(instanceIds=page.instance_ids)
    if page.last_instance_key is not None:
        response.lastInstanceKey.value = page.last_instance_key
    return response


def decode_id_page(response: pb.ListInstanceIdsResponse) -> InstanceIdPage:
    """A page of ids; an empty key ends the pages."""
    return InstanceIdPage(list(response.instanceIds), response.lastInstanceKey.value or None)


# --- purge ------------------------------------------------------------------------------------------------


def encode_purge_request(request: PurgeRequest) -> pb.PurgeInstancesRequest:
    """A request to purge, in one of its three forms."""
    message = pb.PurgeInstancesRequest(recursive=request.recursive, isOrchestration=True)
    if isinstance(request, PurgeInstance):
        message.instanceId = request.instance_id
        message.isOrchestration = request.is_orchestration
    elif isinstance(request, PurgeBatch):
        message.instanceBatch.SetInParent()
        message.instanceBatch.instanceIds.extend(request.instance_ids)
    else:
        target = message.purgeInstanceFilter
        target.SetInParent()
        if request.created_from is not None:
            encode_time(target.createdTimeFrom, request.created_from)
        if request.created_to is not None:
            encode_time(target.createdTimeTo, request.created_to)
        target.runtimeStatus.extend([encode_status(status) for status in request.runtime_statuses])
        if request.timeout is not None:
            encode_duration(target.timeout, request.timeout)
    return message


def decode_purge_request(message: pb.PurgeInstancesRequest) -> PurgeRequest:
    """A request to purge.

    Raises:
        InvalidRequestError: none of the three forms, or a batch of more than 500 ids.
    """
    kind = message.WhichOneof("request")
    if kind == "instanceId":
        # Some SDKs never set the flag; only ids of entities begin with '@'.
        is_orchestration = message.isOrchestration or not message.instanceId.startswith("@")
        return PurgeInstance(
            instance_id=message.instanceId, recursive=message.recursive, is_orchestration=is_orchestration
        )
    if kind == "instanceBatch":
        ids = list(message.instanceBatch.instanceIds)
        if len(ids) > _MAX_BATCH:
            raise InvalidRequestError(f"A batch of {len(ids)} ids is too large; at most {_MAX_BATCH} are.")
        return PurgeBatch(instance_ids=ids, recursive=message.recursive)
    if kind == "purgeInstanceFilter":
        given = message.purgeInstanceFilter
        timeout = decode_duration(given.timeout) if given.HasField("timeout") else None
        return PurgeFilter(
            created_from=decode_time(given.createdTimeFrom) if given.HasField("createdTimeFrom") else None,
            created_to=decode_time(given.createdTimeTo) if given.HasField("createdTimeTo") else None,
            runtime_statuses=decode_statuses(given.runtimeStatus),
            timeout=timeout,
            recursive=message.recursive,
        )
    raise InvalidRequestError("A purge needs an instance id, a batch of ids, or a filter; none is set.")


def encode_purge_result(result: PurgeResult) -> pb.PurgeInstancesResponse:
    """How many instances were purged."""
    response = pb.PurgeInstancesResponse(deletedInstanceCount=result.deleted_instance_count)
    if result.is_complete is not None:
        response.isComplete.value = result.is_complete
    return response


def decode_purge_result(response: pb.PurgeInstancesResponse) -> PurgeResult:
    """How many instances were purged."""
    return PurgeResult(
        response.deletedInstanceCount,
        response.isComplete.value if response.HasField("isComplete") else None,
    )
