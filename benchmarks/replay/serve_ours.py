"""Our side of the comparison: bytes of a work item in, seconds out.

Reads file names from standard input, one a line; writes one JSON line for each. With ``--turns FOLDER`` it
takes the files of the folder as the episodes of one instance through a session that is kept.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import statistics
import sys
import time
from pathlib import Path

import msgspec
from durabletask.core.actions import CompleteOrchestration
from durabletask.core.context import OrchestrationContext
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import JsonDataConverter
from durabletask.core.work_items import OrchestratorWorkItem
from durabletask.grpc.codec.work_items import (
    decode_orchestrator_result,
    decode_work_item,
    encode_orchestrator_result,
)
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

_WINDOW = 9


async def chain(ctx: OrchestrationContext, count: int) -> int:
    value = 0
    for _ in range(count):
        value = await ctx.call_activity("work", value)
    return value


async def fan_out(ctx: OrchestrationContext, count: int) -> int:
    results = await ctx.task_all([ctx.call_activity("work", n) for n in range(count)])
    return sum(results)


_REGISTRY = Registry(orchestrators=[chain, fan_out])
_CONVERTER = JsonDataConverter()


def _open(item: OrchestratorWorkItem) -> OrchestrationSession:
    session = OrchestrationSession(item.instance_id, ReplayOptions(registry=_REGISTRY, converter=_CONVERTER))
    session.replay(item.past_events)
    return session


def _answer(session: OrchestrationSession, item: OrchestratorWorkItem) -> bytes:
    result = msgspec.structs.replace(session.advance(item.new_events), completion_token=item.completion_token)
    return encode_orchestrator_result(result).SerializeToString()


def _read(data: bytes) -> OrchestratorWorkItem:
    item, _ = decode_work_item(data)
    assert isinstance(item, OrchestratorWorkItem)
    return item


def _result_of(answer: bytes) -> str:
    completion = decode_orchestrator_result(pb.OrchestratorResponse.FromString(answer)).actions[0]
    assert isinstance(completion, CompleteOrchestration)
    return completion.result or ""


def replay(path: Path) -> dict[str, object]:
    """One cold episode: what a worker does between the bytes of an item and the bytes of its answer."""
    data = path.read_bytes()
    gc.collect()
    started = time.process_time()
    item = _read(data)
    session = _open(item)
    answer = _answer(session, item)
    seconds = time.process_time() - started
    session.close()
    return {"seconds": seconds, "result": _result_of(answer)}


def _one_pass(turns: list[bytes]) -> list[float]:
    """CPU seconds of every episode of one instance with a kept session."""
    seconds: list[float] = []
    session: OrchestrationSession | None = None
    for turn in turns:
        data = bytes(bytearray(turn))  # as a worker gets it: just written, so still in the processor's cache
        started = time.process_time()
        item = _read(data)
        if session is None:
            session = _open(item)
        elif not session.resume(item.past_events):
            raise SystemExit("the kept session did not accept the continuation")
        _answer(session, item)
        seconds.append(time.process_time() - started)
    assert session is not None
    assert session.is_complete
    session.close()
    return seconds


def keep(folder: Path) -> dict[str, float]:
    """Median microseconds of CPU around episode 10, the middle and the last full window, over several passes."""
    turns = [path.read_bytes() for path in sorted(folder.glob("turn-*.bin"))]
    gc.collect()
    passes = [_one_pass(turns) for _ in range(7)]
    last = len(turns) - 1
    places = {label: label for label in (10, last // 2, last - _WINDOW)}
    return {
        f"{label:,}": statistics.median(
            statistics.median(seconds[place - _WINDOW // 2 : place + _WINDOW // 2 + 1]) for seconds in passes
        )
        * 1e6
        for label, place in places.items()
    }


def main() -> None:
    if sys.argv[1:2] == ["--turns"]:
        print(json.dumps(keep(Path(sys.argv[2]))))
        return
    print(json.dumps({"version": importlib.metadata.version("durabletask-core")}), flush=True)
    for line in sys.stdin:
        print(json.dumps(replay(Path(line.strip()))), flush=True)


main()
