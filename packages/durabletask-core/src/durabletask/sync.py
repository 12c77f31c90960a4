"""The client and the worker for programs without an event loop: the same names, no ``await``.

A thin layer over the async ones: one thread runs an event loop for all objects of this module; every call hands
its coroutine to that loop and waits for the answer. Scripts, Flask and Django use this module.

    from durabletask.sync import DurableTaskClient

    with DurableTaskClient("Endpoint=http://localhost:8080;Authentication=None", "default") as client:
        instance_id = client.schedule_new_orchestration("greet_all", ["World"])
        print(client.wait_for_orchestration_completion(instance_id).output)
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from typing_extensions import Self

from .core import client as _client
from .core import worker as _worker
from .core.connection_string import ConnectionString
from .core.entities import CleanEntityStorageResult, EntityId, EntityMetadata
from .core.history import HistoryEvent
from .core.hosting.backoff import Backoff
from .core.hosting.limits import ConcurrencyOptions
from .core.instances import OrchestrationState, OrchestrationStatus, PurgeResult, ReusePolicy
from .core.paging import AsyncPages
from .core.portal import Portal
from .core.registry import (
    ActivityDefinition,
    EntityDefinition,
    OrchestratorDefinition,
    Registrations,
    Registry,
)
from .core.serialization import DataConverter
from .core.transport import Transport
from .core.versioning import VersioningOptions
from .core.work_items import WorkItemFilters
from .core.worker import WorkerMetrics

if TYPE_CHECKING:
    from .core.context import RunsSync
    from .core.diagnosis import Diagnosis

__all__ = ["DurableTaskClient", "DurableTaskWorker", "Pages"]

InputT = TypeVar("InputT")
_T = TypeVar("_T")

_DEFAULT_WAIT = 60.0
_POLL_SECONDS = 0.2


_portal = Portal()


class Pages(Generic[_T]):
    """Items over all pages: ``for item in listing``; ``listing.pages()`` for whole pages."""

    def __init__(
        self, listing: AsyncPages[_T], call: Callable[[Coroutine[object, object, Any]], Any]
    ) -> None:
        self._listing = listing
        self._call = call

    def pages(self) -> Iterator[Sequence[_T]]:
        """The pages, which may be empty."""
        pages = self._listing.pages()
        while True:
            try:
                page: Sequence[_T] = self._call(_next(pages))
            except _End:
                return
            yield page

    def __iter__(self) -> Iterator[_T]:
        for page in self.pages():
            yield from page

    def to_list(self) -> list[_T]:
        """All items."""
        return list(self)


class _End(Exception):  # noqa: N818 - not an error
    """The last page is behind."""


async def _next(pages: AsyncIterator[_T]) -> _T:
    try:
        return await pages.__anext__()
    except StopAsyncIteration:
        raise _End from None


class DurableTaskClient:
    """The blocking twin of ``durabletask.DurableTaskClient``; see there for every argument and error.

    Safe to use from several threads. ``with`` closes it at the end; without, call ``close``.
    """

    def __init__(
        self,
        connection: str | ConnectionString | Transport,
        task_hub: str | None = None,
        *,
        data_converter: DataConverter | None = None,
        default_version: str | None = None,
        credential: object | None = None,
        allow_insecure_credential: bool = False,
    ) -> None:
        async def make() -> _client.DurableTaskClient:  # on the loop, where its connection will live
            return _client.DurableTaskClient(
                connection,
                task_hub,
                data_converter=data_converter,
                default_version=default_version,
                credential=credential,
                allow_insecure_credential=allow_insecure_credential,
            )

        try:
            self._client = self._call(make())
        except BaseException:
            _portal.leave(self)
            raise

    def __repr__(self) -> str:
        return f"sync.{self._client!r}"

    def _call(self, coroutine: Coroutine[object, object, _T]) -> _T:
        return _portal.call(self, coroutine)

    def close(self) -> None:
        """Give back the connection, if the client made it. The client may be used again afterwards."""
        try:
            self._call(self._client.close())
        finally:
            _portal.leave(self)

    def __enter__(self) -> Self:
        """Nothing is connected yet."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    @property
    def transport(self) -> Transport:
        """The connection to the hub."""
        return self._client.transport

    @overload
    def schedule_new_orchestration(
        self,
        orchestrator: Callable[[Any, InputT], object]
        | RunsSync[InputT, object]
        | type[RunsSync[InputT, object]],
        input: InputT,
        *,
        instance_id: str | None = None,
        start_at: datetime | timedelta | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
    ) -> str: ...
    @overload
    def schedule_new_orchestration(
        self,
        orchestrator: str | Callable[[Any], object],
        input: object = None,
        *,
        instance_id: str | None = None,
        start_at: datetime | timedelta | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
    ) -> str: ...

    def schedule_new_orchestration(
        self,
        orchestrator: object,
        input: object = None,
        *,
        instance_id: str | None = None,
        start_at: datetime | timedelta | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
    ) -> str:
        """Start an orchestration and return its instance id."""
        target: Any = orchestrator  # the overloads above have checked it
        return self._call(
            self._client.schedule_new_orchestration(
                target,
                input,
                instance_id=instance_id,
                start_at=start_at,
                version=version,
                tags=tags,
                reuse_policy=reuse_policy,
            )
        )

    def get_orchestration_state(
        self, instance_id: str, *, fetch_payloads: bool = True
    ) -> OrchestrationState | None:
        """The state of an instance, or ``None`` when there is none of that id."""
        return self._call(self._client.get_orchestration_state(instance_id, fetch_payloads=fetch_payloads))

    def wait_for_orchestration_start(
        self,
        instance_id: str,
        *,
        fetch_payloads: bool = True,
        timeout_in_seconds: float | None = _DEFAULT_WAIT,
    ) -> OrchestrationState | None:
        """Wait until an instance has begun to run; ``None`` at the time-out."""
        return self._call(
            self._client.wait_for_orchestration_start(
                instance_id, fetch_payloads=fetch_payloads, timeout_in_seconds=timeout_in_seconds
            )
        )

    def wait_for_orchestration_completion(
        self,
        instance_id: str,
        *,
        fetch_payloads: bool = True,
        timeout_in_seconds: float | None = _DEFAULT_WAIT,
    ) -> OrchestrationState | None:
        """Wait until an instance has ended in whatever way; ``None`` at the time-out."""
        return self._call(
            self._client.wait_for_orchestration_completion(
                instance_id, fetch_payloads=fetch_payloads, timeout_in_seconds=timeout_in_seconds
            )
        )

    def raise_orchestration_event(self, instance_id: str, event_name: str, data: object = None) -> None:
        """Deliver an external event; an instance that has ended drops it."""
        self._call(self._client.raise_orchestration_event(instance_id, event_name, data))

    def terminate_orchestration(
        self, instance_id: str, output: object = None, *, recursive: bool = True
    ) -> None:
        """Ask an instance to end as TERMINATED. No-op when there is none, or when it has ended."""
        self._call(self._client.terminate_orchestration(instance_id, output, recursive=recursive))

    def suspend_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspend an instance: events are kept and handled when it is resumed."""
        self._call(self._client.suspend_orchestration(instance_id, reason=reason))

    def resume_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Resume a suspended instance."""
        self._call(self._client.resume_orchestration(instance_id, reason=reason))

    def rewind_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Undo the failures of a FAILED instance and let it go on."""
        self._call(self._client.rewind_orchestration(instance_id, reason=reason))

    def restart_orchestration(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Run an instance that has ended again from its start; returns the id of the new run."""
        return self._call(
            self._client.restart_orchestration(instance_id, with_new_instance_id=with_new_instance_id)
        )

    def force_terminate_orchestrations(
        self, instance_ids: Iterable[str], *, reason: str | None = None
    ) -> list[str]:
        """End instances as TERMINATED without running them; returns the ids that could not be ended."""
        return self._call(self._client.force_terminate_orchestrations(instance_ids, reason=reason))

    def query_orchestrations(
        self,
        *,
        runtime_statuses: Iterable[OrchestrationStatus] = (),
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        instance_id_prefix: str | None = None,
        fetch_payloads: bool = False,
        page_size: int = 100,
    ) -> Pages[OrchestrationState]:
        """Instances by creation time: ``async for state in client.query_orchestrations(...)``."""
        return Pages(
            self._client.query_orchestrations(
                runtime_statuses=runtime_statuses,
                created_from=created_from,
                created_to=created_to,
                instance_id_prefix=instance_id_prefix,
                fetch_payloads=fetch_payloads,
                page_size=page_size,
            ),
            self._call,
        )

    def list_instance_ids(
        self,
        *,
        runtime_statuses: Iterable[OrchestrationStatus] = (),
        completed_from: datetime | None = None,
        completed_to: datetime | None = None,
        page_size: int = 100,
    ) -> Pages[str]:
        """Ids of instances that have ended, by completion time; arguments as for ``query_orchestrations``."""
        return Pages(
            self._client.list_instance_ids(
                runtime_statuses=runtime_statuses,
                completed_from=completed_from,
                completed_to=completed_to,
                page_size=page_size,
            ),
            self._call,
        )

    def purge_orchestration(self, instance_id: str, *, recursive: bool = False) -> PurgeResult:
        """Remove an instance that has ended, with its history; one that is missing or live counts zero."""
        return self._call(self._client.purge_orchestration(instance_id, recursive=recursive))

    def purge_orchestrations(
        self,
        instance_ids: Iterable[str] | None = None,
        *,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        runtime_statuses: Iterable[OrchestrationStatus] = (),
        recursive: bool = False,
    ) -> PurgeResult:
        """Remove instances that have ended, given by their ids or by a filter, until none is left."""
        return self._call(
            self._client.purge_orchestrations(
                instance_ids,
                created_from=created_from,
                created_to=created_to,
                runtime_statuses=runtime_statuses,
                recursive=recursive,
            )
        )

    def get_orchestration_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> list[HistoryEvent]:
        """The whole history of an instance."""
        return self._call(self._client.get_orchestration_history(instance_id, execution_id=execution_id))

    def download_history(
        self, instance_id: str, path: str | PathLike[str], *, execution_id: str | None = None
    ) -> int:
        """Write the history of an instance to a file and return the number of events."""
        return self._call(self._client.download_history(instance_id, path, execution_id=execution_id))

    def explain(
        self, instance_id: str, *, orchestrators: Registrations = (), activities: Registrations = ()
    ) -> Diagnosis:
        """Why an instance is not finished, with advice; print it, or read its members."""
        return self._call(
            self._client.explain(instance_id, orchestrators=orchestrators, activities=activities)
        )

    def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input: object = None,
        *,
        start_at: datetime | timedelta | None = None,
    ) -> None:
        """Send a one-way message to an entity; the first one creates it."""
        self._call(self._client.signal_entity(entity_id, operation, input, start_at=start_at))

    def get_entity(self, entity_id: EntityId | str, *, include_state: bool = True) -> EntityMetadata | None:
        """What is known of an entity, or ``None`` when it does not exist."""
        return self._call(self._client.get_entity(entity_id, include_state=include_state))

    def query_entities(
        self,
        *,
        instance_id_prefix: str | None = None,
        last_modified_from: datetime | None = None,
        last_modified_to: datetime | None = None,
        include_state: bool = True,
        include_transient: bool = False,
        page_size: int = 100,
    ) -> Pages[EntityMetadata]:
        """Entities by id: ``async for entity in client.query_entities(...)``."""
        return Pages(
            self._client.query_entities(
                instance_id_prefix=instance_id_prefix,
                last_modified_from=last_modified_from,
                last_modified_to=last_modified_to,
                include_state=include_state,
                include_transient=include_transient,
                page_size=page_size,
            ),
            self._call,
        )

    def clean_entity_storage(
        self, *, remove_empty_entities: bool = True, release_orphaned_locks: bool = True
    ) -> CleanEntityStorageResult:
        """Remove empty entities and release locks whose holder is gone; returns what was done."""
        return self._call(
            self._client.clean_entity_storage(
                remove_empty_entities=remove_empty_entities, release_orphaned_locks=release_orphaned_locks
            )
        )

    def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """Create the task hub, where the hub's server allows it."""
        self._call(self._client.create_task_hub(recreate_if_exists=recreate_if_exists))

    def delete_task_hub(self) -> None:
        """Delete the task hub and everything in it."""
        self._call(self._client.delete_task_hub())


