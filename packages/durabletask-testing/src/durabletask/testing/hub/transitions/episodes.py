"""One episode: handing it out, committing its result, taking it back (protocol sections 6.3, 7.1, 7.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from durabletask.core.actions import (
    CallEntity,
    CompleteOrchestration,
    CreateSubOrchestration,
    CreateTimer,
    OrchestratorAction,
    RequestEntityLock,
    RewindOrchestration,
    ScheduleTask,
    SendEvent,
    SignalEntity,
    TerminateOrchestration,
    UnlockEntity,
)
from durabletask.core.errors import InvalidRequestError
from durabletask.core.history import (
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestratorResult, OrchestratorWorkItem
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.state import Instance
from durabletask.testing.hub.tasks import Activity, DurableTimer

from . import entity_messages
from .creation import child_id_of, create_child
from .ending import finish, terminate
from .executions import continue_as_new
from .rewinding import apply_rewind, check_rewound

__all__ = ["Episode", "begin_episode", "complete_episode", "work_item"]

_ENDS = frozenset(
    {
        OrchestrationStatus.COMPLETED,
        OrchestrationStatus.FAILED,
        OrchestrationStatus.CANCELED,
        OrchestrationStatus.TERMINATED,
        OrchestrationStatus.CONTINUED_AS_NEW,
    }
)

_encoder = msgspec.msgpack.Encoder()
_MOST_NEWS = 2 * 1024 * 1024
"""Bytes of the new events of one episode; workers take messages of 4 MiB unless they are configured."""


class Episode(msgspec.Struct, frozen=True, eq=False):
    """An episode that a worker has: what it was given, and how much of that is the inbox."""

    new_events: list[HistoryEvent]
    consumed: int


def begin_episode(instance: Instance, now: datetime) -> Episode:
    """Take what is in the inbox now, as far as one message can carry it."""
    inbox = instance.inbox.since(0)
    if len(inbox) > 1:  # the first goes alone, however large it is
        inbox = _first_that_fit(inbox)
    return Episode([OrchestratorStarted(-1, now), *inbox], len(inbox))


def work_item(instance: Instance, episode: Episode, token: str) -> OrchestratorWorkItem:
    """The work item of an episode."""
    execution = instance.execution
    return OrchestratorWorkItem(
        instance_id=execution.instance_id,
        new_events=episode.new_events,
        past_events=instance.history.slice(),
        execution_id=execution.execution_id,
        trace_context=instance.summary.span,
        completion_token=token,
    )


def _first_that_fit(inbox: list[HistoryEvent]) -> list[HistoryEvent]:
    fitting: list[HistoryEvent] = []
    size = 0
    for event in inbox:
        size += len(_encoder.encode(event))  # with the names of the fields: more than the message takes
        if fitting and size > _MOST_NEWS:
            break
        fitting.append(event)
        if type(event) is ExecutionRewound and len(fitting) == 1:
            break  # engines take a rewind only by itself
    return fitting


def complete_episode(
    tx: Transition, instance: Instance, episode: Episode, result: OrchestratorResult
) -> None:
    """Commit an episode: history, status, outgoing messages, timers, activities.

    Raises:
        InvalidRequestError: the result makes no sense.
    """
    completion = _completion_of(instance, result.actions)
    instance = tx.edit(instance)
    events = _consume(instance, episode, result.num_events_processed)
    instance.wants_episode = False
    instance.history.extend(events)
    instance.updated_at = tx.now
    _note_requests(instance, events)
    if result.trace_context is not None and result.trace_context != instance.summary.span:
        instance.summarize(span=result.trace_context)
    if instance.summary.custom_status != result.custom_status and (
        result.custom_status is not None
        or completion is None
        or completion.status is not OrchestrationStatus.CONTINUED_AS_NEW
    ):
        instance.summarize(custom_status=result.custom_status)
    _carry_out(tx, instance, result.actions, completion)
    if completion is None:
        _go_on(instance)
    else:
        _end(tx, instance, completion, events)


def _completion_of(instance: Instance, actions: Sequence[OrchestratorAction]) -> CompleteOrchestration | None:
    """The first completion, which wins."""
    for action in actions:
        if type(action) is CompleteOrchestration:
            if action.status not in _ENDS:
                raise InvalidRequestError(
                    f"Instance {instance.instance_id!r} cannot be completed with status {action.status}."
                )
            return action
        if type(action) not in _HANDLERS:
            raise InvalidRequestError(
                f"Instance {instance.instance_id!r}: this hub does not know actions of type {type(action).__name__}."
            )
        if type(action) is RewindOrchestration:
            check_rewound(instance, action.new_history)
    return None


def _consume(instance: Instance, episode: Episode, processed: int | None) -> list[HistoryEvent]:
    """Move the events of the episode out of the inbox; a worker may have left some of them."""
    events, consumed = episode.new_events, episode.consumed
    if processed is not None and 0 < processed < len(events):
        events = events[:processed]
        consumed = processed - 1  # the first event is the start of the episode
    instance.inbox.drop(consumed)
    return events


def _note_requests(instance: Instance, events: list[HistoryEvent]) -> None:
    for event in events:
        kind = type(event)
        if kind is ExecutionSuspended:
            instance.is_paused = True
        elif kind is ExecutionResumed:
            instance.is_paused = False


def _carry_out(
    tx: Transition,
    instance: Instance,
    actions: Sequence[OrchestratorAction],
    completion: CompleteOrchestration | None,
) -> None:
    for action in actions:
        if action is completion:
            if completion.status is not OrchestrationStatus.CONTINUED_AS_NEW:
                return  # what follows the end of an instance is a defect of its engine (vector 065)
            continue
        handler = _HANDLERS.get(type(action))
        if handler is not None:
            handler(tx, instance, action)


def _go_on(instance: Instance) -> None:
    """The end of an episode that did not end the execution."""
    status = OrchestrationStatus.SUSPENDED if instance.is_paused else OrchestrationStatus.RUNNING
    if instance.status is not status:
        instance.summarize(status=status)


def _end(
    tx: Transition, instance: Instance, completion: CompleteOrchestration, events: list[HistoryEvent]
) -> None:
    status, output, failure = completion.status, completion.result, completion.failure
    if status is OrchestrationStatus.CONTINUED_AS_NEW:
        request = next((event for event in events if type(event) is ExecutionTerminated), None)
        if request is None:
            continue_as_new(tx, instance, completion)
            return
        # a termination beats a continue-as-new of the same episode
        status, output, failure = OrchestrationStatus.TERMINATED, request.input, None
    instance.history.append(ExecutionCompleted(completion.id, tx.now, status.value, output, failure))
    finish(tx, instance, status, output=output, failure=failure)


# --- actions ------------------------------------------------------------------------------------------------


def _schedule_task(tx: Transition, instance: Instance, action: ScheduleTask) -> None:
    instance.history.append(
        TaskScheduled(
            action.id, tx.now, action.name, action.version, action.input, action.trace_context, action.tags
        )
    )
    execution = instance.execution
    activity = Activity(
        instance_id=execution.instance_id,
        execution_id=execution.execution_id,
        task_id=action.id,
        name=action.name,
        version=action.version,
        input=action.input,
        tags=action.tags,
        trace_context=action.trace_context,
        parent_version=execution.version,
    )
    instance.open.add(action.id, activity)
    tx.activities.append(activity)


def _create_timer(tx: Transition, instance: Instance, action: CreateTimer) -> None:
    instance.history.append(TimerCreated(action.id, tx.now, action.fire_at))
    if action.fire_at <= tx.now:
        instance.inbox.append(TimerFired(-1, tx.now, action.fire_at, action.id))
        return
    timer = DurableTimer(instance.instance_id, action.id, action.fire_at)
    instance.open.add(action.id, timer)
    tx.timers.append(timer)


def _create_sub_orchestration(tx: Transition, instance: Instance, action: CreateSubOrchestration) -> None:
    instance.history.append(
        SubOrchestrationInstanceCreated(
            action.id,
            tx.now,
            action.name,
            child_id_of(instance.instance_id, action),
            action.version,
            action.input,
            action.trace_context,
            action.tags,
        )
    )
    create_child(tx, instance, action)


def _send_event(tx: Transition, instance: Instance, action: SendEvent) -> None:
    instance.history.append(EventSent(action.id, tx.now, action.instance_id, action.name, action.data))
    tx.raise_event(action.instance_id, action.name, action.data, action.execution_id)


def _terminate(tx: Transition, _instance: Instance, action: TerminateOrchestration) -> None:
    terminate(tx, action.instance_id, output=action.reason, recurse=action.recurse)


def _rewind(tx: Transition, instance: Instance, action: RewindOrchestration) -> None:
    apply_rewind(tx, instance, action.new_history)


_HANDLERS: dict[type, Callable[..., None]] = {
    ScheduleTask: _schedule_task,
    CreateTimer: _create_timer,
    CreateSubOrchestration: _create_sub_orchestration,
    SendEvent: _send_event,
    TerminateOrchestration: _terminate,
    RewindOrchestration: _rewind,
    CallEntity: entity_messages.call,
    SignalEntity: entity_messages.signal,
    RequestEntityLock: entity_messages.request_lock,
    UnlockEntity: entity_messages.unlock,
}
