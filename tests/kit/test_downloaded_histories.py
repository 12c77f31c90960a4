"""``download_history`` writes the same bytes wherever a history comes from, and the replay check takes them."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    RetryPolicy,
)
from durabletask.testing import InMemoryBackend, SqliteStore, VirtualClock, assert_replays

APP = """
from datetime import timedelta

from durabletask import OrchestrationContext, RetryPolicy


async def order(ctx: OrchestrationContext, amount: float) -> str:
    policy = RetryPolicy(first_retry_interval=timedelta(seconds=5), max_number_of_attempts=2)
    receipt = await ctx.call_activity("charge", amount, retry_policy=policy, tags={"tier": "gold", "a": "first"})
    await ctx.create_timer(timedelta(microseconds=1500001))
    return receipt
"""


async def order(ctx: OrchestrationContext, amount: float) -> str:
    policy = RetryPolicy(first_retry_interval=timedelta(seconds=5), max_number_of_attempts=2)
    receipt = await ctx.call_activity(
        "charge", amount, retry_policy=policy, tags={"tier": "gold", "a": "first"}
    )
    await ctx.create_timer(timedelta(microseconds=1500001))
    return receipt


async def run_order(hub: InMemoryBackend) -> None:
    failures = [ConnectionError("lost: \u00fc \u2028 \U0001f600")]

    async def charge(ctx: ActivityContext, amount: float) -> str:
        if failures:
            raise failures.pop()
        return f"receipt \u00fc {amount}"

    async with DurableTaskWorker(hub, orchestrators=[order], activities=[charge]):
        client = DurableTaskClient(hub)
        await client.schedule_new_orchestration(order, 2.5, instance_id="order-1", tags={"shop": "a/b"})
        state = await client.wait_for_orchestration_completion("order-1", timeout_in_seconds=60)
    assert state is not None
    assert state.output == "receipt \u00fc 2.5"


@pytest.mark.process
async def test_the_file_is_the_same_from_the_hub_its_file_and_the_wire(tmp_path: Path) -> None:
    """Directly, over gRPC, and after a restart from SQLite: byte for byte one file, which replays."""
    from durabletask.grpc.server import TaskHubServer

    hub = InMemoryBackend("default", clock=VirtualClock(), store=SqliteStore(tmp_path / "hub.db"))
    await run_order(hub)
    await DurableTaskClient(hub).download_history("order-1", tmp_path / "direct.json")
    server = TaskHubServer(hub)
    port = await server.start()
    async with DurableTaskClient(
        f"Endpoint=http://127.0.0.1:{port};Authentication=None", "default"
    ) as remote:
        await remote.download_history("order-1", tmp_path / "wire.json")
    await server.stop(0)
    await hub.close()
    again = InMemoryBackend("default", clock=VirtualClock(), store=SqliteStore(tmp_path / "hub.db"))
    await DurableTaskClient(again).download_history("order-1", tmp_path / "restart.json")
    await again.close()
    direct = (tmp_path / "direct.json").read_bytes()
    assert (tmp_path / "wire.json").read_bytes() == direct
    assert (tmp_path / "restart.json").read_bytes() == direct
    assert [report.is_ok for report in assert_replays(tmp_path, [order])] == [True] * 3


@pytest.mark.process
async def test_the_command_checks_downloaded_files(tmp_path: Path) -> None:
    """``python -m durabletask.testing.replay`` in a folder with an application and histories."""
    (tmp_path / "histories").mkdir()
    (tmp_path / "shop.py").write_text(APP)
    hub = InMemoryBackend("default", clock=VirtualClock())
    await run_order(hub)
    await DurableTaskClient(hub).download_history("order-1", tmp_path / "histories" / "order-1.json")
    await hub.close()

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "durabletask.testing.replay", "histories", "--app", "shop"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    done = check()
    assert done.returncode == 0, done.stderr
    assert "1 of 1 histories replay." in done.stdout
    (tmp_path / "shop.py").write_text(APP.replace('"charge"', '"charge_card"'))
    done = check()
    assert done.returncode == 1
    assert (
        "expected (history): activity 'charge' with a number as input; found (code): activity 'charge_card'"
        in done.stdout
    )
    assert "shop.py:9" in done.stdout
