"""Explains why an instance is not finished, or why it failed.

``diagnose`` is a pure function of state, history and, where it is at hand, code; ``explain`` fetches what it needs
from a task hub. The history alone shows activities, children, timers, entities and locks that are open. Only a
replay of the code shows which events are waited for, which timer belongs to what, and the lines; without the code
the diagnosis states that instead of guessing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from .entity_waits import WaitedEntity, advice_for_entity, standing_of, waited_entities
from .errors import DurableTaskError, EntityNotRegisteredError, InstanceNotFoundError, nearest_names
from .failures import FailureDetails
from .history import (
    EPOCH,
    EntityLockRequested,
    EntityOperationCalled,
    EventRaised,
    ExecutionSuspended,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
)
from .hosting.hidden_loop import hide_event_loop
from .instances import OrchestrationState, OrchestrationStatus
from .logs import printable
from .open_tasks import OpeningEvent, OpenTask, OpenTaskKind, open_tasks
from .registry import Registry
from .replay.options import ReplayOptions
from .replay.session import OrchestrationSession
from .serialization import DataConverter
from .transport import Transport

__all__ = ["Diagnosis", "FailedAttempt", "diagnose", "explain"]

_NO_CODE = "an unknown place"
_OVERDUE = timedelta(minutes=1)  # a hub may be that late without being ill
_FRAME = re.compile(r'^ *File "(.+)", line (\d+)', re.MULTILINE)
_FOREIGN = re.compile(r"[\\/](?:durabletask[\\/]core|asyncio|concurrent[\\/]futures)[\\/]")


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """The latest failure of an activity or a child.

    Attributes:
        kind: ``activity`` or ``sub-orchestration``.
        name: its name.
        attempts: how many calls of it, with the same input, have failed so far.
        failure: the failure; ``None`` if the hub does not provide it.
        target: instance id of the child.
    """

    kind: OpenTaskKind
    name: str
    attempts: int
    failure: FailureDetails | None = None
    target: str | None = None

    def __str__(self) -> str:
        """One clause for people."""
        times = f" {self.attempts} times, the last time" if self.attempts > 1 else ""
        who = f"{self.kind} {self.name!r}" + (f" ({self.target!r})" if self.target else "")
        return f"{who} failed{times} with {_short(self.failure)}"


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Why an instance is not finished.

    Attributes:
        state: the instance.
        age: time since its creation.
        quiet_for: time since the hub last committed something for it.
        waits: what it waits for; with the code at hand also the events, and the lines that ask.
        attempts: the failed attempt before a wait, by the task id of the wait. Without the code this is the failure
            that came just before a timer was created, which is then probably the delay of a retry.
        entities: the entities that it waits for, by id, as the hub shows them; empty if it was not asked.
        problem: what is wrong with replaying the code, if anything.
        advice: what to do, most likely first.
    """

    state: OrchestrationState
    age: timedelta
    quiet_for: timedelta
    waits: Sequence[OpenTask] = ()
    attempts: Mapping[int, FailedAttempt] = {}
    entities: Mapping[str, WaitedEntity] = {}
    problem: str = ""
    advice: Sequence[str] = ()

    def __str__(self) -> str:
        """The whole story as text."""
        state = self.state
        head = (
            f"Instance {state.instance_id!r} ({printable(state.name)}) is {state.runtime_status.name}; "
            f"created {_span(self.age)} ago, last change {_span(self.quiet_for)} ago."
        )
        lines = [head]
        if state.is_finished and not self.advice:
            lines.append("It has ended: it waits for nothing.")
        if self.waits:
            lines.append("It waits for:")
            for task in self.waits:
                lines.append(f"  - {_without_place(task)}")
                lines += self._attempt_before(task)
                if standing := standing_of(task, state.instance_id, self.entities):
                    lines.append(f"    {standing}")
        if self.problem:
            lines.append(f"Replaying it with this code fails: {self.problem}")
        if self.advice:
            lines.append("What to do:")
            lines += [f"  - {text}" for text in self.advice]
        return "\n".join(lines)

    def _attempt_before(self, task: OpenTask) -> list[str]:
        attempt = self.attempts.get(task.task_id) if task.task_id is not None else None
        if attempt is None:
            return []
        if task.kind == "timer":
            return [f"    Before it, {attempt}: it is probably the delay before the next attempt."]
        return [f"    Its last attempt failed with {_short(attempt.failure)}."]


