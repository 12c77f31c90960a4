"""A full disk and a file that may not be written: clear errors, nothing acknowledged, nothing lost."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from durabletask.core.actions import ScheduleTask
from durabletask.core.errors import StorageError
from durabletask.core.instances import CreateInstanceRequest, InstanceQuery, OrchestrationStatus
from durabletask.testing import InMemoryBackend, SqliteStore
from scripted_worker import Reader, complete

VICTIM = Path(__file__).parents[1] / "support" / "disk_victim.py"


def _run(mode: str, path: Path) -> tuple[list[str], list[str]]:
    """What a process acknowledged and how it refused the rest."""
    run = subprocess.run(
        [sys.executable, VICTIM, mode, path], capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    lines = [line.partition(" ") for line in run.stdout.splitlines()]
    return (
        [text for word, _, text in lines if word == "created"],
        [text for word, _, text in lines if word == "refused"],
    )


def _run_read_only(path: Path) -> tuple[list[str], list[str]]:
    path.parent.mkdir()
    path.parents[1].chmod(0o755)
    try:
        return _run("read-only", path)
    finally:
        path.parent.chmod(0o755)
        for file in path.parent.iterdir():
            file.chmod(0o644)


async def _stored(path: Path) -> set[str]:
    hub = InMemoryBackend(store=SqliteStore(path))
    page = await hub.query_instances(InstanceQuery(page_size=10_000))
    await hub.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return {state.instance_id for state in page.states}


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits")
async def test_a_full_disk_refuses_clearly_and_loses_nothing(tmp_path: Path) -> None:
    """A process at its limit of file size: refusals name the file; with room again it goes on, as does the next."""
    path = tmp_path / "a.db"
    created, refused = await asyncio.to_thread(_run, "full", path)
    assert created[0] == "first"
    assert created[-1] == "room"
    assert len(created) > 5
    assert len(refused) == 4
    assert all(str(path) in text and "Nothing of this was acknowledged" in text for text in refused)
    assert await _stored(path) == set(created)


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="no modes of folders")
async def test_a_read_only_store_refuses_clearly_and_stays_whole(tmp_path: Path) -> None:
    """Neither file nor folder may be written to: every command is refused, what was there stays."""
    path = tmp_path / "theirs" / "a.db"
    created, refused = await asyncio.to_thread(_run_read_only, path)
    assert created == ["first"]
    assert len(refused) == 2
    assert all(str(path) in text and "may be written to" in text for text in refused)
    assert await _stored(path) == {"first"}


async def test_a_file_that_may_not_grow_commits_all_or_nothing(tmp_path: Path) -> None:
    """SQLite's own limit of pages: the episode that did not fit has no effect, and is run again when there is room."""
    path = tmp_path / "a.db"
    store = SqliteStore(path)
    hub = InMemoryBackend(store=store)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    reader = Reader(hub)
    item = await reader.episode()

    async def set_pages(pages: int) -> None:
        assert store._file is not None
        await asyncio.wrap_future(
            store._file.on_writer(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}"))
        )

    await set_pages(1)  # which means: no more than there are
    with pytest.raises(StorageError, match="full"):
        await reader.answer(item, ScheduleTask(1, "A", None, "x" * 100_000), complete('"lost"'))
    with pytest.raises(StorageError, match="full"):
        await reader.take()
    await reader.close()
    state = await hub.get_instance("i")
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.PENDING
    with pytest.raises(StorageError, match="full"):
        await hub.create_instance(CreateInstanceRequest(name="O", instance_id="j", input="x" * 100_000))
    await set_pages(10_000)
    reader = Reader(hub)
    again = await reader.episode()
    assert again.new_events[1:] == item.new_events[1:]
    await reader.answer(again, ScheduleTask(1, "A", None, "x" * 100_000))
    assert (await reader.activity()).task_id == 1
    await reader.close()
    await hub.close()
    assert await _stored(path) == {"i"}
