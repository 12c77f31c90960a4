"""The same loads by the other SDK's client and worker: `python peer_load.py HOST:PORT SHAPE N [SERVER]`.

The shapes are those of ``our_load.py``.

With `memory` instead of an address its own in-memory backend runs in the same process. Prints one JSON
object: seconds of wall clock, seconds of CPU, and of CPU of the process SERVER, after a warm-up. Ends with
code 3 if something does not finish within a minute, or a call fails: now and then that server loses an item, or
cancels a call.
"""

import json
import logging
import os
import socket
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import grpc
from durabletask import client as dtc
from durabletask.entities import EntityInstanceId
from durabletask.worker import ConcurrencyOptions, TaskHubGrpcWorker
from processes import cpu_of

address, shape, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
server = int(sys.argv[4]) if len(sys.argv) > 4 else os.getpid()
quiet = logging.getLogger("quiet")
quiet.setLevel(logging.CRITICAL)
if address == "memory":
    from durabletask.testing import create_test_backend

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    backend = create_test_backend(port=port, max_history_size=100_000)
    backend.start()
    address = f"localhost:{port}"


def plus_one(ctx, number):
    return number + 1


def chain(ctx, length):
    number = 0
    for _ in range(length):
        number = yield ctx.call_activity(plus_one, input=number)
    return number


def counter(ctx, amount):
    ctx.set_state(ctx.get_state(int, 0) + amount)


worker = TaskHubGrpcWorker(
    host_address=address,
    logger=quiet,
    concurrency_options=ConcurrencyOptions(
        maximum_concurrent_activity_work_items=1000,
        maximum_concurrent_orchestration_work_items=1000,
        maximum_concurrent_entity_work_items=1000,
    ),
)
worker.add_orchestrator(chain)
worker.add_activity(plus_one)
worker.add_entity(counter)
worker.start()
client = dtc.TaskHubGrpcClient(host_address=address, logger=quiet)


def run(count, length):
    ids = [client.schedule_new_orchestration(chain, input=length) for _ in range(count)]
    for one in ids:
        state = client.wait_for_orchestration_completion(one, timeout=60)
        assert state.get_output() == length, state


def signal(prefix, entities, each):
    """Send from eight threads, then wait until every counter has counted. All at once is too much for that server."""
    ids = [EntityInstanceId("counter", f"{prefix}{number}") for number in range(entities)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: client.signal_entity(one, "add", 1), ids * each))
    deadline = time.monotonic() + 60
    for one in ids:
        while True:
            found = client.get_entity(one)
            if found is not None and found.get_typed_state() == each:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{one}: {found}")
            time.sleep(0.005)


def main():
    run(20, 3)  # warm up
    if shape in {"signals", "spread"}:
        signal("warm", 10, 5)
    begun, cpu, server_cpu = time.perf_counter(), time.process_time(), cpu_of(server)
    if shape == "fan":
        run(size, 3)
    elif shape == "chain":
        run(1, size)
    elif shape == "signals":
        signal("one", 1, size)
    else:
        signal("many", 100, size // 100)
    result = {
        "wall": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "server_cpu": cpu_of(server) - server_cpu,
    }
    print(json.dumps(result), flush=True)


code = 1
try:
    main()
    code = 0
except (TimeoutError, grpc.RpcError):
    code = 3
finally:
    if code:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)  # the threads of the worker would go on for ever
