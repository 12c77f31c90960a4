"""A counter: an entity, which is an object with a name that outlives every process."""

from __future__ import annotations

import asyncio
import os

from durabletask import (
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


class Counter(TaskEntity):
    """The annotated attribute is the state; the public methods are the operations."""

    value: int = 0

    @operation
    def add(self, amount: int) -> int:
        self.value += amount
        return self.value


async def count_visitors(ctx: OrchestrationContext, visitors: list[int]) -> int:
    counter = ctx.entity(Counter, "visitors")
    return max(await ctx.task_all([counter.add(number) for number in visitors]))


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING, TASK_HUB, orchestrators=[count_visitors], entities=[Counter]
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        counter = client.entity(Counter, "visitors")
        await counter.signal.delete()
        await counter.signal.add(10)
        instance_id = await client.schedule_new_orchestration(count_visitors, [1, 2, 3])
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
        if state is None:
            raise SystemExit(f"{instance_id} did not complete within a minute.")
        print(f"{state.runtime_status}: {state.output} visitors")
        print(f"With one more: {await counter.call.add(1)}")


if __name__ == "__main__":
    asyncio.run(main())
