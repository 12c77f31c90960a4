"""Why is this instance not finished? From its state, its history and, where it is at hand, its code.

``diagnose`` is a pure function; ``explain`` fetches what it needs from a task hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from .errors import DurableTaskError, InstanceNotFoundError, nearest_names
from .history import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EventRaised,
    ExecutionSuspended,
    HistoryEvent,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from .instances import OrchestrationState, OrchestrationStatus
from .registry import Registry
from .replay.options import ReplayOptions
from .replay.session import OrchestrationSession
from .replay.standing import OpenTask, OpenTaskKind, open_tasks
from .serialization import DataConverter
from .transport import Transport

__all__ = ["Diagnosis", "diagnose", "explain"]

_NO_CODE = "an unknown place"
_OVERDUE = timedelta(minutes=1)  # a hub may be that late without being ill


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Why an instance is not finished.

    Attributes:
        state: the instance.
        age: time since its creation.
        quiet_for: time since the hub last committed something for it.
        waits: what it waits for; with the code at hand also the events, and the lines that ask.
        problem: what is wrong with replaying the code, if anything.
        advice: what to do, most likely first.
    """

    state: OrchestrationState
    age: timedelta
    quiet_for: timedelta
    waits: Sequence[OpenTask] = ()
    problem: str = ""
    advice: Sequence[str] = ()

    def __str__(self) -> str:
        """The whole story as text."""
        state = self.state
        head = (
            f"Instance {state.instance_id!r} ({state.name}) is {state.runtime_status.name}; "
            f"created {_span(self.age)} ago, last change {_span(self.quiet_for)} ago."
        )
        lines = [head]
        if state.is_finished and not self.advice:
            lines.append("It has ended: it waits for nothing.")
        if self.waits:
            lines.append("It waits for:")
            lines += [f"  - {_without_place(task)}" for task in self.waits]
        if self.problem:
            lines.append(f"Replaying it with this code fails: {self.problem}")
        if self.advice:
            lines.append("What to do:")
            lines += [f"  - {text}" for text in self.advice]
        return "\n".join(lines)


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
    waits, problem = _waits(state, history, converter, registry)
    return Diagnosis(
        state=state,
        age=now - state.created_at,
        quiet_for=now - state.last_updated_at,
        waits=waits,
        problem=problem,
        advice=_advice(state, history, waits, registry, now),
    )


