"""Exports instances of a SQLite hub to a folder, until it is killed: ``python export_victim.py DATABASE FOLDER COUNT``.

With a count, runs so many instances first and creates the job. Prints ``wrote`` for each file, and ``done`` at the end.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

from durabletask import DurableTaskClient, DurableTaskWorker, OrchestrationContext
from durabletask.core.destinations import Directory

JOB = "nightly"


class Reporting(Directory):
    """Says when a file is there."""

    async def write(self, container: str, name: str, content: bytes, **headers: Any) -> None:
        await super().write(container, name, content, **headers)
        print("wrote", flush=True)


async def echo(ctx: OrchestrationContext, number: int) -> int:
    return number


async def main(database: str, folder: str, count: int) -> None:
    connection_string = f"Endpoint=sqlite:///{database}"
    worker = DurableTaskWorker(connection_string, orchestrators=[echo], export_to=Reporting(folder))
    async with DurableTaskClient(connection_string) as client, worker:
        for number in range(count):
            await client.schedule_new_orchestration(echo, number, instance_id=f"i{number}")
        for number in range(count):
            await client.wait_for_orchestration_completion(f"i{number}", timeout_in_seconds=None)
        if count:
            now = datetime.now(timezone.utc)
            await client.exports.create(
                JOB, completed_from=now - timedelta(days=1), completed_to=now, page_size=4, max_parallel=2
            )
        await client.exports.wait(JOB, timeout_in_seconds=None)
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
