"""A compact history says what its events say, and replays as they do."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from unittest.mock import patch

import msgspec
import pytest
from durabletask.core.actions import CompleteOrchestration
from durabletask.core.context import OrchestrationContext
from durabletask.core.errors import TaskFailedError
from durabletask.core.history import (
    EPOCH,
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
)
from durabletask.core.registry import Registry
from durabletask.core.replay.compact import CompletionSegment, MixedSegment, SchedulingSegment, expand
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import JsonDataConverter
from durabletask.core.work_items import OrchestrationTraceContext, OrchestratorResult, OrchestratorWorkItem
from durabletask.grpc.codec import scanner
from durabletask.grpc.codec.history import decode_past
from durabletask.grpc.codec.past import (
    EncodedPasts,
    LazyPast,
    encode_history_chunks,
    encode_length,
    encode_one,
)
from durabletask.grpc.codec.scanner import find_past, read_segments, read_time
from durabletask.grpc.codec.work_items import decode_work_item, encode_work_item
from durabletask.grpc.proto._generated import lean_pb2 as lean
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

_NOON = datetime(2026, 3, 14, 12, 0, 0, 123_456, tzinfo=timezone.utc)
_NOON_EVENT = OrchestratorStarted(-1, _NOON)
_TEXTS = st.one_of(
    st.none(),
    st.integers(0, 10**40).map(str),
    st.text(min_size=1, max_size=8),
    st.integers(120, 130).map("x".__mul__),
    st.sampled_from(["\x1a", "\n", '"é"', "\x1a\x1b\x08", "\n\x03\n\x01a", "\x12\x03\n\x01a"]),
)
_NAMES = st.sampled_from(["work", "a", "naïve", "\x1a\x05\n", "n" * 60, "n" * 127])
_TIMES = st.sampled_from([0, 1, 2_100_000, 123_456, 300_000, 999_999]).map(
    lambda us: _NOON.replace(microsecond=us % 1_000_000)
)
_EVENTS: st.SearchStrategy[HistoryEvent] = st.one_of(
    st.builds(OrchestratorStarted, st.just(-1), _TIMES),
    st.builds(OrchestratorCompleted, st.just(-1), _TIMES),
    st.builds(TaskScheduled, st.integers(1, 300) | st.integers(16_380, 16_390), _TIMES, _NAMES, input=_TEXTS),
    st.builds(TaskCompleted, st.just(-1), _TIMES, st.integers(0, 300) | st.integers(16_380, 16_390), _TEXTS),
    st.builds(ExecutionSuspended, st.just(-1), _TIMES, _TEXTS),
    st.builds(TaskScheduled, st.just(7), _TIMES, _NAMES, st.just("1.0"), tags=st.just({"k": "v"})),
)


def _bytes_of(events: list[HistoryEvent]) -> bytes:
    return b"".join(encode_history_chunks(events, 2**30))


def _by_protobuf(events: list[HistoryEvent]) -> list[HistoryEvent]:
    return decode_past([pb.HistoryEvent.FromString(encode_one(event)) for event in events])


def _compact(data: bytes, total: int) -> list[HistoryEvent] | None:
    """The events of a past as its compact form gives them, if there is one."""
    segments = read_segments(data, total, with_inputs=True)
    if segments is None:
        return None
    return [event for segment in segments for event in expand(segment, read_time)]


@settings(derandomize=True, database=None, deadline=None, max_examples=400)
@given(st.lists(_EVENTS, max_size=10))
def test_the_segments_of_a_past_say_what_its_events_say(events: list[HistoryEvent]) -> None:
    """Whatever the texts, lengths, times and neighbours, records that are given expand to the same events."""
    assert _compact(_bytes_of(events), len(events)) in (None, _by_protobuf(events))


_SIZES = st.sampled_from([1, 2, 118, 119, 120, 121, 122, 123, 124, 125, 126]) | st.integers(1, 126)
_RUNS: st.SearchStrategy[list[HistoryEvent]] = st.one_of(
    st.lists(_EVENTS, min_size=1, max_size=3),
    st.builds(
        lambda first, sizes: [TaskCompleted(-1, _NOON, first + i, "x" * n) for i, n in enumerate(sizes)],
        st.sampled_from([1, 125, 16_380]),
        st.lists(_SIZES, min_size=1, max_size=8),
    ),
    st.builds(
        lambda first, sizes, name: [
            TaskScheduled(first + i, _NOON, name, None, "x" * n) for i, n in enumerate(sizes)
        ],
        st.sampled_from([1, 125, 16_380]),
        st.lists(_SIZES, min_size=1, max_size=8),
        _NAMES,
    ),
)


@pytest.mark.parametrize("is_wide", [False, True])
@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(runs=st.lists(_RUNS, max_size=6))
def test_runs_and_turns_say_the_same(is_wide: bool, runs: list[list[HistoryEvent]]) -> None:
    """In whichever way a past is cut, and whatever its runs are made of, it gives the events of protobuf."""
    events = [event for run in runs for event in run]

    with patch.object(scanner, "_is_wide", return_value=is_wide):
        found = _compact(_bytes_of(events), len(events))

    assert found in (None, _by_protobuf(events))


def test_a_fan_out_is_a_few_runs_without_objects() -> None:
    """Of a usual fan-out nothing is left to protobuf but the ends of the history."""
    numbers = range(1, 301)
    events: list[HistoryEvent] = [
        OrchestratorStarted(-1, _NOON),
        *(TaskScheduled(number, _NOON, "work", None, str(number)) for number in numbers),
        OrchestratorCompleted(-1, _NOON),
        OrchestratorStarted(-1, _NOON),
        *(TaskCompleted(-1, _NOON, number, str(number)) for number in numbers),
        OrchestratorCompleted(-1, _NOON),
    ]

    segments = read_segments(_bytes_of(events), len(events)) or []

    assert [type(segment) for segment in segments] == [
        MixedSegment,
        SchedulingSegment,
        MixedSegment,
        CompletionSegment,
        MixedSegment,
    ]
    assert list(segments[1].names if isinstance(segments[1], SchedulingSegment) else ()) == ["work"] * 300
    assert _compact(_bytes_of(events), len(events)) == _by_protobuf(events)


@pytest.mark.parametrize("text", ["1", '"é"', "x" * 125, "x" * 126, None])
@pytest.mark.parametrize("name", ["work", "naïve", "n" * 60])
@pytest.mark.parametrize("number", [1, 127, 128, 16_383, 16_384])
def test_a_usual_past_is_read_as_segments(number: int, name: str, text: str | None) -> None:
    """The layouts that hubs send are never left to protobuf as a whole."""
    events = _episode(number, name, text) * 2

    assert _compact(_bytes_of(events), len(events)) == _by_protobuf(events)


def _episode(number: int, name: str, text: str | None) -> list[HistoryEvent]:
    return [
        TaskScheduled(number, _NOON, name, None, text),
        OrchestratorCompleted(-1, _NOON),
        OrchestratorStarted(-1, _NOON + timedelta(seconds=number)),
        TaskCompleted(-1, _NOON, number, text),
    ]


def test_a_turn_is_one_record_without_objects() -> None:
    """Of a usual episode nothing is left to protobuf: that is what makes a cold start fast."""
    events = [event for number in range(1, 50) for event in _episode(number, "work", "1")]

    (segment,) = read_segments(_bytes_of(events), len(events)) or ()

    assert isinstance(segment, MixedSegment)
    records = list(segment.records)
    assert len(records) == 51  # the first activity, the episodes, and nothing behind the last
    assert all(before is None for before, *_ in records)


def test_an_event_that_is_longer_than_its_match_is_left_to_protobuf() -> None:
    """A field that a later protocol may add behind the known ones does not pass for an event."""
    known = encode_one(TaskCompleted(-1, _NOON, 1, "1"))
    unknown = b"\x1a\x04\x08\x01\x7a\x00"
    data = lean.HistoryChunk(events=[known, known + unknown]).SerializeToString()

    assert _compact(data, 2) in (
        None,
        decode_past([pb.HistoryEvent.FromString(each) for each in (known, known + unknown)]),
    )


def test_a_past_is_found_among_other_fields_of_a_request() -> None:
    """Whatever comes before and after it, as protobuf writes it and as our server does."""
    past, new = _episode(1, "work", "1"), _episode(2, "work", "2")
    item = OrchestratorWorkItem(
        instance_id="instance " * 30,
        execution_id="execution",
        past_events=past,
        new_events=new,
        trace_context=OrchestrationTraceContext("0123456789abcdef", EPOCH),
        completion_token="token",
    )
    ours = encode_work_item(item, EncodedPasts())
    message = pb.WorkItem.FromString(ours)
    message.orchestratorRequest.requiresHistoryStreaming = True

    for data in (ours, message.SerializeToString()):
        found, _ = decode_work_item(data)
        assert isinstance(found, OrchestratorWorkItem)
        assert isinstance(found.past_events, LazyPast)
        assert found.past_events.segments() is not None
        assert list(found.past_events) == _by_protobuf(past)


@pytest.mark.parametrize("is_wide", [False, True])
@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(fields=st.lists(st.tuples(st.sampled_from([3, 3, 3, 4]), _EVENTS), max_size=8))
def test_new_events_in_the_middle_of_a_past_are_not_of_it(
    is_wide: bool, fields: list[tuple[int, HistoryEvent]]
) -> None:
    """No order of the fields makes a past event of a new one, or loses one."""
    request = b"".join(
        bytes([number << 3 | 2]) + encode_length(len(event)) + event
        for number, event in ((number, encode_one(event)) for number, event in fields)
    )
    data = find_past(b"\n" + encode_length(len(request)) + request)
    past = [event for number, event in fields if number == 3]

    with patch.object(scanner, "_is_wide", return_value=is_wide):
        found = _compact(data or b"", len(past))

    assert found in (None, _by_protobuf(past))


def test_bytes_in_another_order_are_left_to_protobuf() -> None:
    """A request behind another field of its work item is read event by event; damaged bytes are no past."""
    past = _episode(1, "work", "1")
    whole = encode_work_item(
        OrchestratorWorkItem(instance_id="i", new_events=[_NOON_EVENT], past_events=past), EncodedPasts()
    )
    token = pb.WorkItem(completionToken="t").SerializeToString()

    found, _ = decode_work_item(token + whole)

    assert isinstance(found, OrchestratorWorkItem)
    assert list(found.past_events) == _by_protobuf(past)
    assert find_past(b"") is None
    assert find_past(b"\n\xff") is None
    assert read_segments(token, 1) is None


@pytest.mark.parametrize("is_wide", [False, True])
def test_an_input_without_text_is_left_to_protobuf(is_wide: bool) -> None:
    """Behind the name it looks like the next event of a request, but the length of the whole tells."""
    past: list[HistoryEvent] = [
        *_episode(1, "work", "1"),
        TaskScheduled(2, _NOON, "never seen before", None, ""),
        *_episode(3, "work", "3"),
    ]
    item = OrchestratorWorkItem(instance_id="i", new_events=[_NOON_EVENT], past_events=past)

    with patch.object(scanner, "_is_wide", return_value=is_wide):
        found, _ = decode_work_item(encode_work_item(item, EncodedPasts()))

        assert isinstance(found, OrchestratorWorkItem)
        assert list(found.past_events) == _by_protobuf(past)


async def _chain(ctx: OrchestrationContext, count: int) -> list[object]:
    seen: list[object] = []
    for number in range(count):
        seen.append(await ctx.call_activity("work", number))
        seen.append(ctx.current_utc_datetime.isoformat())
    return seen


async def _rounds(ctx: OrchestrationContext, count: int) -> list[object]:
    """Groups of several sorts, and calls that are awaited out of order."""
    seen: list[object] = []
    for number in range(count):
        calls = [ctx.call_activity("work", n) for n in range(8)]
        first = await ctx.task_any(calls[:2])
        seen.append(calls.index(first))
        seen.append(await calls[5])
        everything = ctx.task_all(calls[1:] if number else calls, return_exceptions=number > 1)
        try:
            seen.append([str(each) for each in await everything])
        except TaskFailedError as error:
            seen.append(str(error))
        seen.append([call.is_complete for call in calls])
    return seen


async def _early(ctx: OrchestrationContext, end: str) -> str:
    """Ends in one way or another when half of its activities have answered."""
    calls = [ctx.call_activity("work", n) for n in range(8)]
    await ctx.task_all(calls[:4])
    if end == "misuse":
        await asyncio.sleep(0)
    elif end == "restart":
        ctx.continue_as_new("return")
    return end


def _replay(past: list[HistoryEvent], *, is_compact: bool) -> OrchestratorResult:
    session = OrchestrationSession(
        "i",
        ReplayOptions(
            registry=Registry(orchestrators={"chain": _chain, "rounds": _rounds, "early": _early}),
            converter=JsonDataConverter(),
        ),
    )
    encoded = [encode_one(event) for event in past]
    session.replay(LazyPast(encoded, whole=(lambda: _bytes_of(past)) if is_compact else None))
    return session.advance([OrchestratorStarted(-1, _NOON), TaskCompleted(-1, _NOON, 99, None)])


def _past(count: int) -> list[HistoryEvent]:
    episodes = [event for number in range(1, 6) for event in _episode(number, "work", str(number))]
    return [
        OrchestratorStarted(-1, _NOON),
        ExecutionStarted(-1, EPOCH, "chain", "i", input=str(count)),
        *episodes,
    ]


@pytest.mark.parametrize("count", [3, 5, 6])
@pytest.mark.parametrize(
    ("place", "extra"),
    [
        (0, OrchestratorCompleted(-1, _NOON)),
        (10, ExecutionSuspended(-1, _NOON)),
        (10, TaskCompleted(-1, _NOON, 1, "again")),
        (14, TaskScheduled(77, _NOON, "work", None, "0")),
        (14, TaskScheduled(4, _NOON, "other", None, "0")),
    ],
)
def test_a_compact_history_replays_as_its_events(count: int, place: int, extra: HistoryEvent) -> None:
    """Also when the orchestration ends, is suspended or leaves its history in the middle of it."""
    past = _past(count)
    past.insert(place, extra)

    compact, plain = _replay(past, is_compact=True), _replay(past, is_compact=False)

    assert compact == plain


def test_the_clock_of_a_compact_history_is_that_of_its_episodes() -> None:
    """Times are read on access, and are the ones of the history."""
    (completion,) = _ends(_replay(_past(5), is_compact=True))
    result = completion.result or ""

    assert [f"{_NOON + timedelta(seconds=n):%H:%M:%S.%f}" in result for n in range(1, 6)] == [True] * 5


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("end", ["return", "misuse", "restart"])
def test_an_end_within_a_run_leaves_the_rest_as_its_events_do(end: str, is_wide: bool) -> None:
    """Answers behind the one with which the code ends, and confirmations behind those, have no effect."""
    past: list[HistoryEvent] = [
        OrchestratorStarted(-1, _NOON),
        ExecutionStarted(-1, EPOCH, "early", "i", input=f'"{end}"'),
        *(TaskScheduled(number, _NOON, "work", None, str(number - 1)) for number in range(1, 9)),
        *(TaskCompleted(-1, _NOON, number, str(number)) for number in range(1, 9)),
        *(TaskScheduled(number, _NOON, "work", None, str(number - 1)) for number in range(9, 12)),
    ]
    with patch.object(scanner, "_is_wide", return_value=is_wide):
        compact = _ends(_replay(past, is_compact=True))

    assert compact == _ends(_replay(past, is_compact=False))
    assert len(compact) == 1


def _ends(result: OrchestratorResult) -> list[CompleteOrchestration]:
    """Completions without the traces of stacks, which show by which way the code was run."""
    ends = [action for action in result.actions if isinstance(action, CompleteOrchestration)]
    return [
        msgspec.structs.replace(
            end, failure=end.failure and msgspec.structs.replace(end.failure, stack_trace=None)
        )
        for end in ends
    ]


@st.composite
def _past_of_rounds(draw: st.DrawFn) -> list[HistoryEvent]:
    """Rounds of eight activities, answered in any order and any number of episodes, perhaps disturbed."""
    past: list[HistoryEvent] = [
        OrchestratorStarted(-1, _NOON),
        ExecutionStarted(-1, EPOCH, "rounds", "i", input="3"),
    ]
    for first in (1, 9, 17)[: draw(st.integers(1, 3))]:
        ids = range(first, first + 8)
        past += [TaskScheduled(number, _NOON, "work", None, str(number - first)) for number in ids]
        for number in draw(st.permutations(ids)):
            if draw(st.integers(0, 5)) == 0:
                past += [OrchestratorCompleted(-1, _NOON), OrchestratorStarted(-1, _NOON)]
            past.append(TaskCompleted(-1, _NOON, number, str(number)))
    disturbances: st.SearchStrategy[HistoryEvent] = st.one_of(
        st.builds(TaskCompleted, st.just(-1), st.just(_NOON), st.integers(1, 25), st.just("0")),
        st.builds(TaskFailed, st.just(-1), st.just(_NOON), st.integers(1, 25)),
        st.builds(TaskScheduled, st.integers(1, 25), st.just(_NOON), st.sampled_from(["work", "other"])),
        st.sampled_from([ExecutionSuspended(-1, _NOON), ExecutionResumed(-1, _NOON)]),
        st.just(EventRaised(-1, _NOON, "e", "1")),
    )
    for extra in draw(st.lists(disturbances, max_size=2)):
        past.insert(draw(st.integers(2, len(past))), extra)
    return past[: draw(st.integers(3, len(past)))]


@pytest.mark.parametrize("is_wide", [False, True])
@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(past=_past_of_rounds())
def test_runs_replay_as_their_events(is_wide: bool, past: list[HistoryEvent]) -> None:
    """Whatever the order of answers and the groups that wait for them, the actions are the same."""
    with patch.object(scanner, "_is_wide", return_value=is_wide):
        compact = _replay(past, is_compact=True)

    assert compact == _replay(past, is_compact=False)
