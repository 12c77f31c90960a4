"""Never run, only checked, by mypy and by pyright: groups of different types, unions as types, and roles.

A ``type: ignore`` marks what must be refused; both checkers complain when it is not needed.
"""

# ruff: noqa: A002 - programs as people write them

from __future__ import annotations

from collections.abc import Generator
from typing import Optional, Union

from durabletask import (
    ActivityContext,
    DurableTaskClient,
    OrchestrationContext,
    Task,
    TaskActivity,
    TaskOrchestrator,
    sync,
    task_all,
)
from typing_extensions import assert_type


def number(ctx: ActivityContext, value: int) -> int:
    return value


async def text(ctx: ActivityContext, value: int) -> str:
    return str(value)


class Flag(TaskActivity[int, bool]):
    def run(self, context: ActivityContext, input: int, /) -> bool:
        return True


async def child(ctx: OrchestrationContext, value: int) -> float:
    return value


def yielding(ctx: OrchestrationContext, value: int) -> Generator[Task[object], object, float]:
    yield ctx.create_timer(1)
    return value


class Flow(TaskOrchestrator[int, float]):
    async def run(self, context: OrchestrationContext, input: int, /) -> float:
        return input


async def groups(ctx: OrchestrationContext) -> None:
    a, b, c = ctx.call_activity(number, 1), ctx.call_activity(text, 1), ctx.call_activity(Flag, 1)
    d, e = ctx.call_sub_orchestrator(child, 1), ctx.create_timer(1)
    assert_type(await ctx.task_all(a, b), tuple[int, str])
    assert_type(await ctx.task_all(a, b, c), tuple[int, str, bool])
    assert_type(await ctx.task_all(a, b, c, d), tuple[int, str, bool, float])
    assert_type(await ctx.task_all(a, b, c, d, e), tuple[int, str, bool, float, None])
    assert_type(
        await ctx.task_all(a, b, c, d, e, a, fail_fast=False), tuple[int, str, bool, float, None, int]
    )
    assert_type(await ctx.task_all(a, a, a, a, a, a, a), tuple[int, ...])
    assert_type(await ctx.task_all(a, a, return_exceptions=True), tuple[int | BaseException, ...])
    assert_type(await task_all(a, b), tuple[int, str])
    assert_type(await task_all(a, b, c, d, e, a), tuple[int, str, bool, float, None, int])
    assert_type(await ctx.task_all([a, a]), list[int])
    assert_type(await task_all([a, a]), list[int])
    assert_type(await task_all([a, a], return_exceptions=True), list[int | BaseException])
    wrong: tuple[str, str] = await ctx.task_all(a, b)  # type: ignore[assignment]
    ctx.task_all(a, 3)  # type: ignore[call-overload]
    ctx.task_all(a)  # type: ignore[call-overload]
    print(wrong)


async def unions(ctx: OrchestrationContext, client: DurableTaskClient) -> None:
    one: int | None = await ctx.call_activity("number", 1, return_type=Optional[int])  # noqa: UP045
    two: int | str = await ctx.call_activity("number", 1, return_type=Union[int, str])
    three: int | None = await ctx.call_activity("number", 1, return_type=int | None)
    four: int | None = await ctx.call_sub_orchestrator("child", 1, return_type=Optional[int])  # noqa: UP045
    five: int | None = await ctx.wait_for_external_event("go", Optional[int])  # noqa: UP045
    six: int | str = await ctx.wait_for_external_event("go", int | str, timeout=3)
    seven: int | None = await ctx.call_entity("@counter@a", "get", return_type=Optional[int])  # noqa: UP045
    eight: int | None = await client.call_entity("@counter@a", "get", return_type=int | None)
    assert_type(await ctx.call_activity("number", 1, return_type=int), int)
    assert_type(await ctx.call_entity("@counter@a", "get", return_type=int), int)
    assert_type(await client.call_entity("@counter@a", "get", return_type=int), int)
    assert_type(await ctx.wait_for_external_event("go", int), int)
    print(one, two, three, four, five, six, seven, eight)


async def roles(
    ctx: OrchestrationContext, client: DurableTaskClient, blocking: sync.DurableTaskClient
) -> None:
    ctx.call_activity(child, 1)  # type: ignore[arg-type]
    ctx.call_activity(yielding, 1)  # type: ignore[arg-type]
    ctx.call_activity(Flow, 1)  # type: ignore[arg-type]
    ctx.call_activity(Flow(), 1)  # type: ignore[arg-type]
    ctx.call_sub_orchestrator(number, 1)  # type: ignore[arg-type]
    ctx.call_sub_orchestrator(text, 1)  # type: ignore[arg-type]
    ctx.call_sub_orchestrator(Flag, 1)  # type: ignore[arg-type]
    ctx.call_sub_orchestrator(Flag(), 1)  # type: ignore[arg-type]
    await client.schedule_new_orchestration(text, 1)  # type: ignore[arg-type]
    await client.schedule_new_orchestration(Flag, 1)  # type: ignore[arg-type]
    await client.schedules.create("a", text, 1, every=5)  # type: ignore[arg-type]
    blocking.schedule_new_orchestration(text, 1)  # type: ignore[arg-type]
    assert_type(ctx.call_sub_orchestrator(yielding, 1), Task[float])
    assert_type(ctx.call_sub_orchestrator(Flow, 1), Task[float])
