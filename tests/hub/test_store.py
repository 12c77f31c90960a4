"""What a store keeps, whom it refuses, and what happens when it fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from durabletask.core.actions import CreateTimer, OrchestratorAction, ScheduleTask
from durabletask.core.errors import (
    InvalidRequestError,
    OwnershipError,
    StorageError,
    TransportUnavailableError,
)
from durabletask.core.history import (
    EventRaised,
    ExecutionResumed,
    SubOrchestrationInstanceCompleted,
    TaskCompleted,
    TimerFired,
)
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceQuery,
    OrchestrationStatus,
    PurgeInstance,
    ReusePolicy,
)
from durabletask.core.work_items import ActivityWorkItem, OrchestratorWorkItem
from durabletask.testing import HubRegistry, InMemoryBackend, LocalTaskHub, Sqlite, SqliteStore, VirtualClock
from durabletask.testing.hub.storage.ownership import OwnerLock
from scripted_worker import Reader, ScriptedWorker, complete, of_kind, settle

S = OrchestrationStatus


def request(instance_id: str, **more: object) -> CreateInstanceRequest:
    return CreateInstanceRequest(name="O", instance_id=instance_id, **more)  # type: ignore[arg-type]


def chain(item: OrchestratorWorkItem) -> list[OrchestratorAction]:
    done = len(of_kind(item, TaskCompleted))
    return [ScheduleTask(done + 1, "A", None, str(done))] if done < 3 else [complete('"end"')]


async def test_a_reopened_hub_goes_on_where_it_was(tmp_path: Path) -> None:
    """Open activities, timers, suspensions, scheduled starts, unread events: all are there again."""
    clock = VirtualClock(auto_advance=False)
    first = InMemoryBackend(clock=clock, store=SqliteStore(tmp_path / "a.db"))
    reader = Reader(first)
    due = clock.now() + timedelta(hours=1)
    await first.create_instance(request("i", input="1", tags={"a": "b"}))
    await reader.answer(
        await reader.episode(), ScheduleTask(1, "A", "2", '"x"'), CreateTimer(2, due), custom_status='"s"'
    )
    await first.create_instance(request("held", scheduled_start_at=due))
    await first.create_instance(request("paused"))
    await first.suspend_instance("paused")
    while (item := await reader.take()).instance_id != "paused":
        pass
    await reader.answer(item)
    await first.raise_event("i", "unread", "7")
    before = await first.get_instance("i")
    await reader.close()
    await first.close()

    second = InMemoryBackend(clock=clock, store=SqliteStore(tmp_path / "a.db"))
    after = await second.get_instance("i")
    assert after == before
    reader = Reader(second)
    items = [await reader.take(), await reader.take()]
    episode = next(one for one in items if isinstance(one, OrchestratorWorkItem))
    activity = next(one for one in items if not isinstance(one, OrchestratorWorkItem))
    assert isinstance(episode.new_events[1], EventRaised)
    assert (activity.name, activity.version, activity.input, activity.task_id) == ("A", "2", '"x"', 1)  # type: ignore[union-attr]
    await reader.answer(episode, custom_status='"s"')
    await reader.answer(activity)
    await reader.answer(await reader.episode())
    await second.suspend_instance("paused")
    assert await reader.idle()
    await second.resume_instance("paused")
    resumed = await reader.episode()
    assert [type(event) for event in resumed.new_events[1:]] == [ExecutionResumed]
    await reader.answer(resumed)
    await clock.advance(timedelta(hours=1))
    items = [await reader.episode(), await reader.episode()]
    assert {item.instance_id for item in items} == {"i", "held"}
    timer = next(item for item in items if item.instance_id == "i")
    assert isinstance(timer.new_events[1], TimerFired)
    await reader.close()
    await second.close()


async def test_finished_instances_live_in_the_file(tmp_path: Path) -> None:
    """They answer every question from disk, can be replaced, restarted, purged, and survive a reopening."""
    path = tmp_path / "a.db"
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
    async with ScriptedWorker(hub, {"O": chain}).serving():
        for one in ("a", "b", "c", "d"):
            await hub.create_instance(request(one))
            await hub.wait_for_instance_completion(one)
    await hub.close()
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
    state = await hub.wait_for_instance_completion("a")
    assert state is not None
    assert state.output == "end"
    events = [event async for chunk in hub.stream_history("a") for event in chunk]
    assert sum(isinstance(event, TaskCompleted) for event in events) == 3
    await hub.create_instance(request("b", reuse_policy=ReusePolicy.replace_terminal()))
    assert await hub.restart_instance("c") == "c"
    assert (await hub.purge_instances(PurgeInstance(instance_id="d"))).deleted_instance_count == 1
    page = await hub.query_instances(InstanceQuery())
    assert {one.instance_id: one.runtime_status for one in page.states} == {
        "a": S.COMPLETED,
        "b": S.PENDING,
        "c": S.PENDING,
    }
    await hub.close()


async def test_fire_and_forget_activities_survive(tmp_path: Path) -> None:
    """An activity of a finished or continued execution is delivered after a reopening, until it is answered."""
    path = tmp_path / "a.db"
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
    reader = Reader(hub)
    await hub.create_instance(request("i"))
    await reader.answer(await reader.episode(), ScheduleTask(1, "A"), complete(id=2))
    await reader.close()
    await hub.close()
    for is_answered in (False, True):
        hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
        reader = Reader(hub)
        item = await reader.activity()
        if is_answered:
            await reader.answer(item)
        await reader.close()
        await hub.close()
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
    reader = Reader(hub)
    await settle(hub)
    assert await reader.idle()
    await reader.close()
    await hub.close()


async def test_one_process_owns_the_file(tmp_path: Path) -> None:
    """A second owner is refused until the first has closed."""
    first = InMemoryBackend(store=SqliteStore(tmp_path / "a.db"))
    await first.connect()
    second = InMemoryBackend(store=SqliteStore(tmp_path / "a.db"))
    with pytest.raises(OwnershipError, match=r"a\.db"):
        await second.connect()
    await first.close()
    await second.connect()
    await second.close()


async def test_a_link_to_the_file_is_the_file(tmp_path: Path) -> None:
    """Ownership is of the file and not of one of its names."""
    first = InMemoryBackend(store=SqliteStore(tmp_path / "a.db"))
    await first.connect()
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    second = InMemoryBackend(store=SqliteStore(tmp_path / "link.db"))
    with pytest.raises(OwnershipError, match=r"a\.db"):
        await second.connect()
    await first.close()


async def test_a_query_tells_only_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that shows a change which is being written waits for it, as every other answer does."""
    from durabletask.testing.hub.storage import sqlite as module

    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    reader = Reader(hub)
    await hub.create_instance(request("i"))
    item = await reader.episode()
    may_write, is_on_disk = threading.Event(), threading.Event()
    write = module._write_changes

    def slow(*arguments: object) -> None:
        assert may_write.wait(10)
        write(*arguments)  # type: ignore[arg-type]
        is_on_disk.set()

    async def page() -> tuple[OrchestrationStatus, bool]:
        (state,) = (await hub.query_instances(InstanceQuery())).states
        return state.runtime_status, is_on_disk.is_set()

    select = hub._residency.select

    async def select_late(*arguments: object) -> object:
        nonlocal answer
        found = await select(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(module, "_write_changes", slow)
        answer = asyncio.ensure_future(reader.answer(item, complete('"end"')))
        is_selected.set()
        for _ in range(10):
            await asyncio.sleep(0)
        return found

    answer: asyncio.Future[None] | None = None
    is_selected = asyncio.Event()
    monkeypatch.setattr(hub._residency, "select", select_late)
    shown = asyncio.ensure_future(page())
    await is_selected.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not shown.done()
    may_write.set()
    assert await shown == (S.PENDING, True)  # the state that was selected
    assert answer is not None
    await answer
    await reader.close()
    await hub.close()


async def test_an_emptied_hub_has_no_work_left(tmp_path: Path) -> None:
    """Deleting a hub takes back activities too: those of instances, those without one, those with a worker."""
    path = tmp_path / "a.db"
    for store in (SqliteStore(path), None):
        hub = InMemoryBackend(clock=VirtualClock(), store=store)
        reader = Reader(hub)
        await hub.create_instance(request("ended"))
        await reader.answer(await reader.episode(), ScheduleTask(1, "Late"), complete(id=2))
        await hub.create_instance(request("open"))
        while (item := await reader.take()).instance_id != "open":
            pass
        await reader.answer(item, *(ScheduleTask(n, "A") for n in range(1, 4)))
        held = await reader.activity()
        await hub.create_instance(request("queued"))
        await hub.delete_task_hub()
        assert await reader.idle()
        await reader.answer(held)  # too late, and harmless
        await reader.close()
        fresh = Reader(hub)
        assert await fresh.idle()
        await hub.create_instance(request("new"))
        assert (await fresh.episode()).instance_id == "new"
        await fresh.close()
        await hub.close()
    again = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
    reader = Reader(again)
    await settle(again)
    assert (await reader.episode()).instance_id == "new"
    assert await reader.idle()
    await reader.close()
    await again.close()


async def test_many_hubs_share_a_file_and_see_only_themselves(tmp_path: Path) -> None:
    """The same id in two hubs is two instances; emptying one leaves the other."""
    registry = HubRegistry(tmp_path / "a.db", clock=VirtualClock())
    for name in ("x", "y"):
        await registry.hub(name).create_instance(request("same", input=f'"{name}"'))
    assert registry.hub("x") is registry.hubs["x"]
    await registry.close()
    registry = HubRegistry(tmp_path / "a.db", clock=VirtualClock())
    await registry.hub("x").delete_task_hub()
    assert await registry.hub("x").get_instance("same") is None
    state = await registry.hub("y").get_instance("same")
    assert state is not None
    assert state.input == "y"
    await registry.close()


async def test_files_that_are_no_store_are_refused(tmp_path: Path) -> None:
    """Another database, a newer layout, no database at all, no such folder: each is named."""
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    newer = tmp_path / "newer.db"
    hub = InMemoryBackend(store=SqliteStore(newer))
    await hub.connect()
    await hub.close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at " * 30)
    for name, words in (
        ("foreign.db", "not a store"),
        ("newer.db", "newer version"),
        ("text.db", "not a database"),
        ("missing/a.db", "folder"),
    ):
        hub = InMemoryBackend(store=SqliteStore(tmp_path / name))
        with pytest.raises(StorageError, match=words):
            await hub.create_instance(request("i"))
        await hub.close()


def old_file(path: Path) -> None:
    """Make a store of the first layout."""
    with sqlite3.connect(path) as connection:
        connection.executescript((Path(__file__).parent / "data" / "layout_1.sql").read_text("utf-8"))
    connection.close()


async def test_a_migration_that_is_cut_short_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout changes together with the rows, or not at all."""
    from durabletask.testing.hub.storage import sqlite as module

    def fail(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    path = tmp_path / "old.db"
    old_file(path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_fill_parents", fail)
        hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
        with pytest.raises(StorageError, match="disk I/O error"):
            await hub.get_instance("parent")
        await hub.close()

    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
    purged = await hub.purge_instances(PurgeInstance(instance_id="parent", recursive=True))
    assert purged.deleted_instance_count == 2
    await hub.close()


async def test_a_file_of_the_first_layout_is_migrated(tmp_path: Path) -> None:
    """Finished families keep their histories and their parents; live instances go on where they were."""
    path = tmp_path / "old.db"
    old_file(path)
    clock = VirtualClock(auto_advance=False)
    hub = InMemoryBackend(clock=clock, store=SqliteStore(path))

    states = (await hub.query_instances(InstanceQuery(include_payloads=True))).states
    assert {state.instance_id: (state.runtime_status, state.serialized_output) for state in states} == {
        "parent": (S.COMPLETED, '"done"'),
        "child": (S.COMPLETED, '"small"'),
        "live": (S.RUNNING, None),
        "pending": (S.PENDING, None),
    }
    history = [event async for part in hub.stream_history("parent") for event in part]
    assert [event.result for event in history if isinstance(event, SubOrchestrationInstanceCompleted)] == [
        '"small"'
    ]

    reader = Reader(hub)
    items = [await reader.take() for _ in range(3)]
    episodes = {item.instance_id: item for item in items if isinstance(item, OrchestratorWorkItem)}
    (activity,) = [item for item in items if isinstance(item, ActivityWorkItem)]
    assert (activity.name, activity.input, activity.task_id) == ("A", '"x"', 1)
    assert [event.input for event in of_kind(episodes["live"], EventRaised)] == ['"e"']  # type: ignore[attr-defined]
    await reader.answer(episodes["live"])
    await reader.answer(episodes["pending"], complete('"later"'))
    ended = await reader.episode()
    assert [event.result for event in of_kind(ended, SubOrchestrationInstanceCompleted)] == ['"later"']  # type: ignore[attr-defined]
    await reader.answer(ended)
    await clock.advance(timedelta(hours=1))
    await reader.answer(fired := await reader.episode())
    assert of_kind(fired, TimerFired)

    assert (
        await hub.purge_instances(PurgeInstance(instance_id="parent", recursive=True))
    ).deleted_instance_count == 2
    assert await hub.get_instance("child") is None
    await reader.close()
    await hub.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("SELECT id, parent FROM instances ORDER BY id").fetchall() == [
            ("live", None),
            ("pending", "live"),
        ]
    connection.close()


async def test_a_failed_commit_acknowledges_nothing_and_the_hub_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls, waits and streams end in errors; afterwards the state is that of the disk."""
    from durabletask.testing.hub.storage import sqlite as module

    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    await hub.create_instance(request("kept"))
    reader = Reader(hub)
    item = await reader.episode()
    waiting = asyncio.ensure_future(hub.wait_for_instance_completion("kept"))
    await settle(hub)
    write = module._write_changes

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(module, "_write_changes", full)
    with pytest.raises(StorageError, match="disk is full"):
        await hub.create_instance(request("lost"))
    with pytest.raises(StorageError):
        await waiting
    with pytest.raises(StorageError):
        await reader.take()
    await reader.close()
    monkeypatch.setattr(module, "_write_changes", write)
    assert await hub.get_instance("lost") is None
    reader = Reader(hub)
    again = await reader.episode()
    assert again.instance_id == "kept"
    await reader.answer(item, complete('"stale"'))
    await reader.answer(again, complete('"fine"'))
    state = await hub.wait_for_instance_completion("kept")
    assert state is not None
    assert state.output == "fine"
    await reader.close()
    await hub.close()


async def test_concurrent_commands_share_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred creates at once take a handful of transactions."""
    from durabletask.testing.hub.storage import sqlite as module

    commits = 0
    write = module._write_changes

    def counting(*arguments: object) -> None:
        nonlocal commits
        commits += 1
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_write_changes", counting)
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    await asyncio.gather(*(hub.create_instance(request(f"i{n}")) for n in range(100)))
    assert commits <= 5
    await hub.close()


async def test_a_chain_needs_one_commit_for_each_activity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of an activity and the episode it causes are written together."""
    from durabletask.testing.hub.storage import sqlite as module

    commits = 0
    write = module._write_changes

    def counting(*arguments: object) -> None:
        nonlocal commits
        commits += 1
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_write_changes", counting)
    monkeypatch.setattr("durabletask.testing.hub.journal.COMMIT_DELAY", 5.0)
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    async with ScriptedWorker(hub, {"O": chain}, concurrent=True).serving():
        await hub.create_instance(request("i"))
        await hub.wait_for_instance_completion("i")
    assert commits == 4  # creation with the first episode, then one for each of the three activities
    await hub.close()


async def test_many_finished_instances_do_not_delay_the_start(tmp_path: Path) -> None:
    """A hundred thousand finished instances are not read when a hub opens, and a query finds its page."""
    path = tmp_path / "a.db"
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
    reader = Reader(hub)
    await hub.create_instance(request("template"))
    await reader.answer(await reader.episode(), complete())
    await hub.create_instance(request("live"))
    await reader.close()
    await hub.close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO instances (key, id, status, created, completed, body, hub) "
            "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 100009) "
            "SELECT i, 'done-' || i, status, created, completed, body, hub FROM n, instances WHERE id = 'template'"
        )
    connection.close()
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(path))
    begin = time.process_time()  # which a busy machine does not prolong
    await hub.connect()
    assert time.process_time() - begin < 2
    page = await hub.query_instances(InstanceQuery(page_size=3))
    assert [state.instance_id for state in page.states] == ["done-10", "done-100", "done-1000"]
    await hub.close()


