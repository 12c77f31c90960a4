"""The history of an instance: immutable events, in the order in which the hub recorded them.

Facts: protocol section 6. One class per kind of event; ``HistoryEvent`` is their union. The JSON form
(``encode_history`` / ``decode_history``) is the format of saved histories: camelCase members, the kind in
``type``, times in RFC 3339 UTC.

``event_id`` is the id of the action that an event confirms, and -1 in all other events (section 6.1). ``timestamp``
is the time at which the hub recorded the event. Replay reads the one of ``OrchestratorStarted`` only; tracing reads
those of ``ExecutionStarted``, ``TimerCreated``, ``SubOrchestrationInstanceCreated`` and a ``TaskScheduled`` that has a
trace context, as the start of spans. In the *past* of a work item a transport may set all others to ``EPOCH``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Final, TypeAlias, Union, overload

import msgspec

from .failures import FailureDetails
from .reprs import WithPayloads

__all__ = [
    "EPOCH",
    "ContinueAsNew",
    "EntityLockGranted",
    "EntityLockRequested",
    "EntityOperationCalled",
    "EntityOperationCompleted",
    "EntityOperationFailed",
    "EntityOperationSignaled",
    "EntityUnlockSent",
    "EventRaised",
    "EventSent",
    "ExecutionCompleted",
    "ExecutionResumed",
    "ExecutionRewound",
    "ExecutionStarted",
    "ExecutionSuspended",
    "ExecutionTerminated",
    "GenericEvent",
    "HistoryEvent",
    "HistoryEventBase",
    "HistorySlice",
    "HistoryState",
    "OrchestratorCompleted",
    "OrchestratorStarted",
    "ParentInstance",
    "SubOrchestrationInstanceCompleted",
    "SubOrchestrationInstanceCreated",
    "SubOrchestrationInstanceFailed",
    "TaskCompleted",
    "TaskFailed",
    "TaskScheduled",
    "TimerCreated",
    "TimerFired",
    "TraceContext",
    "UnknownEvent",
    "decode_history",
    "encode_history",
]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class TraceContext(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):  # protocol section 10
    """A W3C trace context that travels with work."""

    trace_parent: str
    trace_state: str | None = None
    span_id: str = ""


class ParentInstance(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The parent of a sub-orchestration, and the id of the action that created the child."""

    task_scheduled_id: int
    instance_id: str
    execution_id: str | None = None
    name: str | None = None
    version: str | None = None


class HistoryEventBase(
    WithPayloads, frozen=True, omit_defaults=True, rename="camel", tag=True, tag_field="type"
):
    """The members that every event has."""

    event_id: int
    timestamp: datetime


class OrchestratorStarted(HistoryEventBase, frozen=True):
    """First event of an episode; its timestamp is the orchestration clock."""


class OrchestratorCompleted(HistoryEventBase, frozen=True):
    """Last event of an episode."""


class ExecutionStarted(HistoryEventBase, frozen=True):
    """First inbound event of an execution: what runs, its input, and its parent."""

    name: str
    instance_id: str
    execution_id: str | None = None
    version: str | None = None
    input: str | None = None
    parent: ParentInstance | None = None
    scheduled_start: datetime | None = None
    trace_context: TraceContext | None = None
    orchestration_span_id: str | None = None
    tags: Mapping[str, str] | None = None


class ExecutionCompleted(HistoryEventBase, frozen=True):
    """The completion action was processed. ``status`` is the number of an ``OrchestrationStatus``."""

    status: int
    result: str | None = None
    failure: FailureDetails | None = None


class ExecutionTerminated(HistoryEventBase, frozen=True):
    """A terminate request reached the instance; ``input`` becomes the output as it stands."""

    input: str | None = None
    recurse: bool = False


class ExecutionSuspended(HistoryEventBase, frozen=True):
    """A suspend request; ``input`` is the reason."""

    input: str | None = None


class ExecutionResumed(HistoryEventBase, frozen=True):
    """A resume request; ``input`` is the reason."""

    input: str | None = None


class ExecutionRewound(HistoryEventBase, frozen=True):  # protocol section 12.8
    """A rewind request: what failed runs again."""

    reason: str | None = None
    parent_execution_id: str | None = None
    instance_id: str | None = None
    trace_context: TraceContext | None = None
    name: str | None = None
    version: str | None = None
    input: str | None = None
    parent: ParentInstance | None = None
    tags: Mapping[str, str] | None = None


class TaskScheduled(HistoryEventBase, frozen=True):
    """An activity was scheduled; ``event_id`` is the action's id."""

    name: str
    version: str | None = None
    input: str | None = None
    trace_context: TraceContext | None = None
    tags: Mapping[str, str] | None = None


class TaskCompleted(HistoryEventBase, frozen=True):
    """An activity completed."""

    task_scheduled_id: int
    result: str | None = None


class TaskFailed(HistoryEventBase, frozen=True):
    """An activity failed."""

    task_scheduled_id: int
    failure: FailureDetails | None = None


class SubOrchestrationInstanceCreated(HistoryEventBase, frozen=True):
    """A child was created; ``event_id`` is the action's id."""

    name: str
    instance_id: str
    version: str | None = None
    input: str | None = None
    trace_context: TraceContext | None = None
    tags: Mapping[str, str] | None = None


