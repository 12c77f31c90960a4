"""The transport of docs/writing-a-transport.md passes the base level, also with two processes at one file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from durabletask.core.transport import Transport
from durabletask.testing.conformance import *  # noqa: F403
from durabletask.testing.conformance import Capabilities, ConformanceHub

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


@pytest.fixture
def conformance_hub(tmp_path: Path) -> ConformanceHub:
    """A fresh file per test."""
    return PollingHub(tmp_path)


WORKER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from polling_transport import PollingTransport
from durabletask import DurableTaskWorker

async def double(ctx, number):
    return await ctx.call_activity("times_two", number)

async def times_two(ctx, number):
    return number * 2

async def main():
    worker = DurableTaskWorker(PollingTransport(Path(sys.argv[2])), orchestrators=[double], activities=[times_two])
    async with worker:
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.process
async def test_a_worker_in_another_process_does_the_work(tmp_path: Path) -> None:
    """Client and worker share nothing but the file."""
    from durabletask import DurableTaskClient

    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(EXAMPLE), str(tmp_path / "hub.db")])  # noqa: ASYNC220
    try:
        client = DurableTaskClient(PollingTransport(tmp_path / "hub.db"))
        created = await client.schedule_new_orchestration("double", 21)
        state = await client.wait_for_orchestration_completion(created, timeout_in_seconds=30)
        await client.transport.close()
    finally:
        worker.kill()
        worker.wait()
    assert state is not None
    assert state.output == 42
