"""Never run, only checked: what a type checker knows about programs, right and wrong ones.

A ``type: ignore`` marks what must be refused; the checker complains when it is not needed.
"""

# ruff: noqa: A002 - programs as people write them

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    EntityContext,
    OrchestrationContext,
    OrchestrationState,
    RetryPolicy,
    Schedule,
    ScheduleSpec,
    Task,
    TaskActivity,
    TaskEntity,
    TaskOrchestrator,
    sync,
    task_all,
    task_any,
)
from durabletask.core.history import HistoryEvent
from durabletask.testing import (
    ActivityTestEnvironment,
    DurableEnv,
    OrchestrationRun,
    OrchestrationTestEnvironment,
)
from durabletask.testing import sync as testing_sync
from typing_extensions import assert_type


@dataclass
class Order:
    id: int


async def greet(ctx: ActivityContext, name: str) -> str:
    return name


def count(ctx: ActivityContext, order: Order) -> int:
    return order.id


async def ping(ctx: ActivityContext) -> bool:
    return True


class Ship(TaskActivity[Order, str]):
    async def run(self, context: ActivityContext, input: Order, /) -> str:
        return "shipped"


class Untyped(TaskActivity):
    async def run(self, context: OrchestrationContext, input: str) -> str:
        return input


async def greet_all(ctx: OrchestrationContext, names: list[str]) -> list[str]:
    assert_type(ctx.call_activity(greet, "x"), Task[str])
    assert_type(await ctx.call_activity(greet, "x"), str)
    assert_type(await ctx.call_activity(count, Order(1)), int)
    assert_type(await ctx.call_activity(ping), bool)
    assert_type(await ctx.call_activity(Ship(), Order(1)), str)
    assert_type(await ctx.call_activity(Ship, Order(1)), str)
    assert_type(await ctx.call_activity("greet", "x", return_type=str), str)
    assert_type(await ctx.call_activity("greet", "x"), Any)
    policy = RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3)
    assert_type(await ctx.call_activity(greet, "x", retry_policy=policy), str)
    ctx.call_activity(greet, 3)  # type: ignore[arg-type]
    ctx.call_activity(Ship, "x")  # type: ignore[misc]
    assert_type(await ctx.wait_for_external_event("approve", bool), bool)
    assert_type(await ctx.create_timer(1.0), None)
    return await ctx.task_all([ctx.call_activity(greet, name) for name in names])


def generator(ctx: OrchestrationContext, order: Order) -> Generator[Task[Any], Any, str]:
    result: str = yield ctx.call_activity(Ship, order)
    return result


class Yielding(TaskOrchestrator[Order, str]):
    def run(self, context: OrchestrationContext, input: Order, /) -> Generator[Task[Any], Any, str]:
        result: str = yield context.call_activity(Ship, input)
        return result


class Plain(TaskOrchestrator[Order, str]):
    def run(self, context: OrchestrationContext, input: Order, /) -> str:
        return "nothing to wait for"


class Fulfil(TaskOrchestrator[Order, str]):
    async def run(self, context: OrchestrationContext, input: Order, /) -> str:
        return await context.call_activity(Ship, input)


async def parent(ctx: OrchestrationContext) -> None:
    assert_type(await ctx.call_sub_orchestrator(greet_all, ["x"]), list[str])
    assert_type(await ctx.call_sub_orchestrator(Fulfil, Order(1)), str)
    assert_type(await ctx.call_sub_orchestrator(Yielding, Order(1)), str)
    assert_type(await ctx.call_sub_orchestrator(Plain, Order(1)), str)
    ctx.call_sub_orchestrator(greet_all, [1])  # type: ignore[arg-type]
    assert_type(await task_all([ctx.call_activity(greet, "a"), ctx.call_activity(greet, "b")]), list[str])
    assert_type(await task_any([ctx.call_activity(greet, "a")]), Task[str])


class Counter(TaskEntity[int]):
    def initial_state(self) -> int:
        return 0

    def add(self, amount: int) -> int:
        assert_type(self.state, int)
        assert_type(self.context, EntityContext)
        self.state += amount
        return self.state

    def spoil(self) -> None:
        self.state = "x"  # type: ignore[assignment]


async def use_the_client(client: DurableTaskClient) -> None:
    assert_type(await client.schedule_new_orchestration(greet_all, ["x"]), str)
    assert_type(await client.schedule_new_orchestration(Fulfil, Order(1)), str)
    assert_type(await client.schedule_new_orchestration(Fulfil(), Order(1)), str)
    assert_type(await client.schedule_new_orchestration(generator, Order(1)), str)
    assert_type(await client.schedule_new_orchestration(parent), str)
    assert_type(await client.schedule_new_orchestration("greet_all", ["x"], instance_id="i"), str)
    await client.schedule_new_orchestration(greet_all, 3)  # type: ignore[arg-type]
    await client.schedule_new_orchestration(Fulfil, "x")  # type: ignore[arg-type]
    state = await client.wait_for_orchestration_completion("i", timeout_in_seconds=60)
    assert_type(state, OrchestrationState | None)
    if state is not None:
        assert_type(state.output, object)
        assert_type(state.output_as(Order), Order)
    async for found in client.query_orchestrations():
        assert_type(found, OrchestrationState)
    async for page in client.list_instance_ids().pages():
        assert_type(page, Sequence[str])
    assert_type(await client.get_orchestration_history("i"), list[HistoryEvent])


