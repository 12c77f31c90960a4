"""A rate limit across all orchestrations: an entity hands out start times, and each orchestration sleeps until its own.

No orchestration polls, and none has to release anything: a start time that is not used is lost. The limit holds for the
moments at which calls begin; for how many run at once see semaphore.py.
"""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta, timezone

from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    TaskEntity,
    operation,
)

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")
PER_SECOND = 20


class RateLimiter(TaskEntity):
    next_free: datetime = datetime.min.replace(tzinfo=timezone.utc)

    @operation
    def reserve(self, per_second: float) -> datetime:
        """The time at which the caller may begin."""
        start = max(self.next_free, self.context.current_utc_datetime)
        self.next_free = start + timedelta(seconds=1 / per_second)
        return start


async def call_service(ctx: ActivityContext, number: int) -> int:
    return number * number


async def limited(ctx: OrchestrationContext, number: int) -> int:
    start = await ctx.entity(RateLimiter, "service").reserve(PER_SECOND)
    if start > ctx.current_utc_datetime:
        await ctx.create_timer(start)
    return await ctx.call_activity(call_service, number)


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING,
        TASK_HUB,
        orchestrators=[limited],
        activities=[call_service],
        entities=[RateLimiter],
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        begun = datetime.now(timezone.utc)
        ids = [await client.schedule_new_orchestration(limited, number) for number in range(20)]
        states = [await client.wait_for_orchestration_completion(one, timeout_in_seconds=60) for one in ids]
        took = (datetime.now(timezone.utc) - begun).total_seconds()
    results = [state.output_as(int) for state in states if state]
    print(f"{len(results)} calls, at most {PER_SECOND} a second: {sum(results)}")
    print("They took their time." if took >= 19 / PER_SECOND else "Too fast!")


if __name__ == "__main__":
    asyncio.run(main())
