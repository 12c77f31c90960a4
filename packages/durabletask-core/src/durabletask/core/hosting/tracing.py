"""The spans of one orchestration (protocol section 10): a ``ReplayObserver`` for telemetry.

The history is the only memory of a trace. Ids of spans are chosen when work is scheduled and travel with it; the span
itself is emitted when the answer arrives, back-dated, possibly by another worker. Observer methods are called for new
work only, so a replay emits nothing.
"""

from __future__ import annotations

import secrets
from datetime import datetime

from durabletask.core import telemetry
from durabletask.core.actions import (
    CompleteOrchestration,
    CreateSubOrchestration,
    OrchestratorAction,
    ScheduleTask,
    SendEvent,
)
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EPOCH,
    ExecutionStarted,
    HistoryEvent,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
    TraceContext,
)
from durabletask.core.times import utc_now
from durabletask.core.work_items import OrchestrationTraceContext, OrchestratorWorkItem

__all__ = ["OrchestrationTracing"]

_LOOK_AT = 8  # the start of an execution is among its first events


class OrchestrationTracing:
    """Chooses span ids for new work and emits spans when answers arrive.

    Attributes:
        span: the span of the whole orchestration, as the hub stores it.
    """

    def __init__(self, item: OrchestratorWorkItem, started: ExecutionStarted, parent: TraceContext) -> None:
        known = item.trace_context
        if known is not None and known.span_id:
            self.span: OrchestrationTraceContext = known
        elif telemetry.is_enabled():
            self.span = OrchestrationTraceContext(secrets.token_hex(8), utc_now())
        else:  # that span would never be emitted
            self.span = OrchestrationTraceContext()
        self._started = started
        self._parent = parent
        self._own = telemetry.with_span(parent, self.span.span_id) if self.span.span_id else parent

    @classmethod
    def of(cls, item: OrchestratorWorkItem) -> OrchestrationTracing | None:
        """The tracing of an instance that was started with a trace context; ``None`` for others."""
        for events in (item.past_events, item.new_events):
            for index in range(min(len(events), _LOOK_AT)):
                event = events[index]
                if isinstance(event, ExecutionStarted):
                    return None if event.trace_context is None else cls(item, event, event.trace_context)
        return None

    # --- ReplayObserver ------------------------------------------------------------------------------------

    def trace_for(self, action: ScheduleTask | CreateSubOrchestration) -> TraceContext | None:
        """A new context for the span of the call, which is emitted with the answer; without telemetry, the parent's."""
        del action
        return telemetry.new_trace(self._own) if telemetry.is_enabled() else self._own

    def answered(self, scheduled: HistoryEvent | None, answer: HistoryEvent) -> None:
        """Emit the span of an activity call, a child or a timer, back-dated to its start."""
        if not telemetry.is_enabled():
            return
        failure: FailureDetails | None = getattr(answer, "failure", None)
        if isinstance(scheduled, (TaskScheduled, SubOrchestrationInstanceCreated)):
            if scheduled.trace_context is None:
                return
            kind = "activity" if isinstance(scheduled, TaskScheduled) else "orchestration"
            name = f"{kind}:{telemetry.label_of(scheduled.name, scheduled.version)}"
            own, span_kind = scheduled.trace_context, "CLIENT"
            attributes = self._attributes(kind, scheduled.name, scheduled.version)
            attributes["durabletask.task.task_id"] = str(scheduled.event_id)
        elif isinstance(scheduled, TimerCreated):
            name, own, span_kind = (
                f"orchestration:{self._started.name}:timer",
                telemetry.new_trace(self._own),
                "INTERNAL",
            )
            attributes = self._attributes("timer", self._started.name, None)
            attributes["durabletask.fire_at"] = scheduled.fire_at.isoformat()
        else:
            return
        telemetry.emit(
            name,
            span_kind,
            own,
            self.span.span_id or "",
            start=scheduled.timestamp if scheduled.timestamp != EPOCH else answer.timestamp,
            end=answer.timestamp,
            attributes=attributes,
            error=failure.in_short() if failure is not None else None,
        )

    def sent(self, action: OrchestratorAction) -> None:
        """Emit the span of an event sent to another instance."""
        if not isinstance(action, SendEvent):
            return
        now = utc_now()
        attributes = self._attributes("event", action.name, None)
        attributes["durabletask.event.target_instance_id"] = action.instance_id
        telemetry.emit(
            f"orchestration_event:{action.name}",
            "PRODUCER",
            telemetry.new_trace(self._own),
            self.span.span_id or "",
            start=now,
            end=now,
            attributes=attributes,
        )

    def completed(self, started: ExecutionStarted | None, action: CompleteOrchestration) -> None:
        """Emit the span of the whole orchestration."""
        del started
        own = self._started
        failure = action.failure
        attributes = self._attributes("orchestration", own.name, own.version)
        attributes["durabletask.task.status"] = "Failed" if failure is not None else "Completed"
        telemetry.emit(
            f"orchestration:{telemetry.label_of(own.name, own.version)}",
            "SERVER",
            self._own,
            self._parent.trace_parent.split("-")[2],
            start=self._start(),
            end=utc_now(),
            attributes=attributes,
            error=failure.in_short() if failure is not None else None,
        )

    def _start(self) -> datetime:
        return self.span.span_start or self._started.timestamp

    def _attributes(self, kind: str, name: str, version: str | None) -> dict[str, str]:
        attributes = {
            "durabletask.type": kind,
            "durabletask.task.name": name,
            "durabletask.task.instance_id": self._started.instance_id,
        }
        if version:
            attributes["durabletask.task.version"] = version
        if self._started.execution_id:
            attributes["durabletask.task.execution_id"] = self._started.execution_id
        return attributes
