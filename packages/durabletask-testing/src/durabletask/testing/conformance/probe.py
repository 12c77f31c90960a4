"""What the spec tests hold in their hands: a transport, a scripted worker, and time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

import msgspec
from durabletask.core.actions import CompleteOrchestration, OrchestratorAction
from durabletask.core.failures import FailureDetails
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import CreateInstanceRequest, OrchestrationState, OrchestrationStatus
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityAction,
    EntityBatchResult,
    EntityOperationResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemFilters,
    WorkItemStreamOptions,
)
from typing_extensions import Self

from .hub import ConformanceHub

__all__ = ["Probe", "ScriptedWorker", "complete", "of_type"]

EventT = TypeVar("EventT")
ItemT = TypeVar("ItemT", OrchestratorWorkItem, ActivityWorkItem, EntityWorkItem)

_LAST_ID = 10_000


def of_type(events: Sequence[HistoryEvent], kind: type[EventT]) -> list[EventT]:
    """The events of one kind, in order."""
    return [event for event in events if isinstance(event, kind)]


def complete(
    result: str | None = None,
    *,
    status: OrchestrationStatus = OrchestrationStatus.COMPLETED,
    failure: FailureDetails | None = None,
    carry_over: Sequence[HistoryEvent] = (),
    version: str | None = None,
) -> CompleteOrchestration:
    """The action that ends an execution."""
    return CompleteOrchestration(
        id=_LAST_ID,
        status=status,
        result=result,
        failure=failure,
        carryover_events=carry_over,
        new_version=version,
    )


class ScriptedWorker:
    """One work item stream that a test reads by hand. Use with ``async with``."""

    def __init__(self, hub: ConformanceHub, transport: Transport, options: WorkItemStreamOptions) -> None:
        self._hub = hub
        self._transport = transport
        self._options = options
        self._waiting: list[WorkItem] = []
        self._arrived = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self.error: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.ensure_future(self._read())
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the stream. What was delivered and not completed goes back to the hub."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader], timeout=self._hub.patience)
            assert reader.done(), "The work item stream did not end after it was closed."

    async def ended(self) -> None:
        """Wait until the hub ends the stream."""
        assert self._reader is not None
        await asyncio.wait([self._reader], timeout=self._hub.patience)
        assert self._reader.done(), "The work item stream is still open."

    async def _read(self) -> None:
        stream = self._transport.work_items(self._options)
        try:
            async for item in stream:
                self._waiting.append(item)
                self._arrived.set()
        except Exception as error:  # noqa: BLE001 - shown by the test that misses an item
            self.error = error
            self._arrived.set()
        finally:
            await stream.aclose()

    async def _next(self, kind: type[ItemT], instance_id: str | None, name: str | None = None) -> ItemT:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._hub.patience
        while True:
            for index, item in enumerate(self._waiting):
                if not isinstance(item, kind) or instance_id not in {None, item.instance_id}:
                    continue
                if name is not None and getattr(item, "name", None) != name:
                    continue
                del self._waiting[index]
                return item
            remaining = deadline - loop.time()
            assert remaining > 0, (
                f"No {kind.__name__} for {instance_id or name or 'any instance'} was delivered within "
                f"{self._hub.patience} s; waiting instead: {self._waiting!r}."
            )
            await self._arrival(remaining)

    async def _arrival(self, timeout: float) -> None:
        """Wait until something else has been delivered, or for so many seconds."""
        self._arrived.clear()
        assert self.error is None, f"The work item stream failed: {self.error!r}."
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), timeout)

    async def episode(self, instance_id: str | None = None) -> OrchestratorWorkItem:
        """The next episode (of an instance)."""
        return await self._next(OrchestratorWorkItem, instance_id)

    async def activity(self, name: str | None = None) -> ActivityWorkItem:
        """The next activity (of a name)."""
        return await self._next(ActivityWorkItem, None, name)

    async def entity(self, instance_id: str | None = None) -> EntityWorkItem:
        """The next batch of operations (of an entity)."""
        return await self._next(EntityWorkItem, instance_id)

    async def nothing(self) -> None:
        """Assert that no further item arrives."""
        await self._hub.settle()
        assert not self._waiting, f"Nothing should be delivered now, but this was: {self._waiting!r}"

    async def items(self, at_least: int = 0) -> list[WorkItem]:
        """Everything that was delivered and not taken yet, once no more comes.

        Args:
            at_least: how many have to come; fewer are waited for, and returned only after ``patience``.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._hub.patience
        while len(self._waiting) < at_least and loop.time() < deadline:
            await self._arrival(deadline - loop.time())
        await self._hub.settle()
        waiting, self._waiting = self._waiting, []
        return waiting

    async def commit(
        self, item: OrchestratorWorkItem, *actions: OrchestratorAction, custom_status: str | None = None
    ) -> None:
        """Answer an episode with actions."""
        await self._transport.complete_orchestrator(
            OrchestratorResult(
                instance_id=item.instance_id,
                actions=actions,
                custom_status=custom_status,
                completion_token=item.completion_token,
                trace_context=item.trace_context,
            )
        )

    async def run(
        self, instance_id: str | None, *actions: OrchestratorAction, custom_status: str | None = None
    ) -> OrchestratorWorkItem:
        """Take the next episode of an instance and answer it at once."""
        item = await self.episode(instance_id)
        await self.commit(item, *actions, custom_status=custom_status)
        return item

    async def answer(
        self, item: ActivityWorkItem, result: str | None = None, *, failure: FailureDetails | None = None
    ) -> None:
        """Answer an activity."""
        await self._transport.complete_activity(
            ActivityResult(
                instance_id=item.instance_id,
                task_id=item.task_id,
                result=result,
                failure=failure,
                completion_token=item.completion_token,
            )
        )

    async def answer_entity(
        self,
        item: EntityWorkItem,
        *results: str | FailureDetails | None,
        state: str | None = None,
        actions: Sequence[EntityAction] = (),
        failure_of_all: FailureDetails | None = None,
    ) -> None:
        """Answer a batch; a ``FailureDetails`` among the results is a failed operation."""
        await self._transport.complete_entity(
            EntityBatchResult(
                instance_id=item.instance_id,
                results=[
                    EntityOperationResult(failure=result)
                    if isinstance(result, FailureDetails)
                    else EntityOperationResult(result=result)
                    for result in results
                ],
                actions=actions,
                state=state,
                failure=failure_of_all,
                operations=item.operations,
                completion_token=item.completion_token,
            )
        )


