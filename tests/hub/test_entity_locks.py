"""Locks of entities: forwarding, the holder's messages, and every way out of a critical section."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from durabletask.core.actions import (
    CallEntity,
    CreateTimer,
    OrchestratorAction,
    RequestEntityLock,
    ScheduleTask,
    SignalEntity,
    UnlockEntity,
)
from durabletask.core.entities import CleanEntityStorageResult
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EntityLockGranted, EntityOperationSignaled, ExecutionRewound
from durabletask.core.instances import (
    CreateInstanceRequest,
    OrchestrationStatus,
    PurgeInstance,
    ReusePolicy,
)
from durabletask.core.replay.rewind import rewind
from durabletask.core.work_items import EntityWorkItem, OrchestratorWorkItem
from durabletask.testing import InMemoryBackend, VirtualClock
from entity_worker import EntityReader
from scripted_worker import complete

S = OrchestrationStatus
A, B, C = "@e@a", "@e@b", "@e@c"


@pytest.fixture
async def reader(hub: InMemoryBackend) -> EntityReader:
    return EntityReader(hub)


def lock(section: str, *targets: str, id: int = 1) -> RequestEntityLock:  # noqa: A002
    return RequestEntityLock(id, section, targets)


def unlocks(section: str, *targets: str) -> list[OrchestratorAction]:
    return [UnlockEntity(50 + n, section, target) for n, target in enumerate(targets)]


async def begin(
    hub: InMemoryBackend, reader: EntityReader, instance_id: str, *actions: OrchestratorAction
) -> None:
    """Start an orchestration whose first episode makes these actions."""
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id=instance_id))
    item = await reader.episode()
    assert item.instance_id == instance_id
    await reader.answer(item, *actions)


async def granted(reader: EntityReader, instance_id: str) -> OrchestratorWorkItem:
    """The episode in which an orchestration learns that it has its locks."""
    item = await reader.episode()
    assert item.instance_id == instance_id
    assert [type(one) for one in item.new_events[1:]] == [EntityLockGranted]
    return item


async def holder(hub: InMemoryBackend, entity_id: str) -> str | None:
    entity = await hub.get_entity(entity_id)
    return None if entity is None else entity.locked_by


async def test_locks_are_taken_one_after_the_other(hub: InMemoryBackend, reader: EntityReader) -> None:
    """A request waits at the first entity that is taken, holds those before, and goes on when that is free."""
    await begin(hub, reader, "first", lock("s1", B))
    first = await granted(reader, "first")
    await begin(hub, reader, "second", lock("s2", A, B, C))
    assert [await holder(hub, one) for one in (A, B, C)] == ["second", "first", None]
    assert await reader.idle()
    await reader.answer(first, *unlocks("s1", B))
    second = await granted(reader, "second")
    assert [await holder(hub, one) for one in (A, B, C)] == ["second"] * 3
    await reader.answer(second, *unlocks("s2", A, B, C), complete())
    assert [await hub.get_entity(one) for one in (A, B, C)] == [None] * 3
    await reader.close()


async def test_an_entity_that_is_named_twice_is_locked_once(
    hub: InMemoryBackend, reader: EntityReader
) -> None:
    """Duplicates in a lock set count once, whatever the case of the name; no entity at all is granted at once."""
    await begin(hub, reader, "i", lock("s", A, "@E@a", A))
    await reader.answer(await granted(reader, "i"), *unlocks("s", A), lock("empty", id=2))
    await reader.answer(await granted(reader, "i"), complete())
    assert await hub.get_entity(A) is None
    await reader.close()


async def test_only_the_holder_is_served(hub: InMemoryBackend, reader: EntityReader) -> None:
    """Others wait in order; the holder's calls go ahead of them; with the unlock the others come."""
    await hub.signal_entity(A, "before")
    await reader.run(await reader.batch(), state="0")
    await begin(hub, reader, "i", lock("s", A))
    item = await granted(reader, "i")
    await hub.signal_entity(A, "outside")
    assert await reader.idle()
    await reader.answer(item, CallEntity(2, "r1", "one", A), CallEntity(3, "r2", "two", A))
    batch = await reader.batch()
    assert [one.operation for one in batch.operations] == ["one", "two"]
    entity = await hub.get_entity(A)
    assert entity is not None
    assert (entity.locked_by, entity.backlog_queue_size) == ("i", 3)
    await reader.run(batch, state="1")
    await reader.answer(await reader.episode(), *unlocks("s", A), SignalEntity(9, "r3", "after", A))
    batch = await reader.batch()
    assert [one.operation for one in batch.operations] == ["outside", "after"]
    await reader.close()


