"""A small but complete transport: a task hub in one SQLite file that any number of processes poll.

It passes the base level of the conformance kit. Every instance is one row with one JSON document; every call is
one transaction that reads documents, changes them and writes them back, so SQLite's lock is the only lock. That
is easy to get right and slow with many instances. ``docs/writing-a-transport.md`` walks through it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
from documents import Activity, Instance, commit, due_messages, is_suspended, snapshot, started_instance
from durabletask.core.errors import (
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    NotSupportedError,
    TransportUnavailableError,
)
from durabletask.core.history import (
    EventRaised,
    ExecutionResumed,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
    TaskCompleted,
    TaskFailed,
)
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    OrchestrationStatus,
    PurgeBatch,
    PurgeInstance,
    PurgeRequest,
    PurgeResult,
)
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

POLL = 0.005  # seconds between two looks at the file
BACK_OFF = timedelta(milliseconds=500)  # how long an abandoned item stays away


def utc_now() -> datetime:
    """The time of the machine."""
    return datetime.now(timezone.utc)


class Documents:
    """The documents of one transaction: what is loaded is written back at its end."""

    def __init__(self, connection: sqlite3.Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self._loaded: dict[str, Instance | None] = {}
        self._texts: dict[str, bytes] = {}

    def get(self, instance_id: str) -> Instance | None:
        if instance_id not in self._loaded:
            row = self.connection.execute("SELECT doc FROM instances WHERE id = ?", (instance_id,)).fetchone()
            self._loaded[instance_id] = msgspec.json.decode(row[0], type=Instance) if row else None
            self._texts[instance_id] = row[0] if row else b""
        return self._loaded[instance_id]

    def put(self, instance: Instance) -> None:
        self._loaded[instance.state.instance_id] = instance

    def remove(self, instance_id: str) -> None:
        self._loaded[instance_id] = None

    def all(self) -> list[Instance]:
        ids = [row[0] for row in self.connection.execute("SELECT id FROM instances")]
        return [found for instance_id in ids if (found := self.get(instance_id)) is not None]

    def write(self) -> None:
        for instance_id, instance in self._loaded.items():
            if instance is None:
                self.connection.execute("DELETE FROM instances WHERE id = ?", (instance_id,))
            elif (text := msgspec.json.encode(instance)) != self._texts.get(instance_id):
                row = (instance_id, text)
                self.connection.execute("INSERT OR REPLACE INTO instances VALUES (?, ?)", row)


class PollingTransport(Transport):
    """See the module.

    Args:
        path: the SQLite file; made when it does not exist.
        task_hub: a name for messages.
        now: the clock, for tests.
        lock_timeout: an item that is held longer is delivered again.
    """

    def __init__(
        self,
        path: Path,
        task_hub: str = "default",
        *,
        now: Callable[[], datetime] = utc_now,
        lock_timeout: timedelta = timedelta(minutes=2),
    ) -> None:
        self._path = path
        self._task_hub = task_hub
        self._now = now
        self._lock_timeout = lock_timeout
        self._closings = 0
        self._open: sqlite3.Connection | None = None

    @property
    def endpoint(self) -> str:
        return f"file:{self._path}"

    @property
    def task_hub(self) -> str:
        return self._task_hub

    async def connect(self) -> None:
        with self._transaction():
            pass

    async def close(self) -> None:
        self._closings += 1  # every loop below looks at it
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = sqlite3.connect(self._path, isolation_level=None, timeout=10)
            self._open.execute("PRAGMA journal_mode = WAL")
            self._open.execute("CREATE TABLE IF NOT EXISTS instances (id TEXT PRIMARY KEY, doc BLOB)")
        return self._open

    @contextmanager
    def _transaction(self) -> Generator[Documents, None, None]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")  # others wait: what is read here stays true until the commit
        try:
            documents = Documents(connection, self._now())
            yield documents
            documents.write()
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    async def _pause(self, closings: int) -> None:
        await asyncio.sleep(POLL)
        if self._closings != closings:
            raise TransportUnavailableError(f"The transport to {self.endpoint} was closed.")

    # --- client half: instances ---------------------------------------------------------------------------------

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        instance_id = request.instance_id or uuid.uuid4().hex
        with self._transaction() as documents:
            old = documents.get(instance_id)
            if old is not None:
                policy = request.reuse_policy
                if policy is None or old.state.runtime_status not in policy.replaceable:
                    raise InstanceAlreadyExistsError(
                        f"Instance {instance_id!r} exists and is {old.state.runtime_status.name}."
                    )
            documents.put(started_instance(request, instance_id, documents.now))
        return instance_id

    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        with self._transaction() as documents:
            instance = documents.get(instance_id)
        return None if instance is None else snapshot(instance.state, include_payloads=include_payloads)

    async def _wait(
        self,
        instance_id: str,
        is_enough: Callable[[OrchestrationStatus], bool],
        include_payloads: bool,
        timeout: timedelta | None,
    ) -> OrchestrationState | None:
        closings, was_there = self._closings, False
        deadline = None if timeout is None else self._now() + timeout
        while True:
            state = await self.get_instance(instance_id, include_payloads=include_payloads)
            if state is None and was_there:
                raise InstanceNotFoundError(f"Instance {instance_id!r} was purged while it was waited for.")
            if state is not None and is_enough(state.runtime_status):
                return state
            if deadline is not None and self._now() >= deadline:
                return None
            was_there = state is not None
            await self._pause(closings)

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        return await self._wait(
            instance_id, lambda status: status is not OrchestrationStatus.PENDING, include_payloads, timeout
        )

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        return await self._wait(instance_id, lambda status: status.is_terminal, include_payloads, timeout)

    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        with self._transaction() as documents:
            instance = documents.get(instance_id)
            if instance is None:
                raise InstanceNotFoundError(f"There is no instance {instance_id!r} to raise {name!r} at.")
            instance.send(EventRaised(-1, documents.now, name, data), documents.now)

    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        with self._transaction() as documents:
            if (instance := documents.get(instance_id)) is not None:
                instance.send(ExecutionTerminated(-1, documents.now, output, recursive), documents.now)

    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        with self._transaction() as documents:
            instance = documents.get(instance_id)
            if instance is not None and not is_suspended(instance):
                instance.send(ExecutionSuspended(-1, documents.now, reason), documents.now)

    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        with self._transaction() as documents:
            instance = documents.get(instance_id)
            if instance is not None and is_suspended(instance):
                instance.send(ExecutionResumed(-1, documents.now, reason), documents.now)

    # --- client half: many instances ----------------------------------------------------------------------------

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        with self._transaction() as documents:
            states = [instance.state for instance in documents.all()]
        found = sorted((s for s in states if _matches(s, query)), key=_position)
        if query.continuation_token is not None:  # the token is the last position that was shown
            after = msgspec.json.decode(query.continuation_token, type=tuple[datetime, str])
            found = [state for state in found if _position(state) > after]
        page = found[: query.page_size]
        token = msgspec.json.encode(_position(page[-1])).decode() if len(found) > len(page) else None
        return InstancePage([snapshot(s, include_payloads=query.include_payloads) for s in page], token)

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        if isinstance(request, PurgeInstance) and not request.recursive:
            ids: Sequence[str] = [request.instance_id]
        elif isinstance(request, PurgeBatch) and not request.recursive:
            ids = request.instance_ids
        else:
            raise NotSupportedError("PollingTransport purges by id, without recursion.")
        with self._transaction() as documents:
            done = [
                i for i in set(ids) if (found := documents.get(i)) is not None and found.state.is_finished
            ]
            for instance_id in done:
                documents.remove(instance_id)
        return PurgeResult(len(done))

    async def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        with self._transaction() as documents:
            instance = documents.get(instance_id)
        if instance is None:
            raise InstanceNotFoundError(f"There is no instance {instance_id!r}.")
        if execution_id in {None, instance.state.execution_id}:
            yield instance.history

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        raise NotSupportedError("PollingTransport does not list instances by completion.")

    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        raise NotSupportedError("PollingTransport cannot restart.")

    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        raise NotSupportedError("PollingTransport cannot rewind.")

    # --- worker half --------------------------------------------------------------------------------------------

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        closings = self._closings
        held: dict[str, str] = {}  # token -> instance
        try:
            while True:
                items = self._claim()
                held.update((item.completion_token, item.instance_id) for item in items)
                for item in items:
                    yield item
                await self._pause(closings)
        finally:
            self._release(held)

    def _claim(self) -> list[WorkItem]:
        """Lock everything that can run now, and hand it out."""
        items: list[WorkItem] = []
        with self._transaction() as documents:
            until = documents.now + self._lock_timeout
            for instance in documents.all():
                if instance.is_free(documents.now) and (messages := due_messages(instance, documents.now)):
                    instance.token, instance.held_until = _new_token(instance), until
                    instance.delivered = [message.number for message in messages]
                    clock = OrchestratorStarted(-1, documents.now)
                    instance.episode = [clock, *(message.event for message in messages)]
                    items.append(_episode(instance))
                for activity in instance.activities:
                    if activity.is_free(documents.now):
                        activity.token, activity.held_until = _new_token(instance), until
                        items.append(_activity(instance, activity))
        return items

    def _release(self, held: dict[str, str], delay: timedelta = timedelta(0)) -> None:
        """Give items back. A token that is no longer the present one is not looked at."""
        with self._transaction() as documents:
            for token, instance_id in held.items():
                instance = documents.get(instance_id)
                for work in () if instance is None else (instance, *instance.activities):
                    if work.token == token:
                        work.token, work.held_until = "", documents.now + delay

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        if result.requires_history:  # every item has its whole past already
            self._release({result.completion_token: result.instance_id}, BACK_OFF)
            return
        with self._transaction() as documents:
            instance = documents.get(result.instance_id)
            if instance is not None and instance.token and instance.token == result.completion_token:
                commit(documents, instance, result)

    async def complete_activity(self, result: ActivityResult) -> None:
        with self._transaction() as documents:
            instance = documents.get(result.instance_id)
            token = result.completion_token
            found = [] if instance is None else [a for a in instance.activities if token and a.token == token]
            if instance is None or not found:
                return
            instance.activities.remove(found[0])
            task_id, execution_id = found[0].task_id, found[0].execution_id
            answer: HistoryEvent = TaskCompleted(-1, documents.now, task_id, result.result)
            if result.failure is not None:
                answer = TaskFailed(-1, documents.now, task_id, result.failure)
            instance.send(answer, documents.now, execution_id)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        self._release({item.completion_token: _instance_of(item.completion_token)}, BACK_OFF)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        self._release({item.completion_token: _instance_of(item.completion_token)}, BACK_OFF)


def _new_token(instance: Instance) -> str:
    """A token that leads back to its instance: who abandons an item over a wire gives nothing else."""
    return f"{uuid.uuid4().hex}:{instance.state.instance_id}"


def _instance_of(token: str) -> str:
    return token.partition(":")[2]


def _episode(instance: Instance) -> OrchestratorWorkItem:
    return OrchestratorWorkItem(
        instance_id=instance.state.instance_id,
        execution_id=instance.state.execution_id,
        past_events=instance.history,
        new_events=instance.episode,
        completion_token=instance.token,
    )


def _activity(instance: Instance, activity: Activity) -> ActivityWorkItem:
    return ActivityWorkItem(
        name=activity.name,
        instance_id=instance.state.instance_id,
        execution_id=activity.execution_id,
        task_id=activity.task_id,
        input=activity.input,
        version=activity.version,
        tags=activity.tags,
        completion_token=activity.token,
    )


def _position(state: OrchestrationState) -> tuple[datetime, str]:
    return (state.created_at, state.instance_id)


def _matches(state: OrchestrationState, query: InstanceQuery) -> bool:
    return (
        (not query.runtime_statuses or state.runtime_status in query.runtime_statuses)
        and (query.created_from is None or state.created_at >= query.created_from)
        and (query.created_to is None or state.created_at < query.created_to)
        and state.instance_id.startswith(query.instance_id_prefix or "")
    )
