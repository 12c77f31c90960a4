"""Never run, only checked, by mypy and by pyright: what a type checker knows about handles and results.

A ``type: ignore`` marks what must be refused; both checkers complain when it is not needed.
"""

# ruff: noqa: A002 - programs as people write them

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from durabletask import (
    ActivityContext,
    DurableTaskClient,
    OrchestrationContext,
    OrchestrationHandle,
    OrchestrationState,
    OrchestrationStatus,
    ReusePolicy,
    Task,
    TaskActivity,
    TaskOrchestrator,
    sync,
)
from durabletask.core.diagnosis import Diagnosis
from durabletask.core.history import HistoryEvent
from typing_extensions import assert_type


@dataclass
class Order:
    number: int


async def waiting(ctx: OrchestrationContext, order: Order) -> list[str]:
    return [str(order.number)]


async def defaulted(ctx: OrchestrationContext, days: int = 3) -> float:
    return days


async def without_input(ctx: OrchestrationContext) -> bool:
    return True


async def nothing(ctx: OrchestrationContext) -> None:
    """Return nothing."""


async def optional(ctx: OrchestrationContext, order: Order | None) -> Order | None:
    return order


def yielding(ctx: OrchestrationContext, order: Order) -> Generator[Task[object], object, str]:
    yield ctx.create_timer(1)
    return "done"


def yielding_without_input(ctx: OrchestrationContext) -> Generator[Task[object], object, str]:
    yield ctx.create_timer(1)
    return "done"


def plain(ctx: OrchestrationContext, order: Order) -> int:
    return order.number


def plain_without_input(ctx: OrchestrationContext) -> int:
    return 1


class Waiting(TaskOrchestrator[Order, str]):
    async def run(self, context: OrchestrationContext, input: Order, /) -> str:
        return ""


class Yielding(TaskOrchestrator[Order, str]):
    def run(self, context: OrchestrationContext, input: Order, /) -> Generator[Task[object], object, str]:
        yield context.create_timer(1)
        return ""


class Plain(TaskOrchestrator[Order, str]):
    def run(self, context: OrchestrationContext, input: Order, /) -> str:
        return ""


async def activity(ctx: ActivityContext, order: Order) -> str:
    return ""


class Activity(TaskActivity[Order, str]):
    async def run(self, context: ActivityContext, input: Order, /) -> str:
        return ""


async def starts(client: DurableTaskClient) -> None:
    assert_type(await client.start(waiting, Order(1)), OrchestrationHandle[list[str]])
    assert_type(await client.start(defaulted), OrchestrationHandle[float])
    assert_type(await client.start(defaulted, 4), OrchestrationHandle[float])
    assert_type(await client.start(without_input), OrchestrationHandle[bool])
    assert_type(await client.start(nothing), OrchestrationHandle[None])
    assert_type(await client.start(optional, None), OrchestrationHandle[Order | None])
    assert_type(await client.start(yielding, Order(1)), OrchestrationHandle[str])
    assert_type(await client.start(yielding_without_input), OrchestrationHandle[str])
    assert_type(await client.start(plain, Order(1)), OrchestrationHandle[int])
    assert_type(await client.start(plain_without_input), OrchestrationHandle[int])
    assert_type(await client.start(Waiting, Order(1)), OrchestrationHandle[str])
    assert_type(await client.start(Waiting(), Order(1)), OrchestrationHandle[str])
    assert_type(await client.start(Yielding, Order(1)), OrchestrationHandle[str])
    assert_type(await client.start(Yielding(), Order(1)), OrchestrationHandle[str])
    assert_type(await client.start(Plain, Order(1)), OrchestrationHandle[str])
    assert_type(await client.start(Plain(), Order(1)), OrchestrationHandle[str])
    assert_type(await client.start("by name", object()), OrchestrationHandle[Any])
    await client.start(
        waiting,
        Order(1),
        instance_id="i",
        start_at=timedelta(hours=1),
        version="2",
        tags={"a": "b"},
        reuse_policy=ReusePolicy.replace_any(),
        events=[("go", 1)],
    )


