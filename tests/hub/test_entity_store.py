"""Entities in a SQLite file: reopened hubs, eviction, old files, broken rows."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from durabletask.core.actions import CallEntity, RequestEntityLock, SignalEntity
from durabletask.core.entities import CleanEntityStorageResult, EntityQuery
from durabletask.core.errors import StorageError
from durabletask.core.instances import CreateInstanceRequest, PurgeInstance
from durabletask.core.work_items import EntitySendSignal, WorkItemStreamOptions
from durabletask.testing import InMemoryBackend, SqliteStore, VirtualClock
from entity_worker import EntityReader
from scripted_worker import complete

A, B, C = "@e@a", "@e@b", "@e@c"


class File:
    """A store and the hub that is open on it; ``again`` reopens it without closing what a crash would not close."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = VirtualClock()
        self.open()

    def open(self) -> None:
        self.hub = InMemoryBackend(clock=self.clock, store=SqliteStore(self.path))
        self.reader = EntityReader(self.hub, WorkItemStreamOptions())

    async def close(self) -> None:
        await self.reader.close()
        await self.hub.close()

    async def again(self) -> None:
        await self.close()
        self.open()

    async def put(self, entity_id: str, state: str | None) -> None:
        await self.hub.signal_entity(entity_id, "set")
        await self.reader.run(await self.reader.batch(), state=state)

    @property
    def resident(self) -> list[str]:
        return sorted(self.hub._engine.state.entities)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "hub.db")


async def test_a_reopened_hub_has_everything_of_its_entities(file: File) -> None:
    """State, queue in order, lock, messages of the holder, delayed messages, request ids."""
    await file.put(A, '"state"')
    due = file.clock.now() + timedelta(hours=1)
    await file.hub.signal_entity(B, "late", scheduled_time=due)
    await file.hub.signal_entity(B, "clear", request_id="once")
    await file.reader.run(await file.reader.batch(), state=None)
    await file.hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await file.reader.answer(await file.reader.episode(), RequestEntityLock(1, "s", (A,)))
    await file.reader.answer(
        await file.reader.episode(), CallEntity(2, "r1", "first", A), CallEntity(3, "r2", "second", A)
    )
    for number in range(3):
        await file.hub.signal_entity(A, "outside", input=str(number))
    batch = await file.reader.batch()
    before = await file.hub.get_entity(A)

    await file.again()
    assert await file.hub.get_entity(A) == before
    again = await file.reader.batch()
    assert [one.operation for one in again.operations] == ["first", "second"]
    assert again.state == '"state"'
    await file.reader.run(batch, state='"late answer"')
    await file.reader.run(again, None, state='"new"')
    await file.again()
    (episode, rest) = [await file.reader.take(), await file.reader.batch()]
    assert ([one.operation for one in rest.operations], rest.state) == (["second"], '"new"')
    await file.reader.answer(episode, complete())
    await file.reader.run(rest, state='"newer"')
    batch = await file.reader.batch()
    assert [one.input for one in batch.operations] == ["0", "1", "2"]
    await file.reader.run(batch, state='"last"')
    await file.hub.signal_entity(B, "clear", request_id="once")
    batch = await file.reader.batch()
    assert ([one.operation for one in batch.operations], file.clock.now()) == (["late"], due)
    await file.close()


async def test_idle_entities_live_in_the_file(file: File) -> None:
    """What waits for nothing leaves memory and is read back for whatever is about it."""
    for number in range(5):
        await file.put(f"@e@{number}", f'"{number}"')
    assert file.resident == []
    entity = await file.hub.get_entity("@e@3")
    assert entity is not None
    assert entity.serialized_state == '"3"'
    page = await file.hub.query_entities(EntityQuery(page_size=3))
    assert [one.serialized_state for one in page.entities] == ['"0"', '"1"', '"2"']
    await file.hub.signal_entity("@e@1", "op")
    await file.hub.signal_entity("@e@new", "op")
    page = await file.hub.query_entities(EntityQuery(include_transient=True))
    assert [one.instance_id[3:] for one in page.entities] == ["0", "1", "2", "3", "4", "new"]
    assert file.resident == ["@e@1", "@e@new"]
    batch = await file.reader.batch()
    signals = (EntitySendSignal(id=0, instance_id="@e@2", name="op"),)
    await file.reader.run(batch, state='"11"', actions=signals)
    await file.reader.run(await file.reader.batch(), state=None)
    batch = await file.reader.batch()
    assert (batch.instance_id, batch.state) == ("@e@2", '"2"')
    await file.reader.run(batch, state='"22"')
    purged = await file.hub.purge_instances(PurgeInstance(instance_id="@e@4"))
    assert purged.deleted_instance_count == 1
    assert file.resident == []
    page = await file.hub.query_entities(EntityQuery())
    assert [one.serialized_state for one in page.entities] == ['"0"', '"11"', '"22"', '"3"']
    await file.close()


