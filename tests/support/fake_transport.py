"""A transport whose hub is a script: the test puts work items in and sees what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from durabletask.core.errors import TransportUnavailableError
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    OrchestrationStatus,
    PurgeRequest,
    PurgeResult,
)
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


def unavailable(text: str = "connection refused.") -> TransportUnavailableError:
    """The error of a hub that is not there."""
    return TransportUnavailableError(f"http://fake:8080: {text}")


def a_state(instance_id: str = "i1", **more: object) -> OrchestrationState:
    """A state with as little as possible."""
    values: dict[str, object] = {
        "instance_id": instance_id,
        "name": "order",
        "runtime_status": OrchestrationStatus.COMPLETED,
        "created_at": NOON,
        "last_updated_at": NOON,
        **more,
    }
    return OrchestrationState(**values)  # type: ignore[arg-type]


@dataclass
class FakeTransport(Transport):
    """Every list of ``*_errors`` is raised one by one, then calls succeed."""

    connect_errors: list[Exception] = field(default_factory=list)
    complete_errors: list[Exception] = field(default_factory=list)
    answers: dict[str, list[object]] = field(default_factory=dict)
    id_limit: int | None = None

    def __post_init__(self) -> None:
        self.inbox: asyncio.Queue[WorkItem | Exception | None] = asyncio.Queue()
        self.calls: list[tuple[str, object]] = []
        self.options: list[WorkItemStreamOptions] = []
        self.completed: list[OrchestratorResult | ActivityResult | EntityBatchResult] = []
        self.abandoned: list[WorkItem] = []
        self.arrived = asyncio.Event()
        self.closed_streams = 0
        self.is_closed = False

    # --- the test's side -----------------------------------------------------------------------------------

    def put(self, *items: WorkItem | Exception | None) -> None:
        """Deliver work; an exception breaks the stream, ``None`` ends it."""
        for item in items:
            self.inbox.put_nowait(item)

    async def wait_for(self, count: int) -> None:
        """Wait until so many answers and abandoned items have come back."""
        while len(self.completed) + len(self.abandoned) < count:
            self.arrived.clear()
            await self.arrived.wait()

    def _answer(self, call: str, argument: object, default: object = None) -> object:
        self.calls.append((call, argument))
        queued = self.answers.get(call)
        answer = queued.pop(0) if queued else default
        if isinstance(answer, Exception):
            raise answer
        return answer

    # --- Transport -----------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        return "http://fake:8080"

    @property
    def task_hub(self) -> str:
        return "test"

    @property
    def maximum_instance_id_length(self) -> int | None:
        return self.id_limit

    async def connect(self) -> None:
        if self.connect_errors:
            raise self.connect_errors.pop(0)

    async def close(self) -> None:
        self.is_closed = True

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        return self._answer("create_instance", request, request.instance_id)  # type: ignore[return-value]

    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        return self._answer("get_instance", (instance_id, include_payloads))  # type: ignore[return-value]

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        return self._answer("wait_for_instance_start", (instance_id, include_payloads, timeout))  # type: ignore[return-value]

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        return self._answer("wait_for_instance_completion", (instance_id, include_payloads, timeout))  # type: ignore[return-value]

    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        self._answer("raise_event", (instance_id, name, data))

    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        self._answer("terminate_instance", (instance_id, output, recursive))

    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        self._answer("suspend_instance", (instance_id, reason))

    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        self._answer("resume_instance", (instance_id, reason))

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        return self._answer("query_instances", query, InstancePage(()))  # type: ignore[return-value]

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        return self._answer("list_instance_ids", query, InstanceIdPage(()))  # type: ignore[return-value]

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        return self._answer("purge_instances", request, PurgeResult(0, True))  # type: ignore[return-value]

    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        return self._answer("restart_instance", (instance_id, with_new_instance_id), instance_id)  # type: ignore[return-value]

    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        self._answer("rewind_instance", (instance_id, reason))

    async def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        for chunk in self._answer("stream_history", (instance_id, execution_id), ()):  # type: ignore[attr-defined]
            yield chunk

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        self.options.append(options)
        try:
            while True:
                item = await self.inbox.get()
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed_streams += 1

    async def _complete(self, result: OrchestratorResult | ActivityResult | EntityBatchResult) -> None:
        await asyncio.sleep(0)  # as over a network, others run meanwhile
        if self.complete_errors:
            raise self.complete_errors.pop(0)
        self.completed.append(result)
        self.arrived.set()

    async def _abandon(self, item: WorkItem) -> None:
        self.abandoned.append(item)
        self.arrived.set()

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        await self._complete(result)

    async def complete_activity(self, result: ActivityResult) -> None:
        await self._complete(result)

    async def complete_entity(self, result: EntityBatchResult) -> None:
        await self._complete(result)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        await self._abandon(item)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        await self._abandon(item)

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        await self._abandon(item)
