"""Scans the bytes of a past for the events that long histories consist of.

A cold start reads thousands of events of four kinds: an episode ends, the next one starts, an activity completes, an
activity is scheduled. Making a message and an event of each costs more than all the rest of a replay. So regular
expressions find these four in the bytes and return columns of ids, names and texts (``core.replay.compact``).

What is scanned::

    1a length ( 08 id | 12 length timestamp | tag length body )     a HistoryEvent in an OrchestratorRequest
    0a length ( ... )                                               the same in a HistoryChunk

A pattern describes one layout, the one in which serializers write: fields in the order of their numbers, ids of at most
two bytes, texts whose length fits in one byte. Everything else falls back to protobuf: every other kind of event, the
same kinds with another field (tags, a version, a trace context), longer texts, larger ids, other orders of fields.
Such an event is the rest between two matches, and ``_read_rest`` has protobuf parse it. ``read_segments`` returns
``None``, and the caller parses all events, if the bytes as a whole are not understood.

Why this is safe. Protobuf is not a regular language, since a length decides where a field ends. Three facts replace a
parser:

1. A match begins at the start of the data or where the match before it ended, or behind a rest that protobuf parsed to
   its last byte. So it begins where an event begins.
2. Every length inside a match is checked against the bytes that follow it, by alternatives (``_sized``,
   ``_results``), lookbehinds or afterwards (``_Names``). Only the length of the event itself is not.
3. The events found are counted, and the number must be the one that protobuf found. If the length of an event
   reached farther than its match, the following bytes would be counted as one more event or would not be readable. If
   it were shorter, the end of the event would be fields of the request with numbers that no serializer writes there.

What must never happen: segments that differ from what protobuf reads. A scan may give up at any time, but what it
returns must expand to the events that protobuf reads. The tests compare both for random histories, for cut bytes and
for texts that look like tags. ``GrpcTransport(decode="plain")`` switches the scanner off.

There are two ways to cut. A history with few events per episode is cut into records: one match is the end of an
episode, the start of the next, a completion and a scheduling, each optional. In a history with many events per episode
(a fan-out) such a match would mostly hold a single event, so it is cut into runs: of completions first, then, between
them, of schedulings; what is left is cut into records. Both ways read any past; the choice is about speed only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import compress, count, repeat
from typing import Final, cast

from durabletask.core.history import HistoryEvent
from durabletask.core.replay.compact import (
    CompletionSegment,
    MixedSegment,
    SchedulingSegment,
    Segment,
)
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from .history import decode_past
from .values import decode_time

__all__ = ["find_past", "read_segments", "read_time"]

_TAGS: Final = ("\n", "\x1a")
_TEXTS: Final = range(1, 0x7E)  # lengths of texts that fit in one byte, as do those of their wrappers


def _byte(number: int) -> str:
    return re.escape(chr(number))


def _sized(sizes: Iterable[int], head: str = "{0}") -> str:
    """Alternatives: a length, and as many bytes. In ``head``, {0} is the length and {1} that of a wrapper.

    A regular expression cannot count, so each length that is possible gets an alternative of its own. That is fast: the
    first byte decides.
    """
    return "|".join(head.format(_byte(size), _byte(size + 2)) + f".{{{size}}}" for size in sizes)


def _results() -> str:
    """Alternatives: a wrapped text as the result in a ``TaskCompleted`` whose own length is right.

    The lookbehind checks that length. It stands before the text: length, 08, an id of one or two bytes, 12.
    """
    found = []
    for size in _TEXTS:
        text = rf"{_byte(size + 2)}\n{_byte(size)}"
        whole = [
            rf"(?<={_byte(length)}\x08{number}\x12{text})"
            for length, number in ((size + 7, r".."), (size + 6, r"."))
            if length < 0x80
        ]
        if whole:
            found.append(rf"{text}(?:{'|'.join(whole)}).{{{size}}}")
    return "|".join(found)


class _Layouts:
    """The patterns for the events of a request or of a chunk, which differ in the ``tag`` of each event.

    Bytes are read as Latin-1, one character per byte, so that a slice of an ASCII text is that text without another
    step. ``(?:...|)`` is ``(?:...)?`` without the cost of a repetition. The groups of ``records`` are those of a
    ``CompactRecord``; ``completions`` and ``schedulings`` have those that concern them.
    """

    def __init__(self, tag: str, *, with_inputs: bool) -> None:
        self.tag = tag
        tag = re.escape(tag)
        head = rf"{tag}.(?:\x01|)"
        number = r"([\x80-\xff]?[\x00-\x7f])"
        time = f"(?:{_sized((12, 11, 10, 6))})"
        no_id = r"\x08" + r"\xff" * 9 + r"\x01\x12"
        # 08 seconds, in five bytes (the years 1978 to 3058) | 10 nanoseconds, if they are not 0
        seconds = r"\x08....[\x00-\x7f]"
        start = rf"(\x0c{seconds}\x10.....|\x0b{seconds}\x10....|\x0a{seconds}\x10...|\x06{seconds})"
        empty = rf"{tag}[\x15\x19-\x1b]"  # the length of an event whose body is empty: 15 and its timestamp's
        episode = rf"{empty}{no_id}{time}\x7a\x00{empty}{no_id}{start}\x72\x00"
        none = r"(?<=\x3a\x02\x08.)|(?<=\x3a\x03\x08..)"
        done = rf"{head}{no_id}{time}\x3a.\x08{number}(?:\x12({_results()})|{none})"
        # The length of the body can be checked only with those of name and input together: see ``_Names``.
        name = rf"([\x00-\x7f]\n(?:{_sized(_TEXTS)})(?:\x1a[\x03-\x7f](?=\n)|))"
        given = ("(" if with_inputs else "(?:") + _sized(_TEXTS, r"{0}(?<=\x1a{1}\n{0})") + ")"
        scheduled = rf"{head}\x08{number}\x12{time}\x32{name}(?:\n{given}|)"
        self._episode, self._done, self._scheduled = episode, done, scheduled
        self._end = f"(?![^{tag}])"  # another event follows, or nothing

    @cached_property
    def records(self) -> re.Pattern[str]:
        """A record; at least one of its parts."""
        parts = "".join(f"(?:{part}|)" for part in (self._episode, self._done, self._scheduled))
        return re.compile(rf"{parts}(?(1)|(?(2)|(?(4)|(?!)))){self._end}", re.DOTALL)

    @cached_property
    def completions(self) -> re.Pattern[str]:
        """A completion."""
        return re.compile(self._done + self._end, re.DOTALL)

    @cached_property
    def schedulings(self) -> re.Pattern[str]:
        """A scheduling."""
        return re.compile(self._scheduled + self._end, re.DOTALL)


@lru_cache(maxsize=4)
def _layouts(tag: str, *, with_inputs: bool) -> _Layouts:
    return _Layouts(tag, with_inputs=with_inputs)


class _Ids(dict[str | None, int | None]):
    """Ids by their bytes, at most 16,512. Looking one up is faster than computing it."""

    def __missing__(self, key: str) -> int:
        number = ord(key[0])
        if len(key) == 2:
            number += (ord(key[1]) << 7) - 0x80
        self[key] = number
        return number


class _Names(dict[str | None, str | None]):
    """Names by the bytes ``length 0a length name (1a length)``; the first length is checked against the rest.

    A history has few names, so each is checked and decoded once.
    """

    def __missing__(self, key: str) -> str:
        end = 3 + ord(key[2])
        if ord(key[0]) != len(key) - 1 + (ord(key[-1]) if end < len(key) else 0):
            raise _UnlikeError
        if len(self) >= 4096:
            self.clear()
            self[None] = None
        name = self[key] = key[3:end].encode("latin-1").decode()
        return name


class _UnlikeError(Exception):
    """The bytes are not in the layout that this module reads."""


_IDS: Final = _Ids({None: None})
_NAMES: Final = _Names({None: None})


class _Cut:
    """The segments that were cut, and the number of their events."""

    def __init__(self, layouts: _Layouts) -> None:
        self._layouts = layouts
        self._is_over = False  # another field of the request was found; no past event may follow it
        self.segments: list[Segment] = []
        self.count = 0

    def _add(self, segment: Segment, number: int) -> None:
        if self._is_over:
            raise _UnlikeError
        self.segments.append(segment)
        self.count += number

    def by_runs(self, text: str) -> None:
        """Cut what holds many events for each episode."""
        layouts = self._layouts
        for between, (numbers, results) in _runs(layouts.completions, text):
            for rest, (ids, names, *inputs) in _runs(layouts.schedulings, between):
                if rest:
                    self.by_records(rest)
                if ids:
                    scheduled = SchedulingSegment(
                        cast("list[int]", [*map(_IDS.__getitem__, ids)]),
                        cast("list[str]", [*map(_NAMES.__getitem__, names)]),
                        _texts(inputs[0], 1) if inputs else _nothing(ids),
                    )
                    self._add(scheduled, len(ids))
            if numbers:
                answered = cast("list[int]", [*map(_IDS.__getitem__, numbers)])
                self._add(CompletionSegment(answered, _texts(results, 3)), len(numbers))

    def by_records(self, text: str) -> None:
        """Cut what holds a few events for each episode."""
        rests, times, done, results, scheduled, names, *inputs = _columns(self._layouts.records, text)
        number = sum(_number_of(column) for column in (times, times, done, scheduled))
        before: list[Sequence[HistoryEvent] | None] = [None] * len(rests)
        is_over = False
        for index in compress(count(), rests):
            events, is_over = _read_rest((rests[index] or "").encode("latin-1"), self._layouts.tag)
            if is_over and index < len(rests) - 1:
                raise _UnlikeError
            before[index] = events
            number += len(events)
        records = zip(
            before,
            times,
            [*map(_IDS.__getitem__, done)],
            _texts(results, 3),  # wrapped: length, 0a, length
            [*map(_IDS.__getitem__, scheduled)],
            [*map(_NAMES.__getitem__, names)],
            _texts(inputs[0], 1) if inputs else _nothing(names),
            strict=True,
        )
        self._add(MixedSegment(records), number)
        self._is_over = is_over


def _columns(pattern: re.Pattern[str], text: str) -> list[list[str | None]]:
    """What is before each match and behind the last, and then the groups of the matches; one ``None`` more."""
    parts: list[str | None] = pattern.split(text)
    parts += repeat(None, pattern.groups)
    return [parts[index :: pattern.groups + 1] for index in range(pattern.groups + 1)]


def _runs(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, list[list[str | None]]]]:
    """Runs of matches: what is before each run, and its groups. The last may have no matches."""
    rests, *columns = _columns(pattern, text)
    starts = [*compress(count(), rests)]
    if not starts or starts[0] != 0:
        starts.insert(0, 0)
    for start, end in zip(starts, [*starts[1:], len(rests) - 1], strict=True):
        yield rests[start] or "", [column[start:end] for column in columns]


def _texts(column: list[str | None], prefix: int) -> list[str | None]:
    """The texts of a column without the lengths before them."""
    if not "".join(filter(None, column)).isascii():  # one check for all; decoding each would cost more
        return [text and text[prefix:].encode("latin-1").decode() for text in column]
    return [text and text[prefix:] for text in column]


def _number_of(column: list[str | None]) -> int:
    """How many entries of a column are not empty. ``list.count`` would compare texts."""
    return len([*filter(None, column)])


def _nothing(column: list[str | None]) -> list[str | None]:
    return [None] * len(column)


_WIDE: Final = 100  # about how many events per episode make runs faster than records
_SAMPLES: Final = 16
_SAMPLE: Final = 1024  # bytes


def _is_wide(text: str, tag: str, total: int) -> bool:
    """Whether a past has many events per episode, estimated from samples. Both ways read any past."""
    if total < 4 * _WIDE:
        return False
    starts = range(0, len(text), max(_SAMPLE, len(text) // _SAMPLES))
    ends = sum(text.count(f"\x7a\x00{tag}", start, start + _SAMPLE) for start in starts)
    return ends * _WIDE * len(text) < total * min(len(text), len(starts) * _SAMPLE)


def read_segments(data: bytes, total: int, *, with_inputs: bool = False) -> list[Segment] | None:
    """The segments of a past: ``total`` events, from bytes that begin with them.

    Args:
        data: a ``HistoryChunk``, or an ``OrchestratorRequest`` from its first past event on.
        total: the number of events, as protobuf counts them.
        with_inputs: read the inputs of activities, too.

    Returns:
        The segments, or ``None`` if the events have to be parsed.

    Raises:
        InvalidRequestError: a value cannot be read.
    """
    text = data.decode("latin-1")
    tag = text[:1]
    if tag not in _TAGS:
        return None
    cut = _Cut(_layouts(tag, with_inputs=with_inputs))
    try:
        if _is_wide(text, tag, total):
            cut.by_runs(text)
        else:
            cut.by_records(text)
    except (_UnlikeError, UnicodeDecodeError, DecodeError):
        return None
    return cut.segments if cut.count == total else None


def _read_rest(data: bytes, tag: str) -> tuple[list[HistoryEvent], bool]:
    """The events between two matches or behind the last, and whether other fields of a request follow them."""
    found: list[pb.HistoryEvent] = []
    position, end = 0, len(data)
    while position < end and data[position] == ord(tag):
        start, position = _field(data, position)
        if position > end:
            raise _UnlikeError
        found.append(pb.HistoryEvent.FromString(data[start:position]))
    return decode_past(found), position < end


def _field(data: bytes, position: int) -> tuple[int, int]:
    """Where the content of a field with a length begins and ends, from where its tag, of one byte, is."""
    size = shift = 0
    for start in range(position + 1, len(data)):
        size |= (data[start] & 0x7F) << shift
        shift += 7
        if data[start] < 0x80:
            return start + 1, start + 1 + size
    raise _UnlikeError


def find_past(data: bytes) -> bytes | None:
    """The bytes of a work item from where its past begins; ``None`` if it does not begin with a request.

    What follows the past is not cut off: finding its end would mean reading every event.
    """
    if data[:1] != b"\n":  # WorkItem.orchestratorRequest
        return None
    try:
        position, end = _field(data, 0)
        while position < end and data[position] != 0x1A:
            start, after = _field(data, position)
            position = after if data[position] & 7 == 2 else start  # a length and its bytes, or a number
    except _UnlikeError:
        return None
    return data[position:end]


def read_time(time: object) -> datetime:
    """The time at which an episode began, from a record: the bytes of a length and a message.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no message.
    """
    return decode_time(Timestamp.FromString(cast("str", time)[1:].encode("latin-1")))
