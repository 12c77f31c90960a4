"""What an activity raises reaches the orchestration, whatever it is; logs stay readable."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from durabletask import ActivityContext, OrchestrationContext, TaskFailedError
from durabletask.testing import OrchestrationTestEnvironment


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


ERRORS: dict[str, BaseException] = {
    "GeneratorExit": GeneratorExit(),
    "SystemExit": SystemExit(3),
    "StopIteration": StopIteration("x"),
    "StopAsyncIteration": StopAsyncIteration("x"),
    "Unprintable": Unprintable(),
    "BaseException": BaseException("x"),
}


async def raise_async(ctx: ActivityContext, name: str) -> None:
    raise ERRORS[name]


def raise_plain(ctx: ActivityContext, name: str) -> None:
    raise ERRORS[name]


async def call(ctx: OrchestrationContext, given: list[str]) -> object:
    activity, name = given
    return await ctx.call_activity(activity, name)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("activity", ["raise_async", "raise_plain"])
async def test_whatever_an_activity_raises_fails_its_call(activity: str, name: str) -> None:
    """The item is always answered, and the worker lives on."""
    async with OrchestrationTestEnvironment(
        orchestrators=[call], activities=[raise_async, raise_plain]
    ) as env:
        for _ in range(2):
            run = await env.start(call, [activity, name])
            with pytest.raises(TaskFailedError):
                await run.result()
            failure = run.state.failure_details
            assert failure is not None
            assert (
                name
                in f"{failure.error_type} {failure.message} {[cause.error_type for cause in failure.walk()]}"
            )


async def test_log_lines_are_bounded_and_name_the_root_cause(caplog: pytest.LogCaptureFixture) -> None:
    """A failure with a text of megabytes is one line of some kilobytes."""

    async def parse(ctx: ActivityContext, _: object) -> None:
        try:
            raise ValueError("x" * 1_000_000)
        except ValueError as error:
            raise LookupError("not found " + "y" * 1_000_000) from error

    async def orchestrate(ctx: OrchestrationContext, _: object) -> object:
        return await ctx.call_activity(parse, None)

    caplog.set_level(logging.DEBUG)
    async with OrchestrationTestEnvironment(orchestrators=[orchestrate], activities=[parse]) as env:
        run = await env.start(orchestrate)
        await run.completion()
    lines: list[Any] = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
    assert len(lines) == 2
    assert max(len(record.getMessage()) for record in caplog.records) < 5_000
    for line in lines:
        assert "LookupError" in line
        assert "ValueError" in line