async def test_a_lock_waits_for_what_came_before(hub: InMemoryBackend, reader: EntityReader) -> None:
    """A lock request ends a batch; it is granted when everything before it has been run."""
    await hub.signal_entity(A, "before")
    batch = await reader.batch()
    await begin(hub, reader, "i", lock("s", A))
    await hub.signal_entity(A, "behind")
    assert await holder(hub, A) is None
    await reader.run(batch, state="1")
    item = await granted(reader, "i")
    assert await reader.idle()
    await reader.answer(item, *unlocks("s", A))
    assert [one.operation for one in (await reader.batch()).operations] == ["behind"]
    await reader.close()


async def test_an_unlock_before_the_grant_takes_the_request_back(
    hub: InMemoryBackend, reader: EntityReader
) -> None:
    """What was locked on the way is free, the request is gone, and nothing is granted later."""
    await begin(hub, reader, "first", lock("s1", B))
    first = await granted(reader, "first")
    await begin(hub, reader, "second", lock("s2", A, B), CreateTimer(2, hub.now()))
    second = await reader.episode()
    entity = await hub.get_entity(B)
    assert entity is not None
    assert entity.backlog_queue_size == 1
    await reader.answer(second, *unlocks("s2", A, B))
    assert await hub.get_entity(A) is None
    entity = await hub.get_entity(B)
    assert entity is not None
    assert entity.backlog_queue_size == 0
    await reader.answer(first, *unlocks("s1", B))
    assert await reader.idle()
    assert await hub.get_entity(B) is None
    await reader.close()


async def test_an_unlock_with_a_call_in_flight_frees_the_entity_after_it(
    hub: InMemoryBackend, reader: EntityReader
) -> None:
    """The call runs to its end before the next holder has the lock."""
    await begin(hub, reader, "first", lock("s1", A))
    first = await granted(reader, "first")
    await begin(hub, reader, "second", lock("s2", A))
    await reader.answer(first, CallEntity(2, "r", "slow", A), *unlocks("s1", A), complete(id=60))
    batch = await reader.batch()
    assert [one.operation for one in batch.operations] == ["slow"]
    assert await reader.idle()
    assert await holder(hub, A) is None
    await reader.run(batch, state="1")
    await granted(reader, "second")
    await reader.close()


WayOut = Callable[[InMemoryBackend, EntityReader, OrchestratorWorkItem], Awaitable[object]]


async def _graceful(hub: InMemoryBackend, reader: EntityReader, item: OrchestratorWorkItem) -> None:
    await hub.terminate_instance("i")
    await reader.answer(item)
    await reader.answer(await reader.episode(), complete(status=S.TERMINATED))


async def _replace(hub: InMemoryBackend, _reader: EntityReader, _item: OrchestratorWorkItem) -> None:
    later = hub.now() + timedelta(days=1)
    policy = ReusePolicy.replace_any()
    await hub.create_instance(
        CreateInstanceRequest(name="O", instance_id="i", scheduled_start_at=later, reuse_policy=policy)
    )


async def _purge(hub: InMemoryBackend, reader: EntityReader, item: OrchestratorWorkItem) -> None:
    await reader.answer(item, complete())
    await hub.purge_instances(PurgeInstance(instance_id="i"))


async def _restart(hub: InMemoryBackend, reader: EntityReader, item: OrchestratorWorkItem) -> None:
    await hub.force_terminate_instances(["i"])
    await hub.restart_instance("i")


WAYS_OUT: dict[str, WayOut] = {
    "completion": lambda hub, reader, item: reader.answer(item, complete()),
    "failure": lambda hub, reader, item: reader.answer(item, complete(status=S.FAILED)),
    "termination": _graceful,
    "forced termination": lambda hub, reader, item: hub.force_terminate_instances(["i"]),
    "continue-as-new": lambda hub, reader, item: reader.answer(item, complete(status=S.CONTINUED_AS_NEW)),
    "replacement": _replace,
    "purge": _purge,
    "restart": _restart,
}


