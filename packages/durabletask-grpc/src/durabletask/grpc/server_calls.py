"""The unary calls of a server: one small function each, one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from durabletask.core.errors import InstanceNotFoundError, InvalidRequestError
from durabletask.core.instances import OrchestrationState
from durabletask.core.work_items import ActivityWorkItem, EntityWorkItem, OrchestratorWorkItem
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from msgspec.structs import replace

from .codec import entities, instances
from .codec.values import decode_time, decode_trace
from .codec.work_items import decode_activity_result, decode_orchestrator_result
from .proto._generated import orchestrator_service_pb2 as pb
from .server_hub import ServedHub, check_text

__all__ = ["UNARY_CALLS", "WAITS", "UnarySpec"]

_NOTHING: Final = b""  # the bytes of every answer that has no fields
_MAX_BATCH: Final = 500
_MOST_STATES: Final = 1000  # of one page; some clients ask for 2**31 - 1
_MOST_IDS: Final = 10_000
_PAGE_LENGTH: Final = 3 * 1024 * 1024  # bytes; clients receive 4 MiB


class UnarySpec(NamedTuple):
    """How a call is served: the type of its request, and what makes the bytes of the answer."""

    request: type[Message]
    run: Callable[[ServedHub, Any], Awaitable[bytes]]


# --- connection -------------------------------------------------------------------------------------------


async def _hello(hub: ServedHub, _: Empty) -> bytes:
    await hub.transport.connect()
    return _NOTHING


async def _create_task_hub(hub: ServedHub, request: pb.CreateTaskHubRequest) -> bytes:
    await hub.transport.create_task_hub(recreate_if_exists=request.recreateIfExists)
    return _NOTHING


async def _delete_task_hub(hub: ServedHub, _: pb.DeleteTaskHubRequest) -> bytes:
    await hub.transport.delete_task_hub()
    return _NOTHING


# --- instances --------------------------------------------------------------------------------------------


async def _start_instance(hub: ServedHub, request: pb.CreateInstanceRequest) -> bytes:
    check_text(request.name, "name")
    if request.instanceId.startswith("@"):
        raise InvalidRequestError("An instance id that begins with '@' belongs to an entity.")
    instance_id = await hub.transport.create_instance(instances.decode_create_request(request))
    return pb.CreateInstanceResponse(instanceId=instance_id).SerializeToString()


def _instance_answer(state: OrchestrationState | None) -> bytes:
    if state is None:
        return _NOTHING  # exists = false
    answer = pb.GetInstanceResponse(exists=True)
    instances.encode_state(answer.orchestrationState, state)
    return answer.SerializeToString()


async def _get_instance(hub: ServedHub, request: pb.GetInstanceRequest) -> bytes:
    instance_id = check_text(request.instanceId, "instanceId")
    return _instance_answer(
        await hub.transport.get_instance(instance_id, include_payloads=request.getInputsAndOutputs)
    )


async def _wait_for_start(hub: ServedHub, request: pb.GetInstanceRequest) -> bytes:
    return await _wait(hub.transport.wait_for_instance_start, request)


async def _wait_for_completion(hub: ServedHub, request: pb.GetInstanceRequest) -> bytes:
    return await _wait(hub.transport.wait_for_instance_completion, request)


async def _wait(
    wait: Callable[..., Awaitable[OrchestrationState | None]], request: pb.GetInstanceRequest
) -> bytes:
    # No time-out here: the deadline of the call ends the wait, by cancelling it.
    instance_id = check_text(request.instanceId, "instanceId")
    try:
        state = await wait(instance_id, include_payloads=request.getInputsAndOutputs)
    except InstanceNotFoundError:
        state = None  # purged meanwhile
    return _instance_answer(state)


async def _raise_event(hub: ServedHub, request: pb.RaiseEventRequest) -> bytes:
    instance_id, name = check_text(request.instanceId, "instanceId"), check_text(request.name, "name")
    data = request.input.value if request.HasField("input") else None
    await hub.transport.raise_event(instance_id, name, data)
    return _NOTHING


async def _terminate(hub: ServedHub, request: pb.TerminateRequest) -> bytes:
    instance_id = check_text(request.instanceId, "instanceId")
    output = request.output.value if request.HasField("output") else None
    await hub.transport.terminate_instance(instance_id, output=output, recursive=request.recursive)
    return _NOTHING


async def _suspend(hub: ServedHub, request: pb.SuspendRequest) -> bytes:
    instance_id = check_text(request.instanceId, "instanceId")
    reason = request.reason.value if request.HasField("reason") else None
    await hub.transport.suspend_instance(instance_id, reason=reason)
    return _NOTHING


async def _resume(hub: ServedHub, request: pb.ResumeRequest) -> bytes:
    instance_id = check_text(request.instanceId, "instanceId")
    reason = request.reason.value if request.HasField("reason") else None
    await hub.transport.resume_instance(instance_id, reason=reason)
    return _NOTHING


async def _rewind(hub: ServedHub, request: pb.RewindInstanceRequest) -> bytes:
    instance_id = check_text(request.instanceId, "instanceId")
    reason = request.reason.value if request.HasField("reason") else None
    await hub.transport.rewind_instance(instance_id, reason=reason)
    return _NOTHING


async def _restart(hub: ServedHub, request: pb.RestartInstanceRequest) -> bytes:
    instance_id = await hub.transport.restart_instance(
        check_text(request.instanceId, "instanceId"), with_new_instance_id=request.restartWithNewInstanceId
    )
    return pb.RestartInstanceResponse(instanceId=instance_id).SerializeToString()


async def _query(hub: ServedHub, request: pb.QueryInstancesRequest) -> bytes:
    query = instances.decode_query(request)

    async def page(size: int) -> tuple[bytes, int]:
        found = await hub.transport.query_instances(replace(query, page_size=size))
        return instances.encode_page(found).SerializeToString(), len(found.states)

    return await _fitting(page, min(query.page_size, _MOST_STATES))


async def _list_ids(hub: ServedHub, request: pb.ListInstanceIdsRequest) -> bytes:
    query = instances.decode_id_query(request)

    async def page(size: int) -> tuple[bytes, int]:
        found = await hub.transport.list_instance_ids(replace(query, page_size=size))
        return instances.encode_id_page(found).SerializeToString(), len(found.instance_ids)

    return await _fitting(page, min(query.page_size, _MOST_IDS))


async def _fitting(page: Callable[[int], Awaitable[tuple[bytes, int]]], size: int) -> bytes:
    """A page that a client can receive: shorter than asked for if need be, its continuation token leads on."""
    while True:
        data, rows = await page(size)
        if len(data) <= _PAGE_LENGTH or rows <= 1:
            return data
        size = max(1, min(rows - 1, rows * _PAGE_LENGTH * 4 // (len(data) * 5)))


async def _purge(hub: ServedHub, request: pb.PurgeInstancesRequest) -> bytes:
    result = await hub.transport.purge_instances(instances.decode_purge_request(request))
    return instances.encode_purge_result(result).SerializeToString()


async def _force_terminate(hub: ServedHub, request: pb.SkipGracefulOrchestrationTerminationsRequest) -> bytes:
    ids = list(request.instanceBatch.instanceIds)
    if len(ids) > _MAX_BATCH:
        raise InvalidRequestError(f"A batch of {len(ids)} ids is too large; at most {_MAX_BATCH} are.")
    reason = request.reason.value if request.HasField("reason") else None
    left = await hub.transport.force_terminate_instances(ids, reason=reason)
    return pb.SkipGracefulOrchestrationTerminationsResponse(unterminatedInstanceIds=left).SerializeToString()


# --- entities ---------------------------------------------------------------------------------------------


async def _signal_entity(hub: ServedHub, request: pb.SignalEntityRequest) -> bytes:
    await hub.transport.signal_entity(
        check_text(request.instanceId, "instanceId"),
        check_text(request.name, "name"),
        input=request.input.value if request.HasField("input") else None,
        request_id=request.requestId or None,
        scheduled_time=decode_time(request.scheduledTime) if request.HasField("scheduledTime") else None,
        trace_context=(
            decode_trace(request.parentTraceContext) if request.HasField("parentTraceContext") else None
        ),
    )
    return _NOTHING


async def _get_entity(hub: ServedHub, request: pb.GetEntityRequest) -> bytes:
    instance_id = check_text(request.instanceId, "instanceId")
    entity = await hub.transport.get_entity(instance_id, include_state=request.includeState)
    if entity is None:
        return _NOTHING  # exists = false
    answer = pb.GetEntityResponse(exists=True)
    entities.encode_metadata(answer.entity, entity)
    return answer.SerializeToString()


async def _query_entities(hub: ServedHub, request: pb.QueryEntitiesRequest) -> bytes:
    query = entities.decode_entity_query(request)

    async def page(size: int) -> tuple[bytes, int]:
        found = await hub.transport.query_entities(replace(query, page_size=size))
        return entities.encode_entity_page(found).SerializeToString(), len(found.entities)

    return await _fitting(page, min(query.page_size, _MOST_STATES))


async def _clean_entities(hub: ServedHub, request: pb.CleanEntityStorageRequest) -> bytes:
    result = await hub.transport.clean_entity_storage(
        remove_empty_entities=request.removeEmptyEntities,
        release_orphaned_locks=request.releaseOrphanedLocks,
        continuation_token=request.continuationToken.value or None,
    )
    return entities.encode_clean_result(result).SerializeToString()


# --- workers ----------------------------------------------------------------------------------------------


def _check_token(token: str) -> None:
    """See that an answer names the delivery that it answers; a stale token is a matter of the hub.

    Raises:
        InvalidRequestError: it does not.
    """
    if not token:
        raise InvalidRequestError(
            "completionToken must not be empty: send back the token of the work item that is answered."
        )


async def _complete_orchestrator(hub: ServedHub, request: pb.OrchestratorResponse) -> bytes:
    _check_token(request.completionToken)
    whole = hub.partials.add(request)
    if whole is not None:
        result = decode_orchestrator_result(whole)
        await hub.transport.complete_orchestrator(result)
        hub.completed(result)
    return _NOTHING


async def _complete_activity(hub: ServedHub, request: pb.ActivityResponse) -> bytes:
    _check_token(request.completionToken)
    await hub.transport.complete_activity(decode_activity_result(request))
    return _NOTHING


async def _complete_entity(hub: ServedHub, request: pb.EntityBatchResult) -> bytes:
    await hub.transport.complete_entity(entities.decode_entity_result(request))
    return _NOTHING


async def _abandon_orchestrator(hub: ServedHub, request: pb.AbandonOrchestrationTaskRequest) -> bytes:
    _check_token(request.completionToken)
    item = OrchestratorWorkItem(instance_id="", new_events=(), completion_token=request.completionToken)
    await hub.transport.abandon_orchestrator(item)
    hub.partials.forget(item.completion_token)
    return _NOTHING


async def _abandon_activity(hub: ServedHub, request: pb.AbandonActivityTaskRequest) -> bytes:
    _check_token(request.completionToken)
    item = ActivityWorkItem(name="", instance_id="", task_id=-1, completion_token=request.completionToken)
    await hub.transport.abandon_activity(item)
    return _NOTHING


async def _abandon_entity(hub: ServedHub, request: pb.AbandonEntityTaskRequest) -> bytes:
    _check_token(request.completionToken)
    item = EntityWorkItem(instance_id="", operations=(), completion_token=request.completionToken)
    await hub.transport.abandon_entity(item)
    return _NOTHING


UNARY_CALLS: Final[dict[str, UnarySpec]] = {
    "Hello": UnarySpec(Empty, _hello),
    "CreateTaskHub": UnarySpec(pb.CreateTaskHubRequest, _create_task_hub),
    "DeleteTaskHub": UnarySpec(pb.DeleteTaskHubRequest, _delete_task_hub),
    "StartInstance": UnarySpec(pb.CreateInstanceRequest, _start_instance),
    "GetInstance": UnarySpec(pb.GetInstanceRequest, _get_instance),
    "WaitForInstanceStart": UnarySpec(pb.GetInstanceRequest, _wait_for_start),
    "WaitForInstanceCompletion": UnarySpec(pb.GetInstanceRequest, _wait_for_completion),
    "RaiseEvent": UnarySpec(pb.RaiseEventRequest, _raise_event),
    "TerminateInstance": UnarySpec(pb.TerminateRequest, _terminate),
    "SuspendInstance": UnarySpec(pb.SuspendRequest, _suspend),
    "ResumeInstance": UnarySpec(pb.ResumeRequest, _resume),
    "RewindInstance": UnarySpec(pb.RewindInstanceRequest, _rewind),
    "RestartInstance": UnarySpec(pb.RestartInstanceRequest, _restart),
    "QueryInstances": UnarySpec(pb.QueryInstancesRequest, _query),
    "ListInstanceIds": UnarySpec(pb.ListInstanceIdsRequest, _list_ids),
    "PurgeInstances": UnarySpec(pb.PurgeInstancesRequest, _purge),
    "SkipGracefulOrchestrationTerminations": UnarySpec(
        pb.SkipGracefulOrchestrationTerminationsRequest, _force_terminate
    ),
    "SignalEntity": UnarySpec(pb.SignalEntityRequest, _signal_entity),
    "GetEntity": UnarySpec(pb.GetEntityRequest, _get_entity),
    "QueryEntities": UnarySpec(pb.QueryEntitiesRequest, _query_entities),
    "CleanEntityStorage": UnarySpec(pb.CleanEntityStorageRequest, _clean_entities),
    "CompleteOrchestratorTask": UnarySpec(pb.OrchestratorResponse, _complete_orchestrator),
    "CompleteActivityTask": UnarySpec(pb.ActivityResponse, _complete_activity),
    "CompleteEntityTask": UnarySpec(pb.EntityBatchResult, _complete_entity),
    "AbandonTaskOrchestratorWorkItem": UnarySpec(pb.AbandonOrchestrationTaskRequest, _abandon_orchestrator),
    "AbandonTaskActivityWorkItem": UnarySpec(pb.AbandonActivityTaskRequest, _abandon_activity),
    "AbandonTaskEntityWorkItem": UnarySpec(pb.AbandonEntityTaskRequest, _abandon_entity),
}
"""Every call with one answer."""

WAITS: Final[frozenset[str]] = frozenset({"WaitForInstanceStart", "WaitForInstanceCompletion"})
"""Calls that may last as long as the connection; a server that stops ends them itself."""
