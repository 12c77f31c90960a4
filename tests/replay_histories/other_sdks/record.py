"""Records the histories of this folder again: the other SDKs do the work, on a hub of ours on virtual time.

Run it in the development environment: ``python tests/replay_histories/other_sdks/record.py``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "support"))

from durabletask.grpc.server import TaskHubServer  # noqa: E402
from durabletask.testing import InMemoryBackend, VirtualClock  # noqa: E402
from other_sdks import node_modules, peer_python  # noqa: E402


async def record(name: str, *command: str, **environment: str) -> None:
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    server = TaskHubServer(InMemoryBackend("default", clock=VirtualClock()))
    port = await server.start()
    process = await asyncio.create_subprocess_exec(
        *command, f"127.0.0.1:{port}", str(folder), env={**os.environ, **environment}
    )
    try:
        code = await asyncio.wait_for(process.wait(), 120)
    finally:
        await server.stop(0)
    if code:
        raise SystemExit(f"{name}: exit code {code}")


async def main() -> None:
    await record("python-1.12.0", str(peer_python()), str(HERE / "record_python.py"))
    modules = node_modules()
    if modules is not None:
        await record("javascript-0.4.0", "node", str(HERE / "record_javascript.js"), NODE_PATH=str(modules))


asyncio.run(main())