class Probe:
    """A fresh hub, its transport, and short ways to the things that most tests need."""

    def __init__(self, hub: ConformanceHub, transport: Transport) -> None:
        self.hub = hub
        self.transport = transport
        self.unit: timedelta = hub.unit

    def worker(
        self,
        *,
        transport: Transport | None = None,
        max_orchestrations: int = 0,
        max_activities: int = 0,
        max_entities: int = 0,
        filters: WorkItemFilters | None = None,
    ) -> ScriptedWorker:
        """A stream of work; enter it with ``async with``."""
        options = WorkItemStreamOptions(
            max_orchestrations=max_orchestrations,
            max_activities=max_activities,
            max_entities=max_entities,
            filters=filters,
        )
        return ScriptedWorker(self.hub, transport or self.transport, options)

    async def create(self, instance_id: str | None = None, **members: object) -> str:
        """Create an instance of ``Order`` (or of another ``name``)."""
        request = msgspec.structs.replace(
            CreateInstanceRequest(name="Order", instance_id=instance_id), **members
        )
        return await self.transport.create_instance(request)

    async def finished(
        self,
        worker: ScriptedWorker,
        instance_id: str | None = None,
        *,
        result: str | None = None,
        status: OrchestrationStatus = OrchestrationStatus.COMPLETED,
        failure: FailureDetails | None = None,
        **members: object,
    ) -> str:
        """Create an instance and end it in its first episode."""
        created = await self.create(instance_id, **members)
        await worker.run(created, complete(result, status=status, failure=failure))
        return created

    async def state(self, instance_id: str, *, include_payloads: bool = True) -> OrchestrationState:
        """The state of an instance that must exist."""
        state = await self.transport.get_instance(instance_id, include_payloads=include_payloads)
        assert state is not None, f"The hub does not know instance {instance_id!r}."
        return state

    async def status(self, instance_id: str) -> OrchestrationStatus:
        """The status of an instance that must exist."""
        return (await self.state(instance_id)).runtime_status

    async def history(self, instance_id: str, *, execution_id: str | None = None) -> list[HistoryEvent]:
        """The history of an instance."""
        stream = self.transport.stream_history(instance_id, execution_id=execution_id)
        return [event async for chunk in stream for event in chunk]

    async def advance(self, units: float = 1) -> None:
        """Let so many units of time pass, and what follows from it arrive."""
        await self.hub.advance(self.unit * units)

    async def retry_abandoned(self) -> None:
        """Let enough time pass for an abandoned item to come back."""
        await self.hub.advance(self.hub.abandon_delay)
