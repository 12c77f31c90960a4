"""Chaos: correct orchestrations do not notice it, wrong ones do."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from durabletask import ActivityContext, OrchestrationContext, RetryPolicy
from durabletask.testing.environment import OrchestrationTestEnvironment
from durabletask.testing.faults import Chaos, ChaosDivergenceError

ran: list[int] = []


async def square(ctx: ActivityContext, number: int) -> int:
    ran.append(number)
    return number * number


async def squares(ctx: OrchestrationContext, numbers: list[int]) -> int:
    policy = RetryPolicy(first_retry_interval=timedelta(seconds=5), max_number_of_attempts=3)
    found = await ctx.task_all([ctx.call_activity(square, n) for n in numbers])
    await ctx.create_timer(timedelta(hours=1))
    extra = await ctx.call_activity("extra", sum(found), retry_policy=policy)
    word = await ctx.wait_for_external_event("Word", str)
    return f"{word} {extra}"


@pytest.mark.parametrize("seed", range(5))
async def test_a_correct_orchestration_ends_as_without_chaos(seed: int) -> None:
    """Lost turns, double activities, late and reordered answers change nothing."""
    chaos = Chaos(seed=seed, duplicate_activities=0.5, worker_crashes=0.5, delayed_completions=0.5)
    async with OrchestrationTestEnvironment(orchestrators=[squares], activities=[square]) as env:
        env.fake("extra", side_effect=[TimeoutError("slow"), "done"])
        assert await env.run(squares, [1, 2, 3], events=[("Word", "all")], chaos=chaos) == "all done"


async def test_duplicates_and_crashes_really_happen() -> None:
    """With probability one every activity runs twice."""
    ran.clear()
    chaos = Chaos(duplicate_activities=1, worker_crashes=1)
    async with OrchestrationTestEnvironment(orchestrators=[squares], activities=[square], chaos=chaos) as env:
        env.fake("extra", returns="x")
        assert await env.run(squares, [1, 2], events=[("Word", "w")]) == "w x"
    assert sorted(ran) == [1, 1, 2, 2]


async def test_a_divergence_names_the_seed_and_the_first_event() -> None:
    """An orchestrator that asks a counter outside its history ends differently, and the report says where."""
    counter = itertools.count()

    async def careless(ctx: OrchestrationContext) -> object:
        if next(counter) % 2:
            return await ctx.call_activity("odd", None)
        return await ctx.call_activity("even", None)

    async with OrchestrationTestEnvironment(orchestrators=[careless]) as env:
        env.fake("odd", returns=1)
        env.fake("even", returns=2)
        with pytest.raises(ChaosDivergenceError, match="seed=7") as caught:
            await env.run(careless, chaos=Chaos(seed=7))
    assert "with chaos FAILED" in str(caught.value)
    assert "NonDeterminismError" in str(caught.value)


def test_a_probability_is_checked() -> None:
    """Probabilities outside 0..1 are refused by name."""
    with pytest.raises(ValueError, match="worker_crashes"):
        Chaos(worker_crashes=2)


@pytest.mark.chaos(seeds=3)
async def test_the_marker_runs_a_test_under_seeds(durable_env) -> None:
    """Every seed makes a test of its own whose environments inject faults."""
    assert durable_env.chaos_seed in range(3)
    async with durable_env(orchestrators=[squares], activities=[square]) as env:
        env.fake("extra", returns="x")
        assert await env.run(squares, [1, 2], events=[("Word", "w")]) == "w x"
