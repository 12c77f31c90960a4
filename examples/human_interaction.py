"""Human interaction: ask for an approval, and go on without it when no answer comes in time.

Two orders are placed. The first one is approved; the second gets no answer.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")


@dataclass
class Order:
    product: str
    amount: float
    patience_in_seconds: float


@dataclass
class Approval:
    approver: str
    is_granted: bool


async def ask_manager(ctx: ActivityContext, order: Order) -> None:
    print(f"Please approve {order.product} for {order.amount:.2f} ({ctx.orchestration_id})")


async def place_order(ctx: ActivityContext, order: Order) -> str:
    return f"{order.product} ordered"


async def purchase(ctx: OrchestrationContext, order: Order) -> str:
    await ctx.call_activity(ask_manager, order)
    patience = timedelta(seconds=order.patience_in_seconds)
    try:
        approval = await ctx.wait_for_external_event("approval", Approval, timeout=patience)
    except TimeoutError:
        return f"{order.product} cancelled: no answer"
    if not approval.is_granted:
        return f"{order.product} refused by {approval.approver}"
    placed = await ctx.call_activity(place_order, order)
    return f"{placed}, approved by {approval.approver}"


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING, TASK_HUB, orchestrators=[purchase], activities=[ask_manager, place_order]
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        answered = await client.schedule_new_orchestration(purchase, Order("Laptop", 1500, 60))
        ignored = await client.schedule_new_orchestration(purchase, Order("Yacht", 900_000, 0.5))
        # The event may come early: it is kept until the orchestration waits for it.
        await client.raise_orchestration_event(answered, "approval", Approval("Ada", is_granted=True))
        for instance_id in (answered, ignored):
            state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
            if state is None:
                raise SystemExit(f"{instance_id} did not complete within a minute.")
            print(f"{state.runtime_status}: {state.output}")


if __name__ == "__main__":
    asyncio.run(main())
