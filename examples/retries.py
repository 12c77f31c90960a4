"""Retries and failures: try again with growing delays, give up on what cannot work, clean up after a failure."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    NonRetryableError,
    OrchestrationContext,
    RetryPolicy,
    TaskFailedError,
)

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")
PATIENT = RetryPolicy(
    first_retry_interval=timedelta(milliseconds=100), max_number_of_attempts=5, backoff_coefficient=2.0
)


class Charge:
    """Fails twice for every card, and for good when there is no card."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    async def run(self, ctx: ActivityContext, card: str) -> str:
        if not card:
            raise NonRetryableError("There is no card to charge.")
        self._attempts[card] = self._attempts.get(card, 0) + 1
        if self._attempts[card] < 3:
            raise ConnectionError("The bank does not answer.")
        return f"charged at attempt {self._attempts[card]}"


async def release_stock(ctx: ActivityContext, reason: str) -> str:
    return f"stock released ({reason})"


async def checkout(ctx: OrchestrationContext, card: str) -> str:
    try:
        return await ctx.call_activity("charge", card, return_type=str, retry_policy=PATIENT)
    except TaskFailedError as error:
        return await ctx.call_activity(release_stock, error.details.error_message)


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING,
        TASK_HUB,
        orchestrators=[checkout],
        activities={"charge": Charge(), "release_stock": release_stock},
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        for card in ("4111", ""):
            instance_id = await client.schedule_new_orchestration(checkout, card)
            state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
            if state is None:
                raise SystemExit(f"{instance_id} did not complete within a minute.")
            print(f"{state.runtime_status}: {state.output}")


if __name__ == "__main__":
    asyncio.run(main())
