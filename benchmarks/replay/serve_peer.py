"""The other side of the comparison, run by the peer's own interpreter: bytes of a work item in, seconds out.

Reads file names from standard input, one a line; writes one JSON line for each.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import logging
import sys
import time
from pathlib import Path

from durabletask import task
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.serialization import JsonDataConverter
from durabletask.worker import _OrchestrationExecutor, _Registry


def chain(ctx, count):  # type: ignore[no-untyped-def]
    value = 0
    for _ in range(count):
        value = yield ctx.call_activity("work", input=value)
    return value


def fan_out(ctx, count):  # type: ignore[no-untyped-def]
    results = yield task.when_all([ctx.call_activity("work", input=n) for n in range(count)])
    return sum(results)


def execute(data: bytes, registry: _Registry, logger: logging.Logger) -> bytes:
    """What the peer's worker does between the bytes of an item and the bytes of its answer."""
    item = pb.WorkItem.FromString(data)
    request = item.orchestratorRequest
    executor = _OrchestrationExecutor(registry, logger, data_converter=JsonDataConverter())
    result = executor.execute(request.instanceId, request.pastEvents, request.newEvents)
    response = pb.OrchestratorResponse(
        instanceId=request.instanceId, actions=result.actions, completionToken=item.completionToken
    )
    return response.SerializeToString()


def main() -> None:
    registry = _Registry()
    registry.add_orchestrator(chain)
    registry.add_orchestrator(fan_out)
    logger = logging.getLogger("peer")
    logger.setLevel(logging.CRITICAL)
    print(json.dumps({"version": importlib.metadata.version("durabletask")}), flush=True)
    for line in sys.stdin:
        data = Path(line.strip()).read_bytes()
        gc.collect()
        started = time.process_time()
        answer = execute(data, registry, logger)
        seconds = time.process_time() - started
        actions = pb.OrchestratorResponse.FromString(answer).actions
        print(
            json.dumps({"seconds": seconds, "result": actions[0].completeOrchestration.result.value}),
            flush=True,
        )


main()
