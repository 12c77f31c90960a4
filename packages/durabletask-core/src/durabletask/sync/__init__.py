"""The client and the worker for programs without an event loop: the same names, no ``await``.

One thread runs an event loop for all objects of this module. Each call is run on that loop, and the calling thread
waits for the result. Use it in scripts, and in Flask and Django.

    from durabletask.sync import DurableTaskClient

    with DurableTaskClient("Endpoint=http://localhost:8080;Authentication=None", "default") as client:
        instance_id = client.schedule_new_orchestration("greet_all", ["World"])
        print(client.wait_for_orchestration_completion(instance_id).output)

``tools/generate_sync.py`` writes the methods between the ``generated`` comments from the async classes.
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import Self, Unpack

from durabletask.core import client as _client
from durabletask.core import worker as _worker
from durabletask.core.connection_string import ConnectionString
from durabletask.core.history import HistoryEvent
from durabletask.core.hosting.stop_signals import stop_signals
from durabletask.core.instances import OrchestrationState, PurgeResult, ReusePolicy
from durabletask.core.options import ClientOptions, WorkerOptions
from durabletask.core.paging import Pages
from durabletask.core.portal import Portal
from durabletask.core.registry import (
    ActivityDefinition,
    EntityDefinition,
    OrchestratorDefinition,
    Registrations,
    Registry,
)
from durabletask.core.requests import Statuses
from durabletask.core.transport import Transport
from durabletask.core.worker import WorkerMetrics

from .entities import EntityClient
from .exports import Exports
from .schedules import Schedules

if TYPE_CHECKING:
    from durabletask.core.context import RunsSync
    from durabletask.core.diagnosis import Diagnosis

__all__ = ["DurableTaskClient", "DurableTaskWorker", "Pages"]

InputT = TypeVar("InputT")
_T = TypeVar("_T")

_DEFAULT_WAIT = 60.0

_portal = Portal("durabletask-sync")


class DurableTaskClient(EntityClient):
    """The blocking twin of ``durabletask.DurableTaskClient``: same arguments, results and errors.

    Safe to use from several threads. ``with`` closes it at the end; without, call ``close``.
    """

    def __init__(
        self,
        connection: str | ConnectionString | Transport,
        task_hub: str | None = None,
        *,
        credential: object | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        async def make() -> _client.DurableTaskClient:  # on the loop, where its connection will live
            return _client.DurableTaskClient(connection, task_hub, credential=credential, **options)

        try:
            self._inner: _client.DurableTaskClient = self._call(make)
        except BaseException:
            _portal.leave(self)
            raise

    def __repr__(self) -> str:
        return f"sync.{self._inner!r}"

    def _call(self, action: Callable[[], Awaitable[_T]], /) -> _T:
        return _portal.call(self, action)

    def close(self) -> None:
        """Close the connection, if the client made it. The client may be used again afterwards."""
        try:
            self._call(self._inner.close)
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

    # <generated from durabletask.core.client.DurableTaskClient>

    @property
    def transport(self) -> Transport:
        """The connection to the hub."""
        return self._inner.transport

    @overload
    def schedule_new_orchestration(
        self,
        orchestrator: Callable[[Any, InputT], object]
        | RunsSync[InputT, object]
        | type[RunsSync[InputT, object]],
        input: InputT,
        *,
        instance_id: str | None = None,
        start_at: datetime | timedelta | float | None = None,
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
        start_at: datetime | timedelta | float | None = None,
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
        start_at: datetime | timedelta | float | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
    ) -> str:
        """Start an orchestration and return its instance id.

        Args:
            orchestrator: the orchestrator's function, class or object, or its registered name.
            input: what the orchestrator gets as its input.
            instance_id: an id of your choice; by default 32 random hexadecimal digits. It must not begin
                with ``@`` (those are entities).
            start_at: not before this time, or not before this long from now (``timedelta`` or seconds).
            version: version of the instance; the client's ``default_version`` by default.
            tags: names and values that tools show and that activities of the instance can read.
            reuse_policy: which instances of the same id may be replaced; none by default.

        Raises:
            InstanceAlreadyExistsError: the id is in use and may not be replaced.
            InvalidRequestError: the id or the name cannot be used, or the input is missing.
            SerializationError: the input has no JSON form; the message names the part.
        """
        any_orchestrator: Any = orchestrator  # checked by the overloads
        return self._call(
            lambda: self._inner.schedule_new_orchestration(
                any_orchestrator,
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
        """The state of an instance, or ``None`` when there is none of that id.

        Args:
            instance_id: id of the instance.
            fetch_payloads: whether input, output and custom status are wanted.
        """
        return self._call(
            lambda: self._inner.get_orchestration_state(instance_id, fetch_payloads=fetch_payloads)
        )

    def wait_for_orchestration_start(
        self,
        instance_id: str,
        *,
        fetch_payloads: bool = True,
        timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OrchestrationState | None:
        """Wait until an instance has begun to run; ``None`` at the time-out.

        Args:
            instance_id: id of the instance; one that does not exist yet is waited for.
            fetch_payloads: whether input, output and custom status are wanted.
            timeout_in_seconds: how long to wait, on the hub's clock; ``None`` for as long as it takes.

        Raises:
            InstanceNotFoundError: the instance was purged meanwhile.
        """
        return self._call(
            lambda: self._inner.wait_for_orchestration_start(
                instance_id, fetch_payloads=fetch_payloads, timeout_in_seconds=timeout_in_seconds
            )
        )

    def wait_for_orchestration_completion(
        self,
        instance_id: str,
        *,
        fetch_payloads: bool = True,
        timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OrchestrationState | None:
        """Wait until an instance has ended in whatever way; ``None`` at the time-out.

        Args and Raises: as for ``wait_for_orchestration_start``.
        """
        return self._call(
            lambda: self._inner.wait_for_orchestration_completion(
                instance_id, fetch_payloads=fetch_payloads, timeout_in_seconds=timeout_in_seconds
            )
        )

    def raise_orchestration_event(self, instance_id: str, event_name: str, data: object = None) -> None:
        """Deliver an external event; an instance that has ended drops it.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs drop the event instead).
        """
        self._call(lambda: self._inner.raise_orchestration_event(instance_id, event_name, data))

    def terminate_orchestration(
        self, instance_id: str, output: object = None, *, recursive: bool = True
    ) -> None:
        """Ask an instance to end as TERMINATED. No-op when there is none, or when it has ended.

        Args:
            instance_id: id of the instance.
            output: becomes the output of the instance.
            recursive: also terminate the orchestrations that it has started as its children.
        """
        self._call(lambda: self._inner.terminate_orchestration(instance_id, output, recursive=recursive))

    def suspend_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspend an instance: events are kept and handled when it is resumed."""
        self._call(lambda: self._inner.suspend_orchestration(instance_id, reason=reason))

    def resume_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Resume a suspended instance."""
        self._call(lambda: self._inner.resume_orchestration(instance_id, reason=reason))

    def rewind_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Undo the failures that ended a FAILED instance and let it go on.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InvalidOperationError: the instance is not FAILED, or its code has answered the failure that ended it.
        """
        self._call(lambda: self._inner.rewind_orchestration(instance_id, reason=reason))

    def restart_orchestration(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Run an instance that has ended again from its start; returns the id of the new run.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InvalidOperationError: the instance has not ended.
        """
        return self._call(
            lambda: self._inner.restart_orchestration(instance_id, with_new_instance_id=with_new_instance_id)
        )

    def force_terminate_orchestrations(
        self, instance_ids: str | Iterable[str], *, reason: str | None = None
    ) -> list[str]:
        """End instances as TERMINATED without running them; returns the ids that could not be ended."""
        return self._call(lambda: self._inner.force_terminate_orchestrations(instance_ids, reason=reason))

    def query_orchestrations(
        self,
        *,
        runtime_statuses: Statuses = (),
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        instance_id_prefix: str | None = None,
        fetch_payloads: bool = False,
        page_size: int = 100,
    ) -> Pages[OrchestrationState]:
        """Instances by creation time: ``for state in client.query_orchestrations(...)``.

        Helper orchestrations, whose ids begin with ``durabletask~``, are left out unless ``instance_id_prefix`` begins
        with that text.

        Args:
            runtime_statuses: only these; all by default. One or several, as members or by their names.
            created_from: created at this time or later.
            created_to: created before this time.
            instance_id_prefix: only ids that begin with this text.
            fetch_payloads: whether input, output and custom status are wanted.
            page_size: how many to ask the hub for at a time.
        """
        return Pages(
            self._inner.query_orchestrations(
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
        runtime_statuses: Statuses = (),
        completed_from: datetime | None = None,
        completed_to: datetime | None = None,
        page_size: int = 100,
    ) -> Pages[str]:
        """Ids of instances that have ended, by completion time; arguments as for ``query_orchestrations``.

        Helper orchestrations, whose ids begin with ``durabletask~``, are left out.
        """
        return Pages(
            self._inner.list_instance_ids(
                runtime_statuses=runtime_statuses,
                completed_from=completed_from,
                completed_to=completed_to,
                page_size=page_size,
            ),
            self._call,
        )

    def purge_orchestration(self, instance_id: str, *, recursive: bool = False) -> PurgeResult:
        """Remove an instance that has ended, with its history; one that is missing or live counts zero.

        Args:
            instance_id: id of the instance.
            recursive: also remove the orchestrations that it has started as its children.
        """
        return self._call(lambda: self._inner.purge_orchestration(instance_id, recursive=recursive))

    def purge_orchestrations(
        self,
        instance_ids: str | Iterable[str] | None = None,
        *,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        runtime_statuses: Statuses = (),
        everything: bool = False,
        recursive: bool = False,
    ) -> PurgeResult:
        """Remove instances that have ended, given by their ids or by a filter, until none is left.

        Args:
            instance_ids: which ones; without ids the filter decides.
            created_from: created at this time or later.
            created_to: created before this time.
            runtime_statuses: only these (of those that mean an end); all by default. One or several, as members or
                by their names.
            everything: remove every instance that has ended; needed without ids and without a filter.
            recursive: also remove children.

        Raises:
            InvalidRequestError: there are neither ids nor a filter, or both; nothing is removed.
        """
        return self._call(
            lambda: self._inner.purge_orchestrations(
                instance_ids,
                created_from=created_from,
                created_to=created_to,
                runtime_statuses=runtime_statuses,
                everything=everything,
                recursive=recursive,
            )
        )

    def get_orchestration_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> list[HistoryEvent]:
        """The whole history of an instance.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs give an empty history instead).
        """
        return self._call(
            lambda: self._inner.get_orchestration_history(instance_id, execution_id=execution_id)
        )

    def download_history(
        self, instance_id: str, path: str | PathLike[str], *, execution_id: str | None = None
    ) -> int:
        """Write the history of an instance to a file and return the number of events.

        The file is one JSON array, one event per line, and always the same for the same history;
        ``decode_history`` reads it.
        """
        return self._call(lambda: self._inner.download_history(instance_id, path, execution_id=execution_id))

    def explain(
        self,
        instance_id: str,
        *,
        orchestrators: Registrations = (),
        activities: Registrations = (),
        entities: Registrations = (),
    ) -> Diagnosis:
        """Why an instance is not finished, with advice; print it, or read its members.

        With its code, also the events it waits for and the lines (``file:line``) that wait. For calls and locks of
        entities it shows since when they wait, who holds the entity, and how many messages wait for it.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        return self._call(
            lambda: self._inner.explain(
                instance_id, orchestrators=orchestrators, activities=activities, entities=entities
            )
        )

    @property
    def schedules(self) -> Schedules:
        """The schedules of the hub: recurring orchestrations, by cron expression or interval."""
        return Schedules(self._inner.schedules, self._call)

    @property
    def exports(self) -> Exports:
        """Jobs that write the histories of instances to files."""
        return Exports(self._inner.exports, self._call)

    def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """Create the task hub, where the hub's server allows it."""
        self._call(lambda: self._inner.create_task_hub(recreate_if_exists=recreate_if_exists))

    def delete_task_hub(self) -> None:
        """Delete the task hub and everything in it."""
        self._call(self._inner.delete_task_hub)

    # </generated>


