"""``DurableTaskWorker``: takes work from a task hub, runs the registered code, answers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from types import TracebackType

import msgspec
from typing_extensions import Self, Unpack

from .arguments import as_count, as_duration
from .built_ins import add_built_ins
from .connection import attach
from .connection_string import ConnectionString
from .execution.activities import ActivityExecutor
from .execution.entities import EntityExecutor
from .execution.runner import UserCodeRunner
from .exports.registration import add_exports
from .hosting.backoff import Backoff
from .hosting.call_guard import CallGuard
from .hosting.episodes import EpisodeRunner
from .hosting.handlers import WorkItemHandlers
from .hosting.hidden_loop import hide_event_loop
from .hosting.limits import ConcurrencyOptions
from .hosting.loop import WorkItemLoop
from .hosting.result_sender import ResultSender
from .hosting.sessions import SessionCache
from .hosting.stop_signals import stop_signals
from .logs import guarded
from .options import WORKER_DEFAULTS, WorkerOptions, check_options, wants_lint
from .portal import running_loop
from .registry import ActivityDefinition, EntityDefinition, OrchestratorDefinition, Registry
from .replay.options import ReplayOptions
from .replay.session import OrchestrationSession
from .schedules.registration import add_schedules
from .serialization import DEFAULT_CONVERTER
from .transport import Transport
from .versioning import VersionMatchStrategy
from .work_items import (
    ActivityFilter,
    ActivityWorkItem,
    EntityFilter,
    EntityWorkItem,
    OrchestrationFilter,
    OrchestratorWorkItem,
    WorkerCapability,
    WorkItemFilters,
    WorkItemStreamOptions,
)

__all__ = ["ConcurrencyOptions", "DurableTaskWorker", "WorkerMetrics"]

_ABORT_SECONDS = 5.0
_FUNCTIONS_VARIABLE = "FUNCTIONS_WORKER_RUNTIME"


class WorkerMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a worker since its start; a snapshot.

    Attributes:
        orchestrations: episodes answered.
        activities: activities answered.
        entities: entity batches answered.
        abandoned: items abandoned, which the hub delivers again.
        running: items in progress.
        send_retries: answers that had to be sent again.
        connects: streams of work that brought something.
        session_hits: episodes that went on with a cached session.
        session_misses: episodes that had to replay a past.
        session_evictions: sessions dropped to stay within the bounds of the cache.
        sessions: sessions in the cache.
        session_events: history events that those sessions have consumed.
    """

    orchestrations: int = 0
    activities: int = 0
    entities: int = 0
    abandoned: int = 0
    running: int = 0
    send_retries: int = 0
    connects: int = 0
    session_hits: int = 0
    session_misses: int = 0
    session_evictions: int = 0
    sessions: int = 0
    session_events: int = 0


class _Engine:
    """Everything that lives from start to stop."""

    def __init__(
        self,
        loop: WorkItemLoop,
        handlers: WorkItemHandlers,
        runner: UserCodeRunner,
        sender: ResultSender,
        cache: SessionCache[OrchestrationSession],
    ) -> None:
        self.loop = loop
        self.handlers = handlers
        self.runner = runner
        self.sender = sender
        self.cache = cache
        self.ended = asyncio.Event()  # set at the end of ``DurableTaskWorker.stop``
        create_task = asyncio.get_running_loop().create_task
        self.serving: asyncio.Task[None] = create_task(loop.serve())
        self.sweeping: asyncio.Task[None] = create_task(cache.keep_swept())

    def metrics(self) -> WorkerMetrics:
        return WorkerMetrics(
            orchestrations=self.handlers.answered[OrchestratorWorkItem],
            activities=self.handlers.answered[ActivityWorkItem],
            entities=self.handlers.answered[EntityWorkItem],
            abandoned=self.handlers.abandoned,
            running=self.loop.running,
            send_retries=self.sender.retries,
            connects=self.loop.connects,
            session_hits=self.cache.hits,
            session_misses=self.cache.misses,
            session_evictions=self.cache.evictions,
            sessions=len(self.cache),
            session_events=self.cache.event_count,
        )

    def cancel(self) -> None:
        self.serving.cancel()
        self.sweeping.cancel()

    async def stop(self, timeout: float) -> None:
        """Drain, then cancel what is left. Cancelling this call skips the draining."""
        is_done = False
        try:
            is_done = timeout > 0 and await self.loop.drain(timeout)
        finally:
            self.runner.is_stopping = True
            try:
                if not is_done:
                    await self.loop.abort(_ABORT_SECONDS)
                self.cancel()
                await asyncio.wait({self.serving, self.sweeping}, timeout=_ABORT_SECONDS)
            finally:
                self.handlers.close()
                self.runner.close()
                self.cache.clear()


