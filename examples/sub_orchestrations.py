"""Sub-orchestrations: an orchestration made of others, each with a history of its own.

Use them where a branch is long, is used in several places, or should be looked at by itself.
"""

from __future__ import annotations

import asyncio
import os

from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")


async def book(ctx: ActivityContext, what: str) -> str:
    return f"{what} booked"


async def book_leg(ctx: OrchestrationContext, city: str) -> list[str]:
    """The child: it runs twice, and appears twice in a list of instances."""
    flight = await ctx.call_activity(book, f"flight to {city}")
    hotel = await ctx.call_activity(book, f"hotel in {city}")
    return [flight, hotel]


async def book_journey(ctx: OrchestrationContext, cities: list[str]) -> list[str]:
    legs = await ctx.task_all(
        [
            ctx.call_sub_orchestrator(book_leg, city, instance_id=f"{ctx.instance_id}-{city}")
            for city in cities
        ]
    )
    return [booking for leg in legs for booking in leg]


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING, TASK_HUB, orchestrators=[book_journey, book_leg], activities=[book]
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        instance_id = await client.schedule_new_orchestration(book_journey, ["Lisbon", "Oslo"])
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
        child = await client.get_orchestration_state(f"{instance_id}-Oslo")
    if state is None or child is None:
        raise SystemExit(f"{instance_id} did not complete within a minute.")
    print(f"{state.runtime_status}: {', '.join(state.output_as(list[str]))}")
    print(f"Oslo alone: {child.runtime_status}")


if __name__ == "__main__":
    asyncio.run(main())
