"""A worker written by hand: a script decides, from a work item, which raw result goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from durabletask.core.actions import CompleteOrchestration, OrchestratorAction
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

Script = Callable[[OrchestratorWorkItem], Sequence[OrchestratorAction]]


def everything(item: OrchestratorWorkItem) -> list[HistoryEvent]:
    """Past and new events together."""
    return [*item.past_events, *item.new_events]


def of_kind(item: OrchestratorWorkItem, kind: type) -> list[HistoryEvent]:
    """Past and new events of a kind."""
    return [event for event in everything(item) if isinstance(event, kind)]


def complete(
    result: str | None = None,
    *,
    id: int = 99,  # noqa: A002 - the protocol's word
    status: OrchestrationStatus = OrchestrationStatus.COMPLETED,
    **more: object,
) -> CompleteOrchestration:
    """A completion action."""
    return CompleteOrchestration(id, status, result, **more)  # type: ignore[arg-type]


async def settle(hub: Transport) -> None:
    """Let every call that was started get as far as it can."""
    for _ in range(3):
        await hub.get_instance("no-such-instance")  # a store answers in order
        for _ in range(10):
            await asyncio.sleep(0)


class ScriptedWorker:
    """Runs scripts by orchestration name; every activity echoes its input unless ``activities`` says more."""

    def __init__(
        self,
        transport: Transport,
        scripts: dict[str, Script] | None = None,
        *,
        activities: Callable[[ActivityWorkItem], ActivityResult] | None = None,
        options: WorkItemStreamOptions | None = None,
        concurrent: bool = False,
    ) -> None:
        self.transport = transport
        self.concurrent = concurrent
        self.scripts = scripts or {}
        self.activities = activities or (
            lambda item: ActivityResult(instance_id=item.instance_id, task_id=item.task_id, result=item.input)
        )
        self.options = options or WorkItemStreamOptions()
        self.items: list[WorkItem] = []
        self._names: dict[str, str] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        stream = self.transport.work_items(self.options)
        tasks: set[asyncio.Task[None]] = set()
        try:
            async for item in stream:
                self.items.append(item)
                if not self.concurrent:
                    await self.serve(item)
                    continue
                task = asyncio.create_task(self.serve(item))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            await stream.aclose()

    async def serve(self, item: WorkItem) -> None:
        """Answer one item."""
        import msgspec

        if isinstance(item, ActivityWorkItem):
            result = msgspec.structs.replace(self.activities(item), completion_token=item.completion_token)
            await self.transport.complete_activity(result)
        elif isinstance(item, OrchestratorWorkItem):
            name = next(
                event.name for event in everything(item) if type(event).__name__ == "ExecutionStarted"
            )
            actions = self.scripts[name](item)
            await self.transport.complete_orchestrator(
                OrchestratorResult(
                    instance_id=item.instance_id, actions=actions, completion_token=item.completion_token
                )
            )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedWorker]:
        """Serve while the context is open; a crash of the script is raised at its end."""
        task = asyncio.create_task(self.run())
        try:
            yield self
        finally:
            if not task.done():
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]


class Reader:
    """A worker that only reads, one item at a time; answers are written by the test."""

    def __init__(self, transport: Transport, options: WorkItemStreamOptions | None = None) -> None:
        self.transport = transport
        self._stream = transport.work_items(options or WorkItemStreamOptions())
        self._next: asyncio.Task[WorkItem] | None = None

    async def take(self) -> WorkItem:
        """The next item; waits for it."""
        task, self._next = self._next or asyncio.ensure_future(self._stream.__anext__()), None
        return await asyncio.wait_for(task, 30)

    async def episode(self) -> OrchestratorWorkItem:
        """The next item, which must be an episode."""
        item = await self.take()
        assert isinstance(item, OrchestratorWorkItem), item
        return item

    async def activity(self) -> ActivityWorkItem:
        """The next item, which must be an activity."""
        item = await self.take()
        assert isinstance(item, ActivityWorkItem), item
        return item

    async def idle(self) -> bool:
        """Whether nothing comes although the loop has settled."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._stream.__anext__())
        for _ in range(20):
            await asyncio.sleep(0)
        return not self._next.done()

    async def answer(self, item: WorkItem, *actions: OrchestratorAction, **more: object) -> None:
        """Complete an episode with actions, or an activity with its input echoed."""
        if isinstance(item, OrchestratorWorkItem):
            result = OrchestratorResult(
                instance_id=item.instance_id,
                actions=actions,
                completion_token=item.completion_token,
                **more,  # type: ignore[arg-type]
            )
            await self.transport.complete_orchestrator(result)
        elif isinstance(item, ActivityWorkItem):
            fields = {"result": item.input, **more}
            await self.transport.complete_activity(
                ActivityResult(
                    instance_id=item.instance_id,
                    task_id=item.task_id,
                    completion_token=item.completion_token,
                    **fields,  # type: ignore[arg-type]
                )
            )

    async def close(self) -> None:
        """Hang up."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
            self._next = None
        await self._stream.aclose()
