"""The stream of work items, as a worker reads it (protocol sections 1.5, 3.5).

One bad item must not cost the others. An item that cannot be parsed, and one whose past cannot be had, is abandoned by
its completion token, with a log line; the hub delivers it again after a pause. The past is fetched before the next
item is read, so each fetch is bounded: in silence, in time and in bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from durabletask.core.errors import RemoteError, ResourceExhaustedError, TransportError, TransportTimeoutError
from durabletask.core.logs import get_logger
from durabletask.core.work_items import (
    OrchestratorWorkItem,
    WorkerCapability,
    WorkItem,
    WorkItemStreamOptions,
)
from google.protobuf.message import DecodeError
from msgspec.structs import replace

from .calls import Caller, encode
from .codec.work_items import decode_streamed_past, decode_work_item, encode_stream_options, find_token
from .proto._generated import orchestrator_service_pb2 as pb
from .stream_relay import StreamRelay

if TYPE_CHECKING:
    from durabletask.core.connection import AccessToken

__all__ = ["read_work_items"]

_LOGGER: Final = get_logger("durabletask.grpc")

_PAST_SILENCE: Final = 30.0  # seconds, or the silence limit of the stream if that is shorter
_PAST_TIME: Final = 300.0  # seconds of a whole past
_PAST_BYTES: Final = 512 * 1024 * 1024
_ABANDON_TIMEOUT: Final = 30.0


async def read_work_items(
    caller: Caller,
    options: WorkItemStreamOptions,
    *,
    silence_limit: float,
    relays: set[StreamRelay],
    is_scanning: bool = True,
) -> AsyncGenerator[WorkItem, None]:
    """Open the stream and yield its items until the hub ends it.

    Histories that the hub wants to be fetched are fetched first. Signs of life are not yielded. With a
    credential, the stream is renewed before its token expires.

    Args:
        caller: makes the calls.
        options: what to ask the hub for.
        silence_limit: seconds without a message after which the stream is given up.
        relays: the set that the relay is added to, for calls that settle items.
        is_scanning: whether histories are scanned instead of parsed; see ``codec.scanner``.

    Raises:
        TransportError: the stream ended otherwise, or nothing has come for ``silence_limit``.
    """
    options = replace(options, capabilities=options.capabilities | {WorkerCapability.HISTORY_STREAMING})
    request = encode("GetWorkItems", encode_stream_options(options))
    read = partial(_read_stream, caller, request, silence_limit, is_scanning)
    if not caller.has_credential:
        async with aclosing(read(None)) as items:
            async for item in items:
                yield item
        return
    relay = StreamRelay(caller, read)
    relays.add(relay)
    try:
        async with aclosing(relay.items()) as items:
            async for item in items:
                yield item
    finally:
        relays.discard(relay)


async def _read_stream(
    caller: Caller, request: bytes, silence_limit: float, is_scanning: bool, token: AccessToken | None
) -> AsyncGenerator[WorkItem, None]:
    """The items of one stream."""
    async with caller.stream(
        "GetWorkItems", request, silence_limit=silence_limit, token=token, is_resumable=True
    ) as messages:
        async for data in messages:
            item = await _receive(caller, data, silence_limit, is_scanning)
            if item is not None:
                yield item


async def _receive(caller: Caller, data: bytes, silence_limit: float, is_scanning: bool) -> WorkItem | None:
    """The item of a message, with its past; ``None`` for a sign of life and for an item that was abandoned."""
    try:
        item, needs_past = decode_work_item(data, is_scanning=is_scanning)
    except Exception as error:  # noqa: BLE001 - a bug of the decoder must not cost the other items either
        await _abandon_unreadable(caller, data, error)
        return None
    if not needs_past or not isinstance(item, OrchestratorWorkItem):
        return item
    try:
        chunks = await _fetch_past(caller, item, silence_limit)
        return decode_streamed_past(item, chunks, is_scanning=is_scanning)
    except (DecodeError, TransportError) as error:
        _LOGGER.warning(
            "The history of an episode of %s could not be fetched; the episode is abandoned. %s",
            ascii(item.instance_id)[:100],
            error,
        )
        await _abandon(caller, "AbandonTaskOrchestratorWorkItem", item.completion_token)
        return None


async def _fetch_past(caller: Caller, item: OrchestratorWorkItem, silence_limit: float) -> list[bytes]:
    """The chunks of an item's past.

    Raises:
        TransportError: they cannot be had, or exceed what is waited for.
    """
    rpc = "StreamInstanceHistory"
    request = pb.StreamInstanceHistoryRequest(instanceId=item.instance_id, forWorkItemProcessing=True)
    if item.execution_id is not None:
        request.executionId.value = item.execution_id
    chunks: list[bytes] = []
    size, loop = 0, asyncio.get_running_loop()
    end = loop.time() + _PAST_TIME
    limit = min(_PAST_SILENCE, silence_limit)
    async with caller.stream(rpc, encode(rpc, request), silence_limit=limit) as messages:
        async for data in messages:
            chunks.append(data)
            size += len(data)
            if size > _PAST_BYTES:
                raise ResourceExhaustedError(f"It exceeds {_PAST_BYTES} bytes.")
            if loop.time() > end:
                raise TransportTimeoutError(f"It did not arrive within {_PAST_TIME:g} s.")
    return chunks


async def _abandon_unreadable(caller: Caller, data: bytes, error: Exception) -> None:
    """Abandon an item of which only the token can be read.

    Raises:
        RemoteError: not even that.
    """
    found = find_token(data)
    if found is None:
        raise RemoteError(
            f"{caller.address.endpoint} sent a work item that cannot be parsed: {error}"
        ) from None
    kind, token = found
    _LOGGER.warning(
        "The hub at %s sent %s that cannot be read (%s: %s); it is abandoned.",
        caller.address.endpoint,
        kind,
        type(error).__name__,
        ascii(str(error))[:200],
    )
    await _abandon(caller, _ABANDON_CALLS[kind], token)


_ABANDON_CALLS: Final = {
    "an episode": "AbandonTaskOrchestratorWorkItem",
    "an activity": "AbandonTaskActivityWorkItem",
    "an entity batch": "AbandonTaskEntityWorkItem",
}


async def _abandon(caller: Caller, rpc: str, token: str) -> None:
    # The three requests have the same form: the token in field 1.
    request = pb.AbandonOrchestrationTaskRequest(completionToken=token)
    await caller.exchange(rpc, request.SerializeToString(), timeout=_ABANDON_TIMEOUT)
