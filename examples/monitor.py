"""Monitor: look at something at intervals until it is as it should be, or until time is up.

The durable timers cost nothing while they wait: no thread sleeps and no process needs to live.
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
class Watch:
    backup: str
    interval_in_seconds: float
    expires_in_seconds: float


class BackupStatus:
    """An activity with state of its own: an object with a ``run`` method. This one is done at the third look."""

    def __init__(self) -> None:
        self._looks = 0

    async def run(self, ctx: ActivityContext, backup: str) -> str:
        self._looks += 1
        return "done" if self._looks >= 3 else "running"


async def watch_backup(ctx: OrchestrationContext, watch: Watch) -> str:
    # The clock of the orchestration: the same at every replay.
    expires_at = ctx.current_utc_datetime + timedelta(seconds=watch.expires_in_seconds)
    looks = 0
    while ctx.current_utc_datetime < expires_at:
        status = await ctx.call_activity("backup_status", watch.backup, return_type=str)
        looks += 1
        ctx.set_custom_status({"looks": looks, "status": status})
        if status == "done":
            return f"{watch.backup} done after {looks} looks"
        await ctx.create_timer(timedelta(seconds=watch.interval_in_seconds))
    return f"{watch.backup} still running"


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING,
        TASK_HUB,
        orchestrators=[watch_backup],
        activities={"backup_status": BackupStatus()},
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        watch = Watch("nightly-report", interval_in_seconds=0.2, expires_in_seconds=60)
        instance_id = await client.schedule_new_orchestration(watch_backup, watch)
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
    if state is None:
        raise SystemExit(f"{instance_id} did not complete within a minute.")
    print(f"{state.runtime_status}: {state.output}")


if __name__ == "__main__":
    asyncio.run(main())
