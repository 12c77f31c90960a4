"""``LocalTaskHub``: a complete task hub of this process, as a ``Transport``.

Every command follows one path: check what came in, have the instances that it is about in memory (``Residency``), let
a function of ``transitions`` decide, apply it, and return once the change is durable. Where the state is kept makes
no difference here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from durabletask.core.actions import (
    CallEntity,
    CreateSubOrchestration,
    RequestEntityLock,
    RewindOrchestration,
    SignalEntity,
)
from durabletask.core.entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from durabletask.core.errors import (
    InstanceNotFoundError,
    InvalidRequestError,
    TransportUnavailableError,
)
from durabletask.core.history import (
    EntityLockRequested,
    HistoryEvent,
    SubOrchestrationInstanceCreated,
    TraceContext,
)
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

from . import answers
from .effects import Transition
from .engine import Engine
from .entity_ids import checked_entity_id, fold, is_entity_id, refuse_entity_id, targets_of
from .entity_state import Entity, metadata_of
from .journal import SupersededError
from .order import page_size, read_token, write_token
from .queries import EntitySelection, select_completed, select_instances, select_purgeable
from .residency import InMemory, Storage
from .state import Instance, snapshot
from .transitions import messages
from .transitions.creation import child_id_of, create_instance, restart_instance
from .transitions.ending import terminate
from .transitions.entities import purge_entities, release_orphaned_lock, signal_entity
from .transitions.purging import purge, remove_all
from .transitions.rewinding import rewind_instance
from .validation import (
    check_activity_result,
    check_entity_result,
    check_new_instance,
    check_result,
    check_text,
    check_time,
)
from .waiting import ClientWait
from .workers import EngineLimits, later

__all__ = ["ACTIVITY_LOCK", "ORCHESTRATION_LOCK", "InMemoryBackend", "LocalTaskHub"]

T = TypeVar("T")

_HISTORY_CHUNK = 500  # events
_PURGE_STEP = 200  # instances between two looks at the time
_CLEAN_STEP = 500  # entities that one call looks at
_FAIR_SHARE = 32  # items that one stream may take before others are served
_ATTEMPTS = 3  # of a command, each on top of another one that could not be stored
_FULL_PAGE = 2 * 1024 * 1024  # characters of payload after which a page ends early
ORCHESTRATION_LOCK: Final = timedelta(minutes=2)
ACTIVITY_LOCK: Final = timedelta(hours=1)


class LocalTaskHub(Transport):
    """A task hub in this process: the double for unit tests and the engine of the local emulator.

    All clients and workers that are given the same object share the hub; use
    it from one event loop at a time.

    Args:
        task_hub: name of the hub, for messages and for its part of the storage.
        storage: where the state is kept: ``InMemory()`` (the default), or ``Sqlite(path)``, with which everything
            that was acknowledged survives the process.
        clock: real time (``SystemClock``, the default) or ``VirtualClock``.
        orchestration_lock: an episode without an answer for so long is delivered again.
        activity_lock: the same for activities; doubles with every delivery of the same activity.
    """

    def __init__(
        self,
        task_hub: str = "default",
        *,
        storage: Storage | None = None,
        clock: Clock | None = None,
        orchestration_lock: timedelta = ORCHESTRATION_LOCK,
        activity_lock: timedelta = ACTIVITY_LOCK,
    ) -> None:
        self._storage = storage or InMemory()
        self._residency = self._storage.residency(task_hub)
        limits = EngineLimits(orchestration_lock, activity_lock, self._storage.max_finished_instances)
        self._engine = Engine(task_hub, clock or SystemClock(), limits, self._residency.commits)
        self._residency.attach(self._engine)

    @property
    def endpoint(self) -> str:
        """The storage as an endpoint: ``memory://`` or ``sqlite:///path``."""
        return self._storage.endpoint

    @property
    def task_hub(self) -> str:
        return self._engine.task_hub

    @property
    def is_unused(self) -> bool:
        """Whether the hub has no instance in memory, no worker and no call that waits."""
        return self._engine.is_unused

    def now(self) -> datetime:
        return self._engine.clock.now()

    @property
    def clock(self) -> Clock:
        """The clock of the hub."""
        return self._engine.clock

    async def connect(self) -> None:
        """Open the storage."""
        await self._residency.ready()

    async def close(self) -> None:
        """End every stream and every wait with ``TransportUnavailableError``; release the storage.

        The hub may be used again: in memory its state is still there, from a file it is read again.
        """
        self._engine.stop(TransportUnavailableError(f"Task hub {self.task_hub!r} was closed."))
        await self._residency.close()

    # --- commands -------------------------------------------------------------------------------------------

    async def _run(self, command: Callable[[Transition], T], *involved: str, with_history: bool = False) -> T:
        """Run one command: decide, carry out, and return its answer once it is durable.

        ``involved`` are the instances that the command may find finished, and so not in memory.
        """
        engine = self._engine
        for instance_id in involved:
            check_text("instance_id", instance_id)

        def decide() -> T:
            tx = engine.begin()
            answer = command(tx)
            engine.apply(tx)
            return answer

        return await self._carry_out(decide, involved, with_history=with_history)

    async def _carry_out(
        self, decide: Callable[[], T], involved: Sequence[str] = (), *, with_history: bool = False
    ) -> T:
        """Have what is involved in memory, decide, and wait until that is durable."""
        residency, commits = self._residency, self._engine.commits
        attempt = 0
        while True:
            attempt += 1
            if not residency.pin(involved, with_history=with_history):
                await residency.bring(involved, with_history=with_history)
            try:
                answer = decide()
            finally:
                residency.release(involved)
            try:
                if commits.must_wait:
                    await commits.barrier(own=True)
            except SupersededError:  # it was decided on a state that never came to be
                if attempt == _ATTEMPTS:
                    raise
            else:
                return answer

    async def _find(self, instance_id: str) -> Instance | None:
        """An instance as it is now; not to be changed."""
        check_text("instance_id", instance_id)
        if not self._residency.pin((instance_id,)):
            await self._residency.bring((instance_id,))
        found = self._engine.state.instances.get(instance_id)
        self._residency.release((instance_id,))
        return found

    async def _settled(self, *instances: Instance | Entity) -> None:
        """Wait until what is known of some instances or entities is on disk."""
        commits = self._engine.commits
        if any(commits.holds(instance.key) for instance in instances):
            await commits.barrier()

    # --- client half -----------------------------------------------------------------------------------------

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        check_new_instance(request)
        involved = (request.instance_id,) if request.instance_id else ()
        return await self._run(lambda tx: create_instance(tx, request), *involved)

    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        instance = await self._find(instance_id)
        if instance is None:
            return None
        state = snapshot(instance, include_payloads=include_payloads)
        await self._settled(instance)
        return state

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        return await self._wait(instance_id, ClientWait(include_payloads=include_payloads), timeout)

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        wait = ClientWait(wants_completion=True, include_payloads=include_payloads)
        return await self._wait(instance_id, wait, timeout)

    async def wait_for_instance_change(self, state: OrchestrationState) -> OrchestrationState:
        return await self._wait(state.instance_id, ClientWait(seen=state), None) or state

    async def _wait(
        self, instance_id: str, wait: ClientWait, timeout: timedelta | None
    ) -> OrchestrationState | None:
        refuse_entity_id(instance_id, "wait for")
        instance = await self._find(instance_id)
        if instance is None and wait.seen is not None:
            raise InstanceNotFoundError(
                f"Orchestration instance {instance_id!r} was purged while it was watched."
            )
        if instance is not None and wait.is_satisfied_by(instance):
            state = snapshot(instance, include_payloads=wait.include_payloads)
            await self._settled(instance)
            return state
        if timeout is not None and timeout <= timedelta(0):
            return None
        return await self._engine.wait(instance_id, wait, timeout)

    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        refuse_entity_id(instance_id, "raise an event at")
        check_text("The name of an event", name)
        check_text("The data of an event", data, is_name=False)
        await self._run(lambda tx: messages.raise_event(tx, instance_id, name, data), instance_id)

    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        refuse_entity_id(instance_id, "terminate")
        check_text("The output of a terminated instance", output, is_name=False)
        await self._run(lambda tx: terminate(tx, instance_id, output=output, recurse=recursive), instance_id)

    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        refuse_entity_id(instance_id, "suspend")
        check_text("reason", reason, is_name=False)
        await self._run(lambda tx: messages.suspend(tx, instance_id, reason), instance_id)

    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        refuse_entity_id(instance_id, "resume")
        check_text("reason", reason, is_name=False)
        await self._run(lambda tx: messages.resume(tx, instance_id, reason), instance_id)

    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        refuse_entity_id(instance_id, "restart")
        return await self._run(
            lambda tx: restart_instance(tx, instance_id, with_new_instance_id=with_new_instance_id),
            instance_id,
        )

    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        refuse_entity_id(instance_id, "rewind")
        check_text("reason", reason, is_name=False)
        await self._run(lambda tx: rewind_instance(tx, instance_id, reason), instance_id, with_history=True)

    async def force_terminate_instances(
        self, instance_ids: Sequence[str], *, reason: str | None = None
    ) -> Sequence[str]:
        messages.check_batch(instance_ids)
        for instance_id in instance_ids:
            check_text("instance_id", instance_id)
        check_text("reason", reason, is_name=False)
        return await self._run(lambda tx: messages.force_terminate(tx, instance_ids, reason))

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """The hub exists; ``recreate_if_exists`` empties it."""
        if recreate_if_exists:
            await self.delete_task_hub()

    async def delete_task_hub(self) -> None:
        """Remove every instance, finished or not."""
        await self._run(remove_all)

    # --- queries -----------------------------------------------------------------------------------------------

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        """One page of instances, by creation time, then id. Large payloads make it shorter than was asked."""
        size, start = page_size(query.page_size), read_token(query.continuation_token)
        found, has_more = await self._residency.select(select_instances(query), start, size)
        page = found[: _fitting(_payload_size(one) for _, one in found)] if query.include_payloads else found
        states = [snapshot(one, include_payloads=query.include_payloads) for _, one in page]
        await self._settled(*(one for _, one in page))
        return InstancePage(states, write_token(page[-1][0]) if has_more or len(page) < len(found) else None)

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        size, start = page_size(query.page_size), read_token(query.last_instance_key)
        found, has_more = await self._residency.select(select_completed(query), start, size)
        await self._settled(*(one for _, one in found))
        ids = [position.instance_id for position, _ in found]
        return InstanceIdPage(ids, write_token(found[-1][0]) if has_more else None)

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        match request:
            case PurgeInstance():
                if not request.is_orchestration:
                    checked_entity_id(request.instance_id)
                ids: Sequence[str] = (request.instance_id,)
            case PurgeBatch():
                messages.check_batch(request.instance_ids)
                ids = request.instance_ids
            case PurgeFilter():
                return await self._purge_filtered(request)
        return PurgeResult(await self._purge_ids(ids, request.recursive), True)

    async def _purge_filtered(self, request: PurgeFilter) -> PurgeResult:
        selection, clock = select_purgeable(request), self._engine.clock
        deadline = later(clock.now(), request.timeout) if request.timeout is not None else None
        count = 0
        while True:
            found, _ = await self._residency.select(selection, None, _PURGE_STEP)
            if not found:
                return PurgeResult(count, True)
            ids = [position.instance_id for position, _ in found]
            count += await self._purge_ids(ids, request.recursive)
            if deadline is not None and clock.now() >= deadline:
                return PurgeResult(count, False)
            await asyncio.sleep(0)

    async def _purge_ids(self, ids: Sequence[str], recursive: bool) -> int:
        for instance_id in ids:
            check_text("instance_id", instance_id)
        # An entity's id is known by its form; some clients do not say what it is.
        entities = [checked_entity_id(one) for one in ids if is_entity_id(one)]
        ids = [one for one in ids if not is_entity_id(one)]
        involved = await self._residency.descendants(ids) if recursive else ids

        def both(tx: Transition) -> int:
            return purge(tx, ids, recursive=recursive) + purge_entities(tx, entities)

        return await self._run(both, *involved, *entities)

    async def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        instance = await self._find(instance_id)
        if instance is None or (execution_id and instance.execution_id != execution_id):
            which = f" with execution id {execution_id!r}" if execution_id else ""
            raise InstanceNotFoundError(f"There is no orchestration instance {instance_id!r}{which}.")
        events = list(await self._residency.history(instance))
        await self._settled(instance)
        for first in range(0, len(events), _HISTORY_CHUNK):
            yield events[first : first + _HISTORY_CHUNK]

    # --- worker half --------------------------------------------------------------------------------------------

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        await self._residency.ready()
        engine = self._engine
        stream = engine.open_stream(options)
        try:
            taken = 0
            while True:
                while stream.buffer and taken < _FAIR_SHARE:
                    item = engine.workers.next_item(stream)
                    if item is not None:
                        taken += 1
                        stream.is_away = True
                        yield item
                        stream.is_away = False
                if stream.failure is not None:
                    raise stream.failure
                if taken >= _FAIR_SHARE:
                    await asyncio.sleep(0)
                taken = 0
                work = engine.workers.work
                work.has_gained_room(stream)
                work.share()
                if not stream.buffer:
                    work.relieve(stream)
                if not stream.buffer:
                    engine.notify_clock()
                    await stream.wait()
        finally:
            engine.close_stream(stream)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        check_result(result)
        involved, with_history = _involved_in(result)
        complete = partial(answers.complete_orchestrator, self._engine, result)
        await self._carry_out(complete, involved, with_history=with_history)

    async def complete_activity(self, result: ActivityResult) -> None:
        check_activity_result(result)
        await self._carry_out(partial(answers.complete_activity, self._engine, result))

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        await self._residency.ready()
        self._engine.abandon(item.completion_token)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        await self._residency.ready()
        self._engine.abandon(item.completion_token)

    async def complete_entity(self, result: EntityBatchResult) -> None:
        check_entity_result(result)
        involved = [
            fold(one.instance_id) if is_entity_id(one.instance_id) else one.instance_id
            for one in result.actions
        ]
        await self._carry_out(partial(answers.complete_entity, self._engine, result), involved)

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        await self._residency.ready()
        self._engine.abandon(item.completion_token)

    # --- client half, entities --------------------------------------------------------------------------------

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
        entity_id = checked_entity_id(instance_id)
        check_text("The name of an operation", operation)
        if not operation:
            raise InvalidRequestError(f"A signal for entity {entity_id!r} needs the name of an operation.")
        check_text("The input of an operation", input, is_name=False)
        check_text("request_id", request_id)
        check_time("scheduled_time", scheduled_time)
        signal = SignalEntity(-1, request_id or "", operation, entity_id, input, scheduled_time)
        await self._run(lambda tx: signal_entity(tx, signal, trace_context), entity_id)

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        entity_id = checked_entity_id(instance_id)
        await self._residency.bring((entity_id,))
        entity = self._engine.state.entities.get(entity_id)
        self._residency.release((entity_id,))
        if entity is None:
            return None
        metadata = metadata_of(entity, include_state=include_state)
        await self._settled(entity)
        return metadata

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        """One page of entities, by id. Large states make it shorter than was asked."""
        check_time("last_modified_from", query.last_modified_from)
        check_time("last_modified_to", query.last_modified_to)
        size, start = page_size(query.page_size), read_token(query.continuation_token)
        found, has_more = await self._residency.select(EntitySelection(query), start, size)
        page = found[: _fitting(len(one.state or "") for _, one in found)] if query.include_state else found
        entities = [metadata_of(one, include_state=query.include_state) for _, one in page]
        await self._settled(*(one for _, one in page))
        return EntityPage(entities, write_token(page[-1][0]) if has_more or len(page) < len(found) else None)

    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
    ) -> CleanEntityStorageResult:
        """Release locks whose holder is gone. A locked entity is in memory; an empty one removes itself."""
        start = read_token(continuation_token)
        await self._residency.ready()
        state = self._engine.state
        found = list(islice(state.by_entity_id.after(start), _CLEAN_STEP))
        ids = [
            one.instance_id
            for one in found
            if release_orphaned_locks and state.entities[one.instance_id].lock
        ]

        def clean(tx: Transition) -> tuple[int, int]:
            released = sum(release_orphaned_lock(tx, one) for one in ids)
            return released, sum(entity is not None and entity.is_void for entity in tx.entities.values())

        released, emptied = await self._run(clean) if ids else (0, 0)
        token = write_token(found[-1]) if len(found) == _CLEAN_STEP else None
        return CleanEntityStorageResult(emptied if remove_empty_entities else 0, released, token)


