"""The transport of examples/polling_transport as hubs of the conformance kit: in one process, and in two."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from pathlib import Path

from durabletask.core.transport import Transport
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
from durabletask.testing.conformance import Capabilities, ConformanceHub
from durabletask.testing.wrapping import WrappedTransport

EXAMPLE = Path(__file__).parents[2] / "examples" / "polling_transport"
sys.path.insert(0, str(EXAMPLE))

from polling_transport import PollingTransport, utc_now  # noqa: E402


class PollingCapabilities(Capabilities):
    scheduled_start = True
    replace_live_instances = True
    payload_gating = True
    send_event = True
    carry_over_events = True
    lock_expiry = True
    several_connections = True
    durable = True
    cancels_calls_on_close = True


class PollingHub(ConformanceHub):
    """A file per test, on a clock that can be moved ahead."""

    name = "polling"
    capabilities = PollingCapabilities()
    unit = timedelta(seconds=10)  # more than a slow test takes in real time
    settle_seconds = 0.025
    lock_timeout = timedelta(minutes=2)

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hub.db"
        self.ahead = timedelta(0)
        self.transports: list[Transport] = []

    def now(self) -> datetime:
        return utc_now() + self.ahead

    async def open(self) -> Transport:
        return await self.open_another()

    async def open_another(self) -> Transport:
        self.transports.append(PollingTransport(self.path, now=self.now, lock_timeout=self.lock_timeout))
        return self.transports[-1]

    async def close(self) -> None:
        for transport in self.transports:
            await transport.close()

    async def restart(self) -> Transport:
        return await self.open_another()

    async def advance(self, by: timedelta) -> None:
        self.ahead += by
        await asyncio.sleep(self.settle_seconds)


# --- two processes --------------------------------------------------------------------------------------------

_OTHER_PROCESS = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from polling_transport import PollingTransport, utc_now
from durabletask.grpc.server import TaskHubServer

folder = Path(sys.argv[2])

def hub(name):
    ahead = folder / f"{name}.ahead"
    def now():
        return utc_now() + timedelta(seconds=float(ahead.read_text() if ahead.exists() else 0))
    return PollingTransport(folder / f"{name}.db", now=now, lock_timeout=timedelta(minutes=2))

async def main():
    server = TaskHubServer(hub)
    print(await server.start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class OtherProcess:
    """A process that polls the files of a folder for workers, and hands the work out over a socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OTHER_PROCESS, str(EXAMPLE), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.endpoint = f"http://127.0.0.1:{self.process.stdout.readline().strip()}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class SplitTransport(WrappedTransport):
    """The client half goes to the file from this process, the worker half from the other one."""

    def __init__(self, clients: Transport, workers: Transport) -> None:
        super().__init__(clients)
        self.workers = workers

    async def close(self) -> None:
        await self.inner.close()
        await self.workers.close()

    def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        return self.workers.work_items(options)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        await self.workers.complete_orchestrator(result)

    async def complete_activity(self, result: ActivityResult) -> None:
        await self.workers.complete_activity(result)

    async def complete_entity(self, result: EntityBatchResult) -> None:
        await self.workers.complete_entity(result)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        await self.workers.abandon_orchestrator(item)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        await self.workers.abandon_activity(item)

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        await self.workers.abandon_entity(item)


class TwoProcessCapabilities(Capabilities):
    several_connections = True


class TwoProcessHub(PollingHub):
    """The base level with one file between two processes, on a clock that both read from a file."""

    name = "polling in two processes"
    capabilities = TwoProcessCapabilities()
    settle_seconds = 0.1

    def __init__(self, folder: Path, other: OtherProcess) -> None:
        super().__init__(folder)
        self.other = other
        self.hub = uuid.uuid4().hex
        self.path = other.folder / f"{self.hub}.db"

    async def open_another(self) -> Transport:
        from durabletask.grpc.transport import GrpcTransport

        local = PollingTransport(self.path, now=self.now, lock_timeout=self.lock_timeout)
        self.transports.append(SplitTransport(local, GrpcTransport(self.other.endpoint, self.hub)))
        return self.transports[-1]

    async def advance(self, by: timedelta) -> None:
        scratch = self.path.with_suffix(".next")
        scratch.write_text(str((self.ahead + by).total_seconds()))
        scratch.replace(self.path.with_suffix(".ahead"))
        await super().advance(by)
