"""Export: the histories of the orchestrations that ended within a day, written to files.

The job lives in the task hub. Any worker with a destination runs it, and goes on where another one has stopped. With
``durabletask-azuremanaged[blob]`` the destination can be a storage account: ``export_to=BlobStorage(...)``.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from durabletask import DurableTaskClient, DurableTaskWorker, OrchestrationContext
from durabletask.core.destinations import Directory
from durabletask.testing.history_files import read_history

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")


async def greet(ctx: OrchestrationContext, name: str) -> str:
    return f"Hello, {name}!"


def show(folder: Path) -> None:
    for path in sorted(folder.glob("exports/greetings/*")):
        print(f"{path.name[:8]}...: {len(read_history(path))} events")


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="histories-"))
    worker = DurableTaskWorker(
        CONNECTION_STRING, TASK_HUB, orchestrators=[greet], export_to=Directory(folder)
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        for name in ("Ada", "Grace", "Joan"):
            instance_id = await client.schedule_new_orchestration(greet, name)
            await client.wait_for_orchestration_completion(instance_id)

        now = datetime.now(timezone.utc)
        await client.exports.create(
            "archive", completed_from=now - timedelta(days=1), completed_to=now, prefix="greetings"
        )
        job = await client.exports.wait("archive", timeout_in_seconds=60)
        if job is None:
            raise SystemExit("The export did not complete within a minute.")
        print(f"{job.status}: {job.exported} of {job.scanned} exported")

    show(folder)


if __name__ == "__main__":
    asyncio.run(main())