def test_a_hub_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    """Separate asyncio.run calls continue with the same state, in memory and on disk."""
    for hub in (InMemoryBackend(), InMemoryBackend(store=SqliteStore(tmp_path / "a.db"))):

        async def start(hub: InMemoryBackend = hub) -> None:
            await hub.create_instance(request("i"))
            reader = Reader(hub)
            await reader.episode()  # and never answer it

        async def finish(hub: InMemoryBackend = hub) -> None:
            async with ScriptedWorker(hub, {"O": chain}).serving():
                state = await asyncio.wait_for(hub.wait_for_instance_completion("i"), 30)
            assert state is not None
            assert state.output == "end"
            await hub.close()

        asyncio.run(start())
        asyncio.run(finish())


async def test_closing_a_durable_hub_ends_its_calls(tmp_path: Path) -> None:
    """Waits end with TransportUnavailableError."""
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    waiting = asyncio.ensure_future(hub.wait_for_instance_completion("i"))
    await settle(hub)
    await hub.close()
    with pytest.raises(TransportUnavailableError):
        await waiting


async def test_a_hub_that_is_closed_while_its_file_opens_lets_go_of_it(tmp_path: Path) -> None:
    """Another hub may own the file then, of this process or of another one."""
    path = tmp_path / "hub.db"
    hub = LocalTaskHub(storage=Sqlite(path))
    opening = asyncio.create_task(hub.connect())
    await asyncio.sleep(0)  # it has begun
    await hub.close()
    await opening
    await hub.close()

    OwnerLock(path).release()  # free


