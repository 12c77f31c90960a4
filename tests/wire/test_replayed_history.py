"""A past that is read from its bytes equals one that is read through protobuf."""

from __future__ import annotations

from typing import Any

import pytest
from durabletask.core.errors import InvalidRequestError, OrchestrationStateError
from durabletask.grpc.codec.history import decode_past
from durabletask.grpc.codec.past import LazyPast
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from hypothesis import example, given, settings
from hypothesis import strategies as st

_IDS = st.sampled_from([-1, 0, 1, 127, 128, 255, 16_383, 16_384, 2**31 - 1, -2]) | st.integers(
    -(2**31), 2**31 - 1
)
_TEXTS = st.text(max_size=5) | st.integers(115, 135).map("x".__mul__) | st.just("y" * 20_000)
_OPTIONAL = st.none() | _TEXTS
_SECONDS = st.sampled_from(
    [0, 1, 2**28 - 1, 2**28, 1_760_000_000, 2**31, 2**35 - 1, 2**35, -1, 253_402_300_799]
)
_NANOS = st.sampled_from([0, 1, 999, 2**21, 2**28 - 1, 2**28, 123_456_000, 999_999_999])


def _wrapped(target: Any, text: str | None) -> None:
    if text is not None:
        target.value = text


@st.composite
def _events(draw: st.DrawFn) -> pb.HistoryEvent:
    event = pb.HistoryEvent(eventId=draw(_IDS))
    if draw(st.integers(0, 9)):
        event.timestamp.seconds = draw(_SECONDS | st.integers(1_700_000_000, 1_800_000_000))
        event.timestamp.nanos = draw(_NANOS)
    kind = draw(st.sampled_from(["started", "ended", "scheduled", "completed", "failed", "timer", "raised"]))
    if kind == "started":
        event.orchestratorStarted.SetInParent()
    elif kind == "ended":
        event.orchestratorCompleted.SetInParent()
    elif kind == "scheduled":
        event.taskScheduled.name = draw(_TEXTS)
        _wrapped(event.taskScheduled.version, draw(st.none() | st.just("1.0")))
        _wrapped(event.taskScheduled.input, draw(_OPTIONAL))
        if draw(st.booleans()):
            event.taskScheduled.tags["k"] = "v"
    elif kind == "completed":
        event.taskCompleted.taskScheduledId = draw(_IDS)
        _wrapped(event.taskCompleted.result, draw(_OPTIONAL))
    elif kind == "failed":
        event.taskFailed.taskScheduledId = draw(_IDS)
        event.taskFailed.failureDetails.errorType = draw(_TEXTS)
    elif kind == "timer":
        event.timerFired.timerId = draw(_IDS)
        event.timerFired.fireAt.seconds = 1
    else:
        event.eventRaised.name = draw(_TEXTS)
    return event


def _usual(event_id: int, nanos: int) -> pb.HistoryEvent:
    event = pb.HistoryEvent(eventId=event_id)
    event.timestamp.seconds = 1_760_000_000
    event.timestamp.nanos = nanos
    return event


def _completion(number: int, result: str | None) -> pb.HistoryEvent:
    event = _usual(-1, 987_654_300)
    event.taskCompleted.taskScheduledId = number
    _wrapped(event.taskCompleted.result, result)
    return event


def _scanned(events: list[pb.HistoryEvent]) -> LazyPast:
    whole = pb.HistoryChunk(events=events).SerializeToString()
    return LazyPast([event.SerializeToString() for event in events], whole=lambda: whole)


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(st.lists(_events(), max_size=8))
@example(
    [
        _completion(number, text)
        for number in (1, 127, 128, 16_383, 16_384)
        for text in (None, "", "é", "z" * 130)
    ]
)
def test_bytes_and_protobuf_give_the_same_events(events: list[pb.HistoryEvent]) -> None:
    """Whatever the ids, times, texts and kinds, both ways of reading agree, also about what is refused."""
    try:
        wanted = decode_past(events)
    except Exception as error:
        with pytest.raises(type(error)):
            list(_scanned(events))
        return

    assert wanted == list(_scanned(events))


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(_events(), st.data())
def test_cut_bytes_are_refused(event: pb.HistoryEvent, data: st.DataObject) -> None:
    """Bytes that end too early are an error of the history or read as protobuf reads them."""
    whole = event.SerializeToString()
    part = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        wanted = decode_past([pb.HistoryEvent.FromString(part)])
    except Exception:
        with pytest.raises((OrchestrationStateError, InvalidRequestError)):
            list(LazyPast([part], whole=lambda: None))
        return

    assert wanted == list(LazyPast([part], whole=lambda: None))


def test_a_damaged_past_names_the_hub() -> None:
    """A past that is no protobuf is an error of the history, raised when it is looked at."""
    past = LazyPast([b"\xff\xff\xff"])

    with pytest.raises(OrchestrationStateError, match="hub"):
        list(past)
