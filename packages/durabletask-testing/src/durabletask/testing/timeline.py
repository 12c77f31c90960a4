"""A history for people: one line per event that means something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from durabletask.core.history import (
    EPOCH,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
)
from durabletask.core.instances import OrchestrationState

__all__ = ["timeline"]

_FIELDS: Final = (
    "name",
    "operation",
    "instance_id",
    "target_instance_id",
    "task_scheduled_id",
    "timer_id",
    "fire_at",
    "input",
    "output",
    "result",
    "failure",
)
_LONGEST: Final = 100


def timeline(state: OrchestrationState, events: Sequence[HistoryEvent]) -> str:
    """The history of an instance as text.

    Args:
        state: the instance.
        events: its history.
    """
    lines = [f"{state.instance_id} ({state.name}): {state.runtime_status.name}"]
    now = start = state.created_at
    for event in events:
        if isinstance(event, OrchestratorStarted):
            now = event.timestamp
        if isinstance(event, (OrchestratorStarted, OrchestratorCompleted)):
            continue
        at = event.timestamp if event.timestamp > EPOCH else now
        number = f"#{event.event_id}" if event.event_id >= 0 else ""
        lines.append(
            f"  +{_span(at - start):<14}{number:>5} {type(event).__name__} {_details(event)}".rstrip()
        )
    return "\n".join(lines)


def _span(span: timedelta) -> str:
    return str(span) if span >= timedelta(0) else "0:00:00"


def _details(event: HistoryEvent) -> str:
    parts: list[str] = []
    for field in _FIELDS:
        value: object = getattr(event, field, None)
        if value is None:
            continue
        if field == "failure":
            value = f"{getattr(value, 'error_type', '')}: {getattr(value, 'message', '')}"
        text = str(value) if not isinstance(value, Mapping) else repr(dict(value))
        parts.append(f"{field}={text if len(text) <= _LONGEST else text[:_LONGEST] + '...'}")
    return " ".join(parts)