async def refused_starts(client: DurableTaskClient) -> None:
    await client.start(waiting, 1)  # type: ignore[arg-type]
    await client.start(waiting)  # type: ignore[arg-type]
    await client.start(without_input, 1)  # type: ignore[arg-type]
    await client.start(Waiting, 1)  # type: ignore[misc]
    await client.start(activity, Order(1))  # type: ignore[arg-type]
    await client.start(Activity, Order(1))  # type: ignore[arg-type]
    await client.start(Activity(), Order(1))  # type: ignore[arg-type]
    await client.start(waiting, Order(1), instanceid="i")  # type: ignore[call-overload]
    await client.start(waiting, Order(1), events=["go"])  # type: ignore[list-item]
    await client.run(activity, Order(1))  # type: ignore[arg-type]
    await client.run(waiting, Order(1), timeout="1")  # type: ignore[call-overload]
    client.get_handle("i", activity)  # type: ignore[arg-type]
    client.get_handle("i", Activity)  # type: ignore[arg-type]


async def results(client: DurableTaskClient) -> None:
    handle = await client.start(waiting, Order(1))
    assert_type(handle.instance_id, str)
    assert_type(await handle.result(), list[str])
    assert_type(await handle.result(timeout=timedelta(seconds=3)), list[str])
    assert_type(await handle.status(), OrchestrationStatus)
    assert_type(await handle.state(), OrchestrationState)
    assert_type(await handle.history(), list[HistoryEvent])
    assert_type(await handle.explain(), Diagnosis)
    assert_type([state async for state in handle.watch()], list[OrchestrationState])
    wide: OrchestrationHandle[object] = handle
    await wide.raise_event("go", {"a": 1})
    narrow: OrchestrationHandle[list[int]] = handle  # type: ignore[assignment]
    await narrow.terminate()
    assert_type(await client.run(waiting, Order(1), timeout=5), list[str])
    assert_type(await client.run(nothing), None)
    assert_type(await client.run(Yielding, Order(1), instance_id="i"), str)
    assert_type(await client.run("by name"), Any)


def known_ids(client: DurableTaskClient) -> None:
    assert_type(client.get_handle("i"), OrchestrationHandle[Any])
    assert_type(client.get_handle("i", "by name"), OrchestrationHandle[Any])
    assert_type(client.get_handle("i", waiting), OrchestrationHandle[list[str]])
    assert_type(client.get_handle("i", defaulted), OrchestrationHandle[float])
    assert_type(client.get_handle("i", without_input), OrchestrationHandle[bool])
    assert_type(client.get_handle("i", yielding), OrchestrationHandle[str])
    assert_type(client.get_handle("i", plain), OrchestrationHandle[int])
    assert_type(client.get_handle("i", plain_without_input), OrchestrationHandle[int])
    assert_type(client.get_handle("i", Waiting), OrchestrationHandle[str])
    assert_type(client.get_handle("i", Yielding()), OrchestrationHandle[str])
    assert_type(client.get_handle("i", Plain), OrchestrationHandle[str])


def blocking(client: sync.DurableTaskClient) -> None:
    handle = client.start(waiting, Order(1), events=[("go", 1)])
    assert_type(handle, sync.OrchestrationHandle[list[str]])
    assert_type(handle.result(timeout=3), list[str])
    assert_type(handle.status(), OrchestrationStatus)
    assert_type(list(handle.watch()), list[OrchestrationState])
    assert_type(client.run(yielding, Order(1)), str)
    assert_type(client.get_handle("i", Plain), sync.OrchestrationHandle[str])
    assert_type(client.get_handle("i"), sync.OrchestrationHandle[Any])
    client.start(waiting, 1)  # type: ignore[arg-type]
    client.start(activity, Order(1))  # type: ignore[arg-type]