def diagnose(
    state: OrchestrationState,
    history: Sequence[HistoryEvent],
    *,
    now: datetime,
    converter: DataConverter,
    registry: Registry | None = None,
) -> Diagnosis:
    """Explain where an instance stands.

    Args:
        state: the instance.
        history: its history.
        now: the present, on the hub's clock.
        converter: turns payloads into values.
        registry: the code, for the events that it waits for and for ``file:line``.
    """
    facts = _Facts(history)
    waits, problem = _waits(state, history, facts, converter, registry)
    return _diagnosis(state, facts, waits, registry, now, problem=problem)


def _diagnosis(
    state: OrchestrationState,
    facts: _Facts,
    waits: Sequence[OpenTask],
    registry: Registry | None,
    now: datetime,
    *,
    problem: str,
    entities: Mapping[str, WaitedEntity] = MappingProxyType({}),
) -> Diagnosis:
    attempts = {
        task.task_id: attempt
        for task in waits
        if task.task_id is not None and (attempt := facts.before.get(task.task_id)) is not None
    }
    return Diagnosis(
        state=state,
        age=now - state.created_at,
        quiet_for=now - state.last_updated_at,
        waits=waits,
        attempts=attempts,
        entities=entities,
        problem=problem,
        advice=_advice(state, facts, waits, registry, now, problem=problem, entities=entities),
    )


