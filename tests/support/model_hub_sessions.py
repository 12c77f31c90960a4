"""Ways of computing the results of a model run with the replay engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durabletask.core.history import HistoryEvent
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import JsonDataConverter
from durabletask.core.work_items import OrchestratorResult
from model_hub import INSTANCE_ID
from step_language import FORMS

__all__ = ["CachedWorker", "Worker"]


class Worker:
    """Computes every episode from its whole history, as a worker without a session cache."""

    def __init__(self, program: Sequence[Any], form: str = "async", **options: Any) -> None:
        self._registry = Registry(orchestrators={"Main": FORMS[form](program)})
        self._options = options

    def session(self) -> OrchestrationSession:
        """A fresh session."""
        return OrchestrationSession(
            INSTANCE_ID,
            ReplayOptions(registry=self._registry, converter=JsonDataConverter(), **self._options),
        )

    def execute(self, past: Sequence[HistoryEvent], new: Sequence[HistoryEvent]) -> OrchestratorResult:
        """One episode."""
        session = self.session()
        try:
            session.replay(past)
            return session.advance(new)
        finally:
            session.close()


class CachedWorker(Worker):
    """Keeps its session between episodes, as a worker with a session cache.

    Attributes:
        hits: how many episodes continued the kept session.
        misses: how many could not, although there was one of the same execution.
    """

    def __init__(self, program: Sequence[Any], form: str = "async", **options: Any) -> None:
        super().__init__(program, form, **options)
        self._kept: OrchestrationSession | None = None
        self.hits = 0
        self.misses = 0

    def execute(self, past: Sequence[HistoryEvent], new: Sequence[HistoryEvent]) -> OrchestratorResult:
        """One episode, continued where that is possible."""
        session = self._kept
        if session is not None and past and not session.is_complete:
            if session.resume(past):
                self.hits += 1
                return session.advance(new)
            self.misses += 1
        self.drop()
        session = self._kept = self.session()
        session.replay(past)
        return session.advance(new)

    def drop(self) -> None:
        """What a crash or an eviction does."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
