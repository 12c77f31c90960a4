"""A server over any transport, and raw calls to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from durabletask.core.transport import Transport
from durabletask.core.work_items import WorkItem, WorkItemStreamOptions
from durabletask.grpc.server import TaskHubServer
from durabletask.testing import InMemoryBackend
from google.protobuf.message import Message

DIRECT: bool = True
"""How servers take calls, where a test does not say it: as the emulator's do; see ``TaskHubServer``."""


class RawClient:
    """Calls with bytes or messages, and the status of what went wrong."""

    def __init__(self, channel: grpc.aio.Channel, **headers: str) -> None:
        self.channel = channel
        self.metadata = tuple(headers.items())

    async def call(
        self, rpc: str, request: bytes | Message, answer: type[Any] | None = None, **more: Any
    ) -> Any:
        """Make a unary call."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        found = await self.channel.unary_unary(f"/TaskHubSidecarService/{rpc}")(
            data, metadata=self.metadata, **more
        )
        return answer.FromString(found) if answer is not None else found

    def stream(self, rpc: str, request: bytes | Message, **more: Any) -> Any:
        """Make a streaming call."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        return self.channel.unary_stream(f"/TaskHubSidecarService/{rpc}")(
            data, metadata=self.metadata, **more
        )

    async def refusal(self, rpc: str, request: bytes | Message, **more: Any) -> grpc.aio.AioRpcError:
        """The error of a call that must fail."""
        try:
            await self.call(rpc, request, **more)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"{rpc} was answered")


class WatchedHub(InMemoryBackend):
    """A hub in memory that counts the waits and streams which have reached it, and those that are over."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begun = 0
        self.over = 0
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[WatchedHub], bool]) -> None:
        """Wait until the counts are as wanted."""
        while not condition(self):
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 30)

    async def wait_for_instance_completion(self, *arguments: Any, **more: Any) -> Any:
        self._begin()
        try:
            return await super().wait_for_instance_completion(*arguments, **more)
        finally:
            self._end()

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        self._begin()
        try:
            async for item in super().work_items(options):
                yield item
        finally:
            self._end()

    def _begin(self) -> None:
        self.begun += 1
        self._changed.set()

    def _end(self) -> None:
        self.over += 1
        self._changed.set()


@asynccontextmanager
async def serving(hub: Transport | Any, **options: Any) -> AsyncIterator[tuple[TaskHubServer, RawClient]]:
    """A running server and a client of it."""
    server = TaskHubServer(hub, **{"direct": DIRECT, **options})
    port = await server.start()
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{port}",
        options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)],
    )
    try:
        yield server, RawClient(channel)
    finally:
        await channel.close()
        await server.stop(grace=0)
