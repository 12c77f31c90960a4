"""The two streams of a server: work items for workers, histories for whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from durabletask.core.work_items import WorkerCapability
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .codec.past import encode_history_chunks
from .codec.work_items import HEALTH_PING, decode_stream_options, encode_work_item
from .server_hub import Context, ServedHub, check_text

__all__ = ["send_history", "send_work_items"]

_CHUNK_SIZE: Final = 256 * 1024


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

    # The headers go out now: some clients wait for them before they believe in the stream.
    await context.send_initial_metadata(())
    pinging = loop.create_task(ping())
    items = hub.transport.work_items(options)
    try:
        async for item in items:
            message = encode_work_item(item, pasts, stream_above=limit)
            async with one_at_a_time:
                await write(message)
            last_write = loop.time()
    finally:
        pinging.cancel()
        await items.aclose()


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
