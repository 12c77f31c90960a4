"""A process that forks while it has a store open: the store stays the parent's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork"),
]

_PROGRAM = """
import asyncio, os, sys
from durabletask.core.errors import StorageError, OwnershipError
from durabletask.core.instances import CreateInstanceRequest
from durabletask.testing import InMemoryBackend, SqliteStore

def request(instance_id):
    return CreateInstanceRequest(name="O", instance_id=instance_id)

async def attempt(hub):
    try:
        await asyncio.wait_for(hub.create_instance(request("child")), 30)
    except (OwnershipError, StorageError) as error:
        print(type(error).__name__, "names the parent:", str(os.getppid()) in str(error), flush=True)
    await asyncio.wait_for(hub.close(), 30)

store = SqliteStore(sys.argv[1])
hub = InMemoryBackend(store=store)
loop = asyncio.new_event_loop()
loop.run_until_complete(hub.create_instance(request("before")))
child = os.fork()
if child == 0:
    asyncio.run(attempt(hub))
    asyncio.run(attempt(InMemoryBackend(store=store)))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
loop.run_until_complete(hub.create_instance(request("after")))
loop.run_until_complete(hub.close())
loop.close()
print("the parent goes on", flush=True)
"""


def test_a_forked_child_is_refused_and_can_close_what_it_inherited(tmp_path: Path) -> None:
    """Its hub has no threads there, and one process owns a file; the parent is not disturbed."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.stdout.splitlines() == [
        "StorageError names the parent: True",
        "OwnershipError names the parent: True",
        "the parent goes on",
    ], done.stderr
    assert done.returncode == 0
