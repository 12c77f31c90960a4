"""The stream of work items, as a worker reads it (protocol sections 1.5, 3.5)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from durabletask.core.errors import RemoteError, TransportError
from durabletask.core.work_items import (
    OrchestratorWorkItem,
    WorkerCapability,
    WorkItem,
    WorkItemStreamOptions,
)
from google.protobuf.message import DecodeError
from msgspec.structs import replace

from .calls import Caller, encode
from .codec.work_items import decode_streamed_past, decode_work_item, encode_stream_options
from .proto._generated import orchestrator_service_pb2 as pb
from .stream_relay import StreamRelay

if TYPE_CHECKING:
    from durabletask.core.connection import AccessToken

__all__ = ["read_work_items"]

_PAST_SILENCE_LIMIT: Final = 30.0


async def read_work_items(
    caller: Caller,
    options: WorkItemStreamOptions,
    *,
    silence_limit: float,
    relays: set[StreamRelay],
) -> AsyncGenerator[WorkItem, None]:
    """Open the stream and yield its items until the hub ends it.

    Histories that the hub wants to be fetched are fetched first. Signs of life are not yielded. With a
    credential, the stream is renewed before its token expires.

    Args:
        caller: makes the calls.
        options: what to ask the hub for.
        silence_limit: seconds without a message after which the stream is given up.
        relays: where the relay is found by those who know of items that were answered.

    Raises:
        TransportError: the stream ended otherwise, or nothing has come for ``silence_limit``.
    """
    options = replace(options, capabilities=options.capabilities | {WorkerCapability.HISTORY_STREAMING})
    request = encode("GetWorkItems", encode_stream_options(options))
    if not caller.has_credential:
        async with aclosing(_read_stream(caller, request, silence_limit, None)) as items:
            async for item in items:
                yield item
        return
    relay = StreamRelay(caller, lambda token: _read_stream(caller, request, silence_limit, token))
    relays.add(relay)
    try:
        async with aclosing(relay.items()) as items:
            async for item in items:
                yield item
    finally:
        relays.discard(relay)


async def _read_stream(
    caller: Caller, request: bytes, silence_limit: float, token: AccessToken | None
) -> AsyncGenerator[WorkItem, None]:
    """The items of one stream."""
    async with caller.stream(
        "GetWorkItems", request, silence_limit=silence_limit, token=token, is_resumable=True
    ) as messages:
        async for data in messages:
            item = await _decode(caller, data)
            if item is not None:
                yield item


async def _decode(caller: Caller, data: bytes) -> WorkItem | None:
    try:
        item, needs_past = decode_work_item(data)
    except DecodeError as error:
        raise RemoteError(
            f"{caller.address.endpoint} sent a work item that cannot be parsed: {error}"
        ) from None
    if needs_past and isinstance(item, OrchestratorWorkItem):
        return await _with_past(caller, item)
    return item


async def _with_past(caller: Caller, item: OrchestratorWorkItem) -> OrchestratorWorkItem | None:
    """The item with its history; one whose history cannot be had is abandoned."""
    request = pb.StreamInstanceHistoryRequest(instanceId=item.instance_id, forWorkItemProcessing=True)
    if item.execution_id is not None:
        request.executionId.value = item.execution_id
    rpc = "StreamInstanceHistory"
    try:
        async with caller.stream(rpc, encode(rpc, request), silence_limit=_PAST_SILENCE_LIMIT) as messages:
            return decode_streamed_past(item, [data async for data in messages])
    except (DecodeError, TransportError):
        abandon = pb.AbandonOrchestrationTaskRequest(completionToken=item.completion_token)
        await caller.exchange("AbandonTaskOrchestratorWorkItem", abandon.SerializeToString(), timeout=30)
        return None
