"""``DurableTaskWorker``: takes work from a task hub, runs the registered code, answers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Literal

import msgspec
from typing_extensions import Self

from .attachment import attach
from .connection_string import ConnectionString
from .execution.activities import ActivityExecutor
from .execution.entities import EntityExecutor
from .execution.runner import UserCodeRunner
from .hosting.backoff import Backoff
from .hosting.episodes import EpisodeRunner
from .hosting.handlers import WorkItemHandlers
from .hosting.limits import ConcurrencyOptions
from .hosting.loop import WorkItemLoop
from .hosting.result_sender import ResultSender
from .hosting.sessions import SessionCache
from .registry import ActivityDefinition, EntityDefinition, OrchestratorDefinition, Registrations, Registry
from .replay.options import ReplayOptions
from .replay.session import OrchestrationSession
from .serialization import DEFAULT_CONVERTER, DataConverter
from .transport import Transport
from .versioning import VersioningOptions, VersionMatchStrategy
from .work_items import (
    ActivityFilter,
    ActivityWorkItem,
    EntityFilter,
    EntityWorkItem,
    OrchestrationFilter,
    OrchestratorWorkItem,
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
        abandoned: items that were abandoned.
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
        """Drain, then end what is left; whoever cancels this call does not want to wait for the first."""
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
                self.runner.close()
                self.cache.clear()


class DurableTaskWorker:
    """Runs orchestrators, activities and entities for a task hub.

    ``async with worker:`` starts it and, at the end, lets what is in progress finish. ``await worker.run()``
    serves until the process is told to stop. Starting does not wait for the hub: the worker keeps trying to
    reach it and says so in the log.

    Args:
        connection: a connection string, or a ``Transport`` (which stays open when the worker stops).
        task_hub: name of the task hub, unless the connection string or the transport knows it.
        orchestrators: mapping of names to callables or objects with a ``run`` method, or a sequence.
        activities: likewise.
        entities: mapping of names to functions or classes, or a sequence.
        concurrency: how much to do at once.
        versioning: which versions of orchestrations to accept.
        data_converter: how values become payloads; must be the one that clients use.
        filters: what to ask the hub for: ``None`` for everything, ``"auto"`` for what is registered.
        strict: also fail orchestrations for a new action in a past episode, or another input, fire time or target.
        session_cache_size: how many live orchestrations to keep in memory between turns; 0 for none.
        session_cache_age: how long one may lie unused.
        session_cache_events: bound of the history events that all of them have consumed.
        drain_timeout: seconds that ``async with`` and SIGTERM let work in progress finish.
        credential: where tokens come from, instead of ``Authentication=`` (see ``resolve_transport``).
        allow_insecure_credential: send tokens over plaintext to a host that is not this machine.
        backoff: waits between attempts to reach the hub; for tests.
        logger: where the worker tells what it does.

    Raises:
        ConnectionStringError, MissingPackageError: the connection cannot be used.
        RegistrationError: something cannot be registered.
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
        self._registry = Registry(orchestrators=orchestrators, activities=activities, entities=entities)
        self._transport, self._owns_transport = attach(
            connection, task_hub, credential, allow_insecure_credential=allow_insecure_credential
        )
        self._concurrency = concurrency or ConcurrencyOptions()
        self._versioning = versioning
        self._converter = data_converter or DEFAULT_CONVERTER
        self._filters = filters
        self._strict = strict
        self._cache_bounds = (session_cache_size, session_cache_age, session_cache_events)
        self._drain_timeout = drain_timeout
        self._backoff = backoff or Backoff()
        self._logger = logger or logging.getLogger("durabletask.worker")
        self._engine: _Engine | None = None
        self._last_metrics = WorkerMetrics()
        self._linted: set[str] = set()

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
            RuntimeError: the worker is running already.
        """
        if self._engine is not None:
            raise RuntimeError(
                "This worker is running already; a second stream of work needs a second worker."
            )
        self._warn_about_functions_host()
        self._warn_about_determinism()
        self._engine = self._make_engine()
        self._logger.info(
            "Serving task hub %r at %s: %d orchestrators, %d activities, %d entities.",
            self._transport.task_hub,
            self._transport.endpoint,
            len(self._registry.orchestrator_names),
            len(self._registry.activity_names),
            len(self._registry.entity_names),
        )

    async def stop(self, *, timeout: float | None = None) -> None:
        """Stop serving. No-op when the worker is not running.

        Args:
            timeout: seconds for what is in progress to finish (``drain_timeout`` if not given); what is
                then still running is cancelled and abandoned. 0 stops at once, and so does
                cancelling this call.
        """
        engine, self._engine = self._engine, None
        if engine is None:
            return
        try:
            await engine.stop(self._drain_timeout if timeout is None else timeout)
        finally:
            engine.cancel()
            self._last_metrics = engine.metrics()
            if self._owns_transport:
                await self._transport.close()

    async def run(self) -> None:
        """Serve until SIGTERM (finish what is in progress, within ``drain_timeout``) or SIGINT (stop at once).

        A second signal stops at once, too. Where the event loop takes no signal handlers, only cancellation
        ends this call.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[bool] = asyncio.Queue()
        installed: list[signal.Signals] = []
        for number, is_urgent in ((signal.SIGINT, True), (signal.SIGTERM, False)):
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, told.put_nowait, is_urgent)
                installed.append(number)
        await self.start()
        try:
            if await told.get():
                await self.stop(timeout=0)
            else:
                await self._stop_unless_told_again(told)
        except asyncio.CancelledError:
            await self.stop(timeout=0)
            raise
        finally:
            for number in installed:
                loop.remove_signal_handler(number)

    async def _stop_unless_told_again(self, told: asyncio.Queue[bool]) -> None:
        engine = self._engine
        stopping = asyncio.ensure_future(self.stop())
        again = asyncio.ensure_future(told.get())
        await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
        if again.done() and engine is not None:
            engine.runner.is_stopping = True
            await engine.loop.abort(_ABORT_SECONDS)
        again.cancel()
        await stopping

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
                strict=self._strict,
            ),
            cache,
            maximum_timer_interval=lambda: self._transport.maximum_timer_interval,
        )
        sender = ResultSender(self._backoff, self._logger)
        handlers = WorkItemHandlers(
            self._transport,
            sender,
            episodes=episodes,
            activities=ActivityExecutor(self._registry, self._converter, runner),
            entities=EntityExecutor(self._registry, self._converter, runner),
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
            filters=self._automatic_filters() if self._filters == "auto" else self._filters,
        )

    def _automatic_filters(self) -> WorkItemFilters:
        """Every registered name; versions only when exactly one is accepted (protocol section 1.6)."""
        options = self._versioning
        is_exact = options is not None and options.match_strategy is VersionMatchStrategy.STRICT
        versions = (options.version or "",) if options is not None and is_exact else ()
        registry = self._registry
        return WorkItemFilters(
            orchestrations=tuple(OrchestrationFilter(name, versions) for name in registry.orchestrator_names),
            activities=tuple(ActivityFilter(name, versions) for name in registry.activity_names),
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

    def _warn_about_determinism(self) -> None:
        """Run the determinism lint once over each orchestrator."""
        try:
            from .lint import lint  # noqa: PLC0415 - costs nothing for programs without a worker
        except ImportError:
            return
        for name in self._registry.orchestrator_names:
            if name in self._linted:
                continue
            self._linted.add(name)
            definition = self._registry.orchestrator(name)
            for finding in lint(definition.function):
                self._logger.warning("Orchestrator %r: %s", name, finding)
