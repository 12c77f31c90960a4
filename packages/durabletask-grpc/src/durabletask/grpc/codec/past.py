"""The committed history inside a work item: ``LazyPast`` reads it for workers, ``EncodedPasts`` writes it for servers.

Every item of an instance carries its whole past, and the past only grows. Neither side should do work for the part that
it has seen before:

* A worker that still has the session reads a few events. ``LazyPast`` keeps the bytes of each event and parses
  those that are read. Only a replay reads all of them, and it is scanned if possible (see ``scanner``).
* A server sends the same events again. ``EncodedPasts`` keeps the bytes that it sent and appends what is new, so
  that handing out a past costs one copy in memory.

What must never happen: an item whose past differs from the history. ``EncodedPasts`` therefore reuses bytes only for
the same execution id and only if the last event that they contain stands at the same place of the past. Within an
execution a history is append-only, so all events before that one are the same, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, overload

from durabletask.core.errors import OrchestrationStateError
from durabletask.core.history import HistoryEvent
from durabletask.core.replay.compact import CompactHistory, Segment, expand
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError

from .history import decode_events, decode_past
from .history_encoding import encode_event
from .scanner import read_segments, read_time

__all__ = ["EncodedPasts", "LazyPast", "encode_history_chunks", "encode_length", "encode_one"]


class LazyPast(CompactHistory):
    """The past events of a work item, converted on access.

    Args:
        encoded: bytes of each past event; reading a few converts only those.
        whole: returns the message that the events came in, from the first of them on, for ``scanner``. Then events
            may lose timestamps that replay does not need. Without it protobuf parses every event, exactly.
    """

    __slots__ = ("_encoded", "_events", "_single", "_whole")

    def __init__(self, encoded: Sequence[bytes], *, whole: Callable[[], bytes | None] | None = None) -> None:
        self._encoded = encoded
        self._whole = whole
        self._events: list[HistoryEvent] | None = None
        self._single: dict[int, HistoryEvent] = {}  # those that were accessed one by one

    def __len__(self) -> int:
        return len(self._encoded)

    @overload
    def __getitem__(self, index: int) -> HistoryEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[HistoryEvent]: ...
    def __getitem__(self, index: int | slice) -> HistoryEvent | Sequence[HistoryEvent]:
        if self._events is not None:
            return self._events[index]
        if not isinstance(index, int):
            return self._parse(self._encoded[index])
        event = self._single.get(index)
        if event is None:
            event = self._single[index] = self._parse((self._encoded[index],))[0]
        return event

    def __iter__(self) -> Iterator[HistoryEvent]:
        if self._events is None:
            segments = self._scan(with_inputs=True)
            if segments is None:
                self._events = self._parse(self._encoded)
            else:
                self._events = [event for segment in segments for event in expand(segment, self.read_time)]
        return iter(self._events)

    def __repr__(self) -> str:
        return f"LazyPast({len(self)} events)"

    def segments(self) -> Iterable[Segment] | None:
        return self._scan(with_inputs=False)

    def read_time(self, time: object) -> datetime:
        return read_time(time)

    def _scan(self, *, with_inputs: bool) -> Iterable[Segment] | None:
        data = None if self._whole is None else self._whole()
        return None if data is None else read_segments(data, len(self._encoded), with_inputs=with_inputs)

    def _parse(self, encoded: Sequence[bytes]) -> list[HistoryEvent]:
        try:
            messages = [pb.HistoryEvent.FromString(event) for event in encoded]
        except DecodeError as error:
            raise OrchestrationStateError(
                f"The history that the hub sent cannot be parsed: {error}"
            ) from None
        return decode_events(messages) if self._whole is None else decode_past(messages)


_PAST_TAG: Final = b"\x1a"  # OrchestratorRequest.pastEvents, field 3, length-delimited
_CHUNK_TAG: Final = b"\x0a"  # HistoryChunk.events, field 1, length-delimited
_NEW_TAG: Final = b"\x22"  # OrchestratorRequest.newEvents, field 4, length-delimited


def encode_length(number: int) -> bytes:
    """A length as the wire writes it (a varint)."""
    if number < 0x80:
        return number.to_bytes(1, "little")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode_one(event: HistoryEvent) -> bytes:
    """The bytes of one event."""
    message = pb.HistoryEvent()
    encode_event(message, event)
    return message.SerializeToString()


class _Encoded:
    """The bytes sent of one execution: its past as a whole, and the new events of the last item one by one."""

    __slots__ = ("count", "data", "fresh", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last: HistoryEvent | None = None
        self.data = bytearray()
        # By identity. The events are kept, too: the id of a collected object may be given to another.
        self.fresh: dict[int, tuple[HistoryEvent, bytes]] = {}

    def continues(self, past: Sequence[HistoryEvent]) -> bool:
        """Whether ``past`` begins with the events whose bytes are kept; see the module."""
        if self.count == 0:
            return True
        if len(past) < self.count:
            return False
        last = past[self.count - 1]
        return last is self.last or last == self.last

    def extend(self, events: Sequence[HistoryEvent]) -> None:
        """Append the next events of the past. The new events of the last item are encoded already."""
        for event in events:
            sent = self.fresh.get(id(event))
            body = encode_one(event) if sent is None else sent[1]
            self.data += _PAST_TAG + encode_length(len(body)) + body
            self.last = event
        self.count += len(events)

    def take_new(self, events: Sequence[HistoryEvent]) -> bytes:
        """The new events as fields of the request."""
        self.fresh = {id(event): (event, encode_one(event)) for event in events}
        parts: list[bytes] = []
        for _, body in self.fresh.values():
            parts += (_NEW_TAG, encode_length(len(body)), body)
        return b"".join(parts)


class EncodedPasts:
    """Bytes of the pasts that were sent, of one execution per instance. The least recently used are dropped first.

    Args:
        max_bytes: bound on the bytes that are kept.
        max_entries: bound on the instances that are kept.
    """

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024, max_entries: int = 20_000) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: OrderedDict[str, tuple[str, _Encoded]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._bytes

    def encode(
        self,
        instance_id: str,
        execution_id: str | None,
        past: Sequence[HistoryEvent],
        new: Sequence[HistoryEvent],
    ) -> tuple[bytearray, bytes]:
        """Past and new events as fields of an ``OrchestratorRequest``, ready to be joined.

        The first part belongs to the cache: copy it before the next call.
        """
        if execution_id is None:  # the executions of the instance cannot be distinguished
            entry = _Encoded()
            entry.extend(past)
            return entry.data, entry.take_new(new)
        found = self._take(instance_id)
        entry = found[1] if found is not None and found[0] == execution_id else _Encoded()
        if not entry.continues(past):
            entry = _Encoded()
        entry.extend(past[entry.count :])
        fields = entry.take_new(new)
        self._entries[instance_id] = (execution_id, entry)
        self._bytes += len(entry.data)
        self._trim()
        return entry.data, fields

    def chunks(self, instance_id: str, execution_id: str | None, size: int) -> Iterator[bytes] | None:
        """The past that was sent last as ``HistoryChunk`` messages of about ``size`` bytes, if it is kept."""
        kept = self._entries.get(instance_id)
        if kept is None or (execution_id is not None and kept[0] != execution_id):
            return None
        # Not a copy: a reader that does not read would hold it. The data only grows, so its beginning stays as it is.
        return _as_chunks(kept[1].data, len(kept[1].data), size)

    def forget(self, instance_id: str) -> None:
        """Drop what is kept of an instance."""
        self._take(instance_id)

    def _take(self, instance_id: str) -> tuple[str, _Encoded] | None:
        found = self._entries.pop(instance_id, None)
        if found is not None:
            self._bytes -= len(found[1].data)
        return found

    def _trim(self) -> None:
        while self._entries and (self._bytes > self._max_bytes or len(self._entries) > self._max_entries):
            self._take(next(iter(self._entries)))


def _as_chunks(data: bytearray, end: int, size: int) -> Iterator[bytes]:
    """Turn ``OrchestratorRequest.pastEvents`` fields, up to ``end``, into messages of ``HistoryChunk.events`` fields."""
    parts: list[bytes | bytearray] = []
    length = position = 0
    while position < end:
        start = position + 1
        position, shift, body = start, 0, 0
        while data[position] >= 0x80:
            body |= (data[position] & 0x7F) << shift
            shift += 7
            position += 1
        position += 1 + (body | data[position] << shift)
        parts += (_CHUNK_TAG, data[start:position])
        length += position - start
        if length >= size:
            yield b"".join(parts)
            parts, length = [], 0
    if parts:
        yield b"".join(parts)


def encode_history_chunks(events: Iterable[HistoryEvent], size: int) -> Iterator[bytes]:
    """Events as ``HistoryChunk`` messages of about ``size`` bytes."""
    parts: list[bytes] = []
    length = 0
    for event in events:
        body = encode_one(event)
        parts += (_CHUNK_TAG, encode_length(len(body)), body)
        length += len(body)
        if length >= size:
            yield b"".join(parts)
            parts, length = [], 0
    if parts:
        yield b"".join(parts)
