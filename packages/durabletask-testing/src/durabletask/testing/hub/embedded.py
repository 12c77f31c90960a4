"""Task hubs inside the process of their users: ``Endpoint=memory://`` and ``Endpoint=sqlite:///path``.

A client and a worker that are built separately share a hub by endpoint and hub name; the last one that
closes closes it. The hub lives in the event loop that used it first; users in other loops of the process
(the blocking facade runs one in a thread) are served across threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar, cast

from durabletask.core.connection import ConnectionString, CredentialProvider
from durabletask.core.entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from durabletask.core.errors import ConfigurationError, TransportUnavailableError
from durabletask.core.history import HistoryEvent, TraceContext
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
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
from durabletask.testing.clock import Clock

from .facade import InMemoryBackend
from .store import SqliteStore

__all__ = ["EmbeddedTransport", "from_connection_string"]

T = TypeVar("T")


class _Shared:
    """One embedded hub and its users."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self.backend = backend
        self.users = 0
        self.home: asyncio.AbstractEventLoop | None = None

    def is_elsewhere(self) -> bool:
        """Whether the hub lives in another loop that is running; otherwise it lives here from now on."""
        here = asyncio.get_running_loop()
        if self.home is not here and self.home is not None and self.home.is_running():
            return True
        self.home = here
        return False


_guard = threading.Lock()
_hubs: dict[tuple[str, str], _Shared] = {}
_stores: dict[Path, SqliteStore] = {}


def from_connection_string(
    connection_string: ConnectionString,
    task_hub: str,
    *,
    credential: CredentialProvider | None = None,  # noqa: ARG001 - part of the factory's form
    **options: object,
) -> Transport:
    """A transport to the hub of an embedded endpoint (the entry points ``memory`` and ``sqlite``).

    Options: ``clock``, used when this call makes the hub.

    Raises:
        ConfigurationError: an option is unknown.
    """
    clock = options.pop("clock", None)
    if options or not (clock is None or isinstance(clock, Clock)):
        raise ConfigurationError(
            f"An embedded hub takes the option clock (a Clock) only; got {sorted(options) or ['clock']}."
        )
    path = Path(connection_string.path).resolve() if connection_string.scheme == "sqlite" else None
    return EmbeddedTransport(connection_string.endpoint, task_hub, path, clock)


