"""What each kind of event does: one table of handlers for each condition of an execution (see ``execution``).

    RUNNING      events drive user code                       (protocol section 8.3)
    SUSPENDED    inbound events wait for the resumption       (protocol section 8.9, decisions row 10)
    CONTINUING   events that arrive are carried over          (protocol section 8.8)
    ENDED        nothing runs, confirmations are struck out   (decisions, row 11)

A handler takes the run and one event. It records the event and settles tasks; it runs no user code
itself, but puts fibers into the scheduler's queue. Confirmations are struck out in every condition, also while
suspended: they follow the actions of events that were already applied. A kind without an entry is an error of the
history and fails the orchestration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar, cast

import msgspec

from durabletask.core.errors import NonDeterminismError, OrchestrationStateError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    ContinueAsNew,
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    GenericEvent,
    HistoryEvent,
    HistoryState,
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
    UnknownEvent,
)
from durabletask.core.instances import OrchestrationStatus, decode_payload
from durabletask.core.times import as_utc

from .execution import RUNNING, SUSPENDED
from .matching import confirm, confirm_activity
from .run import Run
from .start import start_orchestrator
from .tasks import RAW_RESULT

__all__ = ["HANDLERS", "INERT", "Handler", "unsupported"]

E = TypeVar("E", bound=HistoryEvent)

Handler: TypeAlias = Callable[[Run, HistoryEvent], None]
"""Applies one event, of the kind it is listed under."""


def _on(kind: type[E], handle: Callable[[Run, E], None]) -> dict[type, Handler]:
    """The entry of a handler that takes one kind only: listed under that kind and no other."""
    return {kind: cast("Handler", handle)}


# --- the episode and the instance ------------------------------------------------------------------------


def _orchestrator_started(run: Run, event: OrchestratorStarted) -> None:
    if run.options.strict and run.work.pending and run.first_unconfirmed is None:
        run.first_unconfirmed = next(iter(run.work.pending.values()))
    _set_clock(run, event)


def _set_clock(run: Run, event: OrchestratorStarted) -> None:
    run.execution.clock = as_utc(event.timestamp)


def _execution_started(run: Run, event: ExecutionStarted) -> None:
    if run.execution.started is None:  # a second one is a message delivered twice
        start_orchestrator(run, event)


def _suspended(run: Run, event: ExecutionSuspended) -> None:
    del event
    run.execution.condition = SUSPENDED


def _resumed(run: Run, event: ExecutionResumed) -> None:
    del event
    held, run.held_events = run.held_events, []
    run.execution.condition = RUNNING
    for late in held:
        apply(run, late)


def _terminated(run: Run, event: ExecutionTerminated) -> None:
    run.completion.complete(OrchestrationStatus.TERMINATED, result=event.input)


def _rewound(run: Run, event: ExecutionRewound) -> None:
    # The rewrite took confirmations out of the history: actions without one are no sign of another path.
    del event
    run.history_is_rewound = True


def _hold(run: Run, event: HistoryEvent) -> None:
    run.held_events.append(event)


def _ignore(run: Run, event: HistoryEvent) -> None:
    """The event means nothing for replay."""


def unsupported(run: Run, event: HistoryEvent) -> None:
    """The event cannot be part of a history that is replayed."""
    kind = event.kind if isinstance(event, UnknownEvent) else type(event).__name__
    raise OrchestrationStateError(
        f"The history of instance {run.execution.instance_id!r} contains an event of kind {kind!r}, which cannot be "
        "replayed. It may come from a newer hub (then update this package) or from another kind of task hub."
    )


# --- answers ---------------------------------------------------------------------------------------------


def _task_completed(run: Run, event: TaskCompleted) -> None:
    call = run.work.activities.pop(event.task_scheduled_id, None)
    if call is not None:  # answers that no open call waits for are ignored
        if run.options.observer is not None:
            _notify(run, event.task_scheduled_id, event)
        call.settle(RAW_RESULT, event.result)


def _task_failed(run: Run, event: TaskFailed) -> None:
    call = run.work.activities.pop(event.task_scheduled_id, None)
    if call is not None:
        _notify(run, event.task_scheduled_id, event)
        call.failed(event.failure)


def _child_completed(run: Run, event: SubOrchestrationInstanceCompleted) -> None:
    call = run.work.children.pop(event.task_scheduled_id, None)
    if call is not None:
        _notify(run, event.task_scheduled_id, event)
        call.complete(event.result)


def _child_failed(run: Run, event: SubOrchestrationInstanceFailed) -> None:
    call = run.work.children.pop(event.task_scheduled_id, None)
    if call is not None:
        _notify(run, event.task_scheduled_id, event)
        call.failed(event.failure)


def _timer_fired(run: Run, event: TimerFired) -> None:
    timer = run.work.timers.pop(event.timer_id, None)
    if timer is not None:
        _notify(run, event.timer_id, event)
        timer.fired(event.fire_at)


def _notify(run: Run, action_id: int, answer: HistoryEvent) -> None:
    if run.options.observer is not None:
        scheduled = run.scheduled_events.pop(action_id, None)
        if not run.execution.is_replaying:
            run.options.observer.answered(scheduled, answer)


# --- events and entities ---------------------------------------------------------------------------------


def _event_raised(run: Run, event: EventRaised) -> None:
    if event.name in run.work.entity_calls:
        _legacy_answer(run, event)
    elif event.name in run.work.lock_requests:
        run.work.lock_requests.pop(event.name).granted()
    else:
        run.work.mailbox.arrive(event)


def _keep_event(run: Run, event: EventRaised) -> None:
    run.work.mailbox.keep(event)


def _legacy_answer(run: Run, event: EventRaised) -> None:
    """An entity's answer as an event whose name is the request id (protocol section 11.7)."""
    call = run.work.entity_calls.pop(event.name)
    answer = decode_payload(event.input)
    members: dict[str, object] = answer if isinstance(answer, dict) else {}
    result, error_type = members.get("result"), members.get("exceptionType")
    recorded = members.get("failureDetails")
    if error_type is None and recorded is None:
        call.complete(result)
        return
    try:
        failure = msgspec.convert(_legacy_names(recorded), FailureDetails)
    except msgspec.ValidationError:
        message = decode_payload(result if isinstance(result, str) else None)
        failure = FailureDetails(str(error_type or "durabletask.EntityFailure"), str(message or ""))
    call.failed(failure)


