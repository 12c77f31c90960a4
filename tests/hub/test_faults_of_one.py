"""Faults that one call, one row or one client could cause, and how far they reach now."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from durabletask.core.actions import CreateSubOrchestration, CreateTimer, OrchestratorAction, ScheduleTask
from durabletask.core.errors import (
    ConfigurationError,
    InvalidOperationError,
    InvalidRequestError,
    ResourceExhaustedError,
    StorageError,
)
from durabletask.core.history import EventRaised
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceQuery,
    OrchestrationStatus,
    PurgeFilter,
    PurgeInstance,
    ReusePolicy,
)
from durabletask.core.work_items import (
    ActivityFilter,
    OrchestrationFilter,
    OrchestratorResult,
    WorkItemFilters,
    WorkItemStreamOptions,
)
from durabletask.testing import HubRegistry, InMemory, InMemoryBackend, LocalTaskHub, Sqlite, VirtualClock
from durabletask.testing.hub.order import Position, write_token
from durabletask.testing.hub.registry import MAXIMUM_HUBS
from scripted_worker import Reader, complete, settle

S = OrchestrationStatus
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001


def request(instance_id: str, **more: object) -> CreateInstanceRequest:
    return CreateInstanceRequest(name="O", instance_id=instance_id, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tags": {"attempt": 3}}, "attempt"),
        ({"version": 2}, "version"),
        ({"name": "a\udc80"}, "name.*Unicode"),
        ({"tags": {"file": "\udc80"}}, "file.*Unicode"),
        ({"instance_id": "a\x00b"}, "instance_id.*NUL"),
        ({"instance_id": "x" * 10_000}, "instance_id.*10000"),
        ({"scheduled_start_at": NAIVE}, "start_at.*time zone"),
    ],
)
async def test_a_request_that_cannot_be_kept_is_refused_by_name(
    hub: InMemoryBackend, fields: dict[str, object], words: str
) -> None:
    """Memory refuses what a file could not hold, and nothing is stored."""
    values = {"name": "O", "instance_id": "i", **fields}
    with pytest.raises(InvalidRequestError, match=words):
        await hub.create_instance(CreateInstanceRequest(**values))  # type: ignore[arg-type]
    assert not (await hub.query_instances(InstanceQuery())).states


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (ScheduleTask(1, "A", None, None, {"file": "\udc80"}), r"action 0 \(ScheduleTask\).*file.*Unicode"),
        (ScheduleTask(1, "A", None, "\udc80"), r"action 0 \(ScheduleTask\).*Unicode"),
        (ScheduleTask(1, 7), r"action 0 \(ScheduleTask\): name must be a str, not int"),  # type: ignore[arg-type]
        (ScheduleTask(1, "A\x00"), r"name contains a NUL"),
        (CreateTimer(1, NAIVE), r"CreateTimer\): fire_at has no time zone"),
    ],
)
async def test_an_episode_that_cannot_be_kept_is_refused_and_stays_with_its_worker(
    hub: InMemoryBackend, action: OrchestratorAction, words: str
) -> None:
    """The answer names the action; another answer to the same item is taken."""
    reader = Reader(hub)
    await hub.create_instance(request("i"))
    item = await reader.episode()
    with pytest.raises(InvalidRequestError, match=words):
        await hub.complete_orchestrator(
            OrchestratorResult(instance_id="i", actions=[action], completion_token=item.completion_token)
        )
    await reader.answer(item, complete('"fine"'))
    state = await hub.wait_for_instance_completion("i")
    assert state is not None
    assert state.serialized_output == '"fine"'
    await reader.close()


@pytest.mark.parametrize("table", ["instances", "history", "inbox"])
async def test_a_row_that_cannot_be_read_costs_its_instance_only(tmp_path: Path, table: str) -> None:
    """The hub opens; the instance is reported by name when it is asked for, the others work."""
    path = tmp_path / "a.db"
    hub = LocalTaskHub(storage=Sqlite(path), clock=VirtualClock())
    reader = Reader(hub)
    for name in ("a", "b"):
        await hub.create_instance(request(name))
        await reader.answer(await reader.episode())
    for name in ("a", "b"):
        await hub.raise_event(name, "e", "1")
    await reader.close()
    await hub.close()
    column = {"instances": "body", "history": "events", "inbox": "event"}[table]
    with sqlite3.connect(path) as connection:
        connection.execute(
            f"UPDATE {table} SET {column} = x'ff' WHERE key = (SELECT key FROM instances WHERE id = 'a')"
        )
    connection.close()
    hub = LocalTaskHub(storage=Sqlite(path), clock=VirtualClock())
    assert [one.instance_id for one in (await hub.query_instances(InstanceQuery())).states] == ["b"]
    for call in (hub.get_instance("a"), hub.raise_event("a", "e"), hub.create_instance(request("a"))):
        with pytest.raises(StorageError, match="'a' cannot be read"):
            await call
    reader = Reader(hub)
    await reader.answer(await reader.episode(), complete())
    assert (await hub.wait_for_instance_completion("b")) is not None
    await reader.close()
    await hub.close()


async def test_a_finished_row_that_cannot_be_read_stops_no_query_and_no_purge(tmp_path: Path) -> None:
    """Pages and purges leave it out."""
    path = tmp_path / "a.db"
    hub = LocalTaskHub(storage=Sqlite(path), clock=VirtualClock())
    for name in ("a", "b", "c"):
        await hub.create_instance(request(name))
    await hub.force_terminate_instances(["a", "b", "c"])
    await hub.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE instances SET body = x'ff' WHERE id = 'a'")
    connection.close()
    hub = LocalTaskHub(storage=Sqlite(path), clock=VirtualClock())
    with pytest.raises(StorageError, match="'a' cannot be read"):
        await asyncio.wait_for(hub.wait_for_instance_completion("a"), 5)
    assert [one.instance_id for one in (await hub.query_instances(InstanceQuery())).states] == ["b", "c"]
    assert (await hub.purge_instances(PurgeFilter())).deleted_instance_count == 2
    await hub.close()


async def test_commands_behind_a_refused_commit_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were decided on a state that never came to be; their callers notice nothing."""
    from durabletask.testing.hub.storage import sqlite as module

    hub = LocalTaskHub(storage=Sqlite(tmp_path / "a.db"), clock=VirtualClock())
    for name in ("bad", "other"):
        await hub.create_instance(request(name))
    reader = Reader(hub)
    item = await reader.episode()
    assert item.instance_id == "bad"
    await settle(hub)
    write = module._write_changes
    is_writing, may_write = threading.Event(), threading.Event()

    def refuse(connection: sqlite3.Connection, number: int, changes: object) -> None:
        is_writing.set()
        assert may_write.wait(10)
        monkeypatch.setattr(module, "_write_changes", write)
        raise sqlite3.IntegrityError("string or blob too big")

    monkeypatch.setattr(module, "_write_changes", refuse)
    refused = asyncio.ensure_future(reader.answer(item, ScheduleTask(1, "A")))
    await asyncio.wait_for(asyncio.to_thread(is_writing.wait), 10)
    behind = asyncio.gather(hub.create_instance(request("new")), hub.raise_event("other", "e", "1"))
    journal = hub._engine.commits  # looking the ids up in the file takes any number of turns of the loop
    for _ in range(10_000):
        if journal._collecting is not None and len(journal._collecting.entries) == 2:  # type: ignore[attr-defined]
            break
        await asyncio.sleep(0.001)
    assert journal._collecting is not None  # type: ignore[attr-defined]
    may_write.set()
    assert await behind == ["new", None]
    with pytest.raises(StorageError, match="too big"):
        await refused
    await reader.close()
    await hub.close()
    stored = LocalTaskHub(storage=Sqlite(tmp_path / "a.db"), clock=VirtualClock())
    assert await stored.get_instance("new") is not None
    reader = Reader(stored)
    events = {one.instance_id: one.new_events for one in [await reader.episode(), await reader.episode()]}
    assert [event.name for event in events["other"] if isinstance(event, EventRaised)] == ["e"]
    await reader.close()
    await stored.close()