async def explain(
    transport: Transport, instance_id: str, *, registry: Registry | None, converter: DataConverter
) -> Diagnosis:
    """Fetch an instance and its history, and explain where it stands.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    state = await transport.get_instance(instance_id)
    if state is None:
        raise InstanceNotFoundError(
            f"There is no instance {instance_id!r} in task hub {transport.task_hub!r}."
        )
    history = [event async for chunk in transport.stream_history(instance_id) for event in chunk]
    return diagnose(state, history, now=transport.now(), converter=converter, registry=registry)


def _span(span: timedelta) -> str:
    return str(timedelta(seconds=int(span.total_seconds())))


# --- what it waits for ------------------------------------------------------------------------------------


def _waits(
    state: OrchestrationState,
    history: Sequence[HistoryEvent],
    converter: DataConverter,
    registry: Registry | None,
) -> tuple[Sequence[OpenTask], str]:
    if state.is_finished or not history:
        return (), ""
    if registry is None or state.name not in registry.orchestrator_names:
        return _open_in_history(history), ""
    session = OrchestrationSession(state.instance_id, ReplayOptions(registry=registry, converter=converter))
    try:
        session.replay(history)
        if session.is_complete:  # it cannot be: the instance runs
            failure = getattr(session.advance(history[:1]).actions[-1], "failure", None)
            problem = failure.message if failure is not None else "the code ends where the history goes on."
            return _open_in_history(history), problem
        return open_tasks(session), ""
    except DurableTaskError as error:
        return _open_in_history(history), str(error)
    finally:
        session.close()


def _open_in_history(history: Sequence[HistoryEvent]) -> list[OpenTask]:
    """What was asked for and not answered, as far as a history alone tells."""
    found: dict[int | str, OpenTask] = {}
    for event in history:
        if isinstance(event, TaskScheduled):
            found[event.event_id] = _task("activity", event.name, event.event_id)
        elif isinstance(event, TimerCreated):
            name = event.fire_at.isoformat()
            found[event.event_id] = _task("timer", name, event.event_id, due=event.fire_at)
        elif isinstance(event, SubOrchestrationInstanceCreated):
            found[event.event_id] = _task(
                "sub-orchestration", event.name, event.event_id, target=event.instance_id
            )
        elif isinstance(event, EntityOperationCalled):
            found[event.request_id] = _task(
                "entity", event.operation, event.event_id, target=event.target_instance_id
            )
        elif isinstance(event, EntityLockRequested):
            found[event.critical_section_id] = _task("lock", ", ".join(event.lock_set), event.event_id)
        else:
            found.pop(_answered(event), None)
    return list(found.values())


def _answered(event: HistoryEvent) -> int | str:
    if isinstance(
        event,
        (TaskCompleted, TaskFailed, SubOrchestrationInstanceCompleted, SubOrchestrationInstanceFailed),
    ):
        return event.task_scheduled_id
    if isinstance(event, TimerFired):
        return event.timer_id
    if isinstance(event, EntityLockGranted):
        return event.critical_section_id
    return event.request_id if isinstance(event, (EntityOperationCompleted, EntityOperationFailed)) else -1


def _task(
    kind: OpenTaskKind, name: str, task_id: int, *, due: datetime | None = None, target: str | None = None
) -> OpenTask:
    return OpenTask(kind=kind, name=name, location=_NO_CODE, task_id=task_id, due=due, target=target)


def _without_place(task: OpenTask) -> str:
    return str(task).replace(f", asked for at {_NO_CODE}", "")


# --- what to do ---------------------------------------------------------------------------------------------


def _advice(
    state: OrchestrationState,
    history: Sequence[HistoryEvent],
    waits: Sequence[OpenTask],
    registry: Registry | None,
    now: datetime,
) -> list[str]:
    status = state.runtime_status
    if state.is_finished:
        failure = state.failure_details
        return [] if failure is None else [f"It failed: {failure.message} ({failure.error_type})."]
    if status is OrchestrationStatus.PENDING:
        return _advice_for_pending(state, registry, now)
    advice: list[str] = []
    if status is OrchestrationStatus.SUSPENDED:
        reasons = [event.input for event in history if isinstance(event, ExecutionSuspended)]
        why = f" (reason: {reasons[-1]})" if reasons and reasons[-1] else ""
        advice.append(
            f"It is suspended{why}; resume it with client.resume_orchestration({state.instance_id!r})."
        )
    for task in waits:
        advice += _advice_for(task, state, history, registry, now)
    if not waits:
        advice.append(
            "Its next turn is due or running: check that a worker is connected to this task hub. Give 'explain' the "
            "orchestrators to see which events it may wait for."
        )
    due = [task.due for task in waits if task.due is not None]
    if due and not advice:
        advice.append(f"Nothing: it goes on at {min(due).isoformat()}, in {_span(min(due) - now)}.")
    return advice


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
    history: Sequence[HistoryEvent],
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
        return [_advice_for_event(task, state, history)]
    if task.kind == "sub-orchestration" and task.due is None:
        return [f"Explain its child: client.explain({task.target!r})."]
    if task.kind == "entity":
        entity = (
            f"Entity {task.target!r} has not answered: client.get_entity({task.target!r}) tells who has it locked and "
            "how much waits for it; check that a worker has this entity."
        )
        return [entity]
    if task.kind == "lock":
        lock = (
            f"Another orchestration may hold one of {task.name}: client.get_entity(id) tells which; "
            "client.clean_entity_storage() takes locks from orchestrations that are gone."
        )
        return [lock]
    return []


def _advice_for_event(task: OpenTask, state: OrchestrationState, history: Sequence[HistoryEvent]) -> str:
    raised = {event.name for event in history if isinstance(event, EventRaised)}
    near = [name for name in nearest_names(task.name, raised) if name.casefold() != task.name.casefold()]
    typo = f" An event named {near[0]!r} did arrive: is one of the two names misspelt?" if near else ""
    return f"Raise it: client.raise_orchestration_event({state.instance_id!r}, {task.name!r}, data).{typo}"


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    near = nearest_names(name, known)
    hint = f" The nearest names are {', '.join(map(repr, near))}." if near else ""
    return f"The {kind} {name!r} is not among those that were given.{hint}"