_LEGACY_NAMES: Final = {
    "errormessage": "message",
    "errortype": "errorType",
    "isnonretriable": "isNonRetriable",
}


def _legacy_names(recorded: object) -> object:
    """Members of the legacy failure details under our names."""
    if not isinstance(recorded, dict):
        return recorded
    return {
        _LEGACY_NAMES.get(str(name).lower(), name): _legacy_names(member) for name, member in recorded.items()
    }


def _operation_completed(run: Run, event: EntityOperationCompleted) -> None:
    call = run.work.entity_calls.pop(event.request_id, None)
    if call is not None:
        _notify(run, call.action.id, event)
        call.complete(event.output)


def _operation_failed(run: Run, event: EntityOperationFailed) -> None:
    call = run.work.entity_calls.pop(event.request_id, None)
    if call is not None:
        _notify(run, call.action.id, event)
        call.failed(event.failure)


def _lock_granted(run: Run, event: EntityLockGranted) -> None:
    request = run.work.lock_requests.pop(event.critical_section_id, None)
    if request is not None:
        request.granted()


def _task_scheduled(run: Run, event: TaskScheduled) -> None:
    options = run.options
    if (
        options.strict
        or options.observer is not None
        or not confirm_activity(run, event.event_id, event.name)
    ):
        confirm(run, event)


# --- the tables ------------------------------------------------------------------------------------------


def _confirm_if_known(run: Run, event: HistoryEvent) -> None:
    """After the end: strike out what was sent. Strict mode also sees that the history goes on."""
    try:
        confirm(run, event)
    except NonDeterminismError:
        if run.options.strict and run.execution.is_replaying:
            raise


_CONFIRMATIONS: Final = (
    TaskScheduled,
    TimerCreated,
    SubOrchestrationInstanceCreated,
    EventSent,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityLockRequested,
    EntityUnlockSent,
)
INERT: Final = (OrchestratorCompleted, ExecutionCompleted, GenericEvent)
"""Events that mean nothing for replay."""

_INBOUND: Final[dict[type, Handler]] = {
    **_on(OrchestratorStarted, _orchestrator_started),
    **_on(ExecutionStarted, _execution_started),
    **_on(TaskCompleted, _task_completed),
    **_on(TaskFailed, _task_failed),
    **_on(SubOrchestrationInstanceCompleted, _child_completed),
    **_on(SubOrchestrationInstanceFailed, _child_failed),
    **_on(TimerFired, _timer_fired),
    **_on(EventRaised, _event_raised),
    **_on(EntityOperationCompleted, _operation_completed),
    **_on(EntityOperationFailed, _operation_failed),
    **_on(EntityLockGranted, _lock_granted),
}
_EVERYWHERE: Final[dict[type, Handler]] = {
    **dict.fromkeys(INERT, _ignore),
    **_on(ExecutionRewound, _rewound),
}
_UNSUPPORTED: Final = (HistoryState, ContinueAsNew, UnknownEvent)

_RUNNING: Final[dict[type, Handler]] = {
    **_EVERYWHERE,
    **dict.fromkeys(_CONFIRMATIONS, confirm),
    **_on(TaskScheduled, _task_scheduled),
    **_INBOUND,
    **_on(ExecutionSuspended, _suspended),
    ExecutionResumed: _ignore,
    **_on(ExecutionTerminated, _terminated),
    **dict.fromkeys(_UNSUPPORTED, unsupported),
}
_SUSPENDED: Final[dict[type, Handler]] = {
    **_EVERYWHERE,
    **dict.fromkeys(_CONFIRMATIONS, confirm),
    **dict.fromkeys(_INBOUND, _hold),
    **_on(OrchestratorStarted, _set_clock),  # what is made after a resume counts from the resume
    ExecutionSuspended: _ignore,
    **_on(ExecutionResumed, _resumed),
    **_on(ExecutionTerminated, _terminated),
    **dict.fromkeys(_UNSUPPORTED, unsupported),
}
_CONTINUING: Final[dict[type, Handler]] = {
    **_EVERYWHERE,
    **dict.fromkeys(_CONFIRMATIONS, _confirm_if_known),
    **dict.fromkeys(_INBOUND, _ignore),
    **_on(EventRaised, _keep_event),
    ExecutionSuspended: _ignore,
    ExecutionResumed: _ignore,
    **_on(ExecutionTerminated, _terminated),
    **dict.fromkeys(_UNSUPPORTED, _ignore),
}
_ENDED: Final[dict[type, Handler]] = {**_CONTINUING, ExecutionTerminated: _ignore}

HANDLERS: Final = (_RUNNING, _SUSPENDED, _CONTINUING, _ENDED)
"""By condition."""


def apply(run: Run, event: HistoryEvent) -> None:
    """Apply one event in the present condition, and let user code run as far as it gets."""
    HANDLERS[run.execution.condition].get(type(event), unsupported)(run, event)
    if run.scheduler.ready:
        run.resume_code()
