"""A past is parsed when it is looked at, and encoded once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import pytest
from durabletask.core.errors import OrchestrationStateError
from durabletask.core.history import (
    EPOCH,
    EventRaised,
    ExecutionRewound,
    HistoryEvent,
    HistorySlice,
    OrchestratorStarted,
    TaskCompleted,
    TaskScheduled,
)
from durabletask.core.work_items import OrchestratorWorkItem
from durabletask.grpc.codec import past as past_module
from durabletask.grpc.codec.past import EncodedPasts, encode_length
from durabletask.grpc.codec.work_items import decode_streamed_past, decode_work_item, encode_work_item
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st


def _history(count: int) -> list[HistoryEvent]:
    return [
        TaskScheduled(number, EPOCH, f"activity {number}", None, "1" * (number % 300))
        for number in range(count)
    ]


def _item(
    past: Sequence[HistoryEvent], new: Sequence[HistoryEvent] = (), **more: str | None
) -> OrchestratorWorkItem:
    values: dict[str, str | None] = {"instance_id": "i", "execution_id": "e", "completion_token": "t", **more}
    return OrchestratorWorkItem(past_events=past, new_events=new, **values)  # type: ignore[arg-type]


def _sent(item: OrchestratorWorkItem, pasts: EncodedPasts | None = None) -> OrchestratorWorkItem:
    found, _ = decode_work_item(encode_work_item(item, pasts or EncodedPasts()))
    assert isinstance(found, OrchestratorWorkItem)
    return found


@given(st.integers(0, 40), st.data())
def test_a_lazy_past_is_a_sequence(count: int, data: st.DataObject) -> None:
    """Indexes, slices, iteration and length are those of the list, in any order of use."""
    events = _history(count)
    lazy = _sent(_item(events)).past_events
    assert len(lazy) == count
    for _ in range(3):
        if data.draw(st.booleans()):
            chosen = data.draw(st.slices(count))
            assert list(lazy[chosen]) == events[chosen]
        elif count:
            index = data.draw(st.integers(-count, count - 1))
            assert lazy[index] == events[index]
    assert list(lazy) == events
    with pytest.raises(IndexError):
        lazy[count]


def test_the_end_of_a_past_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at the last events converts those and no others."""
    lazy = _sent(_item(_history(1000))).past_events
    seen: list[int] = []
    assert isinstance(lazy, past_module.LazyPast)
    real = past_module.decode_past
    monkeypatch.setattr(past_module, "decode_past", lambda events: seen.append(len(events)) or real(events))

    assert lazy[-1] == _history(1000)[-1]
    assert list(lazy[998:]) == _history(1000)[998:]
    assert sum(seen) == 3


def test_a_rewind_gets_every_timestamp() -> None:
    """The answer to a rewind repeats the past, so that one is read exactly."""
    noon = EPOCH.replace(year=2030)
    past = [TaskCompleted(-1, noon, 1, "1")]
    new: list[HistoryEvent] = [OrchestratorStarted(-1, noon), ExecutionRewound(-1, noon)]

    assert list(_sent(_item(past, new[:1])).past_events) == [TaskCompleted(-1, EPOCH, 1, "1")]
    assert list(_sent(_item(past, new)).past_events) == past


def test_garbage_in_a_past_is_noticed_when_it_is_read() -> None:
    """A past that cannot be parsed breaks neither the stream nor another item."""
    body = b"\x1a\x03\xff\xff\xff"
    raw = b"\x0a" + encode_length(len(body)) + body
    found, _ = decode_work_item(raw)
    assert isinstance(found, OrchestratorWorkItem)
    with pytest.raises(OrchestrationStateError):
        found.past_events[0]
    with pytest.raises(OrchestrationStateError):
        list(found.past_events)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=8))
def test_episodes_are_sent_as_they_are(episodes: list[tuple[int, int]]) -> None:
    """Whatever the episodes, what the worker reads is what the hub had, also from the bytes of the episodes before."""
    history: list[HistoryEvent] = []
    pasts = EncodedPasts()
    number = 0
    for new_count, confirmed in episodes:
        new = [TaskCompleted(-1, EPOCH, number + each, "x") for each in range(new_count)]
        found = _sent(_item(HistorySlice(history), new), pasts)
        assert list(found.past_events) == history
        assert found.new_events == new
        history += new
        history += [TaskScheduled(number + each, EPOCH, "a") for each in range(confirmed)]
        number += 10


