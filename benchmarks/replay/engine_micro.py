"""The engine alone: events per second over histories of a chain and of a fan-out, events already decoded.

python benchmarks/replay/engine_micro.py [activities] [--profile]
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from datetime import datetime, timezone

from durabletask.core.context import OrchestrationContext
from durabletask.core.history import (
    ExecutionStarted,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskScheduled,
)
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import JsonDataConverter

T0 = datetime(2025, 1, 1, tzinfo=timezone.utc)


async def chain(ctx: OrchestrationContext, n: int) -> int:
    total = 0
    for i in range(n):
        total += await ctx.call_activity("Add", i)
    return total


async def fan_out(ctx: OrchestrationContext, n: int) -> int:
    return sum(await ctx.task_all([ctx.call_activity("Add", i) for i in range(n)]))


def chain_history(n: int) -> list[HistoryEvent]:
    events: list[HistoryEvent] = [
        OrchestratorStarted(-1, T0),
        ExecutionStarted(-1, T0, "chain", "b", input=str(n)),
    ]
    for i in range(n):
        events += [
            TaskScheduled(i + 1, T0, "Add", input=str(i)),
            OrchestratorCompleted(-1, T0),
            OrchestratorStarted(-1, T0),
            TaskCompleted(-1, T0, i + 1, "1"),
        ]
    return events


def fan_out_history(n: int) -> list[HistoryEvent]:
    events: list[HistoryEvent] = [
        OrchestratorStarted(-1, T0),
        ExecutionStarted(-1, T0, "fan_out", "b", input=str(n)),
    ]
    events += [TaskScheduled(i + 1, T0, "Add", input=str(i)) for i in range(n)]
    events += [OrchestratorCompleted(-1, T0), OrchestratorStarted(-1, T0)]
    events += [TaskCompleted(-1, T0, i + 1, "1") for i in range(n)]
    return events


def run(registry: Registry, history: list[HistoryEvent]) -> None:
    session = OrchestrationSession("b", ReplayOptions(registry=registry, converter=JsonDataConverter()))
    session.replay(history[:-1])
    assert session.advance(history[-1:]).actions


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    n = numbers[0] if numbers else 5000
    registry = Registry(orchestrators=[chain, fan_out])
    for name, history in (("chain", chain_history(n)), ("fan-out", fan_out_history(n))):
        best = min(_timed(registry, history) for _ in range(7))
        print(
            f"{name}: {n} activities, {len(history)} events: {best / n * 1e6:.2f} us per activity, "
            f"{len(history) / best:,.0f} events/s"
        )
        if "--profile" in sys.argv:
            profile = cProfile.Profile()
            profile.runcall(run, registry, history)
            pstats.Stats(profile).sort_stats("tottime").print_stats(16)


def _timed(registry: Registry, history: list[HistoryEvent]) -> float:
    start = time.perf_counter()
    run(registry, history)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
