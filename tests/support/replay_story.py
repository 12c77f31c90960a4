"""Tells the story of one instance, event by event, to the replay engine.

Every episode runs twice, in a fresh session that replays and in one that is kept alive; both must say the same.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from durabletask.core.actions import (
    CallEntity,
    CompleteOrchestration,
    CreateSubOrchestration,
    CreateTimer,
    RequestEntityLock,
    ScheduleTask,
    SendEvent,
    SignalEntity,
    UnlockEntity,
)
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durabletask.core.hosting.hidden_loop import hide_event_loop
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import JsonDataConverter
from durabletask.core.work_items import OrchestratorResult

__all__ = ["T0", "Story", "confirmation", "failure"]

T0 = datetime(2025, 1, 1, tzinfo=timezone.utc)


def failure(message: str = "boom", error_type: str = "app.Boom", **more: Any) -> FailureDetails:
    """Details of a failure."""
    return FailureDetails(error_type, message, **more)


def confirmation(action: Any) -> HistoryEvent:
    """The event with which a hub confirms an action."""
    i = action.id
    makers: dict[type, Any] = {
        ScheduleTask: lambda a: TaskScheduled(i, T0, a.name, a.version, a.input, a.trace_context, a.tags),
        CreateTimer: lambda a: TimerCreated(i, T0, a.fire_at),
        CreateSubOrchestration: lambda a: SubOrchestrationInstanceCreated(
            i, T0, a.name, a.instance_id, a.version, a.input
        ),
        SendEvent: lambda a: EventSent(i, T0, a.instance_id, a.name, a.data),
        CallEntity: lambda a: EntityOperationCalled(
            i, T0, a.request_id, a.operation, a.target_instance_id, a.input
        ),
        SignalEntity: lambda a: EntityOperationSignaled(
            i, T0, a.request_id, a.operation, a.target_instance_id, a.input, a.scheduled_time
        ),
        RequestEntityLock: lambda a: EntityLockRequested(i, T0, a.critical_section_id, a.lock_set),
        UnlockEntity: lambda a: EntityUnlockSent(i, T0, a.critical_section_id, a.target_instance_id),
    }
    return makers[type(action)](action)


class Story:
    """One instance of one orchestrator. Payloads are given as values."""

    def __init__(
        self,
        orchestrator: Any,
        value: Any = None,
        *,
        started: dict[str, Any] | None = None,
        twice: bool = True,
        **options: Any,
    ) -> None:
        self._registry = Registry(orchestrators={"Main": orchestrator})
        self._value = value
        self._started = started or {}
        self._twice = twice  # False for orchestrators that share objects between their runs
        self._options = options
        self.now = T0
        self.past: list[HistoryEvent] = []
        self.kept = self.session()
        self.result: OrchestratorResult | None = None

    def session(self) -> OrchestrationSession:
        """A fresh session."""
        return OrchestrationSession(
            "abc",
            ReplayOptions(
                registry=self._registry,
                converter=JsonDataConverter(),
                isolate=hide_event_loop,
                **self._options,
            ),
        )

    # --- episodes -------------------------------------------------------------------------------------------

    def advance(self, *events: HistoryEvent, seconds: float = 1) -> list[Any]:
        """One episode: the actions that it gives."""
        if self.past:
            self.now += timedelta(seconds=seconds)
        new = [OrchestratorStarted(-1, self.now), *events]
        if self.past:
            assert self.kept.resume(list(self.past)), "the kept session does not recognize its own past"
        self.result = self.kept.advance(new)
        if self._twice:
            fresh = self.session()
            fresh.replay(list(self.past))
            assert _plain(fresh.advance(new)) == _plain(self.result)
            fresh.close()
        self.past += new
        self.past += [
            confirmation(a) for a in self.result.actions if not isinstance(a, CompleteOrchestration)
        ]
        self.past.append(OrchestratorCompleted(-1, self.now))
        return list(self.result.actions)

    def start(self, *more: HistoryEvent) -> list[Any]:
        """The first episode."""
        payload = JsonDataConverter().serialize(self._value)
        return self.advance(ExecutionStarted(-1, T0, "Main", "abc", input=payload, **self._started), *more)

    def complete(self, task_id: int, value: Any = None) -> list[Any]:
        """An activity answers."""
        return self.advance(self.completed(task_id, value))

    def fail(self, task_id: int, message: str = "boom", **more: Any) -> list[Any]:
        """An activity fails."""
        return self.advance(self.failed(task_id, message, **more))

    def fire(self, timer_id: int) -> list[Any]:
        """A timer fires, at its time."""
        fire_at = next(e.fire_at for e in self.past if isinstance(e, TimerCreated) and e.event_id == timer_id)
        return self.advance(
            TimerFired(-1, fire_at, fire_at, timer_id), seconds=max(0, (fire_at - self.now).total_seconds())
        )

    def send(self, name: str, value: Any = None) -> list[Any]:
        """An event arrives."""
        return self.advance(self.event(name, value))

    # --- events ---------------------------------------------------------------------------------------------

    @staticmethod
    def completed(task_id: int, value: Any = None) -> TaskCompleted:
        return TaskCompleted(-1, T0, task_id, JsonDataConverter().serialize(value))

    @staticmethod
    def failed(task_id: int, message: str = "boom", **more: Any) -> TaskFailed:
        return TaskFailed(-1, T0, task_id, failure(message, **more))

    @staticmethod
    def child_completed(task_id: int, value: Any = None) -> SubOrchestrationInstanceCompleted:
        return SubOrchestrationInstanceCompleted(-1, T0, task_id, JsonDataConverter().serialize(value))

    @staticmethod
    def child_failed(task_id: int, details: FailureDetails | None = None) -> SubOrchestrationInstanceFailed:
        return SubOrchestrationInstanceFailed(-1, T0, task_id, details)

    @staticmethod
    def event(name: str, value: Any = None) -> EventRaised:
        return EventRaised(-1, T0, name, JsonDataConverter().serialize(value))

    @staticmethod
    def entity_completed(request_id: str, value: Any = None) -> EntityOperationCompleted:
        return EntityOperationCompleted(-1, T0, request_id, JsonDataConverter().serialize(value))

    @staticmethod
    def entity_failed(request_id: str, details: FailureDetails | None = None) -> EntityOperationFailed:
        return EntityOperationFailed(-1, T0, request_id, details)

    @staticmethod
    def granted(section_id: str) -> EntityLockGranted:
        return EntityLockGranted(-1, T0, section_id)

    # --- outcome --------------------------------------------------------------------------------------------

    @property
    def completion(self) -> CompleteOrchestration:
        """The completion of the last episode."""
        assert self.result is not None
        found = [a for a in self.result.actions if isinstance(a, CompleteOrchestration)]
        assert len(found) == 1, self.result.actions
        return found[0]

    @property
    def output(self) -> Any:
        """The result of a completed orchestration."""
        assert self.completion.status is OrchestrationStatus.COMPLETED, self.completion.failure
        return msgspec.json.decode(self.completion.result) if self.completion.result else None

    @property
    def error(self) -> FailureDetails:
        """The failure of a failed orchestration."""
        assert self.completion.status is OrchestrationStatus.FAILED, self.completion
        assert self.completion.failure is not None
        return self.completion.failure

    @property
    def error_name(self) -> str:
        """Bare name of the failure's type."""
        return self.error.error_type.rpartition(".")[2]


def _plain(result: OrchestratorResult) -> Any:
    """A result without stack traces and addresses, which differ from run to run."""
    text = re.sub(r"0x[0-9a-f]+", "0x", msgspec.json.encode(result).decode())
    decoded = msgspec.json.decode(text)
    _drop_traces(decoded)
    return decoded


def _drop_traces(value: Any) -> None:
    if isinstance(value, dict):
        value.pop("stackTrace", None)
        for member in value.values():
            _drop_traces(member)
    elif isinstance(value, list):
        for member in value:
            _drop_traces(member)
