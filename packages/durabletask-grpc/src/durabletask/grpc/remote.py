"""The calls of a transport, in core's types on this side and protobuf on the other."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Final, ParamSpec, TypeVar, cast

from durabletask.core.entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from durabletask.core.errors import (
    InstanceNotFoundError,
    InvalidRequestError,
    TransportTimeoutError,
)
from durabletask.core.history import HistoryEvent, TraceContext
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    PurgeFilter,
    PurgeRequest,
    PurgeResult,
)
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message

import grpc.aio

from .calls import SERVER_HEADER, Caller, encode
from .codec import entities, instances
from .codec.completions import encode_completion
from .codec.history import decode_events
from .codec.values import encode_time, encode_trace
from .codec.work_items import encode_activity_result
from .proto._generated import orchestrator_service_pb2 as pb
from .stream_relay import StreamRelay
from .work_stream import read_work_items

__all__ = ["RemoteHub"]

_HELLO_TIMEOUT: Final = 30.0
_T = TypeVar("_T")
_P = ParamSpec("_P")
_LONGEST_WAIT: Final = 600.0  # of one call; a longer wait is a row of calls


def _text_checked(
    call: Callable[_P, Coroutine[object, object, _T]],
) -> Callable[_P, Coroutine[object, object, _T]]:
    """Text that is no Unicode cannot travel: the caller's fault."""

    @functools.wraps(call)
    async def checked(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await call(*args, **kwargs)
        except UnicodeEncodeError as error:
            raise InvalidRequestError(f"An argument cannot be encoded: {error}") from None

    return checked


class RemoteHub:
    """The calls of a ``Transport``, made over gRPC.

    Args:
        caller: makes the calls.
        call_timeout: deadline in seconds of every call that is no wait and no stream.
        completion_size: bytes above which the answer to an episode is sent in parts.
        silence_limit: a stream of work items without a sign of life for this long is given up.
    """

    def __init__(
        self, caller: Caller, *, call_timeout: float, completion_size: int, silence_limit: timedelta
    ) -> None:
        self._caller = caller
        self._relays: set[StreamRelay] = set()
        self._timeout = call_timeout
        self._completion_size = completion_size
        self._silence_limit = silence_limit

    async def hello(self) -> bool:
        """Make sure that the hub answers; whether it is a server of this project."""
        _, call = await self._caller.exchange("Hello", Empty().SerializeToString(), timeout=_HELLO_TIMEOUT)
        return SERVER_HEADER in {str(key) for key, _ in await call.initial_metadata() or ()}

    async def close(self) -> None:
        """Close the channel. A later call opens a new one."""
        await self._caller.channels.close()

    # --- client half ------------------------------------------------------------------------------------------

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        """Create an instance and return its id."""
        message = _build("StartInstance", lambda: instances.encode_create_request(request))
        answer = await self._caller.unary(
            "StartInstance", message, pb.CreateInstanceResponse, timeout=self._timeout
        )
        return answer.instanceId

    @_text_checked
    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        """The state of an instance, or ``None``."""
        request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=include_payloads)
        answer = await self._caller.unary(
            "GetInstance", request, pb.GetInstanceResponse, timeout=self._timeout
        )
        return instances.decode_state(answer.orchestrationState) if answer.exists else None

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Wait until the status is no longer PENDING; ``None`` at the time-out."""
        return await self._wait("WaitForInstanceStart", instance_id, include_payloads, timeout)

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Wait until the status is terminal; ``None`` at the time-out."""
        return await self._wait("WaitForInstanceCompletion", instance_id, include_payloads, timeout)

    @_text_checked
    async def _wait(
        self, rpc: str, instance_id: str, include_payloads: bool, timeout: timedelta | None
    ) -> OrchestrationState | None:
        request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=include_payloads)
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + max(timeout.total_seconds(), 0.0)
        while True:
            rest = _LONGEST_WAIT if deadline is None else deadline - loop.time()
            if rest <= 0:
                return None
            began, limit = loop.time(), min(rest, _LONGEST_WAIT)
            try:
                answer = await self._caller.unary(rpc, request, pb.GetInstanceResponse, timeout=limit)
            except TransportTimeoutError:
                continue  # the deadline was ours, or that of the hub for one call; ours decides
            if answer.exists:
                return instances.decode_state(answer.orchestrationState)
            if loop.time() - began >= limit * 0.95:  # a hub may say so at the deadline of the call
                if deadline is not None and limit == rest:
                    return None
                continue
            raise InstanceNotFoundError(
                f"Instance {instance_id!r} is not in task hub {self._caller.task_hub!r} at {self._caller.address.endpoint}; "
                "it was purged, or never created."
            )

    @_text_checked
    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        """Deliver an external event."""
        request = pb.RaiseEventRequest(instanceId=instance_id, name=name)
        if data is not None:
            request.input.value = data
        await self._command("RaiseEvent", request)

    @_text_checked
    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        """Ask an instance to end as TERMINATED."""
        request = pb.TerminateRequest(instanceId=instance_id, recursive=recursive)
        if output is not None:
            request.output.value = output
        await self._command("TerminateInstance", request)

    @_text_checked
    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspend an instance."""
        request = pb.SuspendRequest(instanceId=instance_id)
        if reason is not None:
            request.reason.value = reason
        await self._command("SuspendInstance", request)

    @_text_checked
    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Resume an instance."""
        request = pb.ResumeRequest(instanceId=instance_id)
        if reason is not None:
            request.reason.value = reason
        await self._command("ResumeInstance", request)

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        """One page of instances."""
        request = _build("QueryInstances", lambda: instances.encode_query(query))
        answer = await self._caller.unary(
            "QueryInstances", request, pb.QueryInstancesResponse, timeout=self._timeout
        )
        return instances.decode_page(answer)

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        """One page of ids of terminal instances."""
        request = _build("ListInstanceIds", lambda: instances.encode_id_query(query))
        answer = await self._caller.unary(
            "ListInstanceIds", request, pb.ListInstanceIdsResponse, timeout=self._timeout
        )
        return instances.decode_id_page(answer)

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        """Remove terminal instances."""
        message = _build("PurgeInstances", lambda: instances.encode_purge_request(request))
        timeout = self._timeout
        if isinstance(request, PurgeFilter) and request.timeout is not None:
            timeout += request.timeout.total_seconds()
        answer = await self._caller.unary(
            "PurgeInstances", message, pb.PurgeInstancesResponse, timeout=timeout
        )
        return instances.decode_purge_result(answer)

    @_text_checked
    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Run a terminal instance again from its start."""
        request = pb.RestartInstanceRequest(
            instanceId=instance_id, restartWithNewInstanceId=with_new_instance_id
        )
        answer = await self._caller.unary(
            "RestartInstance", request, pb.RestartInstanceResponse, timeout=self._timeout
        )
        return answer.instanceId

    @_text_checked
    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Undo the failures of a FAILED instance and go on."""
        request = pb.RewindInstanceRequest(instanceId=instance_id)
        if reason is not None:
            request.reason.value = reason
        await self._command("RewindInstance", request)

    async def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncGenerator[Sequence[HistoryEvent], None]:
        """The history of an instance, in chunks."""
        rpc = "StreamInstanceHistory"
        request = pb.StreamInstanceHistoryRequest(instanceId=instance_id)
        if execution_id is not None:
            request.executionId.value = execution_id
        metadata = await self._caller.headers(rpc)
        generation = self._caller.channels.generation
        call = self._caller.channels.stream(rpc)(encode(rpc, request), metadata=metadata)
        self._caller.channels.under_way.add(call)
        try:
            while True:
                data = await call.read()
                if data is grpc.aio.EOF:
                    return
                yield decode_events(pb.HistoryChunk.FromString(cast("bytes", data)).events)
        except grpc.aio.AioRpcError as error:
            raise self._caller.failure(rpc, error) from None
        except DecodeError as error:
            raise self._caller.unreadable(rpc, error) from None
        except asyncio.CancelledError:
            raise self._caller.interruption(rpc, generation) from None
        finally:
            call.cancel()
            self._caller.channels.under_way.discard(call)

    @_text_checked
    async def force_terminate_instances(
        self, instance_ids: Sequence[str], *, reason: str | None = None
    ) -> Sequence[str]:
        """End instances as TERMINATED without running them; the ids that could not."""
        rpc = "SkipGracefulOrchestrationTerminations"
        request = pb.SkipGracefulOrchestrationTerminationsRequest(
            instanceBatch=pb.InstanceBatch(instanceIds=instance_ids)
        )
        if reason is not None:
            request.reason.value = reason
        answer = await self._caller.unary(
            rpc, request, pb.SkipGracefulOrchestrationTerminationsResponse, timeout=self._timeout
        )
        return list(answer.unterminatedInstanceIds)

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """Create the task hub."""
        await self._command("CreateTaskHub", pb.CreateTaskHubRequest(recreateIfExists=recreate_if_exists))

    async def delete_task_hub(self) -> None:
        """Delete the task hub."""
        await self._command("DeleteTaskHub", pb.DeleteTaskHubRequest())

    # --- client half, entities ----------------------------------------------------------------------------

    @_text_checked
    async def signal_entity(
        self,
        instance_id: str,
        operation: str,
        *,
        input: str | None = None,  # noqa: A002 - the protocol's word
        request_id: str | None = None,
        scheduled_time: datetime | None = None,
        trace_context: TraceContext | None = None,
    ) -> None:
        """Send a one-way message to an entity."""
        request = pb.SignalEntityRequest(instanceId=instance_id, name=operation, requestId=request_id or "")
        if input is not None:
            request.input.value = input
        if scheduled_time is not None:
            encode_time(request.scheduledTime, scheduled_time)
        if trace_context is not None:
            encode_trace(request.parentTraceContext, trace_context)
        await self._command("SignalEntity", request)

    @_text_checked
    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        """The metadata of an entity, or ``None``."""
        request = pb.GetEntityRequest(instanceId=instance_id, includeState=include_state)
        answer = await self._caller.unary("GetEntity", request, pb.GetEntityResponse, timeout=self._timeout)
        return entities.decode_metadata(answer.entity) if answer.exists else None

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        """One page of entities."""
        request = _build("QueryEntities", lambda: entities.encode_entity_query(query))
        answer = await self._caller.unary(
            "QueryEntities", request, pb.QueryEntitiesResponse, timeout=self._timeout
        )
        return entities.decode_entity_page(answer)

    @_text_checked
    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
    ) -> CleanEntityStorageResult:
        """Remove empty entities and release orphaned locks; one bounded step."""
        request = pb.CleanEntityStorageRequest(
            removeEmptyEntities=remove_empty_entities, releaseOrphanedLocks=release_orphaned_locks
        )
        if continuation_token is not None:
            request.continuationToken.value = continuation_token
        answer = await self._caller.unary(
            "CleanEntityStorage", request, pb.CleanEntityStorageResponse, timeout=self._timeout
        )
        return entities.decode_clean_result(answer)

    # --- worker half ----------------------------------------------------------------------------------------

    def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """A stream of work."""
        return read_work_items(self._caller, options, silence_limit=self._silence_limit, relays=self._relays)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit an episode, in several messages if it is large."""
        rpc = "CompleteOrchestratorTask"
        for part in _build(rpc, lambda: encode_completion(result, self._completion_size)):
            await self._command(rpc, part)
        self._settled(result.completion_token)

    async def complete_activity(self, result: ActivityResult) -> None:
        """Answer an activity."""
        rpc = "CompleteActivityTask"
        await self._command(rpc, _build(rpc, lambda: encode_activity_result(result)))
        self._settled(result.completion_token)

    async def complete_entity(self, result: EntityBatchResult) -> None:
        """Commit an entity batch."""
        rpc = "CompleteEntityTask"
        await self._command(rpc, _build(rpc, lambda: entities.encode_entity_result(result)))
        self._settled(result.completion_token)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        """Give an episode back unchanged."""
        request = pb.AbandonOrchestrationTaskRequest(completionToken=item.completion_token)
        await self._command("AbandonTaskOrchestratorWorkItem", request)
        self._settled(item.completion_token)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        """Give an activity back."""
        request = pb.AbandonActivityTaskRequest(completionToken=item.completion_token)
        await self._command("AbandonTaskActivityWorkItem", request)
        self._settled(item.completion_token)

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        """Give an entity batch back."""
        request = pb.AbandonEntityTaskRequest(completionToken=item.completion_token)
        await self._command("AbandonTaskEntityWorkItem", request)
        self._settled(item.completion_token)

    def _settled(self, completion_token: str) -> None:
        for relay in self._relays:
            relay.settled(completion_token)

    async def _command(self, rpc: str, request: Message) -> None:
        """A call whose answer says nothing."""
        await self._caller.send(rpc, encode(rpc, request), timeout=self._timeout)


def _build(rpc: str, make: Callable[[], _T]) -> _T:
    """A request from core's types; values that the protocol cannot carry are the caller's fault."""
    try:
        return make()
    except InvalidRequestError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"The request for {rpc} cannot be encoded: {error}") from None
