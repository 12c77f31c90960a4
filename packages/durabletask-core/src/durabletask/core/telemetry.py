"""OpenTelemetry spans and trace contexts (protocol section 10), when ``opentelemetry-api`` is installed.

Without the package, or without a tracer provider, nothing is recorded or sent; the cost is one check per call. Spans of
orchestrations, and of the activities and children that they call, have ids that are chosen when the work is scheduled
and travel through the history. Such a span is emitted once, back-dated, when the answer is known.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .failures import FailureDetails
from .history import TraceContext

if TYPE_CHECKING:
    from .entities import EntityId
    from .work_items import ActivityWorkItem

__all__ = [
    "creating",
    "current",
    "emit",
    "is_enabled",
    "label_of",
    "new_trace",
    "raising_event",
    "running_activity",
    "running_operation",
    "with_span",
]

_SOURCE = "durabletask"
_HEX_SPAN = 8  # bytes of a span id


class _Api:
    """The parts of OpenTelemetry that are used. They are imported at the first call."""

    def __init__(self) -> None:
        self._trace: Any = None
        self._is_loaded = False

    @property
    def trace(self) -> Any:
        """The module ``opentelemetry.trace``, or ``None`` when it is not installed."""
        if not self._is_loaded:
            self._is_loaded = True
            try:
                from opentelemetry import trace  # noqa: PLC0415 - optional, and slow to import
            except ImportError:
                return None
            self._trace = trace
        return self._trace


_api = _Api()
_NOTHING: AbstractContextManager[TraceContext | None] = nullcontext(None)


def is_enabled() -> bool:
    """Whether OpenTelemetry is installed and the program has set up a tracer provider."""
    trace = _api.trace
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def label_of(name: str, version: str | None) -> str:
    """The label of an orchestrator or activity in span names: ``name`` or ``name@(version)``."""
    return f"{name}@({version})" if version else name


def creating(name: str, instance_id: str, version: str | None) -> AbstractContextManager[TraceContext | None]:
    """Span of a client that starts an orchestration; yields the trace context to send with the request."""
    if not is_enabled():
        return _NOTHING
    attributes = {
        "durabletask.type": "orchestration",
        "durabletask.task.name": name,
        "durabletask.task.instance_id": instance_id,
    }
    if version:
        attributes["durabletask.task.version"] = version
    return _live(f"create_orchestration:{label_of(name, version)}", "PRODUCER", attributes, None)


def raising_event(name: str, instance_id: str) -> AbstractContextManager[TraceContext | None]:
    """Span of a client that raises an event."""
    if not is_enabled():
        return _NOTHING
    attributes = {
        "durabletask.type": "event",
        "durabletask.task.name": name,
        "durabletask.event.target_instance_id": instance_id,
    }
    return _live(f"orchestration_event:{name}", "PRODUCER", attributes, None)


def running_activity(item: ActivityWorkItem) -> AbstractContextManager[TraceContext | None]:
    """Span of a running activity; spans of the activity's own code become its children."""
    if not is_enabled():
        return _NOTHING
    attributes = {
        "durabletask.type": "activity",
        "durabletask.task.name": item.name,
        "durabletask.task.instance_id": item.instance_id,
        "durabletask.task.task_id": str(item.task_id),
    }
    if item.version:
        attributes["durabletask.task.version"] = item.version
    if item.execution_id:
        attributes["durabletask.task.execution_id"] = item.execution_id
    return _live(f"activity:{label_of(item.name, item.version)}", "SERVER", attributes, item.trace_context)


def running_operation(
    entity_id: EntityId, operation: str, parent: TraceContext | None = None
) -> AbstractContextManager[TraceContext | None]:
    """Span of a running entity operation. Where the sender's context is not known, it starts a trace."""
    if not is_enabled():
        return _NOTHING
    attributes = {
        "durabletask.type": "entity",
        "durabletask.task.name": entity_id.name,
        "durabletask.task.instance_id": str(entity_id),
        "durabletask.entity.operation": operation,
    }
    return _live(f"entity:{entity_id.name}:{operation}", "SERVER", attributes, parent)


def current() -> TraceContext | None:
    """The context of the current span, to send with a request; ``None`` without one."""
    return _context_of(_api.trace.get_current_span()) if is_enabled() else None


