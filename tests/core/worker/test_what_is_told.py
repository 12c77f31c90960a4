"""What a worker and a client say of themselves and of what goes wrong: once, in one line, with the names."""

from __future__ import annotations

import logging

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    OrchestrationState,
    sync,
)
from durabletask.testing.hub import InMemoryBackend


def refuse(ctx: ActivityContext, item: str) -> str:
    raise ValueError(f"no {item} left")


def count(ctx: ActivityContext, items: list[int]) -> object:
    return {"items": [object()]} if not items else len(items)


async def order(ctx: OrchestrationContext, item: str) -> str:
    return await ctx.call_activity(refuse, item)


async def tally(ctx: OrchestrationContext, items: list[object]) -> object:
    return await ctx.call_activity("count", items)


async def run(orchestrator: object, value: object) -> OrchestrationState:
    hub = InMemoryBackend("test")
    client = DurableTaskClient(hub)
    async with DurableTaskWorker(hub, orchestrators=[order, tally], activities=[refuse, count]):
        instance_id = await client.schedule_new_orchestration(orchestrator, value, instance_id="i1")  # type: ignore[call-overload]
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=10)
    await hub.close()
    assert state is not None
    return state


async def test_each_failure_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The activity's and the orchestration's; traces are in the state of the instance."""
    with caplog.at_level(logging.WARNING, "durabletask"):
        await run(order, "tea")

    activity, orchestration = (record.getMessage() for record in caplog.records)
    assert activity == "Activity refuse of i1 failed: builtins.ValueError: no tea left"
    assert orchestration.startswith(
        "Orchestration i1 failed: durabletask.core.errors.TaskFailedError: no tea left"
    )


@pytest.mark.parametrize(
    ("items", "parts"),
    [
        (["x"], ["Input of activity 'count'", "test_what_is_told.py:", "at [0]: Expected `int`, got `str`"]),
        (
            [],
            [
                "Result of activity 'count'",
                "test_what_is_told.py:",
                "items[0]: object of type object has no JSON",
            ],
        ),
    ],
    ids=["input", "result"],
)
async def test_payload_trouble_names_activity_line_and_part_in_the_outermost_message(
    items: list[object], parts: list[str]
) -> None:
    """What people see first is the message of the orchestration's failure."""
    state = await run(tally, items)

    assert state.failure_details is not None
    for part in parts:
        assert part in state.failure_details.message


async def test_client_and_worker_can_be_told_apart() -> None:
    """Their ``repr`` names hub and endpoint."""
    hub = InMemoryBackend("test")
    worker = DurableTaskWorker(hub)

    assert repr(DurableTaskClient(hub)) == "DurableTaskClient('memory://', 'test')"
    assert repr(worker) == "<DurableTaskWorker of 'test' at 'memory://', stopped>"
    async with worker:
        assert repr(worker) == "<DurableTaskWorker of 'test' at 'memory://', running>"
    await hub.close()


def test_the_blocking_twins_say_that_they_are() -> None:
    """Otherwise the same."""
    text = "Endpoint=http://localhost:1;Authentication=None"
    with sync.DurableTaskClient(text, "hub") as client:
        assert repr(client) == "sync.DurableTaskClient('http://localhost:1', 'hub')"
    worker = sync.DurableTaskWorker(text, "hub")
    assert repr(worker) == "<sync DurableTaskWorker of 'hub' at 'http://localhost:1', stopped>"
    worker.stop()
