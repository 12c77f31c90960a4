"""A small model of a task hub for one instance: it answers in an order that a seed decides.

It knows nothing of the engine: it takes actions, writes the history that a hub would write (protocol
section 6.3), and makes the next work item until the instance ends. The same seed and the same results give
the same run, so two ways of computing results can be compared episode by episode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from random import Random

from durabletask.core import actions as a
from durabletask.core import history as h
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestratorResult

__all__ = ["INSTANCE_ID", "Execute", "ModelEpisode", "ModelHub", "ModelRun"]

INSTANCE_ID = "model"
_START = datetime(2025, 1, 1, tzinfo=timezone.utc)
_NO_ID = -1

Execute = Callable[[Sequence[h.HistoryEvent], Sequence[h.HistoryEvent]], OrchestratorResult]
"""Computes the result of one episode from its past and its new events."""


@dataclass(frozen=True)
class ModelEpisode:
    """One work item and its result; ``execution`` rises with every continue-as-new."""

    execution: int
    past: tuple[h.HistoryEvent, ...]
    new: tuple[h.HistoryEvent, ...]
    result: OrchestratorResult

    @property
    def events(self) -> tuple[h.HistoryEvent, ...]:
        """Past and new."""
        return self.past + self.new


@dataclass(frozen=True)
class ModelRun:
    """A finished run: every episode, and the history of the last execution with all confirmations."""

    episodes: tuple[ModelEpisode, ...]
    history: tuple[h.HistoryEvent, ...]

    @property
    def outcome(self) -> a.OrchestratorAction | None:
        """The last completion."""
        completions = [
            action
            for action in self.episodes[-1].result.actions
            if isinstance(action, a.CompleteOrchestration)
        ]
        return completions[-1] if completions else None


class ModelHub:
    """The hub of one instance.

    Args:
        seed: decides every choice of the hub.
        event_names: names under which it raises events, now and then and when nothing else can happen.
        disturbances: whether it also suspends, resumes, terminates and writes markers.
    """

    MAX_EPISODES = 60
    MAX_EXECUTIONS = 3

    def __init__(self, seed: int, *, event_names: Sequence[str] = ("x",), disturbances: bool = True) -> None:
        self._random = Random(seed)
        self._event_names = event_names
        self._disturbances = disturbances
        self._clock = _START
        self._history: list[h.HistoryEvent] = []
        self._inbox: list[h.HistoryEvent] = []
        self._answers: list[h.HistoryEvent] = []
        self._timers: list[h.TimerFired] = []
        self._execution = 0
        self._is_suspended = False
        self._pokes = 0
        self._is_done = False

    def run(self, execute: Execute, input_text: str | None = None) -> ModelRun:
        """Start the orchestrator ``Main`` and serve it until it ends."""
        self._start_execution(input_text, (), None)
        episodes: list[ModelEpisode] = []
        while not self._is_done and len(episodes) < self.MAX_EPISODES:
            past = tuple(self._history)
            execution = self._execution
            new = (h.OrchestratorStarted(_NO_ID, self._clock), *self._inbox)
            self._inbox = []
            result = execute(past, new)
            episodes.append(ModelEpisode(execution, past, new, result))
            self._commit(new, result)
            if not self._is_done:
                self._collect()
        return ModelRun(tuple(episodes), tuple(self._history))

    # --- committing -----------------------------------------------------------------------------------------

    def _start_execution(
        self, input_text: str | None, carried: Sequence[h.HistoryEvent], version: str | None
    ) -> None:
        execution_id = f"run-{self._execution}" if self._random.random() < 0.5 else None
        started = h.ExecutionStarted(
            _NO_ID,
            self._clock,
            name="Main",
            instance_id=INSTANCE_ID,
            execution_id=execution_id,
            version=version,
            input=input_text,
        )
        self._history = []
        self._answers = []
        self._timers = []
        self._inbox = [started, *carried, *self._inbox]

    def _commit(self, new: Sequence[h.HistoryEvent], result: OrchestratorResult) -> None:
        completion: a.CompleteOrchestration | None = None
        self._history.extend(new)
        for action in result.actions:
            if isinstance(action, a.CompleteOrchestration):
                completion = action
            else:
                self._history.append(self._accept(action))
        if completion is not None:
            self._complete(completion)
        else:
            self._history.append(h.OrchestratorCompleted(_NO_ID, self._clock))
        self._clock += timedelta(seconds=self._random.choice((1, 1, 1, 7, 60)))

    def _complete(self, action: a.CompleteOrchestration) -> None:
        if action.status is not OrchestrationStatus.CONTINUED_AS_NEW:
            self._is_done = True
            self._history.append(
                h.ExecutionCompleted(
                    action.id, self._clock, action.status.value, action.result, action.failure
                )
            )
            self._history.append(h.OrchestratorCompleted(_NO_ID, self._clock))
            return
        self._execution += 1
        self._start_execution(action.result, action.carryover_events, action.new_version)
        if self._execution >= self.MAX_EXECUTIONS:
            self._inbox.append(h.ExecutionTerminated(_NO_ID, self._clock, input='"enough"'))

    def _accept(self, action: a.OrchestratorAction) -> h.HistoryEvent:
        """The confirmation of an action; its answer is put aside."""
        now = self._clock
        if isinstance(action, a.ScheduleTask):
            self._answers.append(self._answer_task(action.id, action.name, action.input))
            return h.TaskScheduled(
                action.id, now, action.name, action.version, action.input, action.trace_context, action.tags
            )
        if isinstance(action, a.CreateSubOrchestration):
            self._answers.append(self._answer_child(action.id, action.input))
            return h.SubOrchestrationInstanceCreated(
                action.id, now, action.name, action.instance_id, action.version, action.input
            )
        if isinstance(action, a.CreateTimer):
            self._timers.append(h.TimerFired(_NO_ID, now, action.fire_at, action.id))
            return h.TimerCreated(action.id, now, action.fire_at)
        if isinstance(action, a.SendEvent):
            return h.EventSent(action.id, now, action.instance_id, action.name, action.data)
        return self._accept_entity_message(action)

    def _accept_entity_message(self, action: a.OrchestratorAction) -> h.HistoryEvent:
        now = self._clock
        if isinstance(action, a.CallEntity):
            self._answers.append(self._answer_entity(action.request_id, action.input))
            return h.EntityOperationCalled(
                action.id, now, action.request_id, action.operation, action.target_instance_id, action.input
            )
        if isinstance(action, a.SignalEntity):
            return h.EntityOperationSignaled(
                action.id, now, action.request_id, action.operation, action.target_instance_id, action.input
            )
        if isinstance(action, a.RequestEntityLock):
            self._answers.append(h.EntityLockGranted(_NO_ID, now, action.critical_section_id))
            return h.EntityLockRequested(
                action.id, now, action.critical_section_id, action.lock_set, action.position
            )
        if isinstance(action, a.UnlockEntity):
            return h.EntityUnlockSent(
                action.id,
                now,
                action.critical_section_id,
                action.target_instance_id,
                action.parent_instance_id,
            )
        raise AssertionError(f"an action that a running orchestration does not send: {action!r}")

    # --- answering ------------------------------------------------------------------------------------------

    def _fails(self) -> bool:
        return self._random.random() < 0.3

    def _failure(self) -> FailureDetails:
        return FailureDetails(
            error_type=self._random.choice(("app.Boom", "builtins.ValueError")),
            message=f"failure {self._random.randrange(5)}",
            is_non_retriable=self._random.random() < 0.1,
        )

    def _answer_task(self, task_id: int, name: str, text: str | None) -> h.HistoryEvent:
        if self._fails():
            return h.TaskFailed(_NO_ID, self._clock, task_id, self._failure())
        result = self._random.choice((text, "1", f'"{name}"', None, ""))
        return h.TaskCompleted(_NO_ID, self._clock, task_id, result)

    def _answer_child(self, task_id: int, text: str | None) -> h.HistoryEvent:
        if self._fails():
            failure = None if self._random.random() < 0.2 else self._failure()
            return h.SubOrchestrationInstanceFailed(_NO_ID, self._clock, task_id, failure)
        return h.SubOrchestrationInstanceCompleted(_NO_ID, self._clock, task_id, text)

    def _answer_entity(self, request_id: str, text: str | None) -> h.HistoryEvent:
        if self._fails():
            return h.EntityOperationFailed(_NO_ID, self._clock, request_id, self._failure())
        return h.EntityOperationCompleted(_NO_ID, self._clock, request_id, text)

    # --- choosing what the next work item brings --------------------------------------------------------------

    def _collect(self) -> None:
        """Fill the inbox with at least one event."""
        self._random.shuffle(self._answers)
        count = self._random.choice((0, 1, 1, 1, 2, 3))
        self._inbox += self._answers[:count]
        del self._answers[:count]
        self._inbox += self._due_timers()
        if self._random.random() < 0.2:
            self._inbox.append(self._raise_event())
        if self._disturbances:
            self._disturb()
        if not self._inbox:
            self._wait()

    def _due_timers(self) -> list[h.TimerFired]:
        due = [timer for timer in self._timers if timer.fire_at <= self._clock]
        self._timers = [timer for timer in self._timers if timer.fire_at > self._clock]
        return due

    def _disturb(self) -> None:
        chance = self._random.random()
        if chance < 0.04:
            self._inbox.append(h.ExecutionTerminated(_NO_ID, self._clock, self._random.choice((None, '"t"'))))
        elif chance < 0.12:
            self._is_suspended = True
            self._inbox.append(h.ExecutionSuspended(_NO_ID, self._clock))
        elif chance < 0.16 or (self._is_suspended and chance < 0.6):
            self._is_suspended = False
            self._inbox.append(h.ExecutionResumed(_NO_ID, self._clock))
        elif chance < 0.64:
            self._inbox.append(h.GenericEvent(_NO_ID, self._clock))

    def _raise_event(self) -> h.HistoryEvent:
        name = self._random.choice(list(self._event_names))
        name = self._random.choice((name, name.upper()))
        return h.EventRaised(
            _NO_ID, self._clock, name, self._random.choice((None, "1", '{"k": 2}', f"{self._pokes}"))
        )

    def _wait(self) -> None:
        """Nothing arrived by itself: an answer, the next timer, an event; at last a termination."""
        if self._is_suspended:
            self._is_suspended = False
            self._inbox.append(h.ExecutionResumed(_NO_ID, self._clock))
        elif self._answers:
            self._inbox.append(self._answers.pop())
        elif self._timers:
            self._clock = max(self._clock, min(timer.fire_at for timer in self._timers))
            self._inbox += self._due_timers()
        elif self._pokes < 6:
            self._pokes += 1
            self._inbox.append(self._raise_event())
        else:
            self._inbox.append(h.ExecutionTerminated(_NO_ID, self._clock))