class DurableTaskWorker:
    """The blocking twin of ``durabletask.DurableTaskWorker``: same arguments, results and errors.

    Orchestrators and ``async def`` activities run on the event loop of this module, in its own thread.
    """

    def __init__(
        self,
        connection: str | ConnectionString | Transport,
        task_hub: str | None = None,
        *,
        credential: object | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        async def make() -> _worker.DurableTaskWorker:  # on the loop, where its connection will live
            return _worker.DurableTaskWorker(connection, task_hub, credential=credential, **options)

        try:
            self._inner = self._call(make)
        except BaseException:
            _portal.leave(self)
            raise

    def __repr__(self) -> str:
        return f"<sync {repr(self._inner).lstrip('<')}"

    def _call(self, action: Callable[[], Awaitable[_T]], /) -> _T:
        return _portal.call(self, action)

    def stop(self, *, timeout: float | None = None) -> None:
        """Stop serving; see ``durabletask.DurableTaskWorker.stop``."""
        try:
            self._call(lambda: self._inner.stop(timeout=timeout))
        finally:
            _portal.leave(self)

    def run(self) -> None:
        """Serve until SIGTERM (finish work in progress, within ``drain_timeout``), SIGINT (stop at once), or ``stop``.

        A second signal stops at once. Signals are handled in the main thread only; in another thread, ``stop`` must
        be called, from any thread.
        """
        requests: asyncio.Queue[bool] = asyncio.Queue()
        with stop_signals(_portal.running_loop(self), requests):
            self._call(lambda: self._inner._run_until(requests))  # noqa: SLF001 - its other half
        _portal.leave(self)

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

    # <generated from durabletask.core.worker.DurableTaskWorker>

    @property
    def registry(self) -> Registry:
        """What this worker can run."""
        return self._inner.registry

    def add_orchestrator(self, orchestrator: object, name: str | None = None) -> OrchestratorDefinition:
        """Register an orchestrator; without a name, under its own."""
        return self._inner.add_orchestrator(orchestrator, name)

    def add_activity(self, activity: object, name: str | None = None) -> ActivityDefinition:
        """Register an activity; without a name, under its own."""
        return self._inner.add_activity(activity, name)

    def add_entity(self, entity: object, name: str | None = None) -> EntityDefinition:
        """Register an entity; without a name, under its own."""
        return self._inner.add_entity(entity, name)

    @property
    def is_running(self) -> bool:
        """Whether the worker has been started and not stopped."""
        return self._inner.is_running

    @property
    def metrics(self) -> WorkerMetrics:
        """Counters since the last start."""
        return self._inner.metrics

    def start(self) -> None:
        """Begin to serve, in the background of the running event loop. Does not wait for the hub.

        Raises:
            RuntimeError: the worker is running already, or no event loop of asyncio is running.
        """
        self._call(self._inner.start)

    # </generated>
