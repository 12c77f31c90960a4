"""What a hub reads of its file is what it was, to the last flag; nothing is started twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from durabletask.core.actions import CreateSubOrchestration, CreateTimer, ScheduleTask
from durabletask.core.history import (
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
)
from durabletask.core.instances import CreateInstanceRequest, InstanceQuery, OrchestrationStatus
from durabletask.testing import InMemoryBackend, SqliteStore, VirtualClock
from scripted_worker import Reader, complete


def request(instance_id: str) -> CreateInstanceRequest:
    return CreateInstanceRequest(name="O", instance_id=instance_id)


async def test_what_was_answered_is_not_started_again(tmp_path: Path) -> None:
    """Activities, timers and children whose answers are in the history stay answered; the open ones go on."""
    clock = VirtualClock(auto_advance=False)
    first = InMemoryBackend(clock=clock, store=SqliteStore(tmp_path / "a.db"))
    reader = Reader(first)
    await first.create_instance(request("p"))
    hour = timedelta(hours=1)
    await reader.answer(
        await reader.episode(),
        ScheduleTask(1, "A"),
        CreateTimer(2, clock.now() + timedelta(seconds=1)),
        CreateSubOrchestration(3, "C", "c1"),
        ScheduleTask(4, "Open"),
        CreateTimer(5, clock.now() + hour),
        CreateSubOrchestration(6, "C", ""),
    )
    kept = None
    for _ in range(4):
        item = await reader.take()
        if item.instance_id == "c1":
            await reader.answer(item, complete('"one"'))
        elif getattr(item, "name", "") == "A":
            await reader.answer(item)
        else:
            kept = item  # the open activity or the other child; lost with this process
    assert kept is not None
    await reader.answer(await reader.episode())
    await clock.advance(timedelta(seconds=2))
    await reader.answer(await reader.episode())
    await reader.close()
    await first.close()

    second = InMemoryBackend(clock=clock, store=SqliteStore(tmp_path / "a.db"))
    reader = Reader(second)
    items = [await reader.take(), await reader.take()]
    assert {item.instance_id for item in items} == {"p", "p:0006"}
    assert await reader.idle()
    for item in items:
        if item.instance_id == "p":
            assert getattr(item, "task_id", None) == 4
        else:
            await reader.answer(item, complete('"two"'))
    answered = await reader.episode()
    created = [event for event in answered.past_events if isinstance(event, SubOrchestrationInstanceCreated)]
    assert [event.instance_id for event in created] == ["c1", "p:0006"]
    (event,) = answered.new_events[1:]
    assert isinstance(event, SubOrchestrationInstanceCompleted)
    assert (event.task_scheduled_id, event.result) == (6, '"two"')
    await reader.close()
    await second.close()


async def test_requests_that_were_not_read_yet_still_count(tmp_path: Path) -> None:
    """A suspension in the inbox is one: a second is dropped, a resume is delivered."""
    clock = VirtualClock(auto_advance=False)
    first = InMemoryBackend(clock=clock, store=SqliteStore(tmp_path / "a.db"))
    await first.create_instance(request("i"))
    await first.suspend_instance("i")
    await first.close()

    second = InMemoryBackend(clock=clock, store=SqliteStore(tmp_path / "a.db"))
    await second.suspend_instance("i")
    await second.resume_instance("i")
    await second.resume_instance("i")
    await second.raise_event("i", "e")
    reader = Reader(second)
    item = await reader.episode()
    assert [type(event) for event in item.new_events[1:]] == [
        ExecutionStarted,
        ExecutionSuspended,
        ExecutionResumed,
        EventRaised,
    ]
    await reader.answer(item)
    state = await second.get_instance("i")
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.RUNNING
    await reader.close()
    await second.close()


async def test_a_hub_that_is_emptied_forgets_what_was_on_its_way_to_the_disk(tmp_path: Path) -> None:
    """Creates and the deletion of the hub share a commit; what came before is gone, what comes after stays."""
    hub = InMemoryBackend(store=SqliteStore(tmp_path / "a.db"))
    await hub.connect()
    # without an id nothing has to be looked up, so these come first
    before = [hub.create_instance(CreateInstanceRequest(name="O")) for _ in range(5)]
    after = [hub.create_instance(request(f"after-{number}")) for number in range(5)]
    await asyncio.gather(*before, hub.delete_task_hub(), *after)
    await hub.close()

    again = InMemoryBackend(store=SqliteStore(tmp_path / "a.db"))
    page = await again.query_instances(InstanceQuery())
    assert sorted(state.instance_id for state in page.states) == [f"after-{number}" for number in range(5)]
    await again.close()


async def test_thousands_of_cancelled_timers_do_not_pile_up(
    hub: InMemoryBackend, clock: VirtualClock
) -> None:
    """Timers of executions that are over leave the queue; the others fire in their order."""
    reader = Reader(hub)
    for turn in range(30):
        await hub.create_instance(request(f"i{turn}"))
        timers = [CreateTimer(each, clock.now() + timedelta(days=each)) for each in range(1, 101)]
        await reader.answer(await reader.episode(), *timers, complete())
    assert len(hub._engine._timers) < 400
    await hub.create_instance(request("last"))
    due = [clock.now() + timedelta(hours=hours) for hours in (3, 1, 2)]
    timers = [CreateTimer(number, moment) for number, moment in enumerate(due, 1)]
    await reader.answer(await reader.episode(), *timers)
    fired = []
    for _ in due:
        item = await reader.episode()
        fired.append(item.new_events[1].timer_id)  # type: ignore[union-attr]
        await reader.answer(item)
    assert fired == [2, 3, 1]
    await reader.close()


async def test_a_wait_may_be_longer_than_the_calendar(hub: InMemoryBackend) -> None:
    """The longest time-out there is means for ever."""
    waiting = asyncio.ensure_future(hub.wait_for_instance_completion("i", timeout=timedelta.max))
    reader = Reader(hub)
    await hub.create_instance(request("i"))
    await reader.answer(await reader.episode(), complete('"end"'))
    state = await waiting
    assert state is not None
    assert state.serialized_output == '"end"'
    await reader.close()
