"""Runs one episode of one orchestration: in its cached session if that fits, otherwise by replay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import msgspec

from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.work_items import OrchestratorResult, OrchestratorWorkItem

from .sessions import SessionCache
from .tracing import OrchestrationTracing

__all__ = ["EpisodeRunner"]


class EpisodeRunner:
    """Runs episodes. Synchronous, because an orchestrator waits for nothing but events of its history.

    Args:
        options: for every session. The observer is made for each session here.
        cache: keeps sessions between episodes.
        maximum_timer_interval: called for each new session, because a transport knows the limit only once it is
            connected. It takes precedence over the one in ``options``.
        guard: entered around everything that runs the code of orchestrators.
    """

    def __init__(
        self,
        options: ReplayOptions,
        cache: SessionCache[OrchestrationSession],
        *,
        maximum_timer_interval: Callable[[], timedelta | None] = lambda: None,
        guard: AbstractContextManager[None] | None = None,
    ) -> None:
        self._guard = guard
        self._options = options
        self._cache = cache
        self._maximum_timer_interval = maximum_timer_interval

    def run(self, item: OrchestratorWorkItem) -> OrchestratorResult:
        """Return the result of an episode, with the completion token of its item.

        Raises:
            VersionMismatchError: this worker does not accept the instance; abandon the item.
            OrchestrationStateError: the events cannot be an episode.
        """
        if self._guard is None:
            return self._run(item)
        with self._guard:
            return self._run(item)

    def _run(self, item: OrchestratorWorkItem) -> OrchestratorResult:
        session = self._cache.take(item.instance_id, item.execution_id, item.past_events)
        if session is None:
            session = self._new_session(item)
        session.completion_token = item.completion_token
        session.trace_context = session.trace_context or item.trace_context
        try:
            result = session.advance(item.new_events)
        except BaseException:
            session.close()
            raise
        if session.is_complete:
            session.close()
        else:
            self._cache.put(item.instance_id, item.execution_id, session)
        return result

    def _new_session(self, item: OrchestratorWorkItem) -> OrchestrationSession:
        longest = self._maximum_timer_interval()
        if longest != self._options.maximum_timer_interval:
            self._options = msgspec.structs.replace(self._options, maximum_timer_interval=longest)
        options, tracing = self._options, OrchestrationTracing.of(item)
        if tracing is not None:
            options = msgspec.structs.replace(options, observer=tracing)
        session = OrchestrationSession(item.instance_id, options, execution_id=item.execution_id)
        if tracing is not None and tracing.span.span_id:
            session.trace_context = tracing.span
        if item.past_events:
            try:
                session.replay(item.past_events)
            except BaseException:
                session.close()
                raise
        return session
