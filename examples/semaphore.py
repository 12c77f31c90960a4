"""A semaphore with leases: at most so many orchestrations at once, and a dead holder's place becomes free by itself.

A lock (``ctx.lock_entities``) is held by one orchestration; this lets several in. Each place is leased for a while, and
``acquire`` counts only leases that have not ended. If it returns a time, all places are taken: ask again then.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import datetime, timedelta

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


@dataclass
class Claim:
    holder: str
    lease_seconds: float
    places: int


class Semaphore(TaskEntity):
    leases: dict[str, datetime] = {}  # noqa: RUF012 - every entity gets a copy

    @operation
    def acquire(self, claim: Claim) -> datetime | None:
        """``None`` if the caller has a place now; otherwise when the first lease ends."""
        now = self.context.current_utc_datetime
        self.leases = {holder: end for holder, end in self.leases.items() if end > now}
        if claim.holder not in self.leases and len(self.leases) >= claim.places:
            return min(self.leases.values())
        self.leases[claim.holder] = now + timedelta(seconds=claim.lease_seconds)
        return None

    @operation
    def release(self, holder: str) -> None:
        self.leases.pop(holder, None)


LEASE = timedelta(seconds=1)
PLACES = 2
running: list[str] = []


async def work(ctx: ActivityContext, seconds: float) -> int:
    """Something that the resource behind the semaphore bears only so often at once."""
    running.append(ctx.orchestration_id)
    try:
        at_once = len(running)
        await asyncio.sleep(seconds)
    finally:
        running.remove(ctx.orchestration_id)
    return at_once


async def one_of_few(ctx: OrchestrationContext, forgets: bool) -> int | None:
    semaphore = ctx.entity(Semaphore, "printer")
    claim = Claim(ctx.instance_id, LEASE.total_seconds(), PLACES)
    while (until := await semaphore.acquire(claim)) is not None:
        await ctx.create_timer(min(until, ctx.current_utc_datetime + timedelta(milliseconds=200)))
    if forgets:
        return None  # as an orchestration that is terminated here: its lease ends by itself
    try:
        return await ctx.call_activity(work, 0.3)
    finally:
        ctx.entity(Semaphore, "printer").signal.release(ctx.instance_id)


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING, TASK_HUB, orchestrators=[one_of_few], activities=[work], entities=[Semaphore]
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        ids = [await client.schedule_new_orchestration(one_of_few, number == 0) for number in range(6)]
        states = [await client.wait_for_orchestration_completion(one, timeout_in_seconds=60) for one in ids]
    at_once = [int(str(state.output)) for state in states if state and state.output is not None]
    print(f"{len(at_once)} of {len(ids)} have worked")
    print(f"Never more than {PLACES} at once." if max(at_once) <= PLACES else "Too many at once!")


if __name__ == "__main__":
    asyncio.run(main())
