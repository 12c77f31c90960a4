"""The loads by our client and worker: `python our_load.py CONNECTION_STRING SHAPE N`.

The shapes: ``fan`` (N orchestrations of three activities at once), ``chain`` (one with N activities), ``signals`` (N to one
entity), ``spread`` (N in all, to 100 entities). Prints one JSON object: seconds of wall clock, seconds of CPU.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    EntityContext,
    EntityId,
    OrchestrationContext,
)

connection, shape, size = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def plus_one(ctx: ActivityContext, number: int) -> int:
    return number + 1


async def chain(ctx: OrchestrationContext, length: int) -> int:
    number = 0
    for _ in range(length):
        number = await ctx.call_activity(plus_one, number)
    return number


def counter(ctx: EntityContext, amount: int) -> None:
    ctx.set_state(ctx.get_state(int, 0) + amount)


async def signal(client: DurableTaskClient, prefix: str, entities: int, each: int) -> None:
    """Send all signals at once, then wait until every counter has counted."""
    ids = [EntityId("counter", f"{prefix}{number}") for number in range(entities)]
    await asyncio.gather(*[client.signal_entity(one, "add", 1) for _ in range(each) for one in ids])
    for one in ids:
        while True:
            found = await client.get_entity(one)
            if found is not None and found.state == each:
                break
            await asyncio.sleep(0.005)


async def run(client: DurableTaskClient, count: int, length: int) -> None:
    """Start ``count`` chains at once and wait for all of them."""
    ids = await asyncio.gather(*[client.schedule_new_orchestration(chain, length) for _ in range(count)])
    states = await asyncio.gather(
        *[client.wait_for_orchestration_completion(one, timeout_in_seconds=300) for one in ids]
    )
    assert [state.output for state in states if state] == [length] * count


async def main() -> None:
    client = DurableTaskClient(connection, "bench")
    async with DurableTaskWorker(
        connection, "bench", orchestrators=[chain], activities=[plus_one], entities=[counter]
    ):
        await run(client, 1, 3)  # warm up
        if shape in {"signals", "spread"}:
            await signal(client, "warm", 10, 5)
        begun, cpu = time.perf_counter(), time.process_time()
        if shape == "fan":
            await run(client, size, 3)
        elif shape == "chain":
            await run(client, 1, size)
        elif shape == "signals":
            await signal(client, "one", 1, size)
        else:
            await signal(client, "many", 100, size // 100)
        print(json.dumps({"wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu}), flush=True)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
