"""The test environment: virtual time, control, and what a run shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from durabletask import ActivityContext, OrchestrationContext, RetryPolicy, TaskFailedError
from durabletask.core.history import TimerCreated
from durabletask.core.instances import OrchestrationStatus
from durabletask.testing.environment import OrchestrationTestEnvironment
from durabletask.testing.run import StuckOrchestrationError
from pydantic import BaseModel


async def greet(ctx: ActivityContext, name: str) -> str:
    return f"Hello, {name}!"


def shout(ctx: ActivityContext, text: str) -> str:
    return text.upper()


async def greet_all(ctx: OrchestrationContext, names: list[str]) -> list[str]:
    return await ctx.task_all([ctx.call_activity(greet, name) for name in names])


async def reminder(ctx: OrchestrationContext, days: int) -> str:
    await ctx.create_timer(timedelta(days=days))
    return await ctx.call_activity(shout, "wake up")


async def approval(ctx: OrchestrationContext, amount: int) -> str:
    ctx.set_custom_status("waiting")
    try:
        decision = await ctx.wait_for_external_event("Decision", str, timeout=timedelta(days=7))
    except TimeoutError:
        return "too late"
    return f"{decision} {amount}"


async def charging(ctx: OrchestrationContext, amount: int) -> object:
    policy = RetryPolicy(first_retry_interval=timedelta(seconds=10), max_number_of_attempts=3)
    return await ctx.call_activity("charge", amount, retry_policy=policy)


async def test_an_orchestration_runs_to_its_result() -> None:
    """Orchestrators and activities run unchanged."""
    async with OrchestrationTestEnvironment(orchestrators=[greet_all], activities=[greet]) as env:
        run = await env.start(greet_all, ["Ada", "Bob"])
        assert await run.result() == ["Hello, Ada!", "Hello, Bob!"]
        assert [call.input for call in run.calls("greet")] == ["Ada", "Bob"]


async def test_a_long_timer_takes_no_time() -> None:
    """Virtual time jumps over thirty days, also when an activity runs in a thread."""
    async with OrchestrationTestEnvironment(orchestrators=[reminder], activities=[shout]) as env:
        before = env.now
        run = await env.start(reminder, 30)
        assert [type(e) for e in run.history if isinstance(e, TimerCreated)] == [TimerCreated]
        assert await run.result() == "WAKE UP"
        assert env.now - before == timedelta(days=30)


async def test_time_stands_still_until_it_is_moved() -> None:
    """An event that is raised before the time-out wins, without a race."""
    async with OrchestrationTestEnvironment(orchestrators=[approval]) as env:
        run = await env.start(approval, 5)
        await env.advance(days=6, hours=23)
        assert run.status is OrchestrationStatus.RUNNING
        assert run.custom_status == "waiting"
        await run.raise_event("Decision", "yes")
        assert await run.result() == "yes 5"


async def test_advancing_past_a_time_out_lets_it_happen() -> None:
    """``advance`` carries out what falls due on the way."""
    async with OrchestrationTestEnvironment(orchestrators=[approval]) as env:
        run = await env.start(approval, 5)
        await env.advance(days=8)
        assert run.status is OrchestrationStatus.COMPLETED
        assert await run.result() == "too late"


async def test_commands_need_not_be_awaited() -> None:
    """Without await, commands happen in order before the result."""
    async with OrchestrationTestEnvironment(orchestrators=[approval]) as env:
        run = await env.start(approval, 5)
        env.advance(days=1)
        run.raise_event("Decision", "later")
        assert await run.result() == "later 5"


async def test_pending_names_what_is_waited_for_and_where() -> None:
    """An open wait is shown with its name, its end and the line of code."""
    async with OrchestrationTestEnvironment(orchestrators=[approval]) as env:
        run = await env.start(approval, 5)
        (wait,) = run.pending()
        assert (wait.kind, wait.name, wait.due) == ("event", "Decision", env.now + timedelta(days=7))
        line = approval.__code__.co_firstlineno + 3
        assert wait.location == f"{__file__}:{line}"
        assert wait.is_awaited


async def test_a_result_that_cannot_come_is_an_error_that_explains() -> None:
    """Waiting for an event that is never raised fails at once and names the event."""

    async def forever(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Never")

    async with OrchestrationTestEnvironment(orchestrators=[forever]) as env:
        run = await env.start(forever)
        with pytest.raises(
            StuckOrchestrationError, match=r"event 'Never', asked for at .*test_environment.py:"
        ):
            await run.result()


async def test_fakes_answer_by_name_and_remember() -> None:
    """A fake replaces an activity that is not even registered; attempts and times are recorded."""
    async with OrchestrationTestEnvironment(orchestrators=[charging]) as env:
        charge = env.fake("charge", side_effect=[TimeoutError("slow"), OSError("down"), "receipt"])
        start = env.now
        run = await env.start(charging, 7)
        (retrying,) = run.pending()
        assert (retrying.kind, retrying.name, retrying.attempts) == ("activity", "charge", 1)
        assert await run.result() == "receipt"
        calls = run.calls("charge")
        assert [call.attempt for call in calls] == [1, 2, 3]
        assert [call.started_at - start for call in calls] == [
            timedelta(0),
            timedelta(seconds=10),
            timedelta(seconds=20),
        ]
        assert [call.succeeded for call in calls] == [False, False, True]
        assert charge.call_count == 3
        charge.assert_called_with(7)
        with pytest.raises(AssertionError, match="once with 7"):
            charge.assert_called_once_with(7)


async def test_a_fake_can_compute() -> None:
    """A side effect may be a function of the input, plain or async."""
    async with OrchestrationTestEnvironment(orchestrators=[greet_all], activities=[greet]) as env:
        env.fake(greet, side_effect=lambda name: name[::-1])
        assert await env.run(greet_all, ["abc"]) == ["cba"]


async def test_an_activity_that_is_missing_fails_with_a_hint() -> None:
    """An unregistered activity tells how to fake it."""
    async with OrchestrationTestEnvironment(orchestrators=[charging]) as env:
        run = await env.start(charging, 7)
        with pytest.raises(TaskFailedError, match=r"env.fake\('charge'"):
            await run.result()


async def test_a_failure_shows_the_timeline() -> None:
    """The error of a failed run carries its history for people."""
    async with OrchestrationTestEnvironment(orchestrators=[greet_all], activities=[greet]) as env:
        env.fake("greet", side_effect=ValueError("no such name"))
        run = await env.start(greet_all, ["x"])
        with pytest.raises(TaskFailedError, match="no such name") as caught:
            await run.result()
        assert "TaskFailed" in str(caught.value)
        assert "ExecutionStarted name=greet_all" in run.timeline()


async def test_strict_determinism_is_on() -> None:
    """A task that is never awaited fails the orchestration."""

    async def forgetful(ctx: OrchestrationContext) -> None:
        ctx.call_activity("charge", 1)

    async with OrchestrationTestEnvironment(orchestrators=[forgetful]) as env:
        env.fake("charge")
        run = await env.start(forgetful)
        with pytest.raises(TaskFailedError, match="never awaited"):
            await run.result()


async def test_a_run_can_be_suspended_resumed_and_terminated() -> None:
    """Control goes through the hub as in production."""
    async with OrchestrationTestEnvironment(orchestrators=[approval]) as env:
        run = await env.start(approval, 5)
        await run.suspend("why")
        assert run.status is OrchestrationStatus.SUSPENDED
        await run.resume()
        assert run.status is OrchestrationStatus.RUNNING
        await run.terminate("enough")
        state = await run.completion()
        assert (state.runtime_status, state.output) == (OrchestrationStatus.TERMINATED, "enough")


async def test_attempts_are_those_of_the_retry_policy() -> None:
    """Equal calls side by side are told apart: which attempt a call is comes from the code, not from its input."""

    async def pay_thrice(ctx: OrchestrationContext) -> list[object]:
        policy = RetryPolicy(first_retry_interval=timedelta(seconds=5), max_number_of_attempts=3)
        first = await ctx.task_all(
            [ctx.call_activity("pay", 1, retry_policy=policy) for _ in range(2)], return_exceptions=True
        )
        try:
            await ctx.call_activity("pay", 1)
        except TaskFailedError:
            first.append(await ctx.call_activity("pay", 1))  # written out by hand: a call of its own
        return first

    outcomes = [OSError("a"), "b", OSError("c"), "d", OSError("e"), "f"]
    async with OrchestrationTestEnvironment(orchestrators=[pay_thrice]) as env:
        env.fake("pay", side_effect=outcomes)
        run = await env.start(pay_thrice)
        assert await run.result() == ["d", "b", "f"]
        assert [(call.task_id, call.attempt) for call in run.calls("pay")] == [
            (1, 1),
            (2, 1),
            (4, 2),
            (6, 3),
            (7, 1),
            (8, 1),
        ]


async def test_calls_are_compared_with_any_kind_of_input() -> None:
    """What a fake is asked about may be a dataclass or a model, as the orchestrator may have given it."""

    @dataclass
    class Order:
        amount: Decimal
        at: datetime

    class Line(BaseModel):
        sku: str

    order, line = Order(Decimal("1.50"), datetime(2026, 1, 1, tzinfo=timezone.utc)), Line(sku="a")

    async def buys(ctx: OrchestrationContext) -> None:
        await ctx.call_activity("reserve", line)
        await ctx.call_activity("charge", order)

    async with OrchestrationTestEnvironment(orchestrators=[buys]) as env:
        charge, reserve = env.fake("charge"), env.fake("reserve")
        await env.run(buys)
        charge.assert_called_once_with(order)
        reserve.assert_called_once_with(line)
        with pytest.raises(AssertionError, match="should have been called once with"):
            reserve.assert_called_once_with(Line(sku="b"))
