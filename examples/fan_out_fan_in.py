"""Fan-out and fan-in: work on many items at once, then put the results together.

The branches are coroutines that await activities of their own; ``limit=`` bounds how many run at a time.
"""

from __future__ import annotations

import asyncio
import os

from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")


async def list_orders(ctx: ActivityContext, customer: str) -> list[int]:
    return [120, 80, 300, 45, 55]


async def price(ctx: ActivityContext, order: int) -> float:
    return order * 1.25


async def discount(ctx: ActivityContext, amount: float) -> float:
    return amount * 0.9 if amount > 100 else amount


async def total_of(ctx: OrchestrationContext, order: int) -> float:
    """One branch: two activities, one after the other."""
    return await ctx.call_activity(discount, await ctx.call_activity(price, order))


async def invoice(ctx: OrchestrationContext, customer: str) -> float:
    orders = await ctx.call_activity(list_orders, customer)
    totals = await ctx.task_all([total_of(ctx, order) for order in orders], limit=3)
    ctx.set_custom_status(f"{len(totals)} orders")
    return sum(totals)


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING, TASK_HUB, orchestrators=[invoice], activities=[list_orders, price, discount]
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        instance_id = await client.schedule_new_orchestration(invoice, "Contoso")
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
    if state is None:
        raise SystemExit(f"{instance_id} did not complete within a minute.")
    print(f"{state.runtime_status}: {state.custom_status}, {state.output}")


if __name__ == "__main__":
    asyncio.run(main())