def test_a_loop_that_ends_while_the_file_opens_lets_go_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``asyncio.run`` cancels what is left."""
    path, may_open = tmp_path / "hub.db", threading.Event()

    def wait_for_the_lock(path: Path) -> OwnerLock:
        assert may_open.wait(30)
        return OwnerLock(path)

    monkeypatch.setattr("durabletask.testing.hub.storage.sqlite.OwnerLock", wait_for_the_lock)
    store = Sqlite(path)
    opening = store.open_hub("hub")
    assert opening.cancel()
    may_open.set()
    store.open_hub("hub").result().close().result()

    OwnerLock(path).release()  # free


def test_a_wrong_synchronous_mode_is_refused(tmp_path: Path) -> None:
    """Only FULL and NORMAL keep promises."""
    with pytest.raises(ValueError, match="OFF"):
        SqliteStore(tmp_path / "a.db", "OFF")  # type: ignore[arg-type]


async def test_a_failed_read_is_an_error_of_the_call_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lookup that fails raises StorageError; the next one works, and nothing was lost."""
    from durabletask.testing.hub.storage import sqlite as module

    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    await hub.create_instance(request("i"))
    find = module._find

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(module, "_find", broken)
    with pytest.raises(StorageError, match="I/O"):
        await hub.get_instance("missing")
    with pytest.raises(StorageError, match="I/O"):
        await hub.create_instance(request("new"))
    assert await hub.get_instance("i") is not None
    monkeypatch.setattr(module, "_find", find)
    assert await hub.get_instance("missing") is None
    await hub.create_instance(request("new"))
    await hub.close()