class DurableTaskWorker:
    """Runs orchestrators, activities and entities for a task hub.

    ``async with worker:`` starts it and, at the end, lets work in progress finish. ``await worker.run()`` serves
    until SIGINT or SIGTERM. Starting does not wait for the hub: the worker keeps trying to connect and logs each
    failed attempt.

    Args:
        connection: a connection string, or a ``Transport`` (which stays open when the worker stops).
        task_hub: name of the task hub, unless the connection string or the transport knows it.
        credential: source of tokens, instead of ``Authentication=`` (see ``resolve_transport``).
        **options: see ``WorkerOptions``.

    Raises:
        ConnectionStringError, MissingPackageError: the connection cannot be used.
        RegistrationError: something cannot be registered.
        TypeError: an option does not exist, or its value has the wrong type.
    """

    def __init__(
        self,
        connection: str | ConnectionString | Transport,
        task_hub: str | None = None,
        *,
        credential: object | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        check_options(self, WorkerOptions, options)
        given: WorkerOptions = {**WORKER_DEFAULTS, **options}
        self._registry = Registry(
            orchestrators=given["orchestrators"],
            activities=given["activities"],
            entities=given["entities"],
        )
        add_built_ins(self._registry)
        self._transport, self._owns_transport = attach(
            connection,
            task_hub,
            credential,
            allow_insecure_credential=given["allow_insecure_credential"],
        )
        add_schedules(self._registry, self._transport)
        add_exports(self._registry, self._transport, given["export_to"])
        self._given = given
        self._concurrency = given["concurrency"] or ConcurrencyOptions()
        self._versioning = given["versioning"]
        self._converter = given["data_converter"] or DEFAULT_CONVERTER
        # Names of orchestrators that were linted; ``None`` when the linter is off.
        self._linted: set[str] | None = set() if wants_lint(given["lint"]) else None
        self._cache_bounds = (
            as_count(given["session_cache_size"], "session_cache_size"),
            as_duration(given["session_cache_age"], "session_cache_age"),
            as_count(given["session_cache_events"], "session_cache_events"),
        )
        self._drain_timeout = as_duration(given["drain_timeout"], "drain_timeout").total_seconds()
        self._backoff = given["backoff"] or Backoff()
        self._logger = guarded(given["logger"] or logging.getLogger("durabletask.worker"))
        self._engine: _Engine | None = None
        self._last_metrics = WorkerMetrics()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"<DurableTaskWorker of {self._transport.task_hub!r} at {self._transport.endpoint!r}, {state}>"

    # --- registration --------------------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        """What this worker can run."""
        return self._registry

    def add_orchestrator(self, orchestrator: object, name: str | None = None) -> OrchestratorDefinition:
        """Register an orchestrator; without a name, under its own."""
        return self._registry.add_orchestrator(orchestrator, name)

    def add_activity(self, activity: object, name: str | None = None) -> ActivityDefinition:
        """Register an activity; without a name, under its own."""
        return self._registry.add_activity(activity, name)

    def add_entity(self, entity: object, name: str | None = None) -> EntityDefinition:
        """Register an entity; without a name, under its own."""
        return self._registry.add_entity(entity, name)

    # --- life cycle ----------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the worker has been started and not stopped."""
        return self._engine is not None

    @property
    def metrics(self) -> WorkerMetrics:
        """Counters since the last start."""
        return self._engine.metrics() if self._engine is not None else self._last_metrics

    async def start(self) -> None:
        """Begin to serve, in the background of the running event loop. Does not wait for the hub.

        Raises:
            RuntimeError: the worker is running already, or no event loop of asyncio is running.
        """
        if self._engine is not None:
            raise RuntimeError(
                "This worker is running already; a second stream of work needs a second worker."
            )
        running_loop("A worker")
        self._warn_about_functions_host()
        if self._linted is not None:
            from .lint.report import log_findings  # noqa: PLC0415 - workers in production do not load it

            log_findings(self._registry, self._logger, self._linted)
        self._engine = self._make_engine()
        self._logger.info(
            "Serving task hub %r at %s: %s, %s, %s.",
            self._transport.task_hub,
            self._transport.endpoint,
            _counted(self._registry.orchestrator_names, "orchestrator", "orchestrators"),
            _counted(self._registry.activity_names, "activity", "activities"),
            _counted(self._registry.entity_names, "entity", "entities"),
        )

    async def stop(self, *, timeout: float | None = None) -> None:
        """Stop serving. No-op when the worker is not running.

        Args:
            timeout: seconds for work in progress to finish (``drain_timeout`` if not given); work that is then
                still running is cancelled and abandoned. 0 stops at once, and so does cancelling this call.
        """
        engine, self._engine = self._engine, None
        if engine is None:
            return
        try:
            await engine.stop(self._drain_timeout if timeout is None else timeout)
        finally:
            engine.cancel()
            self._last_metrics = engine.metrics()
            try:
                if self._given["export_to"] is not None:
                    await self._given["export_to"].close()
            finally:
                try:
                    if self._owns_transport:
                        await self._transport.close()
                finally:
                    engine.ended.set()

    async def run(self) -> None:
        """Serve until SIGTERM (finish work in progress, within ``drain_timeout``), SIGINT (stop at once), or ``stop``.

        A second signal stops at once. If the event loop does not react, because user code blocks it, the second
        signal raises ``KeyboardInterrupt``. In a thread that is not the main one, signals are not handled.
        """
        requests: asyncio.Queue[bool] = asyncio.Queue()
        with stop_signals(asyncio.get_running_loop(), requests):
            await self._run_until(requests)

    async def _run_until(self, requests: asyncio.Queue[bool]) -> None:
        """Serve until a request to stop; ``True`` is an urgent one. The blocking twin calls it, too."""
        await self.start()
        engine = self._engine
        assert engine is not None  # noqa: S101 - started above
        request = asyncio.ensure_future(requests.get())
        ended = asyncio.ensure_future(engine.ended.wait())  # 'stop' was called by other code
        try:
            await asyncio.wait({request, ended, engine.serving}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return
            is_urgent = request.result() if request.done() else True
            stopping = asyncio.ensure_future(self.stop(timeout=0 if is_urgent else None))
            again = asyncio.ensure_future(requests.get())
            await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            stopping.cancel()  # at a second request; otherwise it is done
            await asyncio.wait({stopping})
        finally:
            request.cancel()
            ended.cancel()
            await self.stop(timeout=0)
        if engine.serving.done() and not engine.serving.cancelled():
            engine.serving.result()

    async def __aenter__(self) -> Self:
        """Start; see ``start``."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop: in an orderly way, or at once when the block was cancelled or interrupted."""
        is_urgent = exc_type is not None and not issubclass(exc_type, Exception)
        await self.stop(timeout=0 if is_urgent else None)

    # --- parts ---------------------------------------------------------------------------------------------

    def _make_engine(self) -> _Engine:
        size, age, events = self._cache_bounds
        cache: SessionCache[OrchestrationSession] = SessionCache(size, max_age=age, max_events=events)
        runner = UserCodeRunner(self._concurrency.max_threads)
        episodes = EpisodeRunner(
            ReplayOptions(
                registry=self._registry,
                converter=self._converter,
                versioning=self._versioning,
                strict=self._given["strict"],
                isolate=hide_event_loop,
            ),
            cache,
            maximum_timer_interval=lambda: self._transport.maximum_timer_interval,
            guard=None if self._linted is None else CallGuard(self._registry),
        )
        sender = ResultSender(self._backoff, self._logger)
        handlers = WorkItemHandlers(
            self._transport,
            sender,
            episodes=episodes,
            activities=ActivityExecutor(self._registry, self._converter, runner),
            entities=EntityExecutor(self._registry, self._converter, runner, self._transport.now),
            logger=self._logger,
        )
        loop = WorkItemLoop(
            self._transport,
            self._stream_options(),
            handlers.table,
            backoff=self._backoff,
            logger=self._logger,
        )
        return _Engine(loop, handlers, runner, sender, cache)

    def _stream_options(self) -> WorkItemStreamOptions:
        limits = self._concurrency
        return WorkItemStreamOptions(
            max_orchestrations=limits.max_orchestrations or 0,
            max_activities=limits.max_activities or 0,
            max_entities=limits.max_entities or 0,
            filters=self._with_built_ins(
                self._automatic_filters() if self._given["filters"] == "auto" else self._given["filters"]
            ),
            capabilities=frozenset({WorkerCapability.SCHEDULED_TASKS}),
        )

    def _with_built_ins(self, filters: WorkItemFilters | None) -> WorkItemFilters | None:
        """Filters that also accept the built-ins, in every version; a hub without a filter sends everything."""
        if filters is None:
            return None
        orchestrations, activities, entities = self._registry.built_in_names
        return msgspec.structs.replace(
            filters,
            orchestrations=(*filters.orchestrations, *map(OrchestrationFilter, orchestrations)),
            activities=(*filters.activities, *map(ActivityFilter, activities)),
            entities=(*filters.entities, *map(EntityFilter, entities)),
        )

    def _automatic_filters(self) -> WorkItemFilters:
        """Every registered name; versions only when exactly one is accepted (protocol section 1.6)."""
        options = self._versioning
        is_exact = options is not None and options.match_strategy is VersionMatchStrategy.STRICT
        versions = (options.version or "",) if options is not None and is_exact else ()
        registry = self._registry
        return WorkItemFilters(
            orchestrations=tuple(
                OrchestrationFilter(name, versions)
                for name in (*registry.orchestrator_names, *registry.orchestrator_aliases)
            ),
            activities=tuple(
                ActivityFilter(name, versions)
                for name in (*registry.activity_names, *registry.activity_aliases)
            ),
            entities=tuple(EntityFilter(name) for name in registry.entity_names),
        )

    def _warn_about_functions_host(self) -> None:
        if os.environ.get(_FUNCTIONS_VARIABLE):
            self._logger.warning(
                "This worker was started inside an Azure Functions host (%s is set). Durable Functions is another "
                "product: its orchestrations run through the Functions host and its own bindings, not through a "
                "worker. Run this worker in a process of its own.",
                _FUNCTIONS_VARIABLE,
            )


def _counted(names: Sequence[str], one: str, many: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else many}"
