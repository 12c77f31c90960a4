"""Our own hub behind our own server, seen through our own transport."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from conformance_hubs import LocalCapabilities
from durabletask.core.transport import Transport
from durabletask.grpc.server import TaskHubServer
from durabletask.grpc.transport import GrpcTransport
from durabletask.testing.backend import InMemoryBackend
from durabletask.testing.clock import VirtualClock
from durabletask.testing.conformance import ConformanceHub


class GrpcHub(ConformanceHub):
    """``GrpcTransport`` to a ``TaskHubServer`` to an ``InMemoryBackend`` on a virtual clock."""

    name = "grpc"
    capabilities = LocalCapabilities()
    unit = timedelta(seconds=1)
    patience = 5.0
    lock_timeout = timedelta(minutes=2)

    def __init__(self) -> None:
        self.clock = VirtualClock(auto_advance=False)
        self.backend: InMemoryBackend | None = None
        self.server: TaskHubServer | None = None
        self.transport: GrpcTransport | None = None

    async def open(self) -> Transport:
        self.backend = InMemoryBackend("conformance", clock=self.clock)
        self.server = TaskHubServer(self.backend)
        await self.server.start()
        self.transport = GrpcTransport(self.server.endpoint, "conformance")
        return self.transport

    async def close(self) -> None:
        if self.transport is not None:
            await self.transport.close()
        if self.server is not None:
            await self.server.stop(grace=0)
        if self.backend is not None:
            await self.backend.close()

    async def advance(self, by: timedelta) -> None:
        await self.settle()
        await self.clock.advance(by)

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0.005)