async def test_a_commit_that_the_store_refuses_is_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that shared its transaction are stored; the instance of a refused episode fails with the reason."""
    from durabletask.testing.hub.storage import sqlite as module

    hub = LocalTaskHub(storage=Sqlite(tmp_path / "a.db"), clock=VirtualClock())
    await hub.create_instance(request("bad"))
    reader = Reader(hub)
    item = await reader.episode()
    await settle(hub)
    write = module._write_changes
    is_writing, may_write = threading.Event(), threading.Event()

    def picky(connection: sqlite3.Connection, number: int, changes: object) -> None:
        is_writing.set()
        assert may_write.wait(10)
        if any(one.instance_id == "bad" and one.runs for one in changes.instances.values()):  # type: ignore[attr-defined]
            raise sqlite3.IntegrityError("string or blob too big")
        write(connection, number, changes)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_write_changes", picky)
    first = asyncio.ensure_future(hub.create_instance(request("w")))
    await asyncio.wait_for(asyncio.to_thread(is_writing.wait), 10)  # so that the next three share a commit
    together = asyncio.gather(
        hub.create_instance(request("x")),
        reader.answer(item, ScheduleTask(1, "A")),
        hub.create_instance(request("y")),
        return_exceptions=True,
    )
    journal = hub._engine.commits  # looking the ids up in the file takes any number of turns of the loop
    for _ in range(10_000):
        if journal._collecting is not None and len(journal._collecting.entries) == 3:  # type: ignore[attr-defined]
            break
        await asyncio.sleep(0.001)
    may_write.set()
    outcomes = await together
    assert await first == "w"
    monkeypatch.setattr(module, "_write_changes", write)
    assert outcomes[0] == "x"
    assert outcomes[2] == "y"
    assert isinstance(outcomes[1], StorageError)
    await reader.close()
    state = await hub.wait_for_instance_completion("bad", timeout=timedelta(seconds=5))
    assert state is not None
    assert state.runtime_status is S.FAILED
    assert state.failure_details is not None
    assert "too big" in state.failure_details.message
    assert {one.instance_id for one in (await hub.query_instances(InstanceQuery())).states} == {
        "bad",
        "w",
        "x",
        "y",
    }
    await hub.close()


async def test_recursion_reaches_the_children_of_earlier_executions(hub: InMemoryBackend) -> None:
    """Terminate and purge find children by their parent, not by the history of its present execution."""
    reader = Reader(hub)
    await hub.create_instance(request("m"))
    for generation in range(2):
        await reader.answer(
            await reader.episode(),
            CreateSubOrchestration(1, "C", f"c{generation}"),
            complete(id=2, status=S.CONTINUED_AS_NEW),
        )
        child = item = await reader.episode()
        if item.instance_id == "m":
            child = await reader.episode()
        await reader.answer(child)
        if item.instance_id == "m":
            await reader.close()
            reader = Reader(hub)
    await hub.terminate_instance("m", recursive=True)
    for _ in range(4):
        if (item := await asyncio.wait_for(reader.episode(), 5)) is not None:
            await reader.answer(item, complete(status=S.TERMINATED))
        states = (await hub.query_instances(InstanceQuery())).states
        if all(one.runtime_status is S.TERMINATED for one in states):
            break
    assert {one.instance_id for one in states} == {"m", "c0", "c1"}
    assert all(one.runtime_status is S.TERMINATED for one in states)
    result = await hub.purge_instances(PurgeInstance(instance_id="m", recursive=True))
    assert result.deleted_instance_count == 3
    await reader.close()


async def test_a_restart_with_a_new_id_needs_no_end(hub: InMemoryBackend) -> None:
    """With the same id the instance must have ended."""
    await hub.create_instance(request("i", input="1"))
    with pytest.raises(InvalidOperationError, match="PENDING"):
        await hub.restart_instance("i")
    new = await hub.restart_instance("i", with_new_instance_id=True)
    state = await hub.get_instance(new)
    assert state is not None
    assert state.serialized_input == "1"


async def test_a_policy_that_replaces_running_instances_must_list_terminated(hub: InMemoryBackend) -> None:
    """Otherwise the instance that is terminated first could not be replaced."""
    await hub.create_instance(request("i"))
    policy = ReusePolicy(frozenset({S.RUNNING, S.COMPLETED}))
    with pytest.raises(InvalidRequestError, match="cannot exclude 'Terminated'"):
        await hub.create_instance(request("i", reuse_policy=policy))


async def test_an_activity_without_a_version_goes_by_that_of_its_orchestration(hub: InMemoryBackend) -> None:
    """A filter with versions admits it, and the item still has none."""
    names = WorkItemFilters((OrchestrationFilter("O"),), (ActivityFilter("A", ("2.0",)),))
    reader = Reader(hub, WorkItemStreamOptions(filters=names))
    await hub.create_instance(request("i", version="2.0"))
    await reader.answer(await reader.episode(), ScheduleTask(1, "A"))
    assert (await asyncio.wait_for(reader.activity(), 5)).version is None
    await reader.close()


async def test_a_wait_without_time_looks_once(hub: InMemoryBackend) -> None:
    """Zero seconds: the state if the instance is there already, else nothing."""
    await hub.create_instance(request("i"))
    assert await hub.wait_for_instance_completion("i", timeout=timedelta(0)) is None
    await hub.force_terminate_instances(["i"])
    assert await hub.wait_for_instance_completion("i", timeout=timedelta(0)) is not None


async def test_a_page_of_large_payloads_ends_early_and_loses_nothing(hub: InMemoryBackend) -> None:
    """The bound comes before the work; the tokens lead through everything."""
    for number in range(8):
        await hub.create_instance(request(f"i{number}", input='"' + "x" * 1_000_000 + '"'))
    await hub.force_terminate_instances([f"i{number}" for number in range(4)])
    found: list[str] = []
    token = None
    while True:
        page = await hub.query_instances(
            InstanceQuery(page_size=500, include_payloads=True, continuation_token=token)
        )
        assert 1 <= len(page.states) <= 3
        found += [one.instance_id for one in page.states]
        token = page.continuation_token
        if token is None:
            break
    assert sorted(found) == [f"i{number}" for number in range(8)]


@pytest.mark.parametrize("time", [2**62, -(2**62), 2**100])
async def test_a_forged_token_is_refused(hub: InMemoryBackend, time: int) -> None:
    """Whatever number it holds."""
    with pytest.raises((InvalidRequestError, OverflowError)) as caught:
        await hub.query_instances(InstanceQuery(continuation_token=write_token(Position(time, "x"))))
    assert time == 2**100 or caught.type is InvalidRequestError


async def test_long_names_of_events_count_in_the_size_of_a_message(hub: InMemoryBackend) -> None:
    """A name beyond the limit is refused; many names together do not make an item that breaks its stream."""
    await hub.create_instance(request("i"))
    with pytest.raises(InvalidRequestError, match="name of an event has 60000 characters"):
        await hub.raise_event("i", "n" * 60_000)
    for _ in range(600):
        await hub.raise_event("i", "n" * 8_000)
    reader = Reader(hub)
    item = await reader.episode()
    assert sum(len(msgspec.json.encode(event)) for event in item.new_events) < 3 * 1024 * 1024
    await reader.close()


async def test_names_in_headers_make_no_hubs_that_stay(tmp_path: Path) -> None:
    """Reads leave no row; hubs that hold nothing are let go; the number and the length are bounded."""
    hubs = HubRegistry(tmp_path / "a.db")
    await hubs.hub("used").create_instance(request("i"))
    for number in range(3):
        await hubs.hub(f"read{number}").get_instance("i")
    with pytest.raises(InvalidRequestError, match="256"):
        hubs.hub("x" * 300)
    await hubs.close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("SELECT name FROM hubs").fetchall() == [("used",)]
    connection.close()

    hubs = HubRegistry(tmp_path / "a.db")
    await hubs.hub("used").delete_task_hub()
    await hubs.close()
    hubs = HubRegistry(tmp_path / "a.db")
    await hubs.hub("other").create_instance(request("i"))
    assert await hubs.hub("used").get_instance("i") is None
    await hubs.close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("SELECT name FROM hubs").fetchall() == [("other",)]
    connection.close()

    memory = HubRegistry()
    for number in range(3 * MAXIMUM_HUBS):
        memory.hub(f"h{number}")
    assert len(memory.hubs) <= MAXIMUM_HUBS
    await memory.close()


async def test_too_many_hubs_in_use_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts hubs with something in them."""
    monkeypatch.setattr("durabletask.testing.hub.registry.MAXIMUM_HUBS", 3)
    hubs = HubRegistry()
    for number in range(3):
        await hubs.hub(f"h{number}").create_instance(request("i"))
    with pytest.raises(ResourceExhaustedError, match="3 task hubs"):
        hubs.hub("another")
    await hubs.close()


