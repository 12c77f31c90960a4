"""Many instances at rest: `python scale.py timers N | backlog N [FILE]`.

`timers`: N instances that wait for a timer; prints idle CPU (share of one core) and RSS in MB.
`backlog`: N instances created before any worker connects; prints how many completed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext

shape, size = sys.argv[1], int(sys.argv[2])
connection = f"Endpoint=sqlite:///{sys.argv[3]}" if len(sys.argv) > 3 else "Endpoint=memory://"


async def plus_one(ctx: ActivityContext, number: int) -> int:
    return number + 1


async def sleeper(ctx: OrchestrationContext, _: None) -> None:
    await ctx.create_timer(timedelta(hours=6))


async def short(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.call_activity(plus_one, number)


def rss() -> float:
    """Resident set of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def worker() -> DurableTaskWorker:
    return DurableTaskWorker(connection, "scale", orchestrators=[sleeper, short], activities=[plus_one])


async def timers(client: DurableTaskClient) -> dict[str, float]:
    async with worker():
        ids = await asyncio.gather(*[client.schedule_new_orchestration(sleeper) for _ in range(size)])
        for one in ids:
            await client.wait_for_orchestration_start(one, timeout_in_seconds=300)
        await asyncio.sleep(1)
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(5)
        idle = (time.process_time() - cpu) / (time.perf_counter() - begun)
        return {"idle_cpu": idle, "rss_mb": rss()}


async def backlog(client: DurableTaskClient) -> dict[str, float]:
    ids = await asyncio.gather(*[client.schedule_new_orchestration(short, n) for n in range(size)])
    begun = time.perf_counter()
    async with worker():
        states = await asyncio.gather(
            *[client.wait_for_orchestration_completion(one, timeout_in_seconds=300) for one in ids]
        )
    outputs = [state.output for state in states if state]
    assert outputs == [n + 1 for n in range(size)]
    return {"completed": len(outputs), "wall": time.perf_counter() - begun}


async def main() -> None:
    client = DurableTaskClient(connection, "scale")
    await client.get_orchestration_state("none")  # keep the hub open between workers
    print(json.dumps(await (timers(client) if shape == "timers" else backlog(client))), flush=True)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