class InMemoryBackend(LocalTaskHub):
    """``LocalTaskHub`` under its name for tests, which keep the state in memory.

    Args:
        task_hub: name of the hub, for messages.
        clock: real time (``SystemClock``, the default) or ``VirtualClock``.
        store: an older spelling of ``LocalTaskHub(storage=...)``, which new code should use.
        max_finished_instances: in memory, keep only so many finished instances, the latest; ``None`` keeps all.
        orchestration_lock: an episode without an answer for so long is delivered again.
        activity_lock: the same for activities; doubles with every delivery of the same activity.
    """

    def __init__(
        self,
        task_hub: str = "default",
        *,
        clock: Clock | None = None,
        store: Storage | None = None,
        max_finished_instances: int | None = None,
        orchestration_lock: timedelta = ORCHESTRATION_LOCK,
        activity_lock: timedelta = ACTIVITY_LOCK,
    ) -> None:
        super().__init__(
            task_hub,
            storage=store or InMemory(max_finished_instances=max_finished_instances),
            clock=clock,
            orchestration_lock=orchestration_lock,
            activity_lock=activity_lock,
        )


def _fitting(sizes: Iterable[int]) -> int:
    """How many rows of these sizes make a page that a message can carry; at least one."""
    total = count = 0
    for size in sizes:
        total += size
        if count and total > _FULL_PAGE:
            break
        count += 1
    return count


def _payload_size(instance: Instance) -> int:
    summary = instance.summary
    texts = (instance.execution.input, summary.output, summary.custom_status)
    return sum(len(text) for text in texts if text)


def _involved_in(result: OrchestratorResult) -> tuple[list[str], bool]:
    """Ids of instances and entities that an episode may find out of memory, and whether it needs histories."""
    involved: list[str] = []
    with_history = False
    for action in result.actions:
        if isinstance(action, CreateSubOrchestration):
            involved.append(child_id_of(result.instance_id, action))
        elif isinstance(action, (CallEntity, SignalEntity)):
            involved.append(fold(action.target_instance_id))
        elif isinstance(action, RequestEntityLock):
            involved += targets_of(action.lock_set)
        elif isinstance(action, RewindOrchestration):
            with_history = True
            for event in action.new_history:
                if isinstance(event, SubOrchestrationInstanceCreated):
                    involved.append(event.instance_id)
                elif isinstance(event, EntityLockRequested):
                    involved += targets_of(event.lock_set)
    return involved, with_history
