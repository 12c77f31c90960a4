"""Rewind: a failed instance gets a history without its failures (protocol section 12.8)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from durabletask.core.actions import RewindOrchestration
from durabletask.core.errors import OrchestrationStateError
from durabletask.core.history import (
    ExecutionCompleted,
    ExecutionRewound,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceFailed,
    TaskFailed,
    TaskScheduled,
)

__all__ = ["rewind", "rewind_request", "seems_finished"]

_DROPPED: Final = (TaskFailed, SubOrchestrationInstanceFailed, ExecutionCompleted)
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
    request = next((event for event in new if isinstance(event, ExecutionRewound)), None)
    if request is None or not any(isinstance(event, ExecutionCompleted) for event in past):
        return None
    if [type(event) for event in new] != [OrchestratorStarted, ExecutionRewound]:
        kinds = ", ".join(type(event).__name__ for event in new)
        raise OrchestrationStateError(
            f"A rewind must arrive alone, as OrchestratorStarted and ExecutionRewound; this episode has {kinds}."
        )
    return request


def rewind(
    past: Sequence[HistoryEvent], new: Sequence[HistoryEvent], request: ExecutionRewound
) -> RewindOrchestration:
    """The action that replaces the history: without the failures, and as a new execution."""
    failed = {event.task_scheduled_id for event in past if isinstance(event, TaskFailed)}
    return RewindOrchestration(
        id=-1, new_history=tuple(_rewritten([*past, *new], failed, request, len(past)))
    )


def _rewritten(
    events: Iterable[HistoryEvent], failed: set[int], request: ExecutionRewound, length: int
) -> Iterator[HistoryEvent]:
    for event in events:
        if isinstance(event, _DROPPED) or (isinstance(event, TaskScheduled) and event.event_id in failed):
            continue
        if isinstance(event, ExecutionStarted):
            yield _restarted(event, request, length)
        else:
            yield event


def _restarted(event: ExecutionStarted, request: ExecutionRewound, length: int) -> ExecutionStarted:
    # Made from what is rewound, so that an episode that is delivered twice is rewritten to the same history.
    execution_id = uuid.uuid5(_NAMESPACE, f"{event.instance_id}\n{event.execution_id}\n{length}").hex
    parent = event.parent
    if parent is not None and request.parent_execution_id:
        parent = msgspec.structs.replace(parent, execution_id=request.parent_execution_id)
    return msgspec.structs.replace(event, execution_id=execution_id, parent=parent)
