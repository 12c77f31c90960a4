"""A mistake is named in the words of the code that made it, and the trace ends at its line."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskWorker,
    EntityContext,
    EntityId,
    JsonDataConverter,
    OrchestrationContext,
)
from durabletask.testing import InMemoryBackend, OrchestrationTestEnvironment


async def noop() -> None: ...


async def gathers(ctx: OrchestrationContext) -> None:
    await asyncio.gather(ctx.call_activity("a"), noop())  # durabletask: ignore


async def makes_a_task(ctx: OrchestrationContext) -> None:
    await asyncio.create_task(noop())  # durabletask: ignore


async def sleeps(ctx: OrchestrationContext) -> None:
    await asyncio.sleep(1)  # durabletask: ignore


@pytest.mark.parametrize(
    ("orchestrator", "words"),
    [
        (gathers, "awaited asyncio.gather at .* Use instead: 'await ctx.task_all"),
        (makes_a_task, "awaited asyncio.create_task at .* Use instead: 'ctx.task_all"),
        (sleeps, "awaited asyncio.sleep at .* Use instead: 'await ctx.create_timer"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_asyncio_is_named_as_it_was_written_and_leaves_no_trace(
    orchestrator: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The message has the call, the trace only the line of the orchestrator, and asyncio logs nothing."""
    async with OrchestrationTestEnvironment(orchestrators=[orchestrator]) as env:
        env.fake("a")
        run = await env.start(orchestrator)  # type: ignore[call-overload]
        failure = (await run.completion()).failure_details
    assert failure is not None
    assert failure.stack_trace is not None
    assert re.search(words, failure.message)
    assert failure.stack_trace.count('  File "') == 1
    assert __file__ in failure.stack_trace
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("name", ["call_activity", "create_timer", "wait_for_external_event", "task_all"])
def test_a_method_of_orchestrators_on_another_context_is_explained(name: str) -> None:
    """Activities and entities have no such method; the error says where it belongs."""
    contexts = [
        ActivityContext("charge", "order-1", 1),
        EntityContext(EntityId("counter", "a"), JsonDataConverter(), None),
    ]
    for context in contexts:
        with pytest.raises(AttributeError, match=f"no attribute '{name}'.*Only orchestrators have it"):
            getattr(context, name)
        assert not hasattr(context, name)
        with pytest.raises(AttributeError, match=r"no attribute 'typo'\.$"):
            context.typo  # noqa: B018


async def test_the_line_at_the_start_counts_in_english(caplog: pytest.LogCaptureFixture) -> None:
    """One orchestrator, two activities, no entities."""

    async def one(ctx: ActivityContext) -> None: ...

    async def two(ctx: ActivityContext) -> None: ...

    caplog.set_level(logging.INFO, "durabletask")
    hub = InMemoryBackend()
    async with DurableTaskWorker(hub, orchestrators=[sleeps], activities=[one, two], lint=False):
        pass
    assert "1 orchestrator, 2 activities, 0 entities." in caplog.text
    await hub.close()