async def test_text_that_cannot_be_written_is_refused_and_the_hub_goes_on(tmp_path: Path) -> None:
    """A lone surrogate has no bytes; the command fails, others are not disturbed afterwards."""
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    await hub.create_instance(request("i"))
    with pytest.raises(InvalidRequestError, match="input is not valid Unicode"):
        await hub.create_instance(request("bad", input='"\ud800"'))
    with pytest.raises(InvalidRequestError, match="data of an event is not valid Unicode"):
        await hub.raise_event("i", "e", "\ud800")
    assert await hub.get_instance("bad") is None
    reader = Reader(hub)
    item = await reader.episode()
    assert len(item.new_events) == 2
    await reader.close()
    await hub.close()


async def test_a_read_only_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit on a connection that may not write raises StorageError and acknowledges nothing."""
    from durabletask.testing.hub.storage import sqlite as module

    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    await hub.create_instance(request("kept"))
    write = module._write_changes

    def on_read_only(connection: sqlite3.Connection, number: int, changes: object) -> None:
        connection.execute("PRAGMA query_only = 1")
        try:
            write(connection, number, changes)  # type: ignore[arg-type]
        finally:
            connection.execute("PRAGMA query_only = 0")

    monkeypatch.setattr(module, "_write_changes", on_read_only)
    with pytest.raises(StorageError, match=r"a\.db.*readonly"):
        await hub.create_instance(request("lost"))
    monkeypatch.setattr(module, "_write_changes", write)
    assert await hub.get_instance("lost") is None
    assert await hub.get_instance("kept") is not None
    await hub.close()


async def test_many_calls_at_once_about_finished_instances(tmp_path: Path) -> None:
    """Readers, a rewind that needs the history, and a replacement of the same finished instance agree."""
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "a.db"))
    reader = Reader(hub)
    await hub.create_instance(request("i"))
    await reader.answer(await reader.episode(), complete(status=S.FAILED))
    await settle(hub)
    states = await asyncio.gather(
        hub.get_instance("i"),
        hub.rewind_instance("i"),
        hub.get_instance("i"),
        hub.wait_for_instance_completion("i", timeout=timedelta(0)),
        *(hub.get_instance("i") for _ in range(20)),
    )
    assert states[0] is not None
    item = await reader.episode()
    assert len(item.past_events) == 3
    await reader.close()
    await hub.close()
