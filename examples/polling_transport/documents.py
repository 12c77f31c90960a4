"""The document of an instance, and what one episode does to it. Knows nothing of files or polling."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from functools import singledispatch
from typing import Protocol

import msgspec
from durabletask.core.actions import (
    CompleteOrchestration,
    CreateSubOrchestration,
    CreateTimer,
    OrchestratorAction,
    ScheduleTask,
    SendEvent,
)
from durabletask.core.errors import NotSupportedError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EPOCH,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestratorCompleted,
    ParentInstance,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durabletask.core.instances import CreateInstanceRequest, OrchestrationState, OrchestrationStatus
from durabletask.core.work_items import OrchestratorResult

replace = msgspec.structs.replace
RUNNING, SUSPENDED = OrchestrationStatus.RUNNING, OrchestrationStatus.SUSPENDED


class Inbound(msgspec.Struct):
    """A message on its way to an instance; ``execution_id`` ties it to one execution."""

    number: int
    due: datetime
    event: HistoryEvent
    execution_id: str | None = None


class Activity(msgspec.Struct, kw_only=True):
    """An activity that has not been answered."""

    task_id: int
    name: str
    execution_id: str
    input: str | None = None
    version: str | None = None
    tags: Mapping[str, str] | None = None
    token: str = ""
    held_until: datetime = EPOCH

    def is_free(self, now: datetime) -> bool:
        return self.held_until <= now


class Instance(msgspec.Struct, kw_only=True):
    """Everything about one instance."""

    state: OrchestrationState
    started: ExecutionStarted
    history: list[HistoryEvent] = []
    inbox: list[Inbound] = []
    next_number: int = 0
    activities: list[Activity] = []
    # The delivery of the present episode:
    token: str = ""
    held_until: datetime = EPOCH
    delivered: list[int] = []
    episode: list[HistoryEvent] = []

    def is_free(self, now: datetime) -> bool:
        return self.held_until <= now

    def send(self, event: HistoryEvent, due: datetime, execution_id: str | None = None) -> None:
        """Put a message into the inbox. A finished instance drops it, as another execution does."""
        if self.state.is_finished or execution_id not in {None, self.state.execution_id}:
            return
        self.inbox.append(Inbound(self.next_number, due, event, execution_id))
        self.next_number += 1


class Store(Protocol):
    """Where an episode finds other instances."""

    now: datetime

    def get(self, instance_id: str) -> Instance | None: ...
    def put(self, instance: Instance) -> None: ...


def started_instance(
    request: CreateInstanceRequest, instance_id: str, now: datetime, parent: ParentInstance | None = None
) -> Instance:
    """A new instance with its ExecutionStarted in the inbox, due at the scheduled start."""
    execution_id = uuid.uuid4().hex
    state = OrchestrationState(
        instance_id=instance_id,
        name=request.name,
        runtime_status=OrchestrationStatus.PENDING,
        created_at=now,
        last_updated_at=now,
        scheduled_start_at=request.scheduled_start_at,
        version=request.version,
        execution_id=execution_id,
        parent_instance_id=parent.instance_id if parent is not None else None,
        tags=request.tags,
        serialized_input=request.input,
    )
    started = ExecutionStarted(
        -1,
        now,
        name=request.name,
        instance_id=instance_id,
        execution_id=execution_id,
        version=request.version,
        input=request.input,
        parent=parent,
        scheduled_start=request.scheduled_start_at,
        trace_context=request.trace_context,
        tags=dict(request.tags) or None,
    )
    instance = Instance(state=state, started=started)
    instance.send(started, request.scheduled_start_at or EPOCH)
    return instance


def snapshot(state: OrchestrationState, *, include_payloads: bool) -> OrchestrationState:
    """The state as clients see it."""
    if include_payloads:
        return state
    return replace(state, serialized_input=None, serialized_output=None, serialized_custom_status=None)


def is_suspended(instance: Instance) -> bool:
    """Whether the instance is suspended once its inbox is worked off."""
    kinds = [m.event for m in instance.inbox if isinstance(m.event, (ExecutionSuspended, ExecutionResumed))]
    return isinstance(kinds[-1], ExecutionSuspended) if kinds else instance.state.runtime_status is SUSPENDED


def due_messages(instance: Instance, now: datetime) -> list[Inbound]:
    """What the next episode brings, by time. Nothing comes before ExecutionStarted."""
    due = sorted(
        (m for m in instance.inbox if m.due <= now), key=lambda message: (message.due, message.number)
    )
    starts = any(message.event == instance.started for message in due)
    return due if instance.history or starts else []


# --- one episode ------------------------------------------------------------------------------------------------


def commit(store: Store, instance: Instance, result: OrchestratorResult) -> None:
    """Carry out the answer to an episode: history, effects, state. All of it or nothing: one transaction."""
    now, episode = store.now, instance.episode
    instance.inbox = [message for message in instance.inbox if message.number not in instance.delivered]
    instance.history += episode
    instance.token, instance.held_until, instance.episode = "", EPOCH, []
    ending: CompleteOrchestration | None = None
    for action in result.actions:
        if isinstance(action, CompleteOrchestration):
            ending = action
        else:
            carry_out(action, store, instance)
    instance.state = replace(
        instance.state,
        runtime_status=_status_after(instance.state.runtime_status, episode),
        last_updated_at=now,
        serialized_custom_status=result.custom_status,
    )
    if ending is None:
        instance.history.append(OrchestratorCompleted(-1, now))
    elif ending.status is OrchestrationStatus.CONTINUED_AS_NEW:
        _continue_as_new(instance, ending, now)
    else:
        _finish(store, instance, ending)


def _status_after(status: OrchestrationStatus, episode: list[HistoryEvent]) -> OrchestrationStatus:
    status = SUSPENDED if status is SUSPENDED else RUNNING
    for event in episode:
        if isinstance(event, (ExecutionSuspended, ExecutionResumed)):
            status = SUSPENDED if isinstance(event, ExecutionSuspended) else RUNNING
    return status


@singledispatch
def carry_out(action: OrchestratorAction, store: Store, instance: Instance) -> None:
    """Confirm an action in the history and do what it asks for."""
    raise NotSupportedError(f"PollingTransport cannot carry out {type(action).__name__}.")


@carry_out.register
def _(action: ScheduleTask, store: Store, instance: Instance) -> None:
    instance.history.append(
        TaskScheduled(
            action.id, store.now, action.name, action.version, action.input, action.trace_context, action.tags
        )
    )
    instance.activities.append(
        Activity(
            task_id=action.id,
            name=action.name,
            execution_id=instance.state.execution_id or "",
            input=action.input,
            version=action.version,
            tags=action.tags,
        )
    )


@carry_out.register
def _(action: CreateTimer, store: Store, instance: Instance) -> None:
    instance.history.append(TimerCreated(action.id, store.now, action.fire_at))
    fired = TimerFired(-1, action.fire_at, action.fire_at, action.id)
    instance.send(fired, action.fire_at, instance.state.execution_id)


@carry_out.register
def _(action: SendEvent, store: Store, instance: Instance) -> None:
    instance.history.append(EventSent(action.id, store.now, action.instance_id, action.name, action.data))
    target = store.get(action.instance_id)
    if target is not None:
        target.send(EventRaised(-1, store.now, action.name, action.data), store.now)


@carry_out.register
def _(action: CreateSubOrchestration, store: Store, instance: Instance) -> None:
    instance.history.append(
        SubOrchestrationInstanceCreated(
            action.id,
            store.now,
            action.name,
            action.instance_id,
            action.version,
            action.input,
            tags=action.tags,
        )
    )
    existing = store.get(action.instance_id)
    if existing is not None and not existing.state.is_finished:
        taken = FailureDetails("InstanceAlreadyExists", f"Instance {action.instance_id!r} is live already.")
        instance.send(
            SubOrchestrationInstanceFailed(-1, store.now, action.id, taken),
            store.now,
            instance.state.execution_id,
        )
        return
    state = instance.state
    parent = ParentInstance(action.id, state.instance_id, state.execution_id, state.name, state.version)
    request = CreateInstanceRequest(
        name=action.name,
        input=action.input,
        version=action.version,
        tags={**state.tags, **(action.tags or {})},
        trace_context=action.trace_context,
    )
    store.put(started_instance(request, action.instance_id, store.now, parent))


def _finish(store: Store, instance: Instance, ending: CompleteOrchestration) -> None:
    now, status = store.now, ending.status
    instance.history += [
        ExecutionCompleted(ending.id, now, status.value, ending.result, ending.failure),
        OrchestratorCompleted(-1, now),
    ]
    instance.inbox = []
    instance.state = replace(
        instance.state,
        runtime_status=status,
        completed_at=now,
        serialized_output=ending.result,
        failure_details=ending.failure,
    )
    parent = instance.started.parent
    waiting = store.get(parent.instance_id) if parent is not None else None
    if parent is None or waiting is None:
        return
    answer: HistoryEvent = SubOrchestrationInstanceFailed(-1, now, parent.task_scheduled_id, ending.failure)
    if status is OrchestrationStatus.COMPLETED:
        answer = SubOrchestrationInstanceCompleted(-1, now, parent.task_scheduled_id, ending.result)
    waiting.send(answer, now, parent.execution_id)


def _continue_as_new(instance: Instance, ending: CompleteOrchestration, now: datetime) -> None:
    """Begin the next execution: its start, then the events that are handed over, then those that waited."""
    execution_id = uuid.uuid4().hex
    version = ending.new_version or instance.state.version
    kept = [message for message in instance.inbox if message.execution_id is None]
    instance.state = replace(
        instance.state, execution_id=execution_id, version=version, serialized_input=ending.result
    )
    instance.started = replace(
        instance.started, timestamp=now, execution_id=execution_id, version=version, input=ending.result
    )
    instance.history, instance.inbox, instance.next_number = [], [], 0
    for event in (instance.started, *ending.carryover_events):
        instance.send(event, EPOCH)
    for message in kept:
        instance.send(message.event, message.due)
