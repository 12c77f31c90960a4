"""Forking in a process that uses gRPC: safe where this package comes first, and otherwise said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork"),
]

_PROGRAM = """
import asyncio, concurrent.futures, multiprocessing
from durabletask import DurableTaskClient, DurableTaskWorker
from durabletask.grpc import GrpcTransport, TaskHubServer
from durabletask.testing.hub import InMemoryBackend

def work(n):
    return sum(range(n))

def crunch(ctx):
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(work, [3, 4]))

async def flow(ctx):
    return await ctx.call_activity(crunch)

async def main():
    server = TaskHubServer(InMemoryBackend())
    await server.start()
    async with DurableTaskWorker(GrpcTransport(server.endpoint), orchestrators=[flow], activities=[crunch]):
        client = DurableTaskClient(GrpcTransport(server.endpoint))
        for _ in range(6):
            state = await client.wait_for_orchestration_completion(await client.schedule_new_orchestration(flow))
            print(state.runtime_status.name, flush=True)
        await client.close()
    await server.stop(0)

if __name__ == "__main__":
    asyncio.run(main())
"""

_FORKS_AFTER_USE = """
import asyncio, logging, os, sys
import {first}
from durabletask.grpc import GrpcTransport
logging.basicConfig(stream=sys.stdout, format="%(message)s")

async def main():
    transport = GrpcTransport("http://127.0.0.1:1")
    try:
        await transport.connect()
    except Exception:
        pass
    await transport.close()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

asyncio.run(main())
"""


def _run(program: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_activity_may_use_a_process_pool() -> None:
    """With gRPC's fork support on, a third of such activities die with SIGSEGV."""
    assert Counter(_run(_PROGRAM).split()) == {"COMPLETED": 6}


def test_a_fork_that_is_not_safe_is_warned_about_once() -> None:
    """Where gRPC was imported first, the first fork says what to set or to use."""
    text = _run(_FORKS_AFTER_USE.format(first="grpc"))
    assert len(text.splitlines()) == 1
    assert "GRPC_ENABLE_FORK_SUPPORT=0" in text
    assert "spawn" in text
    assert _run(_FORKS_AFTER_USE.format(first="durabletask.grpc")) == ""
    assert "may crash" in _run(_FORKS_AFTER_USE.format(first="grpc"), GRPC_ENABLE_FORK_SUPPORT="1")