@contextmanager
def _live(
    name: str, kind: str, attributes: Mapping[str, str], parent: TraceContext | None
) -> Iterator[TraceContext | None]:
    """A span around a block; an exception sets its status."""
    trace = _api.trace
    with trace.get_tracer(_SOURCE).start_as_current_span(
        name,
        context=_parent_of(parent),
        kind=getattr(trace.SpanKind, kind),
        attributes=dict(attributes),
        record_exception=False,  # it would carry texts without bounds
        set_status_on_exception=False,
    ) as span:
        try:
            yield _context_of(span)
        except Exception as error:
            failure = FailureDetails.from_exception(error)
            span.add_event(
                "exception",
                {
                    "exception.type": failure.error_type,
                    "exception.message": failure.message,
                    "exception.stacktrace": failure.stack_trace or "",
                },
            )
            span.set_status(trace.Status(trace.StatusCode.ERROR, failure.in_short()))
            raise


def emit(
    name: str,
    kind: str,
    own: TraceContext,
    parent_span_id: str,
    *,
    start: datetime,
    end: datetime,
    attributes: Mapping[str, str],
    error: str | None = None,
) -> None:
    """Emit a span of the past whose ids were chosen before.

    Args:
        name: name of the span.
        kind: member of ``SpanKind``.
        own: trace and id of the span itself.
        parent_span_id: id of its parent in the same trace.
        start: when it began, aware UTC.
        end: when it ended.
        attributes: its attributes.
        error: message of the failure, if it failed.
    """
    if not is_enabled():
        return
    trace = _api.trace
    parent = with_span(own, parent_span_id)
    span = trace.get_tracer(_SOURCE).start_span(
        name,
        context=_parent_of(parent),
        kind=getattr(trace.SpanKind, kind),
        attributes=dict(attributes),
        start_time=_nanoseconds(start),
    )
    context = _span_context(own)
    # The API has no way to choose an id. The SDK keeps the context of a span in this attribute; a span of another
    # implementation keeps the id that it was given.
    if context is not None and span.is_recording() and hasattr(span, "_context"):
        span._context = context  # noqa: SLF001
    if error is not None:
        span.set_status(trace.Status(trace.StatusCode.ERROR, error))
    span.end(end_time=max(_nanoseconds(end), _nanoseconds(start)))


def new_trace(parent: TraceContext) -> TraceContext:
    """A context in the same trace with a new span id, for a span that is emitted later."""
    return with_span(parent, secrets.token_hex(_HEX_SPAN))


def with_span(context: TraceContext, span_id: str) -> TraceContext:
    """The same trace with another span id."""
    parts = context.trace_parent.split("-")
    if len(parts) < 4:
        return context
    return TraceContext("-".join([*parts[:2], span_id, *parts[3:]]), context.trace_state, span_id)


def _parent_of(parent: TraceContext | None) -> Any:
    """The OpenTelemetry context whose current span is ``parent``; ``None`` for the current one."""
    if parent is None:
        return None
    context = _span_context(parent)
    if context is None:
        return None
    trace = _api.trace
    return trace.set_span_in_context(trace.NonRecordingSpan(context))


def _span_context(context: TraceContext) -> Any:
    """The OpenTelemetry form of a W3C context; ``None`` if the text is not one."""
    trace = _api.trace
    parts = context.trace_parent.split("-")
    try:
        trace_id, span_id, flags = int(parts[1], 16), int(parts[2], 16), int(parts[3], 16)
    except (IndexError, ValueError):
        return None
    state = trace.TraceState.from_header([context.trace_state]) if context.trace_state else None
    return trace.SpanContext(trace_id, span_id, True, trace.TraceFlags(flags), state)


def _context_of(span: Any) -> TraceContext | None:
    """The W3C form of a span's context; ``None`` when there is no provider that records."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    span_id = f"{context.span_id:016x}"
    state = context.trace_state.to_header() if context.trace_state else ""
    return TraceContext(
        trace_parent=f"00-{context.trace_id:032x}-{span_id}-{int(context.trace_flags):02x}",
        trace_state=state or None,
        span_id=span_id,
    )


def _nanoseconds(time: datetime) -> int:
    delta = time - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000
