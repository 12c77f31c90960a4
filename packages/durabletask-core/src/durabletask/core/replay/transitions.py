"""What each kind of event does: one table per condition an orchestration can be in.

    RUNNING      events drive user code                       (protocol section 8.3)
    SUSPENDED    inbound events wait for the resumption       (protocol section 8.9, decisions row 10)
    CONTINUING   continue-as-new was asked for; events that arrive are carried over, a termination wins
    ENDED        complete: nothing runs, events are buffered  (decisions, row 11)

A handler takes the ledger and one event; it writes what the event says and wakes who waits, and runs no user code
itself. Confirmations are struck out in every condition, also while suspended: they follow the actions of events that
were already applied. A kind without an entry is an error of the history and fails the orchestration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timezone
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

from .ledger import Ledger
from .matching import confirm, confirm_activity
from .start import start_orchestrator
from .tasks import RAW_FAILURE, RAW_RESULT

__all__ = [
    "CONTINUING",
    "ENDED",
    "INERT",
    "RUNNING",
    "SUSPENDED",
    "Handler",
    "Table",
    "complete_activity",
    "unsupported",
]

E = TypeVar("E", bound=HistoryEvent)

Handler: TypeAlias = Callable[[Ledger, HistoryEvent], None]
"""Applies one event, of the kind it is listed under."""


def _on(kind: type[E], handle: Callable[[Ledger, E], None]) -> dict[type, Handler]:
    """The entry of a handler that takes one kind only: listed under that kind and no other."""
    return {kind: cast("Handler", handle)}


class Table:
    """The handlers of one condition, and the conditions that follow it."""

    __slots__ = ("continuing", "ended", "handlers", "suspended")

    def __init__(self, handlers: Mapping[type, Handler]) -> None:
        self.handlers: dict[type, Handler] = dict(handlers)
        self.continuing: Table = self
        self.ended: Table = self
        self.suspended: Table = self


# --- the episode and the instance ------------------------------------------------------------------------


def _orchestrator_started(ledger: Ledger, event: OrchestratorStarted) -> None:
    if ledger.strict and ledger.pending and ledger.surplus is None:
        ledger.surplus = next(iter(ledger.pending.values()))
    _set_clock(ledger, event)


def _set_clock(ledger: Ledger, event: OrchestratorStarted) -> None:
    clock = event.timestamp
    ledger.clock = clock if clock.tzinfo is not None else clock.replace(tzinfo=timezone.utc)


def _execution_started(ledger: Ledger, event: ExecutionStarted) -> None:
    if ledger.started is None:  # a second one is a message delivered twice
        start_orchestrator(ledger, event)


def _suspended(ledger: Ledger, event: ExecutionSuspended) -> None:
    del event
    ledger.table = ledger.table.suspended


def _resumed(ledger: Ledger, event: ExecutionResumed) -> None:
    del event
    held, ledger.suspended_events = ledger.suspended_events, []
    ledger.table = RUNNING
    for late in held:
        if type(late) is OrchestratorStarted:  # actions made here are confirmed after all of them
            _set_clock(ledger, late)
        else:
            apply(ledger, late)


def _terminated(ledger: Ledger, event: ExecutionTerminated) -> None:
    ledger.complete(OrchestrationStatus.TERMINATED, result=event.input)


def _rewound(ledger: Ledger, event: ExecutionRewound) -> None:
    # The rewrite took confirmations out of the history: actions without one are no sign of another path.
    del event
    ledger.history_is_rewound = True


def _hold(ledger: Ledger, event: HistoryEvent) -> None:
    ledger.suspended_events.append(event)


def _ignore(ledger: Ledger, event: HistoryEvent) -> None:
    """The event means nothing for replay."""


def unsupported(ledger: Ledger, event: HistoryEvent) -> None:
    """The event cannot be part of a history that is replayed."""
    kind = event.kind if isinstance(event, UnknownEvent) else type(event).__name__
    raise OrchestrationStateError(
        f"The history of instance {ledger.instance_id!r} contains an event of kind {kind!r}, which cannot be "
        "replayed. It may come from a newer hub (then update this package) or from another kind of task hub."
    )


def _task_scheduled(ledger: Ledger, event: TaskScheduled) -> None:
    is_plain = not ledger.strict and ledger.observer is None
    if not is_plain or not confirm_activity(ledger, event.event_id, event.name):
        confirm(ledger, event)


# --- answers ---------------------------------------------------------------------------------------------


def complete_activity(ledger: Ledger, action_id: int, result: str | None) -> None:
    """An activity has a result. An answer for a call that is not open is ignored: it came twice, or too late."""
    call = ledger.activities.pop(action_id, None)
    if call is not None:
        call.settle(RAW_RESULT, result)


def _task_completed(ledger: Ledger, event: TaskCompleted) -> None:
    if ledger.observer is not None and event.task_scheduled_id in ledger.activities:
        _tell(ledger, event.task_scheduled_id, event)
    complete_activity(ledger, event.task_scheduled_id, event.result)


def _task_failed(ledger: Ledger, event: TaskFailed) -> None:
    call = ledger.activities.pop(event.task_scheduled_id, None)
    if call is not None:
        _tell(ledger, event.task_scheduled_id, event)
        call.failed(event.failure)


def _child_completed(ledger: Ledger, event: SubOrchestrationInstanceCompleted) -> None:
    call = ledger.children.pop(event.task_scheduled_id, None)
    if call is not None:
        _tell(ledger, event.task_scheduled_id, event)
        call.settle(RAW_RESULT, event.result)


def _child_failed(ledger: Ledger, event: SubOrchestrationInstanceFailed) -> None:
    call = ledger.children.pop(event.task_scheduled_id, None)
    if call is not None:
        _tell(ledger, event.task_scheduled_id, event)
        call.failed(event.failure)


def _timer_fired(ledger: Ledger, event: TimerFired) -> None:
    timer = ledger.timers.pop(event.timer_id, None)
    if timer is not None:
        _tell(ledger, event.timer_id, event)
        timer.fired(event.fire_at)


def _tell(ledger: Ledger, action_id: int, answer: HistoryEvent) -> None:
    if ledger.observer is not None:
        scheduled = ledger.scheduled_events.pop(action_id, None)
        if not ledger.is_replaying:
            ledger.observer.answered(scheduled, answer)


# --- events and entities ---------------------------------------------------------------------------------


def _event_raised(ledger: Ledger, event: EventRaised) -> None:
    if event.name in ledger.entity_calls:
        _legacy_answer(ledger, event)
    elif event.name in ledger.lock_requests:
        ledger.lock_requests.pop(event.name).granted()
    else:
        ledger.mailbox.arrive(event)


def _keep_event(ledger: Ledger, event: EventRaised) -> None:
    ledger.mailbox.keep(event)


def _legacy_answer(ledger: Ledger, event: EventRaised) -> None:
    """An entity's answer as an event whose name is the request id (protocol section 11.7)."""
    call = ledger.entity_calls.pop(event.name)
    answer = decode_payload(event.input)
    members: dict[str, object] = answer if isinstance(answer, dict) else {}
    result, error_type = members.get("result"), members.get("exceptionType")
    recorded = members.get("failureDetails")
    if error_type is None and recorded is None:
        call.settle(RAW_RESULT, result)
        return
    try:
        failure = msgspec.convert(_legacy_names(recorded), FailureDetails)
    except msgspec.ValidationError:
        message = decode_payload(result if isinstance(result, str) else None)
        failure = FailureDetails(str(error_type or "durabletask.EntityFailure"), str(message or ""))
    call.settle(RAW_FAILURE, failure)


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


