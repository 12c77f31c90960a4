"""A server over any transport, and raw calls to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from durabletask.core.transport import Transport
from durabletask.grpc.server import TaskHubServer
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
