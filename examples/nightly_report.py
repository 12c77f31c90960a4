"""Schedule: a report every night at half past two in Berlin, also across the changes of daylight saving.

The schedule lives in the task hub. Any worker runs it; the program that has created it may end. Cron expressions need
``pip install "durabletask-core[cron]"``.
"""

from __future__ import annotations

import asyncio
import os

from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")


async def count_orders(ctx: ActivityContext, shop: str) -> int:
    return 42


async def report(ctx: OrchestrationContext, shop: str) -> str:
    orders = await ctx.call_activity(count_orders, shop)
    return f"{shop} had {orders} orders"


async def main() -> None:
    worker = DurableTaskWorker(CONNECTION_STRING, TASK_HUB, orchestrators=[report], activities=[count_orders])
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        # At every start of the program: nothing changes if the schedule is there already.
        schedule = await client.schedules.create(
            "nightly", report, "Lisbon", cron="30 2 * * *", time_zone="Europe/Berlin", pause_on_failure=True
        )
        print(f"{schedule.schedule_id} is {schedule.status}")
        for run in await client.schedules.next("nightly", 2):
            print(f"Next: {run:%Y-%m-%d %H:%M} UTC")

        run_id = await client.schedules.trigger("nightly")  # once more, now
        if run_id is None:
            raise SystemExit("The last run has not ended yet.")
        state = await client.wait_for_orchestration_completion(run_id, timeout_in_seconds=60)
        if state is None:
            raise SystemExit(f"{run_id} did not complete within a minute.")
        print(f"{state.runtime_status}: {state.output}")


if __name__ == "__main__":
    asyncio.run(main())
