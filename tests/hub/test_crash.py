"""``kill -9`` at any moment loses nothing that was answered."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

import crash_victim
import pytest
from durabletask.core.errors import OwnershipError
from durabletask.core.history import SubOrchestrationInstanceCompleted, TaskCompleted, TimerFired
from durabletask.core.instances import OrchestrationStatus
from durabletask.testing import InMemoryBackend, SqliteStore

ROUNDS = int(os.environ.get("DURABLETASK_CRASH_ROUNDS", "3"))


async def killed_run(path: Path, prefix: str, lines: int) -> list[str]:
    """Start the victim, kill it after some acknowledgements, and return what it had acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, crash_victim.__file__, str(path), prefix, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    heard: list[str] = []
    for number in range(lines):
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, "the victim ended by itself"
        heard.append(line.decode().strip())
        if number == 0:
            with pytest.raises(OwnershipError, match=str(process.pid)):
                await InMemoryBackend(store=SqliteStore(path)).connect()
    process.send_signal(signal.SIGKILL)
    heard += [line for line in (await process.stdout.read()).decode().split("\n")[:-1] if line]
    await process.wait()
    return heard


async def check(path: Path, heard: list[str]) -> None:
    """Everything acknowledged is there, and everything there finishes, each part exactly once."""
    hub = InMemoryBackend(store=SqliteStore(path))
    completed = {line.split()[1] for line in heard if line.startswith("completed")}
    for instance_id in completed:
        state = await hub.get_instance(instance_id)
        assert state is not None
        assert state.runtime_status is OrchestrationStatus.COMPLETED
    created = {line.split()[1] for line in heard if line.startswith("created")}
    with_event = {line.split()[1] for line in heard if line.startswith("event")}
    for instance_id in created:
        assert await hub.get_instance(instance_id) is not None, instance_id
    for instance_id in created - with_event:
        await hub.raise_event(instance_id, "go")
    worker = asyncio.ensure_future(crash_victim.work(hub))
    for instance_id in created:
        state = await asyncio.wait_for(hub.wait_for_instance_completion(instance_id), 60)
        assert state is not None
        assert state.output == "done"
        events = [event async for chunk in hub.stream_history(instance_id) for event in chunk]
        for kind, times in ((TaskCompleted, 2), (TimerFired, 1), (SubOrchestrationInstanceCompleted, 1)):
            assert sum(isinstance(event, kind) for event in events) == times
    signalled = [line.split()[1] for line in heard if line.startswith("signalled")]
    for instance_id in created:  # sent again, as a client without an answer does
        await hub.signal_entity(crash_victim.ENTITY, "see", input=instance_id, request_id=instance_id)
    for _ in range(1000):
        entity = await hub.get_entity(crash_victim.ENTITY)
        if entity is None or not entity.backlog_queue_size:
            break
        await asyncio.sleep(0.01)
    seen = json.loads(entity.serialized_state or "[]") if entity is not None else []
    assert len(seen) == len(set(seen))
    assert {*created, *signalled} <= set(seen)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await hub.close()


@pytest.mark.process
@pytest.mark.parametrize("number", range(ROUNDS))
async def test_a_killed_process_loses_nothing_it_has_answered(tmp_path: Path, number: int) -> None:
    """Killed twice on the same file, at points that differ; the second run also finds the first's remains."""
    dice = random.Random(number)
    path = tmp_path / "crash.db"
    heard = await killed_run(path, "first", dice.randrange(1, 120))
    heard += await killed_run(path, "second", dice.randrange(1, 120))
    await check(path, heard)