class EmbeddedTransport(Transport):
    """One user of an embedded hub.

    Args:
        endpoint: ``memory://``, ``memory://name`` or ``sqlite:///path``.
        task_hub: name of the hub.
        path: the file of a ``sqlite`` endpoint.
        clock: the clock of the hub, if this is its first user.
    """

    def __init__(self, endpoint: str, task_hub: str, path: Path | None, clock: Clock | None) -> None:
        self._endpoint = endpoint
        self._task_hub = task_hub
        self._path = path
        self._clock = clock
        self._shared: _Shared | None = None
        self._enter()

    @property
    def endpoint(self) -> str:
        """The endpoint of the connection string."""
        return self._endpoint

    @property
    def task_hub(self) -> str:
        """Name of the task hub."""
        return self._task_hub

    @property
    def backend(self) -> InMemoryBackend:
        """The hub itself."""
        return self._enter().backend

    def _enter(self) -> _Shared:
        if self._shared is None:
            key = (str(self._path) if self._path is not None else self._endpoint, self._task_hub)
            with _guard:
                shared = _hubs.get(key)
                if shared is None:
                    store = _stores.setdefault(self._path, SqliteStore(self._path)) if self._path else None
                    backend = InMemoryBackend(self._task_hub, clock=self._clock, store=store)
                    shared = _hubs[key] = _Shared(backend)
                shared.users += 1
            self._shared = shared
        return self._shared

    async def close(self) -> None:
        """Leave the hub; the last user closes it. Using the transport again enters it again."""
        shared, self._shared = self._shared, None
        if shared is None:
            return
        with _guard:
            shared.users -= 1
            if shared.users:
                return
            for key in [key for key, one in _hubs.items() if one is shared]:
                del _hubs[key]
        await _call(shared, shared.backend.close)

    async def _ask(self, request: Callable[[InMemoryBackend], Awaitable[T]]) -> T:
        shared = self._enter()
        if not shared.is_elsewhere():
            return await request(shared.backend)
        return await _call(shared, lambda: request(shared.backend))

    async def connect(self) -> None:
        """Open the store, if there is one."""
        await self._ask(InMemoryBackend.connect)

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        """See ``Transport``."""
        return await self._ask(lambda hub: hub.create_instance(request))

    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        """See ``Transport``."""
        return await self._ask(lambda hub: hub.get_instance(instance_id, include_payloads=include_payloads))

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """See ``Transport``."""
        return await self._ask(
            lambda hub: hub.wait_for_instance_start(
                instance_id, include_payloads=include_payloads, timeout=timeout
            )
        )

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """See ``Transport``."""
        return await self._ask(
            lambda hub: hub.wait_for_instance_completion(
                instance_id, include_payloads=include_payloads, timeout=timeout
            )
        )

    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.raise_event(instance_id, name, data))

    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.terminate_instance(instance_id, output=output, recursive=recursive))

    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.suspend_instance(instance_id, reason=reason))

    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.resume_instance(instance_id, reason=reason))

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        """See ``Transport``."""
        return await self._ask(lambda hub: hub.query_instances(query))

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        """See ``Transport``."""
        return await self._ask(lambda hub: hub.list_instance_ids(query))

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        """See ``Transport``."""
        return await self._ask(lambda hub: hub.purge_instances(request))

    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """See ``Transport``."""
        return await self._ask(
            lambda hub: hub.restart_instance(instance_id, with_new_instance_id=with_new_instance_id)
        )

    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.rewind_instance(instance_id, reason=reason))

    async def force_terminate_instances(
        self, instance_ids: Sequence[str], *, reason: str | None = None
    ) -> Sequence[str]:
        """See ``Transport``."""
        return await self._ask(lambda hub: hub.force_terminate_instances(instance_ids, reason=reason))

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.create_task_hub(recreate_if_exists=recreate_if_exists))

    async def delete_task_hub(self) -> None:
        """See ``Transport``."""
        await self._ask(InMemoryBackend.delete_task_hub)

    async def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        """See ``Transport``."""

        async def read(hub: InMemoryBackend) -> list[Sequence[HistoryEvent]]:
            return [chunk async for chunk in hub.stream_history(instance_id, execution_id=execution_id)]

        for chunk in await self._ask(read):
            yield chunk

    def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """See ``Transport``."""
        shared = self._enter()
        if not shared.is_elsewhere():
            return shared.backend.work_items(options)
        return _stream_from(shared, options)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.complete_orchestrator(result))

    async def complete_activity(self, result: ActivityResult) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.complete_activity(result))

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.abandon_orchestrator(item))

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.abandon_activity(item))

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
        """See ``Transport``."""
        await self._ask(
            lambda hub: hub.signal_entity(
                instance_id,
                operation,
                input=input,
                request_id=request_id,
                scheduled_time=scheduled_time,
                trace_context=trace_context,
            )
        )

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        """See ``Transport``."""
        return await self._ask(lambda hub: hub.get_entity(instance_id, include_state=include_state))

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        """See ``Transport``."""
        return await self._ask(lambda hub: hub.query_entities(query))

    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
    ) -> CleanEntityStorageResult:
        """See ``Transport``."""
        return await self._ask(
            lambda hub: hub.clean_entity_storage(
                remove_empty_entities=remove_empty_entities,
                release_orphaned_locks=release_orphaned_locks,
                continuation_token=continuation_token,
            )
        )

    async def complete_entity(self, result: EntityBatchResult) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.complete_entity(result))

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        """See ``Transport``."""
        await self._ask(lambda hub: hub.abandon_entity(item))


async def _call(shared: _Shared, request: Callable[[], Awaitable[T]]) -> T:
    """Run a request in the loop of the hub."""
    home = shared.home
    if not shared.is_elsewhere() or home is None:
        return await request()

    async def run() -> T:
        return await request()

    asked = asyncio.run_coroutine_threadsafe(cast("Coroutine[object, object, T]", run()), home)
    try:
        return await asyncio.wrap_future(asked)
    except asyncio.CancelledError:
        if home.is_running():
            raise
        raise TransportUnavailableError(
            f"The event loop that task hub {shared.backend.task_hub!r} lived in has ended; call again."
        ) from None


async def _stream_from(shared: _Shared, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
    """A stream whose hub lives in another loop."""
    stream = shared.backend.work_items(options)
    reading: list[asyncio.Task[object]] = []

    async def following() -> WorkItem | None:
        task = asyncio.current_task()
        reading[:] = [task] if task is not None else []
        async for item in stream:
            return item
        return None

    async def close() -> None:
        for task in reading:  # a reader that was cancelled over there may not have noticed yet
            task.cancel()
            await asyncio.wait([task])
        await stream.aclose()

    try:
        while (item := await _call(shared, following)) is not None:
            yield item
    finally:
        await _call(shared, close)