class DurableTaskWorker:
    """The blocking twin of ``durabletask.DurableTaskWorker``; see there for every argument and error.

    Orchestrators and ``async def`` activities run on the event loop of this module, in its own thread.
    """

    def __init__(
        self,
        connection: str | ConnectionString | Transport,
        task_hub: str | None = None,
        *,
        orchestrators: Registrations = (),
        activities: Registrations = (),
        entities: Registrations = (),
        concurrency: ConcurrencyOptions | None = None,
        versioning: VersioningOptions | None = None,
        data_converter: DataConverter | None = None,
        filters: WorkItemFilters | Literal["auto"] | None = None,
        strict: bool = False,
        session_cache_size: int = 2000,
        session_cache_age: timedelta = timedelta(minutes=10),
        session_cache_events: int = 1_000_000,
        drain_timeout: float = 30.0,
        credential: object | None = None,
        allow_insecure_credential: bool = False,
        backoff: Backoff | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        async def make() -> _worker.DurableTaskWorker:  # on the loop, where its connection will live
            return _worker.DurableTaskWorker(
                connection,
                task_hub,
                orchestrators=orchestrators,
                activities=activities,
                entities=entities,
                concurrency=concurrency,
                versioning=versioning,
                data_converter=data_converter,
                filters=filters,
                strict=strict,
                session_cache_size=session_cache_size,
                session_cache_age=session_cache_age,
                session_cache_events=session_cache_events,
                drain_timeout=drain_timeout,
                credential=credential,
                allow_insecure_credential=allow_insecure_credential,
                backoff=backoff,
                logger=logger,
            )

        try:
            self._worker = self._call(make())
        except BaseException:
            _portal.leave(self)
            raise

    def __repr__(self) -> str:
        return f"<sync {repr(self._worker).lstrip('<')}"

    def _call(self, coroutine: Coroutine[object, object, _T]) -> _T:
        return _portal.call(self, coroutine)

    def start(self) -> None:
        """Begin to serve, in the background. Does not wait for the hub."""
        self._call(self._worker.start())

    def stop(self, *, timeout: float | None = None) -> None:
        """Stop serving; see ``durabletask.DurableTaskWorker.stop``."""
        try:
            self._call(self._worker.stop(timeout=timeout))
        finally:
            _portal.leave(self)

    def run(self) -> None:
        """Serve until Ctrl-C, or until ``stop`` is called from another thread."""
        self.start()
        try:
            while self._worker.is_running:
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            self.stop(timeout=0)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop: in an orderly way, or at once when the block was interrupted."""
        is_urgent = exc_type is not None and not issubclass(exc_type, Exception)
        self.stop(timeout=0 if is_urgent else None)

    @property
    def registry(self) -> Registry:
        """What this worker can run."""
        return self._worker.registry

    def add_orchestrator(self, orchestrator: object, name: str | None = None) -> OrchestratorDefinition:
        """Register an orchestrator; without a name, under its own."""
        return self._worker.add_orchestrator(orchestrator, name)

    def add_activity(self, activity: object, name: str | None = None) -> ActivityDefinition:
        """Register an activity; without a name, under its own."""
        return self._worker.add_activity(activity, name)

    def add_entity(self, entity: object, name: str | None = None) -> EntityDefinition:
        """Register an entity; without a name, under its own."""
        return self._worker.add_entity(entity, name)

    @property
    def is_running(self) -> bool:
        """Whether the worker has been started and not stopped."""
        return self._worker.is_running

    @property
    def metrics(self) -> WorkerMetrics:
        """Counters since the last start."""
        return self._worker.metrics