def _operation_completed(ledger: Ledger, event: EntityOperationCompleted) -> None:
    call = ledger.entity_calls.pop(event.request_id, None)
    if call is not None:
        _tell(ledger, call.action.id, event)
        call.settle(RAW_RESULT, event.output)


def _operation_failed(ledger: Ledger, event: EntityOperationFailed) -> None:
    call = ledger.entity_calls.pop(event.request_id, None)
    if call is not None:
        _tell(ledger, call.action.id, event)
        call.settle(RAW_FAILURE, event.failure)


def _lock_granted(ledger: Ledger, event: EntityLockGranted) -> None:
    request = ledger.lock_requests.pop(event.critical_section_id, None)
    if request is not None:
        request.granted()


# --- the tables ------------------------------------------------------------------------------------------


def _confirm_if_known(ledger: Ledger, event: HistoryEvent) -> None:
    """After the end: strike out what was sent. Strict mode also sees that the history goes on."""
    try:
        confirm(ledger, event)
    except NonDeterminismError:
        if ledger.strict and ledger.is_replaying:
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

RUNNING: Final = Table(
    {
        **_EVERYWHERE,
        **dict.fromkeys(_CONFIRMATIONS, confirm),
        **_on(TaskScheduled, _task_scheduled),
        **_INBOUND,
        **_on(ExecutionSuspended, _suspended),
        ExecutionResumed: _ignore,
        **_on(ExecutionTerminated, _terminated),
        **dict.fromkeys(_UNSUPPORTED, unsupported),
    }
)
SUSPENDED: Final = Table(
    {
        **_EVERYWHERE,
        **dict.fromkeys(_CONFIRMATIONS, confirm),
        **dict.fromkeys(_INBOUND, _hold),
        ExecutionSuspended: _ignore,
        **_on(ExecutionResumed, _resumed),
        **_on(ExecutionTerminated, _terminated),
        **dict.fromkeys(_UNSUPPORTED, unsupported),
    }
)
CONTINUING: Final = Table(
    {
        **_EVERYWHERE,
        **dict.fromkeys(_CONFIRMATIONS, _confirm_if_known),
        **dict.fromkeys(_INBOUND, _ignore),
        **_on(EventRaised, _keep_event),
        ExecutionSuspended: _ignore,
        ExecutionResumed: _ignore,
        **_on(ExecutionTerminated, _terminated),
        **dict.fromkeys(_UNSUPPORTED, _ignore),
    }
)
ENDED: Final = Table({**CONTINUING.handlers, ExecutionTerminated: _ignore})

for _table in (RUNNING, SUSPENDED, CONTINUING):
    _table.continuing = CONTINUING
    _table.ended = ENDED
    _table.suspended = SUSPENDED


def apply(ledger: Ledger, event: HistoryEvent) -> None:
    """Apply one event in the present condition, and let user code run as far as it gets."""
    handler = ledger.table.handlers.get(type(event), unsupported)
    handler(ledger, event)
    if ledger.ready:
        ledger.drain()
