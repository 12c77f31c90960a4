"""An eternal orchestration: it starts over with a new input, so that its history stays short.

Events that come between two executions are not lost. This one counts readings of a sensor and ends when it
is told to; one that never ends is the same without the last lines.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from durabletask import DurableTaskClient, DurableTaskWorker, OrchestrationContext

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")
READINGS_PER_GENERATION = 2


@dataclass
class Tally:
    execution: int = 1
    readings: int = 0
    total: float = 0.0


async def collect(ctx: OrchestrationContext, tally: Tally) -> Tally | None:
    for _ in range(READINGS_PER_GENERATION):
        reading = await ctx.wait_for_external_event("reading", float)
        if reading < 0:
            return tally
        tally.readings += 1
        tally.total += reading
    tally.execution += 1
    ctx.continue_as_new(tally, save_events=True)
    return None


async def main() -> None:
    worker = DurableTaskWorker(CONNECTION_STRING, TASK_HUB, orchestrators=[collect])
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        instance_id = await client.schedule_new_orchestration(collect, Tally())
        for reading in (20.5, 21.0, 21.5, 22.0, 22.5, -1.0):
            await client.raise_orchestration_event(instance_id, "reading", reading)
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
    if state is None:
        raise SystemExit(f"{instance_id} did not complete within a minute.")
    tally = state.output_as(Tally)
    print(f"{state.runtime_status}: {tally.readings} readings, {tally.total} in {tally.execution} executions")


if __name__ == "__main__":
    asyncio.run(main())
