"""The transport of docs/writing-a-transport.md passes the base level, also with two processes at one file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from durabletask.testing.conformance import *  # noqa: F403
from durabletask.testing.conformance import ConformanceHub
from polling_hubs import EXAMPLE, PollingHub, PollingTransport


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
