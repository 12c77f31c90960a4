"""Virtual time is deterministic, moves by itself only when nothing can happen, and by hand at will."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone, tzinfo
from types import SimpleNamespace

import pytest
from durabletask.core.actions import CreateTimer, ScheduleTask
from durabletask.core.history import TimerFired
from durabletask.core.instances import CreateInstanceRequest
from durabletask.core.work_items import ActivityWorkItem, OrchestratorWorkItem
from durabletask.testing import InMemoryBackend, SystemClock, VirtualClock
from scripted_worker import Reader, ScriptedWorker, complete, of_kind

DAY = timedelta(days=1)


def sleeper(item: OrchestratorWorkItem) -> list[object]:
    """Thirty timers of a day, one after the other."""
    fired = len(of_kind(item, TimerFired))
    return [CreateTimer(fired + 1, item.new_events[0].timestamp + DAY)] if fired < 30 else [complete()]


async def test_a_month_of_timers_takes_no_time(clock: VirtualClock) -> None:
    """Time jumps from due time to due time, exactly."""
    hub = InMemoryBackend(clock=clock)
    start = clock.now()
    async with ScriptedWorker(hub, {"O": sleeper}).serving():  # type: ignore[dict-item]
        ids = [await hub.create_instance(CreateInstanceRequest(name="O")) for _ in range(5)]
        for one in ids:
            assert await hub.wait_for_instance_completion(one) is not None
    assert clock.now() == start + 30 * DAY


async def test_time_stands_still_while_an_activity_runs(clock: VirtualClock) -> None:
    """An outstanding item, even one that takes real time, holds the clock."""
    hub = InMemoryBackend(clock=clock)
    start = clock.now()
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O"))
    await reader.answer(await reader.episode(), ScheduleTask(1, "A"), CreateTimer(2, start + DAY))
    activity = await reader.activity()
    assert await reader.idle()
    assert clock.now() == start
    assert isinstance(activity, ActivityWorkItem)
    await reader.answer(activity)
    await reader.answer(await reader.episode())
    assert isinstance((await reader.episode()).new_events[1], TimerFired)
    assert clock.now() == start + DAY
    await reader.close()


async def test_time_waits_for_who_is_about_to_call(clock: VirtualClock) -> None:
    """A task that still has turns of the loop to run comes before the jump."""
    hub = InMemoryBackend(clock=clock)
    start = clock.now()

    async def late_caller() -> datetime:
        for _ in range(200):
            await asyncio.sleep(0)
        return clock.now()

    caller = asyncio.ensure_future(late_caller())
    assert await hub.wait_for_instance_completion("missing", timeout=DAY) is None
    assert await caller == start


async def test_two_clocks_in_one_loop_do_not_wait_for_each_other() -> None:
    """Each sees through the other's looking."""
    hubs = [InMemoryBackend(clock=VirtualClock()) for _ in range(3)]
    waits = [hub.wait_for_instance_completion("missing", timeout=DAY) for hub in hubs]
    assert await asyncio.wait_for(asyncio.gather(*waits), 30) == [None, None, None]


async def test_two_hubs_share_one_clock(clock: VirtualClock) -> None:
    """Time jumps to the earliest due time of both, and not while one is busy."""
    busy, idle = InMemoryBackend(clock=clock), InMemoryBackend(clock=clock)
    await busy.create_instance(CreateInstanceRequest(name="O"))
    waiting = asyncio.ensure_future(idle.wait_for_instance_completion("missing", timeout=DAY))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not waiting.done()
    reader = Reader(busy)
    await reader.answer(await reader.episode(), complete())
    assert await waiting is None
    await reader.close()


async def test_advancing_by_hand_stops_at_every_due_time(clock: VirtualClock) -> None:
    """Work of an earlier due time happens at that time, not at the end."""
    clock = VirtualClock(auto_advance=False)
    hub = InMemoryBackend(clock=clock)
    start = clock.now()
    async with ScriptedWorker(hub, {"O": sleeper}).serving() as worker:  # type: ignore[dict-item]
        await hub.create_instance(CreateInstanceRequest(name="O"))
        await clock.advance(3 * DAY + timedelta(hours=1))
        assert clock.now() == start + 3 * DAY + timedelta(hours=1)
        clocks = [item.new_events[0].timestamp for item in worker.items]  # type: ignore[union-attr]
        assert clocks == [start, start + DAY, start + 2 * DAY, start + 3 * DAY]
    with pytest.raises(ValueError, match="back"):
        await clock.advance(-DAY)


async def test_a_held_clock_does_not_jump(clock: VirtualClock) -> None:
    """Inside hold() nothing moves; afterwards it does."""
    hub = InMemoryBackend(clock=clock)
    start = clock.now()
    with clock.hold():
        assert not clock.auto_advance
        waiting = asyncio.ensure_future(hub.wait_for_instance_completion("missing", timeout=DAY))
        for _ in range(50):
            await asyncio.sleep(0)
        assert clock.now() == start
    assert await waiting is None


async def test_the_same_program_sees_the_same_times() -> None:
    """Two runs give the same history times."""

    async def run() -> list[datetime]:
        hub = InMemoryBackend(clock=VirtualClock(datetime(2030, 1, 1)))  # noqa: DTZ001 - taken as UTC
        async with ScriptedWorker(hub, {"O": sleeper}).serving():  # type: ignore[dict-item]
            await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
            await hub.wait_for_instance_completion("i")
        return [event.timestamp async for chunk in hub.stream_history("i") for event in chunk]

    first = await run()
    assert first == await run()
    assert first[0] == datetime(2030, 1, 1, tzinfo=timezone.utc)


async def test_the_system_clock_wakes_a_hub() -> None:
    """Short timers and time-outs work in real time, and time never runs backwards."""
    clock = SystemClock()
    hub = InMemoryBackend(clock=clock)
    before = clock.now()
    assert await hub.wait_for_instance_completion("missing", timeout=timedelta(milliseconds=5)) is None
    assert clock.now() - before >= timedelta(milliseconds=5)
    assert hub.clock is clock
    await hub.close()


def test_the_system_clock_goes_on_when_the_machine_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time moves at the speed of the monotonic clock until the machine's clock is ahead again."""
    seconds = {"wall": 1e9, "monotonic": 50.0}

    class Machine(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(seconds["wall"], tz)

    monkeypatch.setattr("durabletask.testing.clock.datetime", Machine)
    monkeypatch.setattr(
        "durabletask.testing.clock.time", SimpleNamespace(monotonic=lambda: seconds["monotonic"])
    )

    def pass_time(by: float, *, set_by: float = 0) -> float:
        seconds["wall"] += by + set_by
        seconds["monotonic"] += by
        return clock.now().timestamp() - 1e9

    clock = SystemClock()
    assert pass_time(1) == 1
    assert pass_time(1, set_by=-86400) == 2
    assert pass_time(3) == 5
    assert pass_time(1, set_by=86400 + 10) == 16
    assert pass_time(1, set_by=-5) == 17
