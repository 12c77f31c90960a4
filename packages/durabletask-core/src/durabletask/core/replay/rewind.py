"""Rewind: a failed instance gets a history without the failures that ended it (protocol section 12.8, decisions row 41).

Failures that the code has answered stay in the history: a failed attempt whose retry timer follows, a failure after
which a compensation was scheduled. The code takes its old path up to there when it is replayed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, cast

import msgspec

from durabletask.core.actions import RewindOrchestration
from durabletask.core.errors import OrchestrationStateError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EPOCH,
    EntityOperationFailed,
    ExecutionCompleted,
    ExecutionRewound,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceFailed,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from durabletask.core.times import as_utc

from .matching import CONFIRMATIONS
from .transitions import INERT

__all__ = ["obstacle", "rewind", "rewind_request", "seems_finished"]

_DROPPED: Final = (TaskFailed, SubOrchestrationInstanceFailed)
_FAILURES: Final = (*_DROPPED, EntityOperationFailed)
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_OID, "durabletask.rewind")


def seems_finished(past: Sequence[HistoryEvent]) -> bool:
    """Whether a past ends with a completion: only a rewind is delivered so, and it runs no user code."""
    return any(
        isinstance(past[index], ExecutionCompleted) for index in range(max(0, len(past) - 3), len(past))
    )


def rewind_request(past: Sequence[HistoryEvent], new: Sequence[HistoryEvent]) -> ExecutionRewound | None:
    """The request to rewind, if the episode is one.

    Raises:
        OrchestrationStateError: the request came together with other events.
    """
    if ExecutionRewound not in map(type, new) or ExecutionCompleted not in map(type, past):
        return None
    if [type(event) for event in new] != [OrchestratorStarted, ExecutionRewound]:
        kinds = ", ".join(type(event).__name__ for event in new)
        raise OrchestrationStateError(
            f"A rewind must arrive alone, as OrchestratorStarted and ExecutionRewound; this episode has {kinds}."
        )
    return cast("ExecutionRewound", new[1])


def rewind(
    past: Sequence[HistoryEvent], new: Sequence[HistoryEvent], request: ExecutionRewound
) -> RewindOrchestration:
    """The action that replaces the history: without what led to the end, and as a new execution."""
    end = _End(past)
    now = next((as_utc(event.timestamp) for event in new if isinstance(event, OrchestratorStarted)), EPOCH)
    kept = _rewritten(past, end, now)
    return RewindOrchestration(
        id=-1,
        new_history=tuple(
            _restarted(event, request, len(past)) if isinstance(event, ExecutionStarted) else event
            for event in (*kept, *new)
        ),
    )


def obstacle(history: Iterable[HistoryEvent]) -> str | None:
    """Why a failed instance cannot be rewound, or ``None``.

    It cannot when the failure that ended it is one that the code has answered: after it, the code went on to a
    compensation or another attempt, and the history records that. Without the failure the code would take another
    path than this history; with it, the instance would fail again.
    """
    past = tuple(history)
    end = _End(past)
    if end.failures or end.timers:
        return None
    reasons = {(failure.error_type, failure.message) for failure in end.chain}
    for event in past:
        if isinstance(event, _FAILURES) and event.failure is not None:
            failure = event.failure
            if (failure.error_type, failure.message) in reasons:
                return (
                    f"the failure that ended it ({failure.error_type}) has been answered by its code, which went on after "
                    "it (a compensation, for instance), so the history cannot be taken back to the point before it. Restart "
                    "the instance instead"
                )
    return None


class _End:
    """What led to the end of an execution, read from its history alone.

    An episode records what came in first and then the actions that the code made. So the actions right before the
    completion were made in the last episode (``trailing``), and what came in between them and the actions before
    was answered by nothing but the end.
    """

    def __init__(self, past: Sequence[HistoryEvent]) -> None:
        self.chain: list[FailureDetails] = []
        self.trailing: set[int] = set()  # indexes in the past, like all of these
        self.failures: set[int] = set()
        self.timers: set[int] = set()
        last = max(
            (n for n, event in enumerate(past) if isinstance(event, ExecutionCompleted)), default=len(past)
        )
        completed = past[last] if last < len(past) else None
        if isinstance(completed, ExecutionCompleted) and completed.failure is not None:
            self.chain = list(completed.failure.walk())
        has_timed_out = any(failure.matches(TimeoutError) for failure in self.chain)
        has_answers = False
        for index in range(last - 1, -1, -1):
            event = past[index]
            if type(event) in CONFIRMATIONS:
                if has_answers:
                    break
                self.trailing.add(index)
            elif isinstance(event, _DROPPED):
                self.failures.add(index)
                has_answers = True
            elif isinstance(event, TimerFired) and has_timed_out:
                self.timers.add(index)
                has_answers = True
            elif type(event) not in INERT and not isinstance(event, OrchestratorStarted):
                has_answers = True


def _rewritten(past: Sequence[HistoryEvent], end: _End, now: datetime) -> Iterator[HistoryEvent]:
    failed = {event.task_scheduled_id for n in end.failures if isinstance(event := past[n], TaskFailed)}
    timers = {event.timer_id for n in end.timers if isinstance(event := past[n], TimerFired)}
    dropped = end.failures | end.timers
    if dropped:
        dropped |= end.trailing
    asked_at = EPOCH
    for index, event in enumerate(past):
        if isinstance(event, OrchestratorStarted):
            asked_at = as_utc(event.timestamp)
        if index in dropped or isinstance(event, ExecutionCompleted):
            continue
        if isinstance(event, TaskScheduled) and event.event_id in failed:
            continue
        if (
            isinstance(event, TimerCreated) and event.event_id in timers
        ):  # a wait that timed out is armed again
            yield msgspec.structs.replace(event, fire_at=now + (as_utc(event.fire_at) - asked_at))
        else:
            yield event


def _restarted(event: ExecutionStarted, request: ExecutionRewound, length: int) -> ExecutionStarted:
    # Made from what is rewound, so that an episode that is delivered twice is rewritten to the same history.
    execution_id = uuid.uuid5(_NAMESPACE, f"{event.instance_id}\n{event.execution_id}\n{length}").hex
    parent = event.parent
    if parent is not None and request.parent_execution_id:
        parent = msgspec.structs.replace(parent, execution_id=request.parent_execution_id)
    return msgspec.structs.replace(event, execution_id=execution_id, parent=parent)