async def test_entities_of_a_critical_section_stay_in_memory(file: File) -> None:
    """Any command may pass a lock on to the next entity, so its state is there, also in a hub that was reopened."""
    for entity_id in (A, B, C):
        await file.put(entity_id, f'"{entity_id}"')
    for name, targets in (("first", (A,)), ("second", (A, B, C))):
        await file.hub.create_instance(CreateInstanceRequest(name="O", instance_id=name))
        await file.reader.answer(await file.reader.episode(), RequestEntityLock(1, name, targets))
        if name == "first":
            await file.reader.answer(await file.reader.episode())
    assert file.resident == [A, B, C]
    await file.again()
    await file.hub.connect()
    assert await file.reader.idle()
    assert file.resident == [A, B, C]
    await file.hub.force_terminate_instances(["first"])
    second = await file.reader.episode()
    for entity_id in (A, B, C):
        entity = await file.hub.get_entity(entity_id)
        assert entity is not None
        assert (entity.locked_by, entity.serialized_state) == ("second", f'"{entity_id}"')
    await file.reader.answer(second, complete())
    assert (await file.hub.query_entities(EntityQuery())).continuation_token is None
    assert file.resident == []
    await file.close()


async def test_signals_of_an_orchestrator_reach_entities_of_the_file(file: File) -> None:
    """An episode brings the entities that its actions are about."""
    await file.put(A, '"1"')
    await file.put(B, '"2"')
    await file.hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await file.reader.answer(
        await file.reader.episode(),
        SignalEntity(1, "r1", "op", "@E@a"),
        CallEntity(2, "r2", "op", B),
        complete(),
    )
    batches = {item.instance_id: item for item in (await file.reader.batch(), await file.reader.batch())}
    assert {entity_id: item.state for entity_id, item in batches.items()} == {A: '"1"', B: '"2"'}
    await file.close()


async def test_a_removed_entity_leaves_no_rows(file: File) -> None:
    """Neither its own nor those of its messages; an emptied hub has none at all."""
    await file.put(A, "1")
    await file.put(A, None)
    assert file.rows("SELECT * FROM entities UNION ALL SELECT *, 0, 0, 0, 0 FROM inbox") == []
    await file.put(A, "1")
    await file.hub.signal_entity(B, "op", request_id="r")
    await file.hub.delete_task_hub()
    for table in ("entities", "inbox", "request_ids"):
        assert file.rows(f"SELECT * FROM {table}") == []
    await file.hub.signal_entity(B, "op", request_id="r")
    assert await file.reader.batch()
    await file.close()


async def test_a_batch_writes_its_state_once(file: File) -> None:
    """A signal writes its message and not the state; a batch writes the state once, whatever it has run."""
    state = '"' + "x" * 100_000 + '"'
    await file.put(A, state)
    for _ in range(100):
        await file.hub.signal_entity(A, "op")
    changed: list[int] = []
    connection_of = file.hub._residency._store._file  # type: ignore[attr-defined]
    connection = connection_of._write_connection
    connection.set_trace_callback(lambda statement: changed.append("INTO entities" in statement))
    await file.reader.run(await file.reader.batch(), state=state.replace("x", "y"))
    connection.set_trace_callback(None)
    assert sum(changed) == 1
    await file.close()


