"""Texts that no hub could store fail the orchestration that gave them, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from durabletask import ActivityContext, OrchestrationContext
from durabletask.core.history import TaskScheduled
from durabletask.core.instances import OrchestrationStatus
from durabletask.testing import OrchestrationTestEnvironment

NOT_UNICODE = os.fsdecode(b"na\xefve.txt")


@pytest.mark.parametrize(
    "use",
    [
        lambda ctx: ctx.call_activity("scan", tags={"file": NOT_UNICODE}),
        lambda ctx: ctx.call_activity("scan", version="1\0"),
        lambda ctx: ctx.call_sub_orchestrator("child", instance_id=NOT_UNICODE),
        lambda ctx: ctx.call_sub_orchestrator(NOT_UNICODE),
        lambda ctx: ctx.send_event("other", NOT_UNICODE),
        lambda ctx: ctx.wait_for_external_event(NOT_UNICODE),
    ],
)
async def test_a_text_that_cannot_be_stored_fails_the_orchestration(
    use: Callable[[OrchestrationContext], object],
) -> None:
    """With an error that says which text it is."""

    async def process(ctx: OrchestrationContext) -> None:
        use(ctx)

    async with OrchestrationTestEnvironment(orchestrators=[process]) as env:
        state = await (await env.start(process)).completion()

    assert state.runtime_status is OrchestrationStatus.FAILED
    assert state.failure_details is not None
    assert "InvalidRequestError" in state.failure_details.error_type
    assert "not valid Unicode" in state.failure_details.message or "NUL" in state.failure_details.message


class Text(str):
    """A subclass whose own ``__str__`` must not decide what travels."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other"


async def test_a_subclass_of_str_is_taken_as_its_text() -> None:
    """In every place where orchestrators give texts, on every hub."""

    def scan(ctx: ActivityContext) -> None: ...

    async def child(ctx: OrchestrationContext) -> None: ...

    async def process(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(Text("scan"), version=Text("1"), tags={Text("a"): Text("b")})
        await ctx.call_sub_orchestrator(
            Text("child"), instance_id=Text("c"), version=Text("1"), tags={Text("a"): Text("b")}
        )
        ctx.send_event(Text("other"), Text("event"))
        if ctx.version != "2":
            ctx.continue_as_new(new_version=Text("2"))

    async with OrchestrationTestEnvironment(orchestrators=[process, child], activities=[scan]) as env:
        run = await env.start(process)
        await run.completion()
        history = await env.client.get_orchestration_history(run.instance_id)
        state = await env.client.get_orchestration_state("c")

    (event,) = (event for event in history if isinstance(event, TaskScheduled))
    assert (event.name, event.version, event.tags) == ("scan", "1", {"a": "b"})
    assert state is not None
    assert (state.name, state.version, state.tags) == ("child", "1", {"a": "b"})


@pytest.mark.parametrize("when", [float("nan"), float("inf"), 1e300, timedelta.max, -1e12])
async def test_a_time_that_is_none_is_refused_by_value(when: float | timedelta) -> None:
    """And not with what the interpreter says about integers."""

    async def process(ctx: OrchestrationContext) -> None:
        await ctx.create_timer(when)

    async with OrchestrationTestEnvironment(orchestrators=[process]) as env:
        state = await (await env.start(process)).completion()

    assert state.failure_details is not None
    assert "A time must be in the years 1 to 9999; " in state.failure_details.message
