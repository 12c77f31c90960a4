"""Virtual time moves whenever all that is in flight waits for it, in whatever way a caller waits."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    TaskFailedError,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.testing import InMemoryBackend, OrchestrationTestEnvironment, VirtualClock
from durabletask.testing.run import StuckOrchestrationError

MONTH = timedelta(days=30)


async def monthly(ctx: OrchestrationContext, value: int) -> int:
    await ctx.create_timer(MONTH)
    return value


async def forever(ctx: OrchestrationContext) -> None:
    await ctx.wait_for_external_event("Never")


async def delegating(ctx: OrchestrationContext, value: int) -> int:
    return await ctx.call_activity("starts_and_waits", value, return_type=int)


async def bounded(waiting: object) -> object:
    """A wait that hangs fails the test instead of stopping it."""
    return await asyncio.wait_for(waiting, 20)  # type: ignore[arg-type]


@pytest.mark.parametrize("door", ["client", "hub"])
async def test_a_wait_of_a_client_lets_time_run(door: str) -> None:
    """A client of the environment, and one that the test makes, waits as ``run.result()`` does."""
    async with OrchestrationTestEnvironment(orchestrators=[monthly]) as env:
        client = env.client if door == "client" else DurableTaskClient(env.hub)
        start = env.now
        run = await env.start(monthly, 7)
        state = await bounded(
            client.wait_for_orchestration_completion(run.instance_id, timeout_in_seconds=None)
        )
        assert (state.output, env.now - start) == (7, MONTH)  # type: ignore[attr-defined]


async def test_a_wait_ends_at_its_own_time_out() -> None:
    """The time-out of a wait is virtual too."""
    async with OrchestrationTestEnvironment(orchestrators=[monthly]) as env:
        start = env.now
        run = await env.start(monthly, 7)
        waiting = env.client.wait_for_orchestration_completion(run.instance_id, timeout_in_seconds=90)
        assert await bounded(waiting) is None
        assert env.now - start == timedelta(seconds=90)


async def test_a_wait_for_a_scheduled_start_lets_time_run() -> None:
    """The start of an instance is waited for like its end."""
    async with OrchestrationTestEnvironment(orchestrators=[monthly]) as env:
        start = env.now
        run = await env.start(monthly, 7, start_at=timedelta(days=3))
        waiting = env.client.wait_for_orchestration_start(run.instance_id, timeout_in_seconds=None)
        assert await bounded(waiting) is not None
        assert env.now - start == timedelta(days=3)


async def test_a_wait_that_cannot_end_is_an_error() -> None:
    """A client without a time-out that waits for an event which does not come fails at once, and so does a ghost."""
    async with OrchestrationTestEnvironment(orchestrators=[forever]) as env:
        run = await env.start(forever)
        wait = env.client.wait_for_orchestration_completion
        with pytest.raises(StuckOrchestrationError, match="event 'Never'"):
            await bounded(wait(run.instance_id, timeout_in_seconds=None))
        with pytest.raises(StuckOrchestrationError, match="no instance 'ghost'"):
            await bounded(wait("ghost", timeout_in_seconds=None))


async def test_a_wait_in_the_background_does_not_overtake_the_test() -> None:
    """While the test moves time itself, a waiting client takes what comes."""

    async def approval(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Word", str, timeout=timedelta(days=7))

    async with OrchestrationTestEnvironment(orchestrators=[approval]) as env:
        start = env.now
        run = await env.start(approval)
        waiting = asyncio.ensure_future(
            env.client.wait_for_orchestration_completion(run.instance_id, timeout_in_seconds=None)
        )
        await env.advance(days=6)
        assert (run.status, env.now - start) == (OrchestrationStatus.RUNNING, timedelta(days=6))
        await run.raise_event("Word", "yes")
        assert (await bounded(waiting)).output == "yes"  # type: ignore[attr-defined]
        assert env.now - start == timedelta(days=6)


@pytest.mark.parametrize("kind", ["registered", "fake", "thread", "run", "own client"])
async def test_an_activity_that_waits_for_an_orchestration_does_not_stop_time(kind: str) -> None:
    """An activity in flight that waits at the hub is idle: real, faked, in a thread, or by ``env.run``."""

    async def wait(value: int) -> int:
        if kind == "run":
            return await env.run(monthly, value)
        client = DurableTaskClient(env.hub) if kind == "own client" else env.client
        created = await client.schedule_new_orchestration(monthly, value)
        state = await client.wait_for_orchestration_completion(created, timeout_in_seconds=None)
        assert state is not None
        return state.output_as(int)

    async def registered(ctx: ActivityContext, value: int) -> int:
        return await wait(value)

    loop = asyncio.get_running_loop()

    def threaded(ctx: ActivityContext, value: int) -> int:
        return asyncio.run_coroutine_threadsafe(wait(value), loop).result(10)

    activity = threaded if kind == "thread" else registered
    activities = {} if kind == "fake" else {"starts_and_waits": activity}
    async with OrchestrationTestEnvironment(
        orchestrators=[monthly, delegating], activities=activities
    ) as env:
        if kind == "fake":
            env.fake("starts_and_waits", side_effect=wait)
        start = env.now
        assert await bounded(env.run(delegating, 5)) == 5
        assert env.now - start == MONTH
        assert [call.deliveries for call in env.calls] == [1]


async def test_what_an_activity_waits_for_is_part_of_the_explanation() -> None:
    """A flow that is stuck behind its own activity says what the activity waits for."""

    async def waits(ctx: ActivityContext, value: int) -> None:
        created = await env.client.schedule_new_orchestration(forever, instance_id="inner")
        await env.client.wait_for_orchestration_completion(created, timeout_in_seconds=None)

    async with OrchestrationTestEnvironment(
        orchestrators=[forever, delegating], activities={"starts_and_waits": waits}
    ) as env:
        run = await env.start(delegating, 1)
        with pytest.raises(StuckOrchestrationError, match=r"'starts_and_waits' itself waits for .* 'inner'"):
            await bounded(run.result())


async def test_an_activity_that_waits_does_not_stop_the_clock_of_a_plain_hub() -> None:
    """The same without an environment: on a hub with a virtual clock, two levels deep."""
    hub = InMemoryBackend(clock=VirtualClock())
    client = DurableTaskClient(hub)

    async def starts_and_waits(ctx: ActivityContext, value: int) -> int:
        name = "monthly" if value <= 1 else "delegating"
        created = await client.schedule_new_orchestration(name, value - 1)
        state = await client.wait_for_orchestration_completion(created, timeout_in_seconds=None)
        assert state is not None
        return state.output_as(int)

    async with DurableTaskWorker(hub, orchestrators=[monthly, delegating], activities=[starts_and_waits]):
        start = hub.now()
        created = await client.schedule_new_orchestration(delegating, 2)
        state = await bounded(client.wait_for_orchestration_completion(created, timeout_in_seconds=None))
        assert state.output == 0  # type: ignore[attr-defined]
        assert hub.now() - start == MONTH
    await hub.close()


async def test_an_activity_that_is_busy_outside_is_named_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still for an activity that waits for the real world, and the log says which."""
    monkeypatch.setattr("durabletask.testing.recorder._BUSY_FOR", 0.01)
    outside = asyncio.Event()
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            outside.set()

    async def starts_and_waits(ctx: ActivityContext, value: int) -> int:
        await outside.wait()
        return value

    logger, listener = logging.getLogger("durabletask.testing"), Listener()
    logger.addHandler(listener)
    try:
        async with OrchestrationTestEnvironment(
            orchestrators=[delegating], activities=[starts_and_waits]
        ) as env:
            run = await env.start(delegating, 1, instance_id="busy")
            assert await bounded(run.result()) == 1
    finally:
        logger.removeHandler(listener)
    assert messages[0].startswith(
        "Virtual time stands still: activity 'starts_and_waits' of 'busy' is in progress"
    )


# --- events that nothing waited for ---------------------------------------------------------------------------


async def approval(ctx: OrchestrationContext) -> str:
    await ctx.wait_for_external_event("Start")
    return await ctx.wait_for_external_event("Approval", str, timeout=timedelta(days=7))


async def test_an_event_that_nothing_waited_for_is_named() -> None:
    """A flow that is stuck, takes too long or fails names the events that came in vain, and no others."""

    async def endless(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Approval")

    said = "An event 'Approvall' came that nothing waited for."
    async with OrchestrationTestEnvironment(orchestrators=[approval, endless]) as env:
        stuck = await env.start(endless)
        await stuck.raise_event("Approvall")
        with pytest.raises(StuckOrchestrationError, match=said):
            await stuck.result()
        run = await env.start(approval)
        await run.raise_event("Start")
        await run.raise_event("Approvall")
        with pytest.raises(TimeoutError, match=said) as late:
            await run.result(timeout=timedelta(days=1))
        assert "'Start' came" not in str(late.value)
        with pytest.raises(TaskFailedError, match=said):
            await run.result()
        assert run.timeline().endswith(said)