def test_each_event_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The past costs no encoding: an event is encoded when it is new, or when it first is past."""
    encoded: list[HistoryEvent] = []
    real = past_module.encode_one
    monkeypatch.setattr(past_module, "encode_one", lambda event: encoded.append(event) or real(event))
    history: list[HistoryEvent] = []
    pasts = EncodedPasts()
    for number in range(50):
        new: list[HistoryEvent] = [TaskCompleted(-1, EPOCH, number, "x")]
        pasts.encode("i", "e", HistorySlice(history), new)
        history += [*new, TaskScheduled(number, EPOCH, "a")]
    assert len(encoded) == 50 + 49


def test_another_execution_starts_anew() -> None:
    """After continue-as-new, and when a history was rewritten, nothing of the old bytes is sent."""
    pasts = EncodedPasts()
    _sent(_item(_history(5)), pasts)
    other: list[HistoryEvent] = [TaskCompleted(-1, EPOCH, 7, "x")] * 6

    assert list(_sent(_item(other, execution_id="e2"), pasts).past_events) == other
    assert list(_sent(_item(other[:2], execution_id="e2"), pasts).past_events) == other[:2]
    assert list(_sent(_item(_history(6), execution_id="e2"), pasts).past_events) == _history(6)
    assert list(_sent(_item(other, execution_id=None), pasts).past_events) == other


def test_what_is_kept_is_bounded() -> None:
    """Bytes and entries have bounds, the oldest go first, and what is forgotten is encoded again."""
    pasts = EncodedPasts(max_bytes=2000, max_entries=3)
    for number in range(10):
        _sent(_item(_history(3), instance_id=f"i{number}"), pasts)
        assert len(pasts) <= 3
        assert pasts.size <= 2000
    _sent(_item(_history(200), instance_id="large"), pasts)
    assert pasts.size <= 2000
    assert list(_sent(_item(_history(4), instance_id="i9"), pasts).past_events) == _history(4)
    pasts.forget("i9")
    assert pasts.size == 0


def test_a_past_that_is_too_large_together_with_the_news_is_left_too() -> None:
    """The message as a whole has to fit into what workers take; one that cannot fetch gets it whole."""
    history, news = _history(3000), [EventRaised(-1, EPOCH, "e", "x" * 3_800_000)]
    item = _item(history, news)
    for limit, is_left in ((1_000_000, True), (None, False)):
        found, needs_past = decode_work_item(encode_work_item(item, EncodedPasts(), stream_above=limit))
        assert isinstance(found, OrchestratorWorkItem)
        assert (needs_past, len(found.past_events)) == (is_left, 0 if is_left else 3000)
    small = _item(history, [EventRaised(-1, EPOCH, "e", "x")])
    assert not decode_work_item(encode_work_item(small, EncodedPasts(), stream_above=1_000_000))[1]


def test_a_large_past_is_left_for_the_worker_to_fetch() -> None:
    """Above the limit the item says so, and the chunks hold exactly what it left out."""
    pasts = EncodedPasts()
    history = _history(500)
    found, needs_past = decode_work_item(encode_work_item(_item(history), pasts, stream_above=1000))
    assert needs_past
    assert isinstance(found, OrchestratorWorkItem)
    assert len(found.past_events) == 0
    chunks = list(pasts.chunks("i", "e", 2000) or ())

    assert len(chunks) > 5
    assert [event.eventId for chunk in chunks for event in pb.HistoryChunk.FromString(chunk).events] == list(
        range(500)
    )
    whole = decode_streamed_past(found, chunks).past_events
    assert len(whole) == 500
    assert whole[-1] == history[-1]
    assert list(whole) == history
    assert pasts.chunks("i", "other", 2000) is None


@given(st.integers(0, 2**40))
def test_lengths_are_varints(number: int) -> None:
    """A length is written as protobuf writes it."""
    message = pb.HistoryEvent()
    data = b"\x08" + encode_length(number & 0x7FFFFFFF)
    assert pb.HistoryEvent.FromString(data).eventId == number & 0x7FFFFFFF
    assert message.eventId == 0


def test_readers_of_a_past_hold_no_copies_of_it() -> None:
    """Many readers that do not read cost a chunk each; what is added meanwhile changes nothing for them."""
    pasts = EncodedPasts()
    past = [EventRaised(-1, EPOCH, "e", "x" * 1000) for _ in range(2000)]
    pasts.encode("i", "run", past, ())
    tracemalloc.start()
    try:
        readers = [pasts.chunks("i", "run", 10_000) for _ in range(40)]
        first = [next(reader) for reader in readers if reader is not None]
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(first) == 40
    assert held < 40 * 30_000
    pasts.encode("i", "run", [*past, EventRaised(-1, EPOCH, "more", None)], ())
    rest = b"".join([first[0], *(readers[0] or ())])
    assert len(pb.HistoryChunk.FromString(rest).events) == 2000
