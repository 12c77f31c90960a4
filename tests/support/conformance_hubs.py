"""The four transports of the project as hubs of the conformance kit."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from durabletask.core.transport import Transport
from durabletask.testing.clock import VirtualClock
from durabletask.testing.conformance import Capabilities, ConformanceHub
from durabletask.testing.hub import InMemoryBackend, SqliteStore


class LocalCapabilities(Capabilities):
    """What our own hub does."""

    scheduled_start = True
    replace_live_instances = True
    payload_gating = True
    recursive_terminate = True
    recursive_purge = True
    filtered_purge = True
    list_instance_ids = True
    restart = True
    rewind = True
    force_terminate = True
    send_event = True
    terminate_action = True
    carry_over_events = True
    requires_history = True
    limits = True
    filters = True
    lock_expiry = True
    cancels_calls_on_close = True
    entities = True


class SqliteCapabilities(LocalCapabilities):
    durable = True


class WireCapabilities(LocalCapabilities):
    several_connections = True


class WireToFileCapabilities(WireCapabilities):
    durable = True


class MemoryHub(ConformanceHub):
    """``InMemoryBackend`` on a virtual clock that the kit moves."""

    name = "memory"
    capabilities: Capabilities = LocalCapabilities()
    unit = timedelta(seconds=1)
    patience = 2.0
    lock_timeout = timedelta(minutes=2)

    def __init__(self) -> None:
        self.clock = VirtualClock(auto_advance=False)
        self.backend: Transport | None = None

    async def open(self) -> Transport:
        self.backend = InMemoryBackend("conformance", clock=self.clock)
        return self.backend

    async def close(self) -> None:
        if self.backend is not None:
            await self.backend.close()

    async def advance(self, by: timedelta) -> None:
        await self.clock.advance(by)

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)


class RealTimeHub(ConformanceHub):
    """The in-memory hub on the clock of the machine, as an adopter without virtual time would run it."""

    name = "memory on real time"
    capabilities = LocalCapabilities()
    lock_timeout = timedelta(seconds=1)

    async def open(self) -> Transport:
        self.backend = InMemoryBackend("conformance", orchestration_lock=timedelta(seconds=1))
        return self.backend

    async def close(self) -> None:
        await self.backend.close()


class SqliteHub(MemoryHub):
    """The same hub on a file."""

    name = "sqlite"
    capabilities = SqliteCapabilities()
    patience = 5.0

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _backend(self) -> Transport:
        store = SqliteStore(self.folder / "hub.db", synchronous="NORMAL")
        return InMemoryBackend("conformance", clock=self.clock, store=store)

    async def open(self) -> Transport:
        self.backend = self._backend()
        return self.backend

    async def restart(self) -> Transport:
        await self.close()
        return await self.open()

    async def settle(self) -> None:
        await asyncio.sleep(0.02)  # its writer is a thread


class WireHub(ConformanceHub):
    """A hub of this project behind a gRPC server on a socket of this machine."""

    capabilities: Capabilities = WireCapabilities()
    patience = 5.0

    def __init__(self, behind: MemoryHub) -> None:
        self.behind = behind
        self.name = f"grpc to {behind.name}"
        self.unit = behind.unit
        self.lock_timeout = behind.lock_timeout
        if behind.capabilities.durable:
            self.capabilities = WireToFileCapabilities()
        self.server = None
        self.transports: list[Transport] = []

    async def open(self) -> Transport:
        from durabletask.grpc.server import TaskHubServer

        self.server = TaskHubServer(await self.behind.open())
        await self.server.start()
        return await self.open_another()

    async def restart(self) -> Transport:
        await self.close()
        self.transports.clear()
        return await self.open()

    async def open_another(self) -> Transport:
        from durabletask.grpc.transport import GrpcTransport

        transport = GrpcTransport(self.server.endpoint, "conformance")
        self.transports.append(transport)
        return transport

    async def close(self) -> None:
        for transport in self.transports:
            await transport.close()
        await self.server.stop(0)
        await self.behind.close()

    async def advance(self, by: timedelta) -> None:
        await self.settle()
        await self.behind.advance(by)
        await asyncio.sleep(by.total_seconds() if by < timedelta(seconds=0.5) else 0)  # waits are real here
        await self.settle()

    async def settle(self) -> None:
        await asyncio.sleep(0.05)
