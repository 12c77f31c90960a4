"""The same loads on DBOS with SQLite, in its own environment: `python dbos_load.py FILE fan N | chain N`.

Prints one JSON object: seconds of wall clock, seconds of CPU.
"""

import asyncio
import json
import os
import sys
import time

from dbos import DBOS, DBOSConfig

path, shape, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
config: DBOSConfig = {
    "name": "bench",
    "system_database_url": f"sqlite:///{path}",
    "log_level": "ERROR",
    "console_log_level": "ERROR",
}
DBOS(config=config)


@DBOS.step()
async def plus_one(number: int) -> int:
    return number + 1


@DBOS.workflow()
async def chain(length: int) -> int:
    number = 0
    for _ in range(length):
        number = await plus_one(number)
    return number


async def fan(count: int) -> None:
    handles = await asyncio.gather(*[DBOS.start_workflow_async(chain, 3) for _ in range(count)])
    results = await asyncio.gather(*[handle.get_result() for handle in handles])
    assert results == [3] * count


async def one_chain(length: int) -> None:
    handle = await DBOS.start_workflow_async(chain, length)
    assert await handle.get_result() == length


async def main() -> None:
    DBOS.launch()
    await one_chain(3)  # warm up
    begun, cpu = time.perf_counter(), time.process_time()
    await (fan(size) if shape == "fan" else one_chain(size))
    print(json.dumps({"wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu}), flush=True)


asyncio.run(main())
os._exit(0)
