"""``ctx.attempt`` and ``ctx.idempotency_key`` of activities, on every transport of the project."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    RetryPolicy,
    TaskFailedError,
    Transport,
)
from durabletask.core.history import TaskScheduled
from durabletask.core.retry import ATTEMPT_TAG
from durabletask.testing import check_replay
from durabletask.testing.conformance import ConformanceHub

SHORT = timedelta(milliseconds=50)
POLICY = RetryPolicy(first_retry_interval=SHORT, max_number_of_attempts=4)


@dataclass
class Log:
    """What the activities have seen, in order."""

    seen: list[ActivityContext] = field(default_factory=list)

    def flaky(self, ctx: ActivityContext, failures: int) -> str:
        self.seen.append(ctx)
        if ctx.attempt <= failures:
            raise ValueError("not yet")
        return ctx.idempotency_key


async def one_call(ctx: OrchestrationContext, failures: int) -> str:
    return await ctx.call_activity(
        "flaky", failures, return_type=str, retry_policy=POLICY, tags={"colour": "red"}
    )


async def two_calls(ctx: OrchestrationContext) -> list[str]:
    calls = [ctx.call_activity("flaky", 2, return_type=str, retry_policy=POLICY) for _ in range(2)]
    return [*await ctx.task_all(calls), await ctx.call_activity("flaky", 0, return_type=str)]


async def again_and_again(ctx: OrchestrationContext, keys: list[str]) -> list[str]:
    keys = [*keys, await ctx.call_activity("flaky", 0, return_type=str)]
    if len(keys) < 3:
        ctx.continue_as_new(keys)
    return keys


async def caught(ctx: OrchestrationContext) -> list[str]:
    """Call again by hand: these are other calls."""
    for _ in range(2):
        with pytest.raises(TaskFailedError):
            await ctx.call_activity("flaky", 9)
    return []


ORCHESTRATORS = [one_call, two_calls, again_and_again, caught]


@pytest.fixture
async def transport(conformance_hub: ConformanceHub) -> AsyncIterator[Transport]:
    yield await conformance_hub.open()
    await conformance_hub.close()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def client(transport: Transport, log: Log) -> AsyncIterator[DurableTaskClient]:
    async with worker_of(transport, log.flaky):
        yield DurableTaskClient(transport)


async def until(hub: ConformanceHub, condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await hub.advance(SHORT)
        await hub.settle()
    raise AssertionError("It did not come about.")


def worker_of(transport: Transport, activity: object) -> DurableTaskWorker:
    return DurableTaskWorker(transport, orchestrators=ORCHESTRATORS, activities={"flaky": activity})


async def test_a_retried_call_counts_its_attempts_and_keeps_its_key(
    client: DurableTaskClient, conformance_hub: ConformanceHub, log: Log
) -> None:
    """Each attempt is an action of its own; the tags of the call are as they were given."""
    running = asyncio.ensure_future(client.run(one_call, 3))
    await until(conformance_hub, running.done)

    assert [ctx.attempt for ctx in log.seen] == [1, 2, 3, 4]
    assert len({ctx.task_id for ctx in log.seen}) == 4
    assert {ctx.idempotency_key for ctx in log.seen} == {running.result()}
    assert [dict(ctx.tags) for ctx in log.seen] == [{"colour": "red"}] * 4
    assert str(uuid.UUID(running.result())) == running.result()


async def test_retries_without_tags_replay(
    client: DurableTaskClient, conformance_hub: ConformanceHub
) -> None:
    """Earlier releases wrote such histories; one that was written half by each replays as well."""
    handle = await client.start(one_call, 3)
    running = asyncio.ensure_future(handle.result())
    await until(conformance_hub, running.done)
    history = await handle.history()
    retries = [
        event for event in history if isinstance(event, TaskScheduled) and ATTEMPT_TAG in (event.tags or {})
    ]
    assert len(retries) == 3

    for old in (retries, retries[:1], retries[1:]):
        changed = [
            msgspec.structs.replace(event, tags={"colour": "red"}) if event in old else event
            for event in history
        ]
        assert check_replay(changed, [one_call]).outcome == "replays"


async def test_other_calls_and_other_instances_have_other_keys(
    client: DurableTaskClient, conformance_hub: ConformanceHub, log: Log
) -> None:
    """Also when their retries overlap."""
    running = [asyncio.ensure_future(client.run(two_calls, instance_id=name)) for name in ("a", "a:1")]
    await until(conformance_hub, lambda: all(each.done() for each in running))

    keys = [key for each in running for key in each.result()]
    assert len(set(keys)) == 6
    assert {ctx.idempotency_key for ctx in log.seen} == set(keys)
    assert len(log.seen) == 14


async def test_a_call_that_the_code_repeats_is_another_call(client: DurableTaskClient, log: Log) -> None:
    """Only the retry policy makes attempts."""
    await client.run(caught)

    assert [ctx.attempt for ctx in log.seen] == [1, 1]
    assert len({ctx.idempotency_key for ctx in log.seen}) == 2


async def test_keys_do_not_repeat_after_continue_as_new(client: DurableTaskClient, log: Log) -> None:
    """Ids of actions begin anew in each execution."""
    keys = await client.run(again_and_again, [])

    assert len({ctx.task_id for ctx in log.seen}) == 1
    assert len(set(keys)) == 3


async def test_a_call_that_is_delivered_again_has_the_same_key_and_attempt(
    transport: Transport, conformance_hub: ConformanceHub
) -> None:
    """The worker stops during the second attempt; another one gets it."""
    seen: list[ActivityContext] = []
    may_end = asyncio.Event()

    async def flaky(ctx: ActivityContext, failures: int) -> str:
        seen.append(ctx)
        if ctx.attempt == 1:
            raise ValueError("not yet")
        await may_end.wait()
        return ctx.idempotency_key

    handle = await DurableTaskClient(transport).start(one_call, 1)
    waiting = asyncio.ensure_future(handle.result())
    async with worker_of(transport, flaky) as first:
        await until(conformance_hub, lambda: len(seen) == 2)
        await first.stop(timeout=0)
    may_end.set()
    async with worker_of(transport, flaky):
        await until(conformance_hub, waiting.done)

    assert [ctx.attempt for ctx in seen] == [1, 2, 2]
    assert {ctx.idempotency_key for ctx in seen} == {await waiting}


@pytest.mark.parametrize("spoilt", ["", "x", "-1", "²", "9" * 50])
def test_tags_of_others_do_no_harm(spoilt: str) -> None:
    """Text that no worker of this project writes counts as a first attempt."""
    tags = {"durabletask.attempt": spoilt, "durabletask.first_task_id": spoilt, "colour": "red"}

    ctx = ActivityContext("a", "i", 3, tags=tags)

    assert (ctx.attempt, dict(ctx.tags)) == (1, {"colour": "red"})
    assert ctx.idempotency_key == ActivityContext("a", "i", 3).idempotency_key
    assert ctx.idempotency_key != ActivityContext("a", "i", 3, execution_id="e").idempotency_key


def test_the_key_of_a_call_never_changes_with_a_release() -> None:
    """Calls are in flight while workers are replaced."""
    ctx = ActivityContext("charge", "order-1", 7, execution_id="e1")

    assert ctx.idempotency_key == "aedb024b-3a43-5611-a2bf-ac778d6aaec1"
