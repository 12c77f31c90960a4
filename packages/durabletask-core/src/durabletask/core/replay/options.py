"""``ReplayOptions``: everything a session needs besides the instance and its history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from durabletask.core.actions import (
        CompleteOrchestration,
        CreateSubOrchestration,
        OrchestratorAction,
        ScheduleTask,
    )
    from durabletask.core.history import ExecutionStarted, HistoryEvent, TraceContext
    from durabletask.core.registry import Registry
    from durabletask.core.serialization import DataConverter
    from durabletask.core.versioning import VersioningOptions

__all__ = ["ReplayObserver", "ReplayOptions"]


class ReplayObserver(Protocol):
    """Follows a run, for telemetry. The engine works without one.

    Every method is called for new work only, never for events that are being replayed.
    """

    def trace_for(self, action: ScheduleTask | CreateSubOrchestration) -> TraceContext | None:
        """Return the trace context that newly scheduled work carries."""

    def answered(self, scheduled: HistoryEvent | None, answer: HistoryEvent) -> None:
        """An activity, child, timer or entity has answered; ``scheduled`` is the event that confirmed it."""

    def sent(self, action: OrchestratorAction) -> None:
        """A one-way action is about to be sent to the hub."""

    def completed(self, started: ExecutionStarted | None, action: CompleteOrchestration) -> None:
        """The orchestration is complete."""


class ReplayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How sessions run orchestrators. One object serves any number of sessions.

    Attributes:
        registry: where orchestrators are looked up.
        converter: turns values into payloads and back.
        maximum_timer_interval: longest timer that the hub accepts; longer ones are split. ``None``: any length.
        versioning: which instances are accepted, and the default version of children.
        strict: also fail for tasks never awaited and for changes that replay alone would tolerate: a new action
            in a past episode, another input, fire time or target.
        observer: receives new work and answers. It belongs to one instance.
        isolate: called before user code runs; it returns the function that undoes it. A host with an event loop gives
            ``hosting.hidden_loop.hide_event_loop``.
    """

    registry: Registry
    converter: DataConverter
    maximum_timer_interval: timedelta | None = None
    versioning: VersioningOptions | None = None
    strict: bool = False
    observer: ReplayObserver | None = None
    isolate: Callable[[], Callable[[], None]] | None = None