async def test_a_store_file_that_is_gone_acknowledges_nothing(tmp_path: Path) -> None:
    """SQLite would go on writing to a file without a name."""
    path = tmp_path / "a.db"
    hub = LocalTaskHub(storage=Sqlite(path))
    await hub.create_instance(request("i"))
    path.unlink()
    with pytest.raises(StorageError, match="deleted or replaced"):
        await hub.create_instance(request("j"))
    await hub.close()


@pytest.mark.skipif(sys.platform == "win32", reason="hard links of open files")
async def test_a_store_file_with_two_names_is_refused(tmp_path: Path) -> None:
    """The lock is bound to one name, so another process could open the other."""
    hub = LocalTaskHub(storage=Sqlite(tmp_path / "a.db"))
    await hub.connect()
    await hub.close()
    (tmp_path / "b.db").hardlink_to(tmp_path / "a.db")
    with pytest.raises(StorageError, match="hard links"):
        await LocalTaskHub(storage=Sqlite(tmp_path / "b.db")).connect()


def test_a_hub_names_its_storage(tmp_path: Path) -> None:
    """The endpoint is that of the storage; a name that is no file is refused."""
    assert LocalTaskHub(storage=InMemory()).endpoint == "memory://"
    assert LocalTaskHub(storage=Sqlite(tmp_path / "a.db")).endpoint == f"sqlite:///{tmp_path / 'a.db'}"
    with pytest.raises(ConfigurationError, match="memory://"):
        Sqlite(":memory:")
