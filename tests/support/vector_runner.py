"""Runs one episode of a vector through the replay engine, in every way in which it may be delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from durabletask.core.errors import VersionMismatchError
from durabletask.core.history import (
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventSent,
    ExecutionCompleted,
    ExecutionRewound,
    HistoryEvent,
    OrchestratorCompleted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
)
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import JsonDataConverter
from durabletask.core.versioning import VersionFailureStrategy, VersioningOptions, VersionMatchStrategy
from durabletask.core.work_items import OrchestratorResult
from proto_json import events_from_json, result_to_json
from step_language import FORMS
from vector_episodes import Episode, Vector

__all__ = ["CONFIRMATIONS", "VectorRunner", "expectation"]

CONFIRMATIONS = (
    TaskScheduled,
    TimerCreated,
    SubOrchestrationInstanceCreated,
    EventSent,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityLockRequested,
    EntityUnlockSent,
)
"""Events that the hub writes for actions, at the end of an episode."""


def _versioning(worker: Mapping[str, Any]) -> VersioningOptions | None:
    given = worker.get("versioning")
    if given is None:
        return None
    return VersioningOptions(
        version=given.get("version"),
        default_version=given.get("defaultVersion"),
        match_strategy=VersionMatchStrategy[given.get("match") or "NONE"],
        failure_strategy=VersionFailureStrategy[given.get("failure") or "REJECT"],
    )


class VectorRunner:
    """One vector in one authoring form, with the events of one episode."""

    def __init__(self, vector: Vector, episode: Episode, form: str, *, fail_fast: bool = False) -> None:
        self._vector = vector
        self.past = events_from_json(episode.past)
        self.new = events_from_json(episode.new)
        self._registry = Registry(
            orchestrators={
                name: FORMS[form](steps, fail_fast=fail_fast)
                for name, steps in vector.raw["orchestrators"].items()
            }
        )
        worker = vector.raw.get("worker", {})
        seconds = worker.get("maximumTimerIntervalSeconds")
        self._maximum_timer_interval = None if seconds is None else timedelta(seconds=seconds)
        self._versioning = _versioning(worker)

    @property
    def can_be_split(self) -> bool:
        """Whether the boundary between past and new has no meaning of its own (a rewind gives it one)."""
        events = [*self.past, *self.new]
        is_rewind = any(isinstance(event, ExecutionRewound) for event in events)
        return bool(self.new) and not (
            is_rewind and any(isinstance(event, ExecutionCompleted) for event in events)
        )

    def session(self) -> OrchestrationSession:
        """A fresh session."""
        return OrchestrationSession(
            self._vector.instance_id,
            ReplayOptions(
                registry=self._registry,
                converter=JsonDataConverter(),
                maximum_timer_interval=self._maximum_timer_interval,
                versioning=self._versioning,
            ),
        )

    def run(self, past: Sequence[HistoryEvent], new: Sequence[HistoryEvent]) -> OrchestratorResult:
        """One episode from nothing."""
        session = self.session()
        try:
            session.replay(past)
            return session.advance(new)
        finally:
            session.close()

    def run_as_given(self) -> OrchestratorResult:
        """With the boundary where the vector has it."""
        return self.run(self.past, self.new)

    def run_split_at(self, index: int) -> OrchestratorResult:
        """With the boundary somewhere else."""
        events = [*self.past, *self.new]
        return self.run(events[:index], events[index:])

    def run_kept_alive(self) -> OrchestratorResult:
        """Episode by episode through a session that is kept as long as it accepts the past."""
        session = self.session()
        try:
            start = 0
            for index, event in enumerate(self.past):
                if not isinstance(event, OrchestratorCompleted):
                    continue
                inbound = [e for e in self.past[start:index] if not isinstance(e, CONFIRMATIONS)]
                if inbound:
                    session.advance(inbound)
                start = index + 1
                if not session.resume(self.past[:start]):
                    session.close()
                    session = self.session()
                    session.replay(self.past[:start])
            if start < len(self.past):
                session.close()
                session = self.session()
                session.replay(self.past)
            return session.advance(self.new)
        finally:
            session.close()


def expectation(vector: Vector, episode: Episode, form: str) -> Mapping[str, Any]:
    """What an adapted episode expects: what it says or, if it has readings, what its other writing comes to."""
    other = episode.other_writing(vector)
    if other is None:
        return episode.expect
    try:
        return result_to_json(VectorRunner(other, other.episodes()[0], form).run_as_given())
    except VersionMismatchError:
        return {"abandon": True}
