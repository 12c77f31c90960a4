"""OpenTelemetry spans and trace contexts (protocol section 10), when ``opentelemetry-api`` is installed.

Without the package, or without a tracer provider, nothing is recorded and nothing is sent along.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .history import TraceContext

__all__ = ["creating", "raising_event"]

_SOURCE = "durabletask"


class _Api:
    """The parts of OpenTelemetry that are used, imported at the first call."""

    def __init__(self) -> None:
        self._trace: Any = None
        self._is_loaded = False

    def tracer(self) -> Any:
        """The tracer, or ``None`` when there is no OpenTelemetry."""
        if not self._is_loaded:
            self._is_loaded = True
            try:
                from opentelemetry import trace  # noqa: PLC0415 - optional, and slow to import
            except ImportError:
                pass
            else:
                self._trace = trace
        return None if self._trace is None else self._trace.get_tracer(_SOURCE)

    @property
    def trace(self) -> Any:
        return self._trace


_api = _Api()
_NOTHING: AbstractContextManager[TraceContext | None] = nullcontext(None)


def creating(name: str, instance_id: str, version: str | None) -> AbstractContextManager[TraceContext | None]:
    """Span of a client that starts an orchestration; gives the trace context to send along."""
    if _api.tracer() is None:
        return _NOTHING
    attributes = {
        "durabletask.type": "orchestration",
        "durabletask.task.name": name,
        "durabletask.task.instance_id": instance_id,
    }
    if version:
        attributes["durabletask.task.version"] = version
    label = f"{name}@({version})" if version else name
    return _producing(f"create_orchestration:{label}", attributes)


def raising_event(name: str, instance_id: str) -> AbstractContextManager[TraceContext | None]:
    """Span of a client that raises an event."""
    if _api.tracer() is None:
        return _NOTHING
    return _producing(
        f"orchestration_event:{name}",
        {
            "durabletask.type": "event",
            "durabletask.task.name": name,
            "durabletask.event.target_instance_id": instance_id,
        },
    )


@contextmanager
def _producing(name: str, attributes: dict[str, str]) -> Iterator[TraceContext | None]:
    tracer = _api.tracer()
    kind = _api.trace.SpanKind.PRODUCER
    with tracer.start_as_current_span(name, kind=kind, attributes=attributes) as span:
        yield _context_of(span)


def _context_of(span: Any) -> TraceContext | None:
    """The W3C form of a span's context; ``None`` for a span that records nothing and has no parent."""
    from .history import TraceContext  # noqa: PLC0415 - only with OpenTelemetry

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
