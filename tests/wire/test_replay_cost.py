"""A replayed activity costs a bounded number of Python calls. Time is measured by ``benchmarks/replay``."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from types import FrameType

import pytest
from durabletask.core import history as h
from durabletask.core.context import OrchestrationContext
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import JsonDataConverter
from durabletask.core.work_items import OrchestratorWorkItem
from durabletask.grpc.codec.past import EncodedPasts
from durabletask.grpc.codec.work_items import decode_work_item, encode_work_item

T0 = datetime(2025, 1, 1, tzinfo=timezone.utc)


async def chain(ctx: OrchestrationContext, count: int) -> int:
    value = 0
    for _ in range(count):
        value = await ctx.call_activity("work", value)
    return value


async def fan_out(ctx: OrchestrationContext, count: int) -> int:
    return sum(await ctx.task_all([ctx.call_activity("work", n) for n in range(count)]))


def _past(name: str, count: int) -> list[h.HistoryEvent]:
    between: list[h.HistoryEvent] = [h.OrchestratorCompleted(-1, T0), h.OrchestratorStarted(-1, T0)]
    scheduled = [h.TaskScheduled(n, T0, "work", input=str(n)) for n in range(1, count + 1)]
    completed = [h.TaskCompleted(-1, T0, n, str(n)) for n in range(1, count + 1)]
    events: list[h.HistoryEvent] = [
        h.OrchestratorStarted(-1, T0),
        h.ExecutionStarted(-1, T0, name, "i", input=str(count)),
    ]
    if name == "fan_out":
        return [*events, *scheduled, *between, *completed]
    for one, other in zip(scheduled, completed, strict=True):
        events += [one, *between, other]
    return events


def _calls(name: str, count: int) -> int:
    """How many functions of the product are called, or resumed, to replay a history of so many activities."""
    past = _past(name, count)
    sent = OrchestratorWorkItem(instance_id="i", past_events=past[:-1], new_events=past[-1:])
    item, _ = decode_work_item(encode_work_item(sent, EncodedPasts()))
    assert isinstance(item, OrchestratorWorkItem)
    options = ReplayOptions(registry=Registry(orchestrators=[chain, fan_out]), converter=JsonDataConverter())
    session = OrchestrationSession("i", options)
    found = 0

    def count_call(frame: FrameType, event: str, _: object) -> None:
        nonlocal found
        found += event == "call" and "durabletask" in frame.f_globals["__name__"]

    before = sys.getprofile()
    sys.setprofile(count_call)
    try:
        session.replay(item.past_events)
    finally:
        sys.setprofile(before)
    assert session.advance(item.new_events).actions
    assert session.is_complete
    return found


@pytest.mark.parametrize(("name", "most"), [("chain", 13), ("fan_out", 9)])
def test_a_replayed_activity_costs_few_calls(name: str, most: int) -> None:
    _calls(name, 500)  # fills caches, such as that of ids
    more = _calls(name, 500) - _calls(name, 400)
    assert 0 < more <= most * 100 + 20  # a few calls are for bookkeeping that grows more slowly