def use_the_blocking_client(client: sync.DurableTaskClient) -> None:
    assert_type(client.schedule_new_orchestration(greet_all, ["x"]), str)
    client.schedule_new_orchestration(greet_all, 3)  # type: ignore[arg-type]
    for found in client.query_orchestrations():
        assert_type(found, OrchestrationState)


async def use_the_worker() -> None:
    worker = DurableTaskWorker(
        "Endpoint=memory://;Authentication=None",
        "default",
        orchestrators={"greet_all": greet_all, "generator": generator, "Fulfil": Fulfil()},
        activities=[greet, count, Ship, Untyped()],
        entities={"counter": Counter},
    )
    async with worker as same:
        assert_type(same, DurableTaskWorker)


# --- tests of orchestrations ------------------------------------------------------------------------------


def plain(ctx: OrchestrationContext, days: int) -> bool:
    return days > 0


def yielding(ctx: OrchestrationContext, order: Order) -> Generator[Task[object], object, str]:
    yield ctx.call_activity("pack", order)
    return "packed"


async def no_input(ctx: OrchestrationContext) -> float:
    return 1.0


async def defaulted(ctx: OrchestrationContext, days: int = 3) -> int:
    return days


class Flow(TaskOrchestrator[Order, str]):
    async def run(self, context: OrchestrationContext, input: Order, /) -> str:
        return "done"


async def schedules(client: DurableTaskClient, blocking: sync.DurableTaskClient) -> None:
    assert_type(await client.schedules.create("a", greet_all, ["x"], cron="0 2 * * *"), Schedule)
    await client.schedules.create("a", Flow, Order(1), every=timedelta(hours=1), overlap="buffer_one")
    await client.schedules.create("a", no_input, every=5)
    await client.schedules.create("a", "by name", object(), every=5)
    await client.schedules.create("a", greet_all, 1, every=5)  # type: ignore[arg-type]
    await client.schedules.create("a", greet_all, every=5)  # type: ignore[arg-type]
    await client.schedules.create("a", no_input, often=5)  # type: ignore[call-overload]
    await client.schedules.create("a", no_input, every=5, overlap="maybe")  # type: ignore[call-overload]
    assert_type(blocking.schedules.create("a", greet_all, ["x"], every=5), Schedule)
    blocking.schedules.create("a", greet_all, 1, every=5)  # type: ignore[arg-type]
    assert_type(await client.schedules.update("a", limit=None, input="b"), Schedule)
    await client.schedules.update("a", limit="b")  # type: ignore[arg-type]
    specs = [ScheduleSpec("a", greet_all, ["x"], every=5), ScheduleSpec("b", no_input, cron="0 2 * * *")]
    assert_type(await client.schedules.apply(specs), Sequence[Schedule])
    ScheduleSpec("a", greet_all, 1, every=5)  # type: ignore[arg-type]
    assert_type(await client.schedules.trigger("a"), str | None)
    assert_type([each async for each in client.schedules.list(status="paused")], list[Schedule])
    assert_type(list(blocking.schedules.list()), list[Schedule])


async def asynchronous_tests(env: OrchestrationTestEnvironment, durable_env: DurableEnv) -> None:
    assert_type(await env.run(greet_all, ["a"]), list[str])
    assert_type(await env.run(yielding, Order(1)), str)
    assert_type(await env.run(plain, 3, instance_id="one"), bool)
    assert_type(await env.run(no_input), float)
    assert_type(await env.run(defaulted), int)
    assert_type(await env.run(defaulted, 4), int)
    assert_type(await env.run(Flow, Order(1)), str)
    assert_type(await env.run(Flow(), Order(1), events=[("Go", 1)]), str)
    assert_type(await env.run("by name", object()), Any)
    run = await env.start(greet_all, ["a"], start_at=timedelta(days=1))
    assert_type(run, OrchestrationRun[list[str]])
    assert_type(await run.result(), list[str])
    await env.run(greet_all, 1)  # type: ignore[arg-type]
    await env.run(greet_all)  # type: ignore[arg-type]
    await env.run(no_input, 1)  # type: ignore[arg-type]
    await env.run(Flow, "x")  # type: ignore[misc]
    await env.start(generator, "x")  # type: ignore[arg-type]
    await env.run(greet, "an activity")  # type: ignore[arg-type]
    OrchestrationTestEnvironment(orchestrator=[greet_all])  # type: ignore[call-arg]
    async with durable_env(orchestrators=[greet_all]) as made:
        assert_type(made, OrchestrationTestEnvironment)
    assert_type(await ActivityTestEnvironment().run(greet, "x"), str)
    assert_type(await ActivityTestEnvironment().run(count, Order(1)), int)
    assert_type(ActivityTestEnvironment().call(ping), bool)
    await ActivityTestEnvironment().run(greet, 1)  # type: ignore[arg-type]


def blocking_tests(env: testing_sync.OrchestrationTestEnvironment, durable_env: DurableEnv) -> None:
    assert_type(env.run(greet_all, ["a"]), list[str])
    assert_type(env.run(no_input), float)
    run = env.start(Flow, Order(1))
    assert_type(run, testing_sync.OrchestrationRun[str])
    assert_type(run.result(), str)
    env.run(greet_all, 1)  # type: ignore[arg-type]
    env.start(no_input, 1)  # type: ignore[arg-type]
    with durable_env.blocking(strict=False) as made:
        assert_type(made, testing_sync.OrchestrationTestEnvironment)