class SubOrchestrationInstanceCompleted(HistoryEventBase, frozen=True):
    """A child completed."""

    task_scheduled_id: int
    result: str | None = None


class SubOrchestrationInstanceFailed(HistoryEventBase, frozen=True):
    """A child failed or was terminated (then ``failure`` may be absent)."""

    task_scheduled_id: int
    failure: FailureDetails | None = None


class TimerCreated(HistoryEventBase, frozen=True):
    """A durable timer was created; ``event_id`` is the action's id."""

    fire_at: datetime


class TimerFired(HistoryEventBase, frozen=True):
    """A durable timer fired; ``timer_id`` is the id of the action that created it."""

    fire_at: datetime
    timer_id: int


class EventSent(HistoryEventBase, frozen=True):
    """An event was sent to another instance; ``event_id`` is the action's id."""

    instance_id: str
    name: str
    input: str | None = None


class EventRaised(HistoryEventBase, frozen=True):
    """An external event arrived."""

    name: str
    input: str | None = None


class GenericEvent(HistoryEventBase, frozen=True):
    """A marker of the host. Replay ignores it."""

    data: str | None = None


class HistoryState(HistoryEventBase, frozen=True):
    """Never part of a history that an SDK sees; decoded so that a saved history keeps it."""


class ContinueAsNew(HistoryEventBase, frozen=True):
    """The end of an earlier execution."""

    input: str | None = None


class EntityOperationCalled(HistoryEventBase, frozen=True):
    """An entity operation was called; also the message as it reaches the entity.

    ``trace_context``: see ``EntityOperationSignaled``.
    """

    request_id: str
    operation: str
    target_instance_id: str | None = None
    input: str | None = None
    scheduled_time: datetime | None = None
    parent_instance_id: str | None = None
    parent_execution_id: str | None = None
    trace_context: TraceContext | None = None


class EntityOperationSignaled(HistoryEventBase, frozen=True):
    """An entity was signalled; also the message as it reaches the entity.

    ``trace_context`` is that of the sender, where the transport can carry it; the protocol's present form of a batch cannot.
    """

    request_id: str
    operation: str
    target_instance_id: str | None = None
    input: str | None = None
    scheduled_time: datetime | None = None
    trace_context: TraceContext | None = None


class EntityOperationCompleted(HistoryEventBase, frozen=True):
    """An entity operation completed."""

    request_id: str
    output: str | None = None


class EntityOperationFailed(HistoryEventBase, frozen=True):
    """An entity operation failed."""

    request_id: str
    failure: FailureDetails | None = None


class EntityLockRequested(HistoryEventBase, frozen=True):
    """The locks of a critical section were requested."""

    critical_section_id: str
    lock_set: tuple[str, ...]
    position: int = 0
    parent_instance_id: str | None = None


class EntityLockGranted(HistoryEventBase, frozen=True):
    """All entities of a critical section are locked."""

    critical_section_id: str


class EntityUnlockSent(HistoryEventBase, frozen=True):
    """An entity was unlocked; also the message as it reaches the entity."""

    critical_section_id: str
    target_instance_id: str | None = None
    parent_instance_id: str | None = None


class UnknownEvent(HistoryEventBase, frozen=True):
    """An event of a kind that this version does not know; ``kind`` is its name, as far as the transport knows it."""

    kind: str


HistoryEvent: TypeAlias = Union[
    OrchestratorStarted,
    OrchestratorCompleted,
    ExecutionStarted,
    ExecutionCompleted,
    ExecutionTerminated,
    ExecutionSuspended,
    ExecutionResumed,
    ExecutionRewound,
    TaskScheduled,
    TaskCompleted,
    TaskFailed,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TimerCreated,
    TimerFired,
    EventSent,
    EventRaised,
    GenericEvent,
    HistoryState,
    ContinueAsNew,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityLockRequested,
    EntityLockGranted,
    EntityUnlockSent,
    UnknownEvent,
]
"""Any event of a history."""


class HistorySlice(Sequence[HistoryEvent]):
    """The first ``length`` events of an append-only list, without copying it.

    A hub delivers the past of an instance this way. The list may grow afterwards; the slice stays as it is.
    """

    __slots__ = ("_events", "_length")

    def __init__(self, events: Sequence[HistoryEvent], length: int | None = None) -> None:
        self._events = events
        self._length = len(events) if length is None else length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> HistoryEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[HistoryEvent]: ...
    def __getitem__(self, index: int | slice) -> HistoryEvent | Sequence[HistoryEvent]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._length)
            return self._events[start:stop:step]
        if index < 0:
            index += self._length
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._events[index]

    def __iter__(self) -> Iterator[HistoryEvent]:
        events = self._events
        return iter(events if len(events) == self._length else events[: self._length])

    def __repr__(self) -> str:
        return f"HistorySlice({self._length} events)"


_encoder = msgspec.json.Encoder(order="deterministic")  # the order of tags is lost on the wire
_decoder = msgspec.json.Decoder(list[HistoryEvent])


def encode_history(events: Sequence[HistoryEvent]) -> bytes:
    """The JSON text (UTF-8, one array) of a history."""
    return _encoder.encode(list(events))


def decode_history(text: bytes | str) -> list[HistoryEvent]:
    """Read what ``encode_history`` wrote.

    Raises:
        msgspec.ValidationError: the text is JSON but no history; the message names the member.
    """
    return _decoder.decode(text)
