"""A process to be killed: runs instances on a store and prints what was acknowledged, one line each.

``python crash_victim.py STORE ROUND`` creates instances ``ROUND-N`` without end. Each runs two activities, a
short timer and a child. Lines: ``created ID``, ``event ID``, ``signalled ID``, ``completed ID``. The signal goes to one
entity for all, which collects what it gets.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from durabletask.core.actions import (
    CompleteOrchestration,
    CreateSubOrchestration,
    CreateTimer,
    OrchestratorAction,
    ScheduleTask,
)
from durabletask.core.history import (
    EventRaised,
    SubOrchestrationInstanceCompleted,
    TaskCompleted,
    TimerFired,
)
from durabletask.core.instances import CreateInstanceRequest, OrchestrationStatus
from durabletask.core.work_items import (
    ActivityResult,
    EntityBatchResult,
    EntityOperationResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)
from durabletask.testing import InMemoryBackend, SqliteStore

ENTITY = "@seen@all"


def script(item: OrchestratorWorkItem) -> Sequence[OrchestratorAction]:
    """Two activities, a timer and a child; the end when they and the event ``go`` have come."""
    is_child = item.instance_id.endswith("/child")
    events = [*item.past_events, *item.new_events]
    if not item.past_events:
        actions: list[OrchestratorAction] = [ScheduleTask(1, "A", None, "1")]
        if not is_child:
            fire_at = item.new_events[0].timestamp + timedelta(milliseconds=20)
            actions += [
                ScheduleTask(2, "A", None, "2"),
                CreateTimer(3, fire_at),
                CreateSubOrchestration(4, "O", item.instance_id + "/child"),
            ]
        return actions
    counts = [sum(isinstance(event, kind) for event in events) for kind in (TaskCompleted, TimerFired)]
    children = sum(isinstance(event, SubOrchestrationInstanceCompleted) for event in events)
    has_event = any(isinstance(event, EventRaised) for event in events)
    finished = counts == [1, 0] if is_child else (*counts, children, has_event) == (2, 1, 1, True)
    return [CompleteOrchestration(9, OrchestrationStatus.COMPLETED, '"done"')] if finished else []


async def work(hub: InMemoryBackend) -> None:
    """Serve episodes and activities, several at once."""
    tasks: set[asyncio.Task[None]] = set()
    async for item in hub.work_items(WorkItemStreamOptions()):
        task = asyncio.ensure_future(_serve(hub, item))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _serve(hub: InMemoryBackend, item: WorkItem) -> None:
    token = item.completion_token
    if isinstance(item, OrchestratorWorkItem):
        await hub.complete_orchestrator(
            OrchestratorResult(instance_id=item.instance_id, actions=script(item), completion_token=token)
        )
    elif isinstance(item, EntityWorkItem):
        seen = [*json.loads(item.state or "[]"), *(operation.input for operation in item.operations)]
        done = [EntityOperationResult()] * len(item.operations)
        await hub.complete_entity(
            EntityBatchResult(
                instance_id=item.instance_id, results=done, state=json.dumps(seen), completion_token=token
            )
        )
    else:
        await hub.complete_activity(
            ActivityResult(
                instance_id=item.instance_id, task_id=item.task_id, result="1", completion_token=token
            )  # type: ignore[union-attr]
        )


async def one(hub: InMemoryBackend, instance_id: str) -> None:
    """Create, raise, wait; tell every acknowledgement."""
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id=instance_id))
    print(f"created {instance_id}", flush=True)
    await hub.raise_event(instance_id, "go")
    print(f"event {instance_id}", flush=True)
    await hub.signal_entity(ENTITY, "see", input=instance_id, request_id=instance_id)
    print(f"signalled {instance_id}", flush=True)
    await hub.wait_for_instance_completion(instance_id)
    print(f"completed {instance_id}", flush=True)


async def main(path: Path, prefix: str) -> None:
    """Run eight clients side by side until killed."""
    hub = InMemoryBackend(store=SqliteStore(path))
    worker = asyncio.ensure_future(work(hub))

    async def client(number: int) -> None:
        for turn in range(1_000_000):
            await one(hub, f"{prefix}-{number}-{turn}")

    await asyncio.gather(worker, *(client(number) for number in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
