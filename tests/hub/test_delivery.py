"""Work reaches workers at least once, fairly, within their limits and filters (protocol sections 1.6, 3)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from durabletask.core.actions import ScheduleTask
from durabletask.core.errors import InvalidRequestError
from durabletask.core.instances import CreateInstanceRequest, OrchestrationStatus
from durabletask.core.work_items import (
    ActivityFilter,
    ActivityResult,
    OrchestrationFilter,
    OrchestratorResult,
    WorkItemFilters,
    WorkItemStreamOptions,
)
from durabletask.testing import InMemoryBackend, VirtualClock
from scripted_worker import Reader, ScriptedWorker, complete


async def create(hub: InMemoryBackend, *ids: str, name: str = "O", version: str | None = None) -> None:
    for instance_id in ids:
        await hub.create_instance(CreateInstanceRequest(name=name, instance_id=instance_id, version=version))


async def status(hub: InMemoryBackend, instance_id: str) -> OrchestrationStatus:
    state = await hub.get_instance(instance_id)
    assert state is not None
    return state.runtime_status


async def test_what_a_lost_worker_had_goes_to_the_next(hub: InMemoryBackend) -> None:
    """When a stream ends, its episode and its activity are delivered again under new tokens."""
    first = Reader(hub)
    await create(hub, "i", "j")
    await first.answer(await first.episode(), ScheduleTask(1, "A"))
    held = [await first.take(), await first.take()]
    await first.close()
    second = Reader(hub)
    again = [await second.take(), await second.take()]

    assert {item.instance_id for item in again} == {"i", "j"}
    assert not {item.completion_token for item in held} & {item.completion_token for item in again}
    for item in held:
        await second.answer(item, complete('"stale"'))
    assert await status(hub, "j") is OrchestrationStatus.PENDING
    await second.close()


async def test_what_a_lost_worker_had_keeps_its_order(hub: InMemoryBackend) -> None:
    """The items of a stream that ended come again in the order in which they were first handed out."""
    first = Reader(hub)
    await create(hub, *(f"i{n}" for n in range(5)))
    held = [(await first.take()).instance_id for _ in range(3)]
    await first.close()
    second = Reader(hub)
    again = [(await second.take()).instance_id for _ in range(5)]
    await second.close()

    assert held == ["i0", "i1", "i2"]
    assert again == [f"i{n}" for n in range(5)]


async def test_an_expired_lock_delivers_again() -> None:
    """A worker that does not answer loses the item; its late answer changes nothing."""
    clock = VirtualClock()
    hub = InMemoryBackend(clock=clock, orchestration_lock=timedelta(minutes=2))
    reader = Reader(hub)
    await create(hub, "i")
    late = await reader.episode()
    await clock.advance(timedelta(minutes=1))
    assert await reader.idle()
    await clock.advance(timedelta(minutes=1))
    again = await reader.episode()
    assert again.completion_token != late.completion_token
    await reader.answer(late, complete('"late"'))
    assert await status(hub, "i") is OrchestrationStatus.PENDING
    await reader.answer(again, complete())
    assert await status(hub, "i") is OrchestrationStatus.COMPLETED
    await reader.close()


async def test_an_abandoned_item_comes_back_after_a_growing_pause(hub: InMemoryBackend) -> None:
    """Its events are unchanged; events that arrive meanwhile do not shorten the pause."""
    reader = Reader(hub)
    await create(hub, "i")
    pauses = []
    for _ in range(3):
        before = hub.clock.now()
        item = await reader.episode()
        pauses.append(hub.clock.now() - before)
        await hub.abandon_orchestrator(item)
        await hub.raise_event("i", "e")
    item = await reader.episode()
    assert [round(one.total_seconds(), 3) for one in pauses] == [0.0, 0.1, 0.2]
    assert len(item.new_events) == 2 + 3
    await reader.answer(item, ScheduleTask(1, "A"))
    activity = await reader.activity()
    await hub.abandon_activity(activity)
    again = await reader.activity()
    assert (again.task_id, again.completion_token != activity.completion_token) == (1, True)
    await reader.close()


async def test_limits_bound_what_is_outstanding(hub: InMemoryBackend) -> None:
    """With a limit of two, the third item comes when the first is answered; zero means no limit."""
    reader = Reader(hub, WorkItemStreamOptions(max_orchestrations=2))
    await create(hub, *"abcd")
    first, second = await reader.episode(), await reader.episode()
    assert await reader.idle()
    await reader.answer(first, complete())
    third = await reader.episode()
    assert await reader.idle()
    assert [item.instance_id for item in (first, second, third)] == ["a", "b", "c"]
    unlimited = Reader(hub, WorkItemStreamOptions(max_orchestrations=0))
    assert (await unlimited.episode()).instance_id == "d"
    await unlimited.close()
    await reader.close()


async def test_filters_let_through_what_they_name(hub: InMemoryBackend) -> None:
    """Unaccepted work stays queued; an empty category accepts nothing; versions match exactly."""
    filters = WorkItemFilters(
        orchestrations=(
            OrchestrationFilter("A"),
            OrchestrationFilter("B", ("2",)),
            OrchestrationFilter("C", ("",)),
        )
    )
    picky = Reader(hub, WorkItemStreamOptions(filters=filters))
    await create(hub, "a9", name="A", version="9")
    await create(hub, "b1", name="B", version="1")
    await create(hub, "b2", name="B", version="2")
    await create(hub, "c", name="C")
    await create(hub, "d", name="D")
    taken = [await picky.episode() for _ in range(3)]
    assert {item.instance_id for item in taken} == {"a9", "b2", "c"}
    assert await picky.idle()
    await picky.answer(taken[0], ScheduleTask(1, "Act"))
    assert await picky.idle()
    activities = WorkItemFilters(activities=(ActivityFilter("Act"),))
    other = Reader(hub, WorkItemStreamOptions(filters=activities))
    assert (await other.activity()).name == "Act"
    assert await other.idle()
    rest = Reader(hub)
    assert {(await rest.episode()).instance_id for _ in range(2)} == {"b1", "d"}
    for reader in (picky, other, rest):
        await reader.close()


async def test_workers_share_the_work(hub: InMemoryBackend) -> None:
    """Three workers without limits each get about a third, also of a queue that was there before them."""
    await create(hub, *(f"i{n}" for n in range(300)))
    workers = [ScriptedWorker(hub, {"O": lambda _: [complete()]}) for _ in range(3)]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    for n in range(300):
        await hub.wait_for_instance_completion(f"i{n}")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(len(worker.items) for worker in workers) == 300
    assert min(len(worker.items) for worker in workers) > 60


async def test_nothing_is_lost_when_no_worker_is_there() -> None:
    """Ten thousand instances created before any worker connects are all drained."""
    hub = InMemoryBackend(clock=VirtualClock())
    await create(hub, *(f"i{n}" for n in range(10_000)))
    async with ScriptedWorker(hub, {"O": lambda _: [complete()]}).serving() as worker:
        for n in range(10_000):
            await hub.wait_for_instance_completion(f"i{n}")
    assert len(worker.items) == 10_000


async def test_an_answer_without_a_token_is_refused(hub: InMemoryBackend) -> None:
    """Without a token an answer could end an item that another worker has by now."""
    reader = Reader(hub)
    await create(hub, "i")
    item = await reader.episode()
    with pytest.raises(InvalidRequestError, match="no completion token; send back the token"):
        await hub.complete_orchestrator(OrchestratorResult(instance_id="i", actions=[ScheduleTask(1, "A")]))
    await reader.answer(item, ScheduleTask(1, "A"))
    activity = await reader.activity()
    with pytest.raises(InvalidRequestError, match="no completion token; send back the token"):
        await hub.complete_activity(ActivityResult(instance_id="i", task_id=1, result="5"))
    await reader.answer(activity, result="6")
    assert (await reader.episode()).new_events[1].result == "6"  # type: ignore[union-attr]
    await reader.close()


async def test_hostile_answers_change_nothing(hub: InMemoryBackend) -> None:
    """Unknown tokens are ignored; the token of another item is refused."""
    reader = Reader(hub)
    await create(hub, "i", "j")
    first, _ = await reader.episode(), await reader.episode()
    for token in ("x", "-1", "\x00"):
        await hub.complete_activity(ActivityResult(instance_id="z", task_id=-1, completion_token=token))
        await hub.complete_orchestrator(
            OrchestratorResult(instance_id="z", actions=(), completion_token=token)
        )
        await hub.abandon_orchestrator(msgspec.structs.replace(first, completion_token=token))
    with pytest.raises(InvalidRequestError, match="token"):
        await hub.complete_orchestrator(
            OrchestratorResult(instance_id="j", actions=[complete()], completion_token=first.completion_token)
        )
    with pytest.raises(InvalidRequestError, match="token"):
        await hub.complete_activity(
            ActivityResult(instance_id="i", task_id=1, completion_token=first.completion_token)
        )
    assert await status(hub, "i") is await status(hub, "j") is OrchestrationStatus.PENDING
    await reader.close()


async def test_a_worker_that_lacks_history_gets_it_again(hub: InMemoryBackend) -> None:
    """requires_history commits nothing and delivers the episode once more."""
    reader = Reader(hub)
    await create(hub, "i")
    await reader.answer(await reader.episode(), requires_history=True)
    item = await reader.episode()
    assert len(item.new_events) == 2
    await reader.close()


async def test_an_item_that_loses_one_stream_after_another_waits_longer_each_time(
    hub: InMemoryBackend, clock: VirtualClock
) -> None:
    """An item that may be what breaks its streams is put off; the other items of the stream are not."""
    await create(hub, "poison")
    pauses: list[timedelta] = []
    for _ in range(9):
        before = clock.now()
        reader = Reader(hub)
        assert (await reader.episode()).instance_id == "poison"
        pauses.append(clock.now() - before)
        await reader.close()
    assert pauses[:2] == [timedelta(0), timedelta(0)]  # the first loss says nothing
    assert pauses[2:] == sorted(set(pauses[2:]))
    assert pauses[-1] <= timedelta(seconds=60)

    reader = Reader(hub)
    await create(hub, "innocent")
    item = await reader.episode()
    assert item.instance_id == "innocent"
    await reader.answer(item, complete())  # virtual time stands still while an item is out
    await reader.answer(await reader.episode(), complete())
    assert await status(hub, "poison") is OrchestrationStatus.COMPLETED
    await reader.close()


async def test_a_worker_that_is_lost_later_does_not_delay_its_items(
    hub: InMemoryBackend, clock: VirtualClock
) -> None:
    """What a worker has had for a while does not break streams, however often it is lost."""
    await create(hub, "i")
    for _ in range(4):
        reader = Reader(hub)
        before = clock.now()
        await reader.episode()
        assert clock.now() == before
        await clock.advance(timedelta(seconds=10))
        await reader.close()


async def test_a_worker_that_is_busy_holds_nothing_back_from_the_others(hub: InMemoryBackend) -> None:
    """A worker that takes one item at a time keeps only that one; who is idle gets the rest."""
    busy, idle = Reader(hub), Reader(hub)
    assert await busy.idle()
    assert await idle.idle()
    await create(hub, *(f"i{number}" for number in range(20)))
    kept = await busy.episode()
    found = [(await idle.episode()).instance_id for _ in range(19)]
    assert sorted([kept.instance_id, *found]) == sorted(f"i{number}" for number in range(20))
    await create(hub, *(f"j{number}" for number in range(20)))
    assert {(await idle.episode()).instance_id for _ in range(20)} == {f"j{number}" for number in range(20)}
    await busy.close()
    await idle.close()


async def test_every_way_back_into_the_queue_shares_counter_pause_and_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An item that takes one worker after the other, each in its own way, is put off and named."""
    clock = VirtualClock()
    hub = InMemoryBackend(clock=clock, orchestration_lock=timedelta(seconds=3))
    await create(hub, "endless")
    pauses: list[float] = []
    for way in ("lock", "lock", "stream", "abandon", "lock"):
        before = clock.now()
        reader = Reader(hub)
        item = await reader.episode()
        pauses.append(round((clock.now() - before).total_seconds(), 1))
        if way == "lock":
            await clock.advance(timedelta(seconds=3))
        elif way == "abandon":
            await hub.abandon_orchestrator(item)
        await reader.close()

    assert pauses == [0.0, 0.0, 0.2, 0.4, 0.8]
    assert [record.getMessage() for record in caplog.records] == [
        f"An episode of instance 'endless' has come back without an answer {times} times, this time because {reason}. "
        f"It is delivered again in {pause} s."
        for times, reason, pause in (
            (3, "the stream of its worker has ended", 0.4),
            (4, "its worker abandoned it", 0.8),
            (5, "its lock has expired", 1.6),
        )
    ]
    await hub.close()
