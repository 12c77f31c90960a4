"""Client, worker and hub together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from durabletask import (
    ActivityContext,
    ConcurrencyOptions,
    DurableTaskClient,
    DurableTaskWorker,
    NonRetryableError,
    OrchestrationContext,
    OrchestrationState,
    OrchestrationStatus,
    RetryAfter,
    RetryPolicy,
    VersionFailureStrategy,
    VersioningOptions,
    VersionMatchStrategy,
)
from durabletask.core.actions import CompleteOrchestration
from durabletask.core.errors import ResourceExhaustedError
from durabletask.core.history import ExecutionStarted, OrchestratorStarted
from durabletask.core.work_items import OrchestratorResult, OrchestratorWorkItem
from durabletask.testing.hub import InMemoryBackend
from fake_transport import NOON, FakeTransport


@dataclass
class Order:
    id: int
    items: list[str]


async def price(ctx: ActivityContext, item: str) -> float:
    return len(item) * 1.5


async def total(ctx: OrchestrationContext, order: Order) -> float:
    prices = await ctx.task_all([ctx.call_activity(price, item) for item in order.items])
    return sum(prices)


async def chain(ctx: OrchestrationContext, length: int) -> list[float]:
    return [await ctx.call_activity(price, "x" * n) for n in range(length)]


async def approval(ctx: OrchestrationContext, _: object) -> object:
    return await ctx.wait_for_external_event("approve")


@asynccontextmanager
async def a_program(**options: object) -> AsyncIterator[tuple[DurableTaskClient, DurableTaskWorker]]:
    hub = InMemoryBackend("test")
    worker = DurableTaskWorker(hub, **options)  # type: ignore[arg-type]
    async with worker, DurableTaskClient(hub) as client:
        yield client, worker
    await hub.close()


async def run(orchestrator: object, input: object = None, **options: object) -> OrchestrationState:  # noqa: A002
    async with a_program(orchestrators=[orchestrator], **options) as (client, _):
        instance_id = await client.schedule_new_orchestration(orchestrator, input)  # type: ignore[call-overload]
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=10)
    assert state is not None
    return state


async def test_typed_input_and_output_travel_through_the_hub() -> None:
    """A dataclass in, a number out."""
    state = await run(total, Order(1, ["a", "bc"]), activities=[price])

    assert state.runtime_status is OrchestrationStatus.COMPLETED
    assert state.output == 4.5
    assert state.input_as(Order) == Order(1, ["a", "bc"])


@pytest.mark.parametrize("size", [0, 1, 2000])
async def test_the_session_cache_changes_nothing_but_the_work(size: int) -> None:
    """Without, with a tiny, and with a large cache the outcomes are equal."""
    async with a_program(orchestrators=[chain, approval], activities=[price], session_cache_size=size) as (
        client,
        worker,
    ):
        ids = [await client.schedule_new_orchestration(chain, 4) for _ in range(3)]
        waiting = await client.schedule_new_orchestration(approval)
        states = [await client.wait_for_orchestration_completion(i, timeout_in_seconds=10) for i in ids]
        await client.raise_orchestration_event(waiting, "approve", {"by": "me"})
        last = await client.wait_for_orchestration_completion(waiting, timeout_in_seconds=10)
        metrics = worker.metrics

    assert [state.output for state in states if state] == [[0.0, 1.5, 3.0, 4.5]] * 3
    assert last is not None
    assert last.output == {"by": "me"}
    assert metrics.session_hits + metrics.session_misses == 3 * 4 + 1
    assert (metrics.session_hits == 0) == (size == 0)
    assert (metrics.session_misses == 0) == (size == 2000)
    assert (metrics.sessions, metrics.orchestrations) == (0, 3 * 5 + 2)


async def test_a_misspelt_activity_fails_the_orchestration_with_the_nearest_name() -> None:
    """At once, without any retry."""

    async def misspelt(ctx: OrchestrationContext, _: object) -> object:
        policy = RetryPolicy(first_retry_interval=timedelta(hours=1), max_number_of_attempts=5)
        return await ctx.call_activity("prise", "x", retry_policy=policy)

    state = await run(misspelt, activities=[price])

    assert state.runtime_status is OrchestrationStatus.FAILED
    assert state.failure_details is not None
    assert "The nearest registered names are: 'price'" in state.failure_details.message
    assert state.failure_details.is_caused_by("ActivityNotRegisteredError")


async def test_an_unknown_orchestrator_fails_with_the_nearest_name() -> None:
    """The client is told by the state of the instance."""
    async with a_program(orchestrators=[total], activities=[price]) as (client, _):
        instance_id = await client.schedule_new_orchestration("totl")
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=10)

    assert state is not None
    assert state.failure_details is not None
    assert state.failure_details.error_type.endswith("OrchestratorNotRegisteredError")
    assert "'total'" in state.failure_details.message


async def test_what_an_activity_says_about_retries_is_honoured() -> None:
    """``RetryAfter`` sets the delay, ``NonRetryableError`` ends the attempts."""
    calls: list[str] = []

    async def flaky(ctx: ActivityContext, _: object) -> None:
        calls.append("call")
        if len(calls) == 1:
            raise RetryAfter(0.01)
        raise NonRetryableError("enough")

    async def retrying(ctx: OrchestrationContext, _: object) -> None:
        policy = RetryPolicy(first_retry_interval=timedelta(hours=1), max_number_of_attempts=5)
        await ctx.call_activity(flaky, None, retry_policy=policy)

    state = await run(retrying, activities=[flaky])

    assert calls == ["call", "call"]
    assert state.failure_details is not None
    assert state.failure_details.root_cause.message == "enough"


def an_item(**more: object) -> OrchestratorWorkItem:
    started = ExecutionStarted(-1, NOON, "approval", "i1", version=more.pop("version", None))  # type: ignore[arg-type]
    events = [OrchestratorStarted(-1, NOON), started]
    values: dict[str, object] = {"instance_id": "i1", "new_events": events, "completion_token": "t", **more}
    return OrchestratorWorkItem(**values)  # type: ignore[arg-type]


def completion_of(transport: FakeTransport) -> CompleteOrchestration:
    (result,) = transport.completed
    assert isinstance(result, OrchestratorResult)
    assert result.completion_token == "t"
    (action,) = result.actions
    assert isinstance(action, CompleteOrchestration)
    return action


async def test_an_instance_of_another_version_is_left_to_another_worker() -> None:
    """REJECT gives the item back."""
    transport = FakeTransport()
    versioning = VersioningOptions(
        version="1",
        match_strategy=VersionMatchStrategy.STRICT,
        failure_strategy=VersionFailureStrategy.REJECT,
    )
    async with DurableTaskWorker(transport, orchestrators=[approval], versioning=versioning) as worker:
        transport.put(an_item(version="2"))
        await transport.wait_for(1)

    assert transport.completed == []
    assert worker.metrics.abandoned == 1


async def test_events_that_are_no_episode_fail_the_instance() -> None:
    """Another delivery of the same events would not help."""
    transport = FakeTransport()
    async with DurableTaskWorker(transport, orchestrators=[approval]):
        transport.put(an_item(new_events=[]))
        await transport.wait_for(1)

    completion = completion_of(transport)
    assert completion.status is OrchestrationStatus.FAILED
    assert completion.failure is not None
    assert completion.failure.error_type.endswith("OrchestrationStateError")


async def test_a_completion_that_the_hub_refuses_fails_the_instance() -> None:
    """Too large a result is a failure that says so, not silence."""

    async def large(ctx: OrchestrationContext, _: object) -> str:
        return "x" * 100

    transport = FakeTransport(complete_errors=[ResourceExhaustedError("100 bytes are too much.")])
    async with DurableTaskWorker(transport, orchestrators={"approval": large}):
        transport.put(an_item())
        await transport.wait_for(1)

    failure = completion_of(transport).failure
    assert failure is not None
    assert failure.message == "100 bytes are too much."


async def test_an_orchestrator_that_is_not_deterministic_is_reported_at_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The lint warns once, with the place."""

    async def careless(ctx: OrchestrationContext, _: object) -> None:
        await asyncio.sleep(1)

    with caplog.at_level(logging.WARNING, "durabletask"):
        worker = DurableTaskWorker(FakeTransport(), orchestrators=[careless], lint=True)
        for _ in range(2):
            async with worker:
                pass

    assert len([record for record in caplog.records if "careless" in record.getMessage()]) == 1


async def test_many_instances_share_a_small_worker() -> None:
    """Limits slow nothing down to a stop."""
    limits = ConcurrencyOptions(max_orchestrations=2, max_activities=2)
    async with a_program(orchestrators=[total], activities=[price], concurrency=limits) as (client, _):
        ids = [await client.schedule_new_orchestration(total, Order(n, ["a"])) for n in range(200)]
        states = [await client.wait_for_orchestration_completion(i, timeout_in_seconds=30) for i in ids]

    assert all(state is not None and state.output == 1.5 for state in states)
