"""Chaos: correct orchestrations do not notice it, wrong ones do."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from datetime import timedelta

import pytest
from durabletask import ActivityContext, OrchestrationContext, RetryPolicy
from durabletask.testing.environment import OrchestrationTestEnvironment
from durabletask.testing.faults import Chaos, ChaosDivergenceError, FaultCounts

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
    """Lost episodes, double activities, late and reordered answers change nothing."""
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


def everything(seed: int) -> Chaos:
    return Chaos(
        seed=seed,
        duplicate_activities=0.4,
        worker_crashes=0.4,
        delayed_completions=0.5,
        abandoned_items=0.3,
        expired_locks=0.3,
    )


async def run_squares(chaos: Chaos, seen: list[int] | None = None) -> FaultCounts:
    async def many(ctx: OrchestrationContext, numbers: list[int]) -> int:
        found = await ctx.task_all([ctx.call_activity(remember, n) for n in numbers])
        return sum(found) + await ctx.call_sub_orchestrator(few, numbers[:2])

    async def few(ctx: OrchestrationContext, numbers: list[int]) -> int:
        return sum([await ctx.call_activity(remember, n) for n in numbers])

    async def remember(ctx: ActivityContext, number: int) -> int:
        if seen is not None:
            seen.append(number)
        return number

    async with OrchestrationTestEnvironment(
        orchestrators=[many, few], activities=[remember], chaos=chaos
    ) as env:
        assert await env.run(many, [1, 2, 3, 4, 5, 6]) == 24
        return env.faults


async def test_every_kind_of_fault_really_happens() -> None:
    """Over a few seeds every counter has moved, and the outcome was right every time."""
    total = FaultCounts()
    for seed in range(4):
        total.add(await run_squares(everything(seed)))
    assert all(asdict(total).values()), total
    quiet = Chaos(
        replay_every_episode=False,
        duplicate_activities=0,
        worker_crashes=0,
        delayed_completions=0,
        reorder=False,
    )
    assert str(await run_squares(quiet)) == "none"


async def test_a_seed_does_the_same_again() -> None:
    """Faults and the order in which activities ran are the same in every run of a seed, and differ between seeds."""
    runs = []
    for seed in (1, 1, 2):
        seen: list[int] = []
        runs.append((asdict(await run_squares(everything(seed), seen)), seen))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_chaos_shows_how_to_run_it_again() -> None:
    """What is printed can be pasted into a test."""
    chaos = Chaos(seed=7, expired_locks=0.5, reorder=False)
    assert repr(chaos) == "Chaos(seed=7, reorder=False, expired_locks=0.5)"
    assert eval(repr(chaos)) == chaos


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


def test_the_older_spelling_of_an_option_is_taken() -> None:
    """``replay_every_turn`` means ``replay_every_episode``."""
    assert Chaos(replay_every_turn=False) == Chaos(replay_every_episode=False) != Chaos()
