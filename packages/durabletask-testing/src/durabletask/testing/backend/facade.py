"""``InMemoryBackend``: a complete task hub of this process, as a ``Transport``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from durabletask.core.entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from durabletask.core.errors import (
    InstanceNotFoundError,
    NotSupportedError,
    TransportUnavailableError,
)
from durabletask.core.history import HistoryEvent, TraceContext
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    PurgeBatch,
    PurgeFilter,
    PurgeInstance,
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
from durabletask.testing.clock import Clock, SystemClock

from .effects import Transition
from .engine import Engine, EngineLimits, Waiter
from .paging import Position, page_size, read_token, write_token
from .queries import OrderedIndex, Selection, select_completed, select_instances, select_purgeable
from .state import Instance, snapshot
from .transitions import messages
from .transitions.creation import create_instance, restart_instance
from .transitions.ending import remove, terminate
from .transitions.entities import NOT_YET
from .transitions.purging import purge
from .transitions.rewinding import rewind_instance

__all__ = ["InMemoryBackend"]

T = TypeVar("T")

_HISTORY_CHUNK = 500  # events
_PURGE_STEP = 200  # instances between two looks at the time
_FAIR_TURN = 32  # items that one stream may take before others get their turn
ORCHESTRATION_LOCK: Final = timedelta(minutes=2)
ACTIVITY_LOCK: Final = timedelta(hours=1)


class InMemoryBackend(Transport):
    """A task hub in this process: the double for unit tests and the engine of the local emulator.

    Everything of the protocol but entities. State lives in memory. All clients and workers that are given
    the same object share the hub; use it from one event loop at a time.

    Args:
        task_hub: name of the hub, for messages.
        clock: real time (``SystemClock``, the default) or ``VirtualClock``.
        max_finished_instances: keep only so many finished instances, the latest; ``None`` keeps all.
        orchestration_lock: an episode without an answer for so long is delivered again.
        activity_lock: the same for activities; doubles with every delivery of the same activity.
    """

    def __init__(
        self,
        task_hub: str = "default",
        *,
        clock: Clock | None = None,
        max_finished_instances: int | None = None,
        orchestration_lock: timedelta = ORCHESTRATION_LOCK,
        activity_lock: timedelta = ACTIVITY_LOCK,
    ) -> None:
        limits = EngineLimits(orchestration_lock, activity_lock, max_finished_instances)
        self._engine = Engine(task_hub, clock or SystemClock(), limits)

    @property
    def endpoint(self) -> str:
        """``memory://``: there is no address."""
        return "memory://"

    @property
    def task_hub(self) -> str:
        """Name of the task hub."""
        return self._engine.task_hub

    @property
    def clock(self) -> Clock:
        """The clock of the hub."""
        return self._engine.clock

    async def connect(self) -> None:
        """Nothing to do: the hub is here."""
        self._engine.bind()

    async def close(self) -> None:
        """End every stream and every wait with ``TransportUnavailableError``. The state stays usable."""
        self._engine.stop(TransportUnavailableError(f"Task hub {self.task_hub!r} was closed."))

    # --- commands -------------------------------------------------------------------------------------------

    async def _run(self, command: Callable[[Transition], T], *involved: str) -> T:
        """Run one command: decide, carry out, and return its answer once it is durable."""
        tx = self._engine.begin()
        answer = command(tx)
        self._engine.apply(tx)
        return answer

    async def _find(self, instance_id: str) -> Instance | None:
        self._engine.bind()
        return self._engine.state.instances.get(instance_id)

    # --- client half -----------------------------------------------------------------------------------------

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        """Create an instance; see ``Transport``."""
        return await self._run(lambda tx: create_instance(tx, request), request.instance_id or "")

    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        """The state of an instance, or ``None``."""
        instance = await self._find(instance_id)
        return snapshot(instance, include_payloads=include_payloads) if instance is not None else None

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Wait until the status is no longer PENDING; ``None`` at the time-out."""
        return await self._wait(instance_id, False, include_payloads, timeout)

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Wait until the instance has ended; ``None`` at the time-out."""
        return await self._wait(instance_id, True, include_payloads, timeout)

    async def _wait(
        self, instance_id: str, wants_completion: bool, include_payloads: bool, timeout: timedelta | None
    ) -> OrchestrationState | None:
        instance = await self._find(instance_id)
        future: asyncio.Future[OrchestrationState | None] = asyncio.get_running_loop().create_future()
        waiter = Waiter(future, wants_completion=wants_completion, include_payloads=include_payloads)
        if instance is not None and waiter.is_satisfied_by(instance):
            return snapshot(instance, include_payloads=include_payloads)
        return await self._engine.wait(instance_id, waiter, timeout)

    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        """Deliver an external event; see ``Transport``."""
        await self._run(lambda tx: messages.raise_event(tx, instance_id, name, data), instance_id)

    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        """Ask an instance to end as TERMINATED."""
        await self._run(lambda tx: terminate(tx, instance_id, output=output, recurse=recursive))

    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspend an instance."""
        await self._run(lambda tx: messages.suspend(tx, instance_id, reason), instance_id)

    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Resume an instance."""
        await self._run(lambda tx: messages.resume(tx, instance_id, reason), instance_id)

    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Run a finished instance again from its start."""
        return await self._run(
            lambda tx: restart_instance(tx, instance_id, with_new_instance_id=with_new_instance_id),
            instance_id,
        )

    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Undo the failures of a FAILED instance and go on."""
        await self._run(lambda tx: rewind_instance(tx, instance_id, reason), instance_id)

    async def force_terminate_instances(
        self, instance_ids: Sequence[str], *, reason: str | None = None
    ) -> Sequence[str]:
        """End instances as TERMINATED without running them; the ids that could not be."""
        messages.check_batch(instance_ids)
        return await self._run(lambda tx: messages.force_terminate(tx, instance_ids, reason))

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """The hub exists; ``recreate_if_exists`` empties it."""
        if recreate_if_exists:
            await self.delete_task_hub()

    async def delete_task_hub(self) -> None:
        """Remove every instance, finished or not."""
        await self._run(_remove_all)

    # --- queries -----------------------------------------------------------------------------------------------

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        """One page of instances, by creation time, then id."""
        size, start = page_size(query.page_size), read_token(query.continuation_token)
        found = await self._select(select_instances(query), self._engine.by_creation, start, size + 1)
        states = [snapshot(one, include_payloads=query.include_payloads) for _, one in found[:size]]
        token = write_token(found[size - 1][0]) if len(found) > size else None
        return InstancePage(states, token)

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        """One page of ids of finished instances, by completion time, then id."""
        size, start = page_size(query.page_size), read_token(query.last_instance_key)
        found = await self._select(select_completed(query), self._engine.by_completion, start, size + 1)
        ids = [position.instance_id for position, _ in found[:size]]
        return InstanceIdPage(ids, write_token(found[size - 1][0]) if len(found) > size else None)

    async def _select(
        self, selection: Selection, index: OrderedIndex, start: Position | None, limit: int
    ) -> list[tuple[Position, Instance]]:
        self._engine.bind()
        instances = self._engine.state.instances
        found: list[tuple[Position, Instance]] = []
        for position in index.after(instances.values(), start):
            instance = instances[position.instance_id]
            if selection.admits(instance):
                found.append((position, instance))
                if len(found) >= limit:
                    break
        return found

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        """Remove finished instances and their histories."""
        match request:
            case PurgeInstance():
                if not request.is_orchestration:
                    raise NotSupportedError(f"Cannot purge the entity {request.instance_id!r}. {NOT_YET}")
                ids: Sequence[str] = (request.instance_id,)
            case PurgeBatch():
                messages.check_batch(request.instance_ids)
                ids = request.instance_ids
            case PurgeFilter():
                return await self._purge_filtered(request)
        count = await self._run(lambda tx: purge(tx, ids, recursive=request.recursive), *ids)
        return PurgeResult(count, True)

    async def _purge_filtered(self, request: PurgeFilter) -> PurgeResult:
        selection, clock = select_purgeable(request), self._engine.clock
        deadline = clock.now() + request.timeout if request.timeout is not None else None
        count = 0
        while True:
            found = await self._select(selection, self._engine.by_creation, None, _PURGE_STEP)
            if not found:
                return PurgeResult(count, True)
            ids = [position.instance_id for position, _ in found]
            count += await self._purge_ids(ids, request.recursive)
            if deadline is not None and clock.now() >= deadline:
                return PurgeResult(count, False)
            await asyncio.sleep(0)

    async def _purge_ids(self, ids: Iterable[str], recursive: bool) -> int:
        return await self._run(lambda tx: purge(tx, ids, recursive=recursive))

    async def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        """The history of an instance, in chunks."""
        instance = await self._find(instance_id)
        if instance is None or (execution_id and instance.execution_id != execution_id):
            which = f" with execution id {execution_id!r}" if execution_id else ""
            raise InstanceNotFoundError(f"There is no orchestration instance {instance_id!r}{which}.")
        events = list(instance.history)
        for first in range(0, len(events), _HISTORY_CHUNK):
            yield events[first : first + _HISTORY_CHUNK]

    # --- worker half --------------------------------------------------------------------------------------------

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """A stream of work; closing it returns what is not completed."""
        engine = self._engine
        stream = engine.open_stream(options)
        try:
            taken = 0
            while True:
                while stream.buffer:
                    item = engine.next_item(stream)
                    if item is not None:
                        taken += 1
                        yield item
                if stream.failure is not None:
                    raise stream.failure
                if taken >= _FAIR_TURN and len(engine.work.streams) > 1:
                    taken = 0
                    await asyncio.sleep(0)
                engine.work.share()
                if not stream.buffer:
                    taken = 0
                    engine.notify_clock()
                    await stream.wait()
        finally:
            engine.close_stream(stream)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit an episode."""
        self._engine.complete_orchestrator(result)

    async def complete_activity(self, result: ActivityResult) -> None:
        """Answer an activity."""
        self._engine.complete_activity(result)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        """Give an episode back."""
        self._engine.abandon(item.completion_token)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        """Give an activity back."""
        self._engine.abandon(item.completion_token)

    # --- entities: not yet ------------------------------------------------------------------------------------

    async def signal_entity(
        self,
        instance_id: str,
        operation: str,
        *,
        input: str | None = None,  # noqa: A002 - the protocol's word
        request_id: str | None = None,
        scheduled_time: datetime | None = None,
        trace_context: TraceContext | None = None,
    ) -> None:
        """Refused: entities come later."""
        raise NotSupportedError(f"Cannot signal {operation!r} to entity {instance_id!r}. {NOT_YET}")

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        """Refused: entities come later."""
        raise NotSupportedError(f"Cannot get entity {instance_id!r}. {NOT_YET}")

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        """Refused: entities come later."""
        raise NotSupportedError(f"Cannot query entities. {NOT_YET}")

    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
    ) -> CleanEntityStorageResult:
        """Refused: entities come later."""
        raise NotSupportedError(f"Cannot clean entity storage. {NOT_YET}")

    async def complete_entity(self, result: EntityBatchResult) -> None:
        """Refused: entities come later."""
        raise NotSupportedError(f"Cannot complete a batch of entity {result.instance_id!r}. {NOT_YET}")

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        """Refused: entities come later."""
        raise NotSupportedError(f"Cannot abandon a batch of entity {item.instance_id!r}. {NOT_YET}")


def _remove_all(tx: Transition) -> None:
    for instance in list(tx.state.instances.values()):
        remove(tx, instance, tell_waiting=True)
