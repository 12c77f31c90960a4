"""The loads by our client and worker: `python our_load.py CONNECTION_STRING fan N | chain N`.

Prints one JSON object: seconds of wall clock, seconds of CPU. An orchestration has three activities.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext

connection, shape, size = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def plus_one(ctx: ActivityContext, number: int) -> int:
    return number + 1


async def chain(ctx: OrchestrationContext, length: int) -> int:
    number = 0
    for _ in range(length):
        number = await ctx.call_activity(plus_one, number)
    return number


async def run(client: DurableTaskClient, count: int, length: int) -> None:
    """Start ``count`` chains at once and wait for all of them."""
    ids = await asyncio.gather(*[client.schedule_new_orchestration(chain, length) for _ in range(count)])
    states = await asyncio.gather(
        *[client.wait_for_orchestration_completion(one, timeout_in_seconds=300) for one in ids]
    )
    assert [state.output for state in states if state] == [length] * count


async def main() -> None:
    client = DurableTaskClient(connection, "bench")
    async with DurableTaskWorker(connection, "bench", orchestrators=[chain], activities=[plus_one]):
        await run(client, 1, 3)  # warm up
        begun, cpu = time.perf_counter(), time.process_time()
        await (run(client, size, 3) if shape == "fan" else run(client, 1, size))
        print(json.dumps({"wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu}), flush=True)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
