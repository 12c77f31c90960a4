"""The two streams of a server: work items for workers, and histories.

A stream of work items has two writers, the items and the pings that show an idle worker that the hub is alive. A call
takes one message at a time, so both write under one lock.

Between the hub's hand-out of an item and the end of its write, the item belongs to the stream alone
(``on_its_way``). If the stream ends there, the item is abandoned, not just returned by closing the hub's stream: it may
be the item that broke the stream, and an abandoned item comes again after a pause that grows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Final

from durabletask.core.errors import TransportError
from durabletask.core.logs import get_logger
from durabletask.core.work_items import ActivityWorkItem, OrchestratorWorkItem, WorkerCapability, WorkItem
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

import grpc.aio

from .codec.past import encode_history_chunks
from .codec.work_items import HEALTH_PING, decode_stream_options, encode_work_item
from .incoming_call import CallerLostError, Context
from .server_hub import ServedHub, check_text

__all__ = ["LOST_CALLER", "send_history", "send_work_items"]

_LOGGER: Final = get_logger("durabletask.grpc.server")

LOST_CALLER: Final = (CallerLostError, grpc.aio.InternalError, grpc.aio.UsageError)
"""Raised by writing to a caller that has gone."""

_CHUNK_SIZE: Final = 256 * 1024
_USUAL_LIMIT: Final = (
    4 * 1024 * 1024
)  # bytes of a message that clients take unless they are configured otherwise


async def send_work_items(
    hub: ServedHub,
    data: bytes,
    context: Context,
    *,
    ping_interval: float,
    stream_above: int,
) -> None:
    """Write work items until the hub ends them or the worker goes away."""
    options = decode_stream_options(pb.GetWorkItemsRequest.FromString(data))
    can_fetch = WorkerCapability.HISTORY_STREAMING in options.capabilities
    limit = stream_above if can_fetch else None
    pasts, write = hub.pasts, context.write
    loop = asyncio.get_running_loop()
    one_at_a_time = asyncio.Lock()
    last_write = loop.time()

    async def ping() -> None:
        while True:
            await asyncio.sleep(max(last_write + ping_interval - loop.time(), 0.0) or ping_interval)
            if loop.time() - last_write >= ping_interval:
                async with one_at_a_time:
                    await write(HEALTH_PING)

    # The headers go out now: some clients wait for them before they treat the stream as open.
    await context.send_initial_metadata(())
    pinging = loop.create_task(ping())
    items = hub.transport.work_items(options)
    on_its_way: WorkItem | None = None
    message = b""
    episodes: set[str] = set()
    try:
        async for item in items:
            on_its_way = item
            if isinstance(item, OrchestratorWorkItem):
                hub.partials.handed_out(item.completion_token, item.instance_id, episodes)
            message = encode_work_item(item, pasts, stream_above=limit)
            async with one_at_a_time:
                await write(message)
            on_its_way = None
            last_write = loop.time()
    finally:
        pinging.cancel()
        if on_its_way is not None:
            await _abandon(hub, on_its_way, len(message))
        await items.aclose()
        for token in tuple(episodes):
            hub.partials.forget(token)


async def _abandon(hub: ServedHub, item: WorkItem, size: int) -> None:
    """Abandon an item whose write failed.

    Delivered again at once, an item that no worker can take would break one stream after the other.
    """
    if isinstance(item, OrchestratorWorkItem):
        kind, abandon = "an episode of", hub.transport.abandon_orchestrator(item)
    elif isinstance(item, ActivityWorkItem):
        kind, abandon = f"activity {item.name!r} of", hub.transport.abandon_activity(item)
    else:
        kind, abandon = "a batch of entity", hub.transport.abandon_entity(item)
    is_large = size > _USUAL_LIMIT
    hint = (
        f" Workers take messages of {_USUAL_LIMIT} bytes unless they are configured otherwise: raise the limit of the "
        "worker, or keep inputs and histories smaller."
    )
    _LOGGER.log(
        logging.WARNING if is_large else logging.INFO,
        "A worker's stream ended while %s %.100r was written to it (%d bytes); it is delivered again after a pause.%s",
        kind,
        item.instance_id,
        size,
        hint if is_large else "",
    )
    try:
        await abandon
    except TransportError as error:
        _LOGGER.warning("%s %.100r could not be abandoned: %s", kind, item.instance_id, error)


async def send_history(hub: ServedHub, data: bytes, context: Context) -> None:
    """Write the history of an instance in chunks."""
    request = pb.StreamInstanceHistoryRequest.FromString(data)
    instance_id = check_text(request.instanceId, "instanceId")
    execution_id = request.executionId.value if request.HasField("executionId") else None
    if request.forWorkItemProcessing:
        kept = hub.pasts.chunks(instance_id, execution_id, _CHUNK_SIZE)
        if kept is not None:  # exactly what the work item left out
            await _write_all(kept, context)
            return
    async for events in hub.transport.stream_history(instance_id, execution_id=execution_id):
        await _write_all(encode_history_chunks(events, _CHUNK_SIZE), context)


async def _write_all(chunks: Iterator[bytes], context: Context) -> None:
    for chunk in chunks:
        await context.write(chunk)
