"""The stream of work items, as a worker reads it (protocol sections 1.5, 3.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING

from durabletask.core.errors import RemoteError, TransportError, TransportUnavailableError
from durabletask.core.work_items import (
    OrchestratorWorkItem,
    WorkerCapability,
    WorkItem,
    WorkItemStreamOptions,
)
from google.protobuf.message import DecodeError
from msgspec.structs import replace

import grpc
import grpc.aio

from .calls import Caller, encode
from .codec.work_items import decode_streamed_past, decode_work_item, encode_stream_options
from .proto._generated import orchestrator_service_pb2 as pb
from .stream_relay import StreamRelay

if TYPE_CHECKING:
    from durabletask.core.connection import AccessToken

__all__ = ["read_work_items"]


class _Watchdog:
    """Cancels a call when nothing has come for too long; costs nothing per message but reading a clock."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[bytes, bytes], limit: float) -> None:
        self._call = call
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self.has_bitten = False
        self._timer = self._loop.call_later(limit, self._look)

    def alive(self) -> None:
        self._last = self._loop.time()

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        rest = self._last + self._limit - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._look)
        else:
            self.has_bitten = True
            self._call.cancel()


async def read_work_items(
    caller: Caller,
    options: WorkItemStreamOptions,
    *,
    silence_limit: timedelta,
    relays: set[StreamRelay],
) -> AsyncGenerator[WorkItem, None]:
    """Open the stream and yield its items until the hub ends it.

    Histories that the hub wants to be fetched are fetched first. Signs of life are not yielded. With a
    credential, the stream is renewed before its token expires.

    Args:
        caller: makes the calls.
        options: what to ask the hub for.
        silence_limit: how long nothing may come.
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
    caller: Caller, request: bytes, silence_limit: timedelta, token: AccessToken | None
) -> AsyncGenerator[WorkItem, None]:
    """The items of one stream. One that is refused for its token is opened again with a new token, once."""
    refused = False
    while True:
        metadata = caller.headers_with("GetWorkItems", token)
        generation = caller.channels.generation
        call = caller.channels.stream("GetWorkItems")(request, metadata=metadata)
        caller.channels.under_way.add(call)
        watchdog = _Watchdog(call, silence_limit.total_seconds())
        try:
            while True:
                data = await call.read()
                if data is grpc.aio.EOF:
                    return
                watchdog.alive()
                refused = False
                caller.channels.succeeded()
                assert isinstance(data, bytes)  # noqa: S101 - EOF is the only other thing that is read
                item = await _decode(caller, data)
                if item is not None:
                    yield item
                    watchdog.alive()  # the time that the worker took does not count
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED and not refused and caller.has_credential:
                refused = True
                token = await caller.token(force_new=True)
                continue
            raise caller.failure("GetWorkItems", error) from None
        except asyncio.CancelledError:
            if watchdog.has_bitten:
                caller.channels.failed(grpc.StatusCode.UNAVAILABLE)
                raise TransportUnavailableError(
                    f"The hub at {caller.address.endpoint} (task hub {caller.task_hub!r}) has been silent for "
                    f"{silence_limit.total_seconds():g} s; the connection is taken for dead."
                ) from None
            raise caller.interruption("GetWorkItems", generation) from None
        finally:
            watchdog.stop()
            call.cancel()
            caller.channels.under_way.discard(call)


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
    """The item with its history; one whose history cannot be had is given back."""
    request = pb.StreamInstanceHistoryRequest(instanceId=item.instance_id, forWorkItemProcessing=True)
    if item.execution_id is not None:
        request.executionId.value = item.execution_id
    chunks: list[bytes] = []
    metadata = await caller.headers("StreamInstanceHistory")
    generation = caller.channels.generation
    call = caller.channels.stream("StreamInstanceHistory")(
        encode("StreamInstanceHistory", request), metadata=metadata
    )
    caller.channels.under_way.add(call)
    try:
        while True:
            data = await call.read()
            if data is grpc.aio.EOF:
                return decode_streamed_past(item, chunks)
            assert isinstance(data, bytes)  # noqa: S101 - EOF is the only other thing that is read
            chunks.append(data)
    except (grpc.aio.AioRpcError, DecodeError, TransportError):
        abandon = pb.AbandonOrchestrationTaskRequest(completionToken=item.completion_token)
        await caller.send("AbandonTaskOrchestratorWorkItem", abandon.SerializeToString(), timeout=30)
        return None
    except asyncio.CancelledError:
        raise caller.interruption("StreamInstanceHistory", generation) from None
    finally:
        call.cancel()
        caller.channels.under_way.discard(call)
