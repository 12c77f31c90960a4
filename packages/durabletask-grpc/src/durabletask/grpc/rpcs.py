"""The calls with one answer, as a table: method of ``Transport``, name of the RPC, how to encode, how to decode.

A call that is not in the table is one that differs in more than its messages: the two waits are repeated by
``RemoteHub``, and the answer to an episode may be sent in parts.

``_row`` relates the three to the signature of the method, so a type checker finds a row that does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, ParamSpec, TypeVar, cast

from durabletask.core.entities import EntityMetadata
from durabletask.core.forwarding import UnaryMethod
from durabletask.core.history import TraceContext
from durabletask.core.instances import OrchestrationState, PurgeFilter, PurgeRequest
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorWorkItem,
)
from google.protobuf.message import Message

from .codec import entities, instances
from .codec.values import encode_time, encode_trace
from .codec.work_items import encode_activity_result
from .proto._generated import orchestrator_service_pb2 as pb

__all__ = ["Rpc", "decode_instance", "encode_instance_request", "rpc_of"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Rpc(Generic[P, T]):
    """How a method of ``Transport`` travels.

    Attributes:
        name: of the RPC.
        encode: the request, from the arguments of the method.
        decode: the result of the method, from the bytes of the answer.
        extra_time: seconds that the hub may take on top of the usual deadline.
        token: the completion token of the work item that the call settles.
    """

    name: str
    encode: Callable[P, Message]
    decode: Callable[[bytes], T]
    extra_time: Callable[P, float] | None = None
    token: Callable[P, str] | None = None


def rpc_of(method: UnaryMethod[P, T]) -> Rpc[P, T]:
    """The row of a method."""
    return cast("Rpc[P, T]", _ROWS[method])


def _row(
    method: UnaryMethod[P, T],
    name: str,
    encode: Callable[P, Message],
    decode: Callable[[bytes], T],
    *,
    extra_time: Callable[P, float] | None = None,
    token: Callable[P, str] | None = None,
) -> tuple[object, object]:
    return method, Rpc(name, encode, decode, extra_time, token)


# --- instances --------------------------------------------------------------------------------------------


def encode_instance_request(instance_id: str, *, include_payloads: bool = True) -> pb.GetInstanceRequest:
    """Ask for an instance."""
    return pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=include_payloads)


def decode_instance(data: bytes) -> OrchestrationState | None:
    """An instance, or ``None``."""
    answer = pb.GetInstanceResponse.FromString(data)
    return instances.decode_state(answer.orchestrationState) if answer.exists else None


def _event(instance_id: str, name: str, data: str | None = None) -> pb.RaiseEventRequest:
    request = pb.RaiseEventRequest(instanceId=instance_id, name=name)
    if data is not None:
        request.input.value = data
    return request


def _terminate(instance_id: str, *, output: str | None = None, recursive: bool = True) -> pb.TerminateRequest:
    request = pb.TerminateRequest(instanceId=instance_id, recursive=recursive)
    if output is not None:
        request.output.value = output
    return request


def _suspend(instance_id: str, *, reason: str | None = None) -> pb.SuspendRequest:
    request = pb.SuspendRequest(instanceId=instance_id)
    if reason is not None:
        request.reason.value = reason
    return request


def _resume(instance_id: str, *, reason: str | None = None) -> pb.ResumeRequest:
    request = pb.ResumeRequest(instanceId=instance_id)
    if reason is not None:
        request.reason.value = reason
    return request


def _rewind(instance_id: str, *, reason: str | None = None) -> pb.RewindInstanceRequest:
    request = pb.RewindInstanceRequest(instanceId=instance_id)
    if reason is not None:
        request.reason.value = reason
    return request


def _restart(instance_id: str, *, with_new_instance_id: bool = False) -> pb.RestartInstanceRequest:
    return pb.RestartInstanceRequest(instanceId=instance_id, restartWithNewInstanceId=with_new_instance_id)


def _purge_time(request: PurgeRequest) -> float:
    if isinstance(request, PurgeFilter) and request.timeout is not None:
        return request.timeout.total_seconds()
    return 0.0


def _force_terminate(
    instance_ids: Sequence[str], *, reason: str | None = None
) -> pb.SkipGracefulOrchestrationTerminationsRequest:
    request = pb.SkipGracefulOrchestrationTerminationsRequest(
        instanceBatch=pb.InstanceBatch(instanceIds=instance_ids)
    )
    if reason is not None:
        request.reason.value = reason
    return request


def _unterminated(data: bytes) -> Sequence[str]:
    answer = pb.SkipGracefulOrchestrationTerminationsResponse.FromString(data)
    return list(answer.unterminatedInstanceIds)


def _create_hub(*, recreate_if_exists: bool = False) -> pb.CreateTaskHubRequest:
    return pb.CreateTaskHubRequest(recreateIfExists=recreate_if_exists)


# --- entities ---------------------------------------------------------------------------------------------


def _signal(
    instance_id: str,
    operation: str,
    *,
    input: str | None = None,  # noqa: A002 - the protocol's word
    request_id: str | None = None,
    scheduled_time: datetime | None = None,
    trace_context: TraceContext | None = None,
) -> pb.SignalEntityRequest:
    request = pb.SignalEntityRequest(instanceId=instance_id, name=operation, requestId=request_id or "")
    if input is not None:
        request.input.value = input
    if scheduled_time is not None:
        encode_time(request.scheduledTime, scheduled_time)
    if trace_context is not None:
        encode_trace(request.parentTraceContext, trace_context)
    return request


def _entity_request(instance_id: str, *, include_state: bool = True) -> pb.GetEntityRequest:
    return pb.GetEntityRequest(instanceId=instance_id, includeState=include_state)


def _entity(data: bytes) -> EntityMetadata | None:
    answer = pb.GetEntityResponse.FromString(data)
    return entities.decode_metadata(answer.entity) if answer.exists else None


def _clean(
    *,
    remove_empty_entities: bool = True,
    release_orphaned_locks: bool = True,
    continuation_token: str | None = None,
) -> pb.CleanEntityStorageRequest:
    request = pb.CleanEntityStorageRequest(
        removeEmptyEntities=remove_empty_entities, releaseOrphanedLocks=release_orphaned_locks
    )
    if continuation_token is not None:
        request.continuationToken.value = continuation_token
    return request


# --- workers ----------------------------------------------------------------------------------------------


def _abandon_orchestrator(item: OrchestratorWorkItem) -> pb.AbandonOrchestrationTaskRequest:
    return pb.AbandonOrchestrationTaskRequest(completionToken=item.completion_token)


def _abandon_activity(item: ActivityWorkItem) -> pb.AbandonActivityTaskRequest:
    return pb.AbandonActivityTaskRequest(completionToken=item.completion_token)


def _abandon_entity(item: EntityWorkItem) -> pb.AbandonEntityTaskRequest:
    return pb.AbandonEntityTaskRequest(completionToken=item.completion_token)


def _result_token(result: ActivityResult | EntityBatchResult) -> str:
    return result.completion_token


def _item_token(item: OrchestratorWorkItem | ActivityWorkItem | EntityWorkItem) -> str:
    return item.completion_token


def _nothing(data: bytes) -> None:
    """An answer without fields; what it has all the same is ignored."""


_ROWS: Final[dict[object, object]] = dict(
    (
        _row(
            Transport.create_instance,
            "StartInstance",
            instances.encode_create_request,
            lambda data: pb.CreateInstanceResponse.FromString(data).instanceId,
        ),
        _row(Transport.get_instance, "GetInstance", encode_instance_request, decode_instance),
        _row(Transport.raise_event, "RaiseEvent", _event, _nothing),
        _row(Transport.terminate_instance, "TerminateInstance", _terminate, _nothing),
        _row(Transport.suspend_instance, "SuspendInstance", _suspend, _nothing),
        _row(Transport.resume_instance, "ResumeInstance", _resume, _nothing),
        _row(Transport.rewind_instance, "RewindInstance", _rewind, _nothing),
        _row(
            Transport.restart_instance,
            "RestartInstance",
            _restart,
            lambda data: pb.RestartInstanceResponse.FromString(data).instanceId,
        ),
        _row(
            Transport.query_instances,
            "QueryInstances",
            instances.encode_query,
            lambda data: instances.decode_page(pb.QueryInstancesResponse.FromString(data)),
        ),
        _row(
            Transport.list_instance_ids,
            "ListInstanceIds",
            instances.encode_id_query,
            lambda data: instances.decode_id_page(pb.ListInstanceIdsResponse.FromString(data)),
        ),
        _row(
            Transport.purge_instances,
            "PurgeInstances",
            instances.encode_purge_request,
            lambda data: instances.decode_purge_result(pb.PurgeInstancesResponse.FromString(data)),
            extra_time=_purge_time,
        ),
        _row(
            Transport.force_terminate_instances,
            "SkipGracefulOrchestrationTerminations",
            _force_terminate,
            _unterminated,
        ),
        _row(Transport.create_task_hub, "CreateTaskHub", _create_hub, _nothing),
        _row(Transport.delete_task_hub, "DeleteTaskHub", pb.DeleteTaskHubRequest, _nothing),
        _row(Transport.signal_entity, "SignalEntity", _signal, _nothing),
        _row(Transport.get_entity, "GetEntity", _entity_request, _entity),
        _row(
            Transport.query_entities,
            "QueryEntities",
            entities.encode_entity_query,
            lambda data: entities.decode_entity_page(pb.QueryEntitiesResponse.FromString(data)),
        ),
        _row(
            Transport.clean_entity_storage,
            "CleanEntityStorage",
            _clean,
            lambda data: entities.decode_clean_result(pb.CleanEntityStorageResponse.FromString(data)),
        ),
        _row(
            Transport.complete_activity,
            "CompleteActivityTask",
            encode_activity_result,
            _nothing,
            token=_result_token,
        ),
        _row(
            Transport.complete_entity,
            "CompleteEntityTask",
            entities.encode_entity_result,
            _nothing,
            token=_result_token,
        ),
        _row(
            Transport.abandon_orchestrator,
            "AbandonTaskOrchestratorWorkItem",
            _abandon_orchestrator,
            _nothing,
            token=_item_token,
        ),
        _row(
            Transport.abandon_activity,
            "AbandonTaskActivityWorkItem",
            _abandon_activity,
            _nothing,
            token=_item_token,
        ),
        _row(
            Transport.abandon_entity,
            "AbandonTaskEntityWorkItem",
            _abandon_entity,
            _nothing,
            token=_item_token,
        ),
    )
)
