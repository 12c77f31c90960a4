"""How long a timer may be is known when the hub has been reached, and may change between two workers."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from durabletask import DurableTaskWorker, OrchestrationContext
from durabletask.core.actions import CompleteOrchestration, CreateTimer
from durabletask.core.history import (
    ExecutionStarted,
    HistoryEvent,
    OrchestratorStarted,
    TimerCreated,
    TimerFired,
)
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import JsonDataConverter
from durabletask.core.work_items import OrchestratorResult, OrchestratorWorkItem
from fake_transport import NOON, FakeTransport

DAY = timedelta(days=1)


async def monthly(ctx: OrchestrationContext) -> str:
    await ctx.create_timer(30 * DAY)
    return "later"


def first_episode() -> list[HistoryEvent]:
    return [OrchestratorStarted(-1, NOON), ExecutionStarted(-1, NOON, "monthly", "i1")]


def fired(timer_id: int, fire_at: datetime) -> list[HistoryEvent]:
    return [OrchestratorStarted(-1, fire_at), TimerFired(-1, fire_at, fire_at=fire_at, timer_id=timer_id)]


class LearningTransport(FakeTransport):
    """Knows only after ``connect`` that its hub takes any timer."""

    is_connected = False

    async def connect(self) -> None:
        await super().connect()
        self.is_connected = True

    @property
    def maximum_timer_interval(self) -> timedelta | None:
        return None if self.is_connected else 3 * DAY


async def test_what_a_transport_learns_when_it_connects_counts() -> None:
    """A worker starts before its hub is reached; nothing is split for a hub that takes any timer."""
    transport = LearningTransport()
    async with DurableTaskWorker(transport, orchestrators=[monthly]):
        transport.put(OrchestratorWorkItem(instance_id="i1", new_events=first_episode()))
        await transport.wait_for(1)

    (result,) = transport.completed
    assert isinstance(result, OrchestratorResult)
    assert [action.fire_at for action in result.actions if isinstance(action, CreateTimer)] == [
        NOON + 30 * DAY
    ]


def advance(past: list[HistoryEvent], new: list[HistoryEvent], interval: timedelta | None) -> list[object]:
    session = OrchestrationSession(
        "i1",
        ReplayOptions(
            registry=Registry(orchestrators=[monthly]),
            converter=JsonDataConverter(),
            maximum_timer_interval=interval,
        ),
    )
    session.replay(past)
    try:
        return list(session.advance(new).actions)
    finally:
        session.close()


def test_a_part_of_a_split_timer_is_not_taken_for_the_whole() -> None:
    """The worker that split it is gone; the one that takes over splits nothing."""
    part = NOON + 3 * DAY
    past = [*first_episode(), TimerCreated(1, NOON, fire_at=part)]

    assert advance(past, fired(1, part), None) == [CreateTimer(id=2, fire_at=NOON + 30 * DAY)]


@pytest.mark.parametrize("shift", [timedelta(0), timedelta(milliseconds=-1)], ids=["exact", "rounded"])
def test_a_whole_timer_is_not_taken_for_a_part(shift: timedelta) -> None:
    """The worker that takes over would have split it."""
    end = NOON + 30 * DAY + shift
    past = [*first_episode(), TimerCreated(1, NOON, fire_at=end)]

    (action,) = advance(past, fired(1, end), None if shift else 3 * DAY)
    assert isinstance(action, CompleteOrchestration)
    assert action.result == '"later"'