async def test_a_file_without_entities_is_migrated(tmp_path: Path) -> None:
    """A store of the layout before entities opens, and gets them."""
    file = File(tmp_path / "old.db")
    await file.hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await file.close()
    with closing(sqlite3.connect(file.path)) as connection:
        connection.executescript(
            "DROP INDEX locked; DROP INDEX request_ids_of; DROP TABLE entities; DROP TABLE request_ids; "
            "PRAGMA user_version = 2"
        )
    file.open()
    assert (await file.reader.episode()).instance_id == "i"
    await file.put(A, '"1"')
    await file.again()
    entity = await file.hub.get_entity(A)
    assert entity is not None
    await file.close()


async def test_an_entity_that_cannot_be_read_costs_only_itself(file: File) -> None:
    """A call about it says so; the others work, also in queries."""
    await file.put(A, "1")
    await file.put(B, "2")
    await file.hub.signal_entity(C, "op")
    await file.close()
    with closing(sqlite3.connect(file.path)) as connection:
        connection.execute("UPDATE entities SET body = x'00' WHERE id IN ('@e@a', '@e@c')")
        connection.commit()
    file.open()
    for entity_id in (A, C):
        with pytest.raises(StorageError, match=f"entity '{entity_id}' cannot be read"):
            await file.hub.get_entity(entity_id)
    page = await file.hub.query_entities(EntityQuery(include_transient=True))
    assert [one.instance_id for one in page.entities] == [B]
    await file.put(B, "3")
    await file.close()


async def test_a_lock_of_a_holder_that_is_lost_can_be_released(file: File) -> None:
    """Cleaning releases it and counts; an entity that is empty then is removed and counted; the next holder follows."""
    for name, targets in (("lost", (A, B)), ("next", (A,))):
        await file.hub.create_instance(CreateInstanceRequest(name="O", instance_id=name))
        await file.reader.answer(await file.reader.episode(), RequestEntityLock(1, name, targets))
        if name == "lost":
            await file.reader.answer(await file.reader.episode())
    await file.close()
    with closing(sqlite3.connect(file.path)) as connection:
        connection.execute("DELETE FROM instances WHERE id = 'lost'")
        connection.commit()
    file.open()
    assert await file.hub.clean_entity_storage(release_orphaned_locks=False) == CleanEntityStorageResult()
    assert await file.hub.clean_entity_storage() == CleanEntityStorageResult(1, 2)
    entity = await file.hub.get_entity(A)
    assert entity is not None
    assert entity.locked_by == "next"
    assert await file.hub.get_entity(B) is None
    assert await file.hub.clean_entity_storage() == CleanEntityStorageResult()
    await file.close()


async def test_messages_delayed_before_and_after_a_reopening_are_kept_apart(file: File) -> None:
    """Their numbers go on where they were, although no other row has them."""
    due = file.clock.now() + timedelta(hours=1)
    await file.hub.signal_entity(A, "first", scheduled_time=due)
    await file.hub.signal_entity(A, "second", scheduled_time=due)
    await file.again()
    await file.hub.signal_entity(A, "third", scheduled_time=due)
    batch = await file.reader.batch()
    assert [one.operation for one in batch.operations] == ["first", "second", "third"]
    await file.close()


async def test_an_entity_whose_removal_is_not_on_disk_yet_is_not_read_back(file: File) -> None:
    """The file still has the old state, but the entity is gone: the next signal finds none."""
    await file.put(A, '"old"')
    await file.hub.signal_entity(A, "clear")
    batch = await file.reader.batch()
    is_free = threading.Event()
    file.hub._residency._store._file._writer.submit(is_free.wait, 30)  # type: ignore[attr-defined]
    removing = asyncio.ensure_future(file.reader.run(batch, state=None))
    for _ in range(20):
        await asyncio.sleep(0)
    assert file.resident == []
    signalling = asyncio.ensure_future(file.hub.signal_entity(A, "again"))
    again = await file.reader.batch()
    assert again.state is None
    is_free.set()
    await removing
    await signalling
    await file.reader.run(again, state='"new"')
    await file.again()
    entity = await file.hub.get_entity(A)
    assert entity is not None
    assert entity.serialized_state == '"new"'
    await file.close()
