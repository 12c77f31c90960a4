"""An activity that an orchestrator calls as a function is found while it runs, in development."""

from __future__ import annotations

import sys

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    OrchestrationState,
    TaskActivity,
)
from durabletask.testing import InMemoryBackend


async def greet(ctx: ActivityContext, name: str) -> str:
    return f"Hello, {name}!"


def charge(ctx: ActivityContext, amount: int) -> int:
    return amount


class Ship(TaskActivity[str, str]):
    def run(self, context: ActivityContext, input: str, /) -> str:  # noqa: A002
        return input


def double(amount: int) -> int:
    """A helper of orchestrators that is also an activity."""
    return 2 * amount


async def awaits(ctx: OrchestrationContext, name: str) -> str:
    return await greet(ctx, name)  # type: ignore[arg-type] # durable: ok


async def calls(ctx: OrchestrationContext, name: str) -> int:
    return charge(ctx, 1)  # type: ignore[arg-type] # durable: ok


async def in_a_task(ctx: OrchestrationContext, name: str) -> object:
    await ctx.call_activity(greet, name)
    return await ctx.task_all([greet(ctx, name)])  # type: ignore[arg-type] # durable: ok


async def of_a_class(ctx: OrchestrationContext, name: str) -> object:
    return Ship().run(ctx, name)  # type: ignore[arg-type] # durable: ok


async def fine(ctx: OrchestrationContext, name: str) -> object:
    return [await ctx.call_activity(greet, name), await ctx.call_activity(charge, double(2))]


async def run(orchestrator: object, *, lint: bool) -> OrchestrationState:
    hub = InMemoryBackend("test")
    client = DurableTaskClient(hub)
    async with DurableTaskWorker(
        hub,
        orchestrators=[awaits, calls, in_a_task, of_a_class, fine],
        activities=[greet, charge, double, Ship],
        lint=lint,
    ):
        instance_id = await client.schedule_new_orchestration(orchestrator, "you")  # type: ignore[call-overload]
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=10)
    await hub.close()
    assert state is not None
    return state


@pytest.mark.parametrize(
    ("orchestrator", "activity"),
    [(awaits, "greet"), (calls, "charge"), (in_a_task, "greet"), (of_a_class, "Ship")],
)
async def test_a_plain_call_of_an_activity_fails_the_orchestration(
    orchestrator: object, activity: str
) -> None:
    """With the line; it used to complete without history, and to run again at every replay."""
    before = sys.getprofile()
    state = await run(orchestrator, lint=True)

    assert state.failure_details is not None
    assert state.failure_details.error_type.endswith("OrchestratorMisuseError")
    message = state.failure_details.message
    assert f"The activity '{activity}' was called as a function " in message
    assert f"at {__file__}:" in message
    assert "await ctx.call_activity(" in message
    assert sys.getprofile() is before


async def test_calls_through_the_context_and_helpers_are_left_alone() -> None:
    """A helper without the context is no call of an activity."""
    assert (await run(fine, lint=True)).output == ["Hello, you!", 4]


async def test_production_pays_nothing() -> None:
    """Without the linter no call is watched."""
    assert (await run(awaits, lint=False)).output == "Hello, you!"
