"""One turn of one orchestration: the session from the cache or by replay, advanced by the new events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import cast

from durabletask.core.registry import Registry
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import DataConverter
from durabletask.core.versioning import VersioningOptions
from durabletask.core.work_items import OrchestratorResult, OrchestratorWorkItem

from .sessions import SessionCache
from .tracing import OrchestrationTracing

__all__ = ["TurnRunner"]


class TurnRunner:
    """Runs turns. Synchronous: an orchestrator never waits for anything but its own events.

    ``maximum_timer_interval`` is asked for each session, because a transport learns it when it connects.
    """

    def __init__(
        self,
        registry: Registry,
        converter: DataConverter,
        cache: SessionCache,
        *,
        versioning: VersioningOptions | None = None,
        strict: bool = False,
        maximum_timer_interval: Callable[[], timedelta | None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._converter = converter
        self._cache = cache
        self._versioning = versioning
        self._strict = strict
        self._maximum_timer_interval = maximum_timer_interval

    def run(self, item: OrchestratorWorkItem) -> OrchestratorResult:
        """The answer to an episode, with the completion token filled in.

        Raises:
            VersionMismatchError: the instance is not for this worker; give the item back.
            OrchestrationStateError: the events cannot be an episode.
        """
        session = self._session_for(item)
        try:
            answer = session.advance(item.new_events)
        except BaseException:
            session.close()
            raise
        if session.is_complete:
            session.close()
        else:
            self._cache.put(item.instance_id, item.execution_id, session)
        return OrchestratorResult(
            instance_id=item.instance_id,
            actions=answer.actions,
            custom_status=answer.custom_status,
            completion_token=item.completion_token,
            num_events_processed=answer.num_events_processed,
            trace_context=answer.trace_context or item.trace_context,
            requires_history=answer.requires_history,
        )

    def _session_for(self, item: OrchestratorWorkItem) -> OrchestrationSession:
        past = item.past_events
        cache = self._cache
        cached = cast("OrchestrationSession | None", cache.take(item.instance_id, item.execution_id))
        if cached is not None:
            try:
                fits = cached.resume(past)
            except BaseException:
                cached.close()
                raise
            if fits:
                cache.hits += 1
                return cached
            cached.close()
        tracing = OrchestrationTracing.of(item)
        session = OrchestrationSession(
            item.instance_id,
            registry=self._registry,
            converter=self._converter,
            execution_id=item.execution_id,
            maximum_timer_interval=self._maximum_timer_interval(),
            versioning=self._versioning,
            strict=self._strict,
            observer=tracing,
        )
        if tracing is not None:
            session.trace_context = tracing.span if tracing.span.span_id else None
        if past:
            cache.misses += 1
            try:
                session.replay(past)
            except BaseException:
                session.close()
                raise
        return session
