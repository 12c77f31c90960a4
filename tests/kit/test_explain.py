"""Why is this instance not finished? The explanation names what is missing, where, and what to do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from durabletask import DurableTaskClient, InstanceNotFoundError, OrchestrationContext
from durabletask.core.history import EventRaised, OrchestratorStarted
from durabletask.testing import InMemoryBackend, OrchestrationTestEnvironment


async def order(ctx: OrchestrationContext, amount: int) -> str:
    timer = ctx.create_timer(timedelta(days=2))
    await ctx.task_any([timer, ctx.wait_for_external_event("Approved")])
    return await ctx.call_activity("charge", amount)


async def test_events_timers_and_the_lines_that_wait_are_named() -> None:
    """A running orchestration shows both of its waits, with file and line, and how to go on."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5, instance_id="order-1")
        await env.advance(hours=5)
        diagnosis = run.explain()
        assert [(task.kind, task.is_awaited) for task in diagnosis.waits] == [
            ("timer", True),
            ("event", True),
        ]
        assert diagnosis.age == timedelta(hours=5)
        text = str(diagnosis)
        assert "Instance 'order-1' (order) is RUNNING; created 5:00:00 ago" in text
        line = order.__code__.co_firstlineno + 1
        assert f"{__file__}:{line}" in text
        assert "client.raise_orchestration_event('order-1', 'Approved', data)" in text


async def test_a_misspelt_event_is_noticed() -> None:
    """An event that arrived under a similar name is pointed at."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        await run.raise_event("Aproved", True)
        assert any(isinstance(event, EventRaised) for event in run.history)
        assert "'Aproved' did arrive" in str(run.explain())


async def test_a_suspended_instance_says_so_with_its_reason() -> None:
    """The first advice for a suspended instance is to resume it."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        await run.suspend("audit")
        assert "suspended (reason: audit)" in run.explain().advice[0]


async def test_a_failed_instance_says_why() -> None:
    """What has ended has no waits; its failure is repeated."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        env.fake("charge", side_effect=ValueError("declined"))
        run = await env.start(order, 5)
        await env.advance(days=3)
        diagnosis = run.explain()
        assert not diagnosis.waits
        assert "declined" in diagnosis.advice[0]


async def test_a_pending_instance_names_the_nearest_orchestrators() -> None:
    """Nobody has taken it: the names that are registered and look alike are listed."""
    client = DurableTaskClient(InMemoryBackend())
    await client.schedule_new_orchestration("ordre", 5, instance_id="lost")
    diagnosis = await client.explain("lost", orchestrators=[order])
    assert "'ordre' is not among those that were given. The nearest names are 'order'" in diagnosis.advice[0]
    await client.transport.close()


async def test_without_code_the_history_tells_what_it_can() -> None:
    """Open timers and activities are found from the history alone."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        diagnosis = await env.client.explain(run.instance_id)
        assert [task.kind for task in diagnosis.waits] == ["timer"]
        assert "an unknown place" not in str(diagnosis)
        with_code = await env.client.explain(run.instance_id, orchestrators=[order])
        assert [task.kind for task in with_code.waits] == ["timer", "event"]


async def test_code_that_does_not_fit_is_a_finding() -> None:
    """If the given code leaves the history, the explanation says where."""

    async def edited(ctx: OrchestrationContext, amount: int) -> str:
        return await ctx.call_activity("charge", amount)

    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        diagnosis = await env.client.explain(run.instance_id, orchestrators={"order": edited})
        assert "'charge'" in diagnosis.problem
        assert isinstance(run.history[0], OrchestratorStarted)


async def test_an_unknown_instance_is_an_error() -> None:
    """There is nothing to explain."""
    client = DurableTaskClient(InMemoryBackend())
    with pytest.raises(InstanceNotFoundError, match="'nobody'"):
        await client.explain("nobody")
    await client.transport.close()
