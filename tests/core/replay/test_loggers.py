"""Loggers that are silent during replay."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import pytest
from durabletask.core.context import OrchestrationContext
from durabletask.testing import OrchestrationTestEnvironment


class Marked(logging.LoggerAdapter):  # type: ignore[type-arg] - not generic at run time on Python 3.10
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"marked {msg}", kwargs


async def test_an_adapter_of_a_logger_is_made_safe(caplog: pytest.LogCaptureFixture) -> None:
    """It keeps its class and its extra values, and logs once although the code is replayed."""

    async def step(ctx: object) -> None: ...

    async def process(ctx: OrchestrationContext) -> None:
        logger = ctx.create_replay_safe_logger(Marked(logging.getLogger("mine"), {"order": 7}))
        logger.info("before")
        await ctx.call_activity(step)
        logger.info("after")

    with caplog.at_level(logging.INFO, "mine"):
        async with OrchestrationTestEnvironment(orchestrators=[process], activities=[step]) as env:
            await env.run(process)

    assert [record.getMessage() for record in caplog.records if record.name == "mine"] == [
        "marked before",
        "marked after",
    ]


async def test_what_is_no_logger_is_refused_by_name() -> None:
    """Instead of an attribute that is missing somewhere inside."""

    async def process(ctx: OrchestrationContext) -> None:
        ctx.create_replay_safe_logger("mine")  # type: ignore[type-var]

    async with OrchestrationTestEnvironment(orchestrators=[process]) as env:
        state = await (await env.start(process)).completion()

    assert state.failure_details is not None
    assert "takes a logging.Logger or logging.LoggerAdapter, not str" in state.failure_details.message