@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("with_call", [False, True], ids=["idle", "calling"])
async def test_every_way_out_releases_every_lock(
    hub: InMemoryBackend, reader: EntityReader, way: str, *, with_call: bool
) -> None:
    """An execution that ends without unlocking holds nothing, waits for nothing, and hands its locks on."""
    await begin(hub, reader, "other", lock("s0", C))
    other = await granted(reader, "other")
    batch: EntityWorkItem | None = None
    if with_call:
        await begin(hub, reader, "i", lock("s1", A, B))
        await reader.answer(await granted(reader, "i"), CallEntity(2, "r", "op", A), lock("s2", C, id=3))
        batch = await reader.batch()
    else:
        await begin(hub, reader, "i", lock("s1", A, B), lock("s2", C, id=3))
        await reader.answer(await granted(reader, "i"))
    await hub.raise_event("i", "go")
    item = await reader.episode()
    await begin(hub, reader, "next", lock("s3", A, B))
    assert [await holder(hub, one) for one in (A, B, C)] == ["i", "i", "other"]

    await WAYS_OUT[way](hub, reader, item)
    if batch is not None:
        assert await holder(hub, A) is None
        await reader.run(batch)
    while (episode := await reader.episode()).instance_id != "next":  # the next execution of "i" runs, too
        await reader.answer(episode)
    assert isinstance(episode.new_events[1], EntityLockGranted)
    await reader.answer(episode, *unlocks("s3", A, B), complete(id=60))
    await reader.answer(other, *unlocks("s0", C), complete(id=60))
    while not await reader.idle():
        await reader.answer(await reader.episode())
    assert [await hub.get_entity(one) for one in (A, B, C)] == [None] * 3
    await reader.close()


@pytest.mark.parametrize("is_reopened", [False, True], ids=["open", "reopened"])
async def test_a_rewound_section_runs_when_it_has_its_locks_again(
    hub: InMemoryBackend, reader: EntityReader, *, is_reopened: bool
) -> None:
    """An activity failed inside a section. The rewound history is in it, so its code waits until the lock is back."""
    await begin(hub, reader, "i", lock("s1", A, B))
    await reader.answer(await granted(reader, "i"), ScheduleTask(2, "Task"))
    failure = FailureDetails("app.Broken", "no")
    await reader.answer(await reader.activity(), result=None, failure=failure)
    await reader.answer(
        await reader.episode(), *unlocks("s1", A, B), complete(status=S.FAILED, failure=failure)
    )
    await begin(hub, reader, "other", lock("s2", B))
    other = await granted(reader, "other")
    await hub.rewind_instance("i")
    item = await reader.episode()
    request = item.new_events[1]
    assert isinstance(request, ExecutionRewound)
    await reader.answer(item, rewind(item.past_events, item.new_events, request))
    if is_reopened and hub.endpoint != "memory://":
        await reader.close()
        await hub.close()
        reader = EntityReader(hub)
        other = await reader.episode()
    await hub.raise_event("i", "go")
    assert await reader.idle()
    assert [await holder(hub, one) for one in (A, B)] == ["i", "other"]
    await reader.answer(other, *unlocks("s2", B))
    item = await reader.episode()
    assert (item.instance_id, await holder(hub, B)) == ("i", "i")
    assert not [one for one in item.new_events if isinstance(one, EntityLockGranted)]
    await reader.answer(item, *unlocks("s1", A, B), complete(id=60))
    assert [await hub.get_entity(one) for one in (A, B)] == [None] * 2
    await reader.close()


async def test_a_scheduled_call_of_the_holder_is_served_at_its_time(
    hub: InMemoryBackend, reader: EntityReader, clock: VirtualClock
) -> None:
    """A delayed call counts as the holder's when it arrives; a signal of that time waits."""
    await begin(hub, reader, "i", lock("s", A))
    due = clock.now() + timedelta(minutes=1)
    call = CallEntity(2, "r", "later", A, scheduled_time=due)
    signal = SignalEntity(3, "q", "waits", A, scheduled_time=due)
    await reader.answer(await granted(reader, "i"), call, signal)
    batch = await reader.batch()
    assert [one.operation for one in batch.operations] == ["later"]
    await reader.run(batch, state="1")
    await reader.answer(await reader.episode(), *unlocks("s", A))
    batch = await reader.batch()
    assert isinstance(batch.operations[0], EntityOperationSignaled)
    await reader.close()


async def test_cleaning_leaves_locks_that_are_held(hub: InMemoryBackend, reader: EntityReader) -> None:
    """A lock of a live critical section is no orphan."""
    await begin(hub, reader, "i", lock("s", A))
    assert await hub.clean_entity_storage() == CleanEntityStorageResult()
    assert await holder(hub, A) == "i"
    await reader.close()


async def test_long_lock_sets_are_locked_in_one_go(hub: InMemoryBackend, reader: EntityReader) -> None:
    """Two thousand entities are locked, and passed on to the next, without a deep call stack."""
    targets = [f"@e@{number:04}" for number in range(2000)]
    await begin(hub, reader, "first", lock("s1", *targets))
    first = await granted(reader, "first")
    await begin(hub, reader, "second", lock("s2", *targets))
    await reader.answer(first, complete())
    await granted(reader, "second")
    assert await holder(hub, targets[-1]) == "second"
    await reader.close()