async def explain(
    transport: Transport, instance_id: str, *, registry: Registry | None, converter: DataConverter
) -> Diagnosis:
    """Fetch an instance, its history and the entities that it waits for, and explain where it stands.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    state = await transport.get_instance(instance_id)
    if state is None:
        raise InstanceNotFoundError(
            f"There is no instance {instance_id!r} in task hub {transport.task_hub!r}."
        )
    history = [event async for chunk in transport.stream_history(instance_id) for event in chunk]
    facts = _Facts(history)
    waits, problem = _waits(state, history, facts, converter, registry)
    entities = await waited_entities(transport, instance_id, waits)
    return _diagnosis(state, facts, waits, registry, transport.now(), problem=problem, entities=entities)


def _span(span: timedelta) -> str:
    return str(timedelta(seconds=int(span.total_seconds())))


def _short(failure: FailureDetails | None) -> str:
    return "an unknown error" if failure is None else printable(f"{failure.error_type}: {failure.message}")


def _line_of(failure: FailureDetails | None) -> str:
    """`` at file:line`` of the innermost frame of user code in a stack trace, if it is one of Python."""
    frames: list[tuple[str, str]] = _FRAME.findall((failure and failure.stack_trace) or "")
    own = [f" at {file}:{line}" for file, line in frames if not _FOREIGN.search(file)]
    return own[-1] if own else ""


# --- what a history shows -----------------------------------------------------------------------------------


class _Facts:
    """What a history shows without the code.

    Attributes:
        open: what was asked for and not answered.
        failed: the latest failure of an activity or a child, whatever became of it.
        before: by id of a failed call, and of a timer that was created in the episode of a failure: that failure.
        events: names of the external events that came, in order.
        suspended: the latest reason for a suspension.
    """

    def __init__(self, history: Sequence[HistoryEvent]) -> None:
        self.open: list[OpenTask] = [_described(event) for event in open_tasks(history)]
        self.failed: FailedAttempt | None = None
        self.before: dict[int, FailedAttempt] = {}
        self.events: dict[str, None] = {}
        self.suspended: str | None = None
        self._calls: dict[int, TaskScheduled | SubOrchestrationInstanceCreated] = {}
        self._counts: dict[tuple[str, str | None], int] = {}
        self._unpaired: list[FailedAttempt] = []
        for event in history:
            self._add(event)

    def _add(self, event: HistoryEvent) -> None:
        match event:
            case TaskScheduled() | SubOrchestrationInstanceCreated():
                self._calls[event.event_id] = event
            case TaskFailed() | SubOrchestrationInstanceFailed():
                self._add_failure(event)
            case TimerCreated() if self._unpaired:
                self.before[event.event_id] = self._unpaired.pop(0)
            case OrchestratorStarted():
                self._unpaired.clear()
            case EventRaised():
                self.events[event.name] = None
            case ExecutionSuspended():
                self.suspended = event.input

    def _add_failure(self, event: TaskFailed | SubOrchestrationInstanceFailed) -> None:
        call = self._calls.get(event.task_scheduled_id)
        if call is None:
            return
        what = (call.name, call.input)
        self._counts[what] = self._counts.get(what, 0) + 1
        is_child = isinstance(call, SubOrchestrationInstanceCreated)
        self.failed = FailedAttempt(
            kind="sub-orchestration" if is_child else "activity",
            name=call.name,
            attempts=self._counts[what],
            failure=event.failure,
            target=call.instance_id if isinstance(call, SubOrchestrationInstanceCreated) else None,
        )
        self.before[event.task_scheduled_id] = self.failed
        self._unpaired.append(self.failed)


def _waits(
    state: OrchestrationState,
    history: Sequence[HistoryEvent],
    facts: _Facts,
    converter: DataConverter,
    registry: Registry | None,
) -> tuple[Sequence[OpenTask], str]:
    if state.is_finished or not history:
        return (), ""
    found = facts.open
    if registry is None or state.name not in registry.orchestrator_names:
        return found, ""
    session = OrchestrationSession(
        state.instance_id, ReplayOptions(registry=registry, converter=converter, isolate=hide_event_loop)
    )
    try:
        session.replay(history)
        if session.is_complete:  # it cannot be: the instance runs
            failure = getattr(session.advance(history[:1]).actions[-1], "failure", None)
            problem = failure.message if failure is not None else "the code ends where the history goes on."
            return found, problem
        return [_dated(task, history) for task in session.open_tasks()], ""
    except DurableTaskError as error:
        return found, str(error)
    finally:
        session.close()


def _described(event: OpeningEvent) -> OpenTask:
    kind: OpenTaskKind
    due = target = since = None
    lock_set: tuple[str, ...] = ()
    match event:
        case TaskScheduled():
            kind, name = "activity", event.name
        case TimerCreated():
            kind, name, due = "timer", event.fire_at.isoformat(), event.fire_at
        case SubOrchestrationInstanceCreated():
            kind, name, target = "sub-orchestration", event.name, event.instance_id
        case EntityOperationCalled():
            kind, name, target = "entity", event.operation, event.target_instance_id
        case EntityLockRequested():
            kind, name, lock_set = "lock", ", ".join(event.lock_set), event.lock_set
    if kind in {"entity", "lock"} and event.timestamp > EPOCH:
        since = event.timestamp
    return OpenTask(
        kind=kind,
        name=name,
        location=_NO_CODE,
        task_id=event.event_id,
        due=due,
        target=target,
        lock_set=lock_set,
        since=since,
    )


def _dated(task: OpenTask, history: Sequence[HistoryEvent]) -> OpenTask:
    """A call or a lock of entities with the time of the event that confirmed it."""
    if task.kind not in {"entity", "lock"}:
        return task
    since = next((event.timestamp for event in history if event.event_id == task.task_id), EPOCH)
    return msgspec.structs.replace(task, since=since) if since > EPOCH else task


def _without_place(task: OpenTask) -> str:
    return str(task).replace(f", asked for at {_NO_CODE}", "")


# --- what to do ---------------------------------------------------------------------------------------------


def _advice(
    state: OrchestrationState,
    facts: _Facts,
    waits: Sequence[OpenTask],
    registry: Registry | None,
    now: datetime,
    *,
    problem: str,
    entities: Mapping[str, WaitedEntity],
) -> list[str]:
    status = state.runtime_status
    if state.is_finished:
        return _advice_for_failed(state, facts)
    if status is OrchestrationStatus.PENDING:
        return _advice_for_pending(state, registry, now)
    advice: list[str] = []
    if status is OrchestrationStatus.SUSPENDED:
        why = f" (reason: {printable(facts.suspended)})" if facts.suspended else ""
        advice.append(
            f"It is suspended{why}; resume it with client.resume_orchestration({state.instance_id!r})."
        )
    for task in waits:
        if task.kind in {"entity", "lock"}:
            advice.append(_advice_for_entity(task, state, registry, entities))
        else:
            advice += _advice_for(task, state, facts, registry, now)
    has_code = registry is not None and state.name in registry.orchestrator_names
    if not waits and has_code:
        advice.append(
            "Its next episode is due or running: check that a worker is connected to this task hub."
        )
    due = [task.due for task in waits if task.due is not None]
    if due and not advice:
        advice.append(f"Nothing: it goes on at {min(due).isoformat()}, in {_span(min(due) - now)}.")
    if not has_code and not problem:
        advice += _advice_without_code(state, facts, waits, registry)
    return advice


def _advice_without_code(
    state: OrchestrationState, facts: _Facts, waits: Sequence[OpenTask], registry: Registry | None
) -> list[str]:
    """The part that needs the code: a wait for an event leaves no trace in a history."""
    advice: list[str] = []
    came = f" Events that came so far: {', '.join(map(repr, facts.events))}." if facts.events else ""
    if not waits:
        advice.append(
            "Its history shows nothing open. Then it waits for an external event, which leaves no trace before it "
            f"comes, or its next episode has yet to run.{came} Raise the event: "
            f"client.raise_orchestration_event({state.instance_id!r}, name, data)."
        )
    elif all(task.kind == "timer" for task in waits):
        advice.append(
            "A timer may also be the time-out of a wait for an external event, which leaves no trace before it "
            f"comes.{came}"
        )
    if registry is not None and registry.orchestrator_names and state.name not in registry.orchestrator_names:
        advice.append(_unknown("orchestrator", state.name, registry.orchestrator_names))
    else:
        advice.append(
            f"With the code, explain({state.instance_id!r}, orchestrators=[...]) also shows the events that it waits "
            "for, and the lines."
        )
    return advice


def _advice_for_failed(state: OrchestrationState, facts: _Facts) -> list[str]:
    failure = state.failure_details
    if failure is None or state.runtime_status is not OrchestrationStatus.FAILED:
        return []
    advice = [f"It failed{_line_of(failure)}: {printable(failure.message)} ({failure.error_type})."]
    cause = facts.failed
    if cause is not None and _is_cause(cause.failure, failure):
        text = f"{cause}{_line_of(cause.failure)}."
        advice.append(text[:1].upper() + text[1:])
        if cause.target is not None:
            advice.append(f"Explain its child: client.explain({cause.target!r}).")
    if state.parent_instance_id is not None:
        advice.append(
            f"It is a child of {state.parent_instance_id!r}: when the cause is removed, rewind the parent."
        )
    else:
        advice.append(
            f"When the cause is removed, client.rewind_orchestration({state.instance_id!r}) undoes the failure and goes "
            f"on; what has completed does not run again. client.restart_orchestration({state.instance_id!r}) runs it "
            "again from its start."
        )
    return advice


def _is_cause(cause: FailureDetails | None, failure: FailureDetails) -> bool:
    """Whether the failure of a task is why the orchestration failed: its text is in the failure or below it."""
    if cause is None:
        return True
    found: FailureDetails | None = failure
    while found is not None:
        if cause.root_cause.message in found.message:
            return True
        found = found.inner_failure
    return False


def _advice_for_pending(state: OrchestrationState, registry: Registry | None, now: datetime) -> list[str]:
    if state.scheduled_start_at is not None and state.scheduled_start_at > now:
        return [
            f"It starts at {state.scheduled_start_at.isoformat()}, in {_span(state.scheduled_start_at - now)}."
        ]
    version = f"version {state.version!r}" if state.version else "orchestrations without a version"
    unseen = (
        f"No worker has taken it yet: check that one is connected to this task hub, has orchestrator {state.name!r} "
        f"and accepts {version}."
    )
    advice = [unseen]
    if registry is not None and registry.orchestrator_names and state.name not in registry.orchestrator_names:
        advice.insert(0, _unknown("orchestrator", state.name, registry.orchestrator_names))
    return advice


def _advice_for(
    task: OpenTask,
    state: OrchestrationState,
    facts: _Facts,
    registry: Registry | None,
    now: datetime,
) -> list[str]:
    if task.due is not None and now - task.due > _OVERDUE:
        what = "next attempt of " + repr(task.name) if task.attempts else task.kind
        return [f"The {what} was due {_span(now - task.due)} ago: check that the hub is running."]
    if task.kind == "activity" and task.due is None:
        if registry is not None and registry.activity_names and task.name not in registry.activity_names:
            return [_unknown("activity", task.name, registry.activity_names)]
        return [f"Activity {task.name!r} is queued or running: check the workers that have it."]
    if task.kind == "event":
        return [_advice_for_event(task, state, facts)]
    if task.kind == "sub-orchestration" and task.due is None:
        return [f"Explain its child: client.explain({task.target!r})."]
    return []


def _advice_for_entity(
    task: OpenTask,
    state: OrchestrationState,
    registry: Registry | None,
    entities: Mapping[str, WaitedEntity],
) -> str:
    def unknown(name: str) -> str:
        if registry is None or not registry.entity_names:
            return ""
        try:
            registry.entity(name)
        except EntityNotRegisteredError:
            return _unknown("entity", name, registry.entity_names)
        return ""

    return advice_for_entity(task, state.instance_id, entities, unknown)


def _advice_for_event(task: OpenTask, state: OrchestrationState, facts: _Facts) -> str:
    near = [
        name for name in nearest_names(task.name, facts.events) if name.casefold() != task.name.casefold()
    ]
    typo = f" An event named {near[0]!r} did arrive: is one of the two names misspelt?" if near else ""
    return f"Raise it: client.raise_orchestration_event({state.instance_id!r}, {task.name!r}, data).{typo}"


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    near = nearest_names(name, known)
    hint = f" The nearest names are {', '.join(map(repr, near))}." if near else ""
    return f"The {kind} {name!r} is not among those that were given.{hint}"
