"""Texts that no hub could store fail the orchestration that gave them, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from durabletask.core.context import OrchestrationContext
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
