"""One orchestration with one activity: start it, wait for it, print the greeting.

durabletask-emulator exec -- python examples/quickstart.py
"""

from __future__ import annotations

import asyncio
import os

from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")


async def say_hello(ctx: ActivityContext, name: str) -> str:
    """An activity does the work: it may read clocks, files and networks, and is tried again if you ask for it."""
    return f"Hello, {name}!"


async def hello(ctx: OrchestrationContext, name: str) -> str:
    """An orchestrator decides what happens next. It is replayed, so it must decide the same every time."""
    return await ctx.call_activity(say_hello, name)


async def main() -> None:
    worker = DurableTaskWorker(CONNECTION_STRING, TASK_HUB, orchestrators=[hello], activities=[say_hello])
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        instance_id = await client.schedule_new_orchestration(hello, "World")
        print(f"Started {instance_id}")
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
    if state is None:
        raise SystemExit(f"{instance_id} did not complete within a minute.")
    print(f"{state.runtime_status}: {state.output}")


if __name__ == "__main__":
    asyncio.run(main())
