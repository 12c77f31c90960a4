"""The client and the worker for programs without an event loop: the same names, no ``await``.

One thread runs an event loop for all objects of this module. Each call is run on that loop, and the calling thread
waits for the result. Use it in scripts, and in Flask and Django.

    from durabletask.sync import DurableTaskClient

    with DurableTaskClient("Endpoint=http://localhost:8080;Authentication=None", "default") as client:
        instance_id = client.schedule_new_orchestration("greet_all", ["World"])
        print(client.wait_for_orchestration_completion(instance_id).output)

``tools/generate_sync.py`` writes the methods between the ``generated`` comments from the async classes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self, Unpack

from durabletask.core import client as _client
from durabletask.core import worker as _worker
from durabletask.core.connection_string import ConnectionString
from durabletask.core.hosting.stop_signals import stop_signals
from durabletask.core.instances import OrchestrationState, PurgeResult
from durabletask.core.options import ClientOptions, WorkerOptions
from durabletask.core.paging import Pages
from durabletask.core.portal import Portal
from durabletask.core.registry import (
    ActivityDefinition,
    EntityDefinition,
    OrchestratorDefinition,
    Registry,
)
from durabletask.core.requests import Statuses
from durabletask.core.transport import Transport
from durabletask.core.worker import WorkerMetrics

from .exports import Exports
from .handles import HandleClient, OrchestrationHandle
from .schedules import Schedules

__all__ = ["DurableTaskClient", "DurableTaskWorker", "OrchestrationHandle", "Pages"]

_T = TypeVar("_T")

_portal = Portal("durabletask-sync")


class DurableTaskClient(HandleClient):
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

    def force_terminate_orchestrations(
        self, instance_ids: str | Iterable[str], *, reason: str | None = None
    ) -> list[str]:
        """End instances as TERMINATED without running them; returns the ids that could not be ended."""
        return self._call(lambda: self._inner.force_terminate_orchestrations(instance_ids, reason=reason))

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
