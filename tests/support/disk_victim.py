"""A process whose disk fails for real: it prints what was acknowledged and what was refused.

``python disk_victim.py full STORE``: files may not grow beyond a limit, which is lifted later.
``python disk_victim.py read-only STORE``: neither the file nor its folder may be written to.
Lines: ``created ID``, ``refused TEXT``.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from durabletask.core.errors import StorageError
from durabletask.core.instances import CreateInstanceRequest
from durabletask.testing import InMemoryBackend, SqliteStore

_NOBODY = 65534


async def create(hub: InMemoryBackend, instance_id: str) -> bool:
    """Create an instance; tell how it went."""
    request = CreateInstanceRequest(name="O", instance_id=instance_id, input="x" * 20_000)
    try:
        await hub.create_instance(request)
    except StorageError as error:
        print(f"refused {error}", flush=True)
        return False
    print(f"created {instance_id}", flush=True)
    return True


async def full(path: Path) -> None:
    """Create until the disk is full, look at what there is, and go on when there is room."""
    hub = InMemoryBackend(store=SqliteStore(path))
    await create(hub, "first")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
    number = 0
    while await create(hub, f"i{number}"):
        number += 1
    for again in range(3):  # still full; what is there can be read
        await create(hub, f"again-{again}")
        assert await hub.get_instance(f"i{number - 1}") is not None
        assert await hub.get_instance(f"i{number}") is None
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert await create(hub, "room")
    await hub.close()


async def read_only(path: Path) -> None:
    """Open a store of another user."""
    hub = InMemoryBackend(store=SqliteStore(path))
    await create(hub, "first")
    await hub.close()
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)
    if os.geteuid() == 0:  # root may write whatever the mode says
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    hub = InMemoryBackend(store=SqliteStore(path))
    for number in range(2):
        await create(hub, f"i{number}")
    await hub.close()


if __name__ == "__main__":
    asyncio.run({"full": full, "read-only": read_only}[sys.argv[1]](Path(sys.argv[2])))
