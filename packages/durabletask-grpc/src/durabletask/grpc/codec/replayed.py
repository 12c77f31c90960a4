"""The past of an orchestration, read for replay straight from its bytes.

A cold start reads thousands of events of four kinds: an episode begins, an activity is scheduled, it
answers, the episode ends. Making a message and an event of each costs more than all the rest of replay. So
one regular expression finds these four, in the one layout in which serializers write them: fields in the
order of their numbers, ids of at most two bytes, texts whose length fits in one. Whatever looks different in
any way, and every other kind, is left between two matches and goes through protobuf and ``decode_past``;
the two ways give equal events.

    1a length ( 08 id | 12 length timestamp | tag length body )     a HistoryEvent in its request
    0a length ( ... )                                               the same in a HistoryChunk

Why a match is an event: it begins where the one before it ended, and every length inside it is checked. Its
own length is not; if that reached farther than the match, the rest would count as one more event, or could
not be read at all. So the events that were found are counted, and the count must be that of protobuf.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Final

from durabletask.core.history import (
    EPOCH,
    BriefRecord,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskScheduled,
)
from durabletask.grpc.proto._generated import lean_pb2 as lean
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError

from .history import decode_past

__all__ = ["decode_replayed", "expand", "read_brief", "read_moment"]

_FIELDS: Final = 8  # of a record: the bytes before the match, and its groups
_BEFORE, _ENDED, _MOMENT, _DONE, _RESULT, _SCHEDULED, _NAME, _INPUT = range(_FIELDS)


def _sized(sizes: Iterable[int], head: str = "{0}") -> str:
    """Alternatives: a length, and as many bytes. In ``head``, {0} is the length and {1} that of a wrapper."""
    return "|".join(
        head.format(re.escape(chr(size)), re.escape(chr(size + 2))) + rf"[\s\S]{{{size}}}" for size in sizes
    )


def _done_lengths() -> str:
    """Alternatives: the length of a ``TaskCompleted``, if what follows it (id, wrapped result) is as long."""
    short, long = r"[\x00-\x7f]", r"[\x80-\xff][\x00-\x7f]"
    found = [rf"\x02\x08(?={short}(?!\x12))", rf"\x03\x08(?={long}(?!\x12))"]
    for size in range(7, 0x80):
        one, two = re.escape(chr(size - 4)), re.escape(chr(size - 5))
        found.append(rf"{re.escape(chr(size))}\x08(?={short}\x12{one}|{long}\x12{two})")
    return "|".join(found)


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """In this order, each optional: an episode ends; one begins; an activity answers; one is scheduled.

    Bytes are read as Latin-1, one character for each, because slices of text are what the engine needs.
    ``(?:...|)`` is ``(?:...)?`` without the cost of a repetition.
    """
    head = r"[\n\x1a][\s\S]\x01?"
    number = r"([\x80-\xff]?[\x00-\x7f])"
    time = f"(?:{_sized((12, 11, 10, 6))})"
    no_id = r"\x08" + r"\xff" * 9 + r"\x01\x12"
    # 08 seconds, in five bytes (the years 1978 to 3058) | 10 nanoseconds, in four or five
    seconds = r"\x08[\x80-\xff]{4}[\x00-\x7f]\x10"
    moment = rf"(\x0c{seconds}[\x80-\xff]{{4}}[\x01-\x03]|\x0b{seconds}[\x80-\xff]{{3}}[\x00-\x7f])"
    texts = range(1, 0x7E)
    wrapped = f"({_sized(texts, '{1}' + chr(92) + 'n{0}')})"
    empty = r"[\n\x1a][\x15\x19-\x1b]"  # the length of an event whose body is empty: 15 and its timestamp's
    ended = rf"{empty}{no_id}{time}\x7a\x00"
    started = rf"{empty}{no_id}{moment}\x72\x00"
    done = rf"{head}{no_id}{time}\x3a(?:{_done_lengths()}){number}(?:\x12{wrapped}|)"
    # Length, name, and the length of the wrapped input together tell whether that length is right: see _Names.
    name = rf"([\x00-\x7f]\n(?:{_sized(texts)})(?:\x1a[\x03-\x7f](?=\n)|))"
    given = _sized(texts, r"{0}(?<={1}\n{0})")
    scheduled = rf"{head}\x08{number}\x12{time}\x32{name}(?:(?<=\x1a[\x03-\x7f])\n({given})|)"
    any_of_them = "(?(1)|(?(2)|(?(3)|(?(5)|(?!)))))"
    return re.compile(rf"(?:{ended}()|)(?:{started}|)(?:{done}|)(?:{scheduled}|){any_of_them}(?=[\n\x1a]|\Z)")


class _Ids(dict[str | None, int | None]):
    """Ids by their bytes. There are not more than 16,512."""

    def __missing__(self, key: str) -> int:
        number = ord(key[0])
        if len(key) == 2:
            number += (ord(key[1]) << 7) - 0x80
        self[key] = number
        return number


class _Names(dict[str | None, str | None]):
    """Names by the bytes ``length 0a length name (1a length)``; the first length is checked against the rest."""

    def __missing__(self, key: str) -> str:
        end = 3 + ord(key[2])
        if ord(key[0]) != len(key) - 1 + (ord(key[-1]) if end < len(key) else 0):
            raise _UnlikeError(key)
        if len(self) >= 4096:
            self.clear()
            self[None] = None
        name = self[key] = key[3:end].encode("latin-1").decode()
        return name


class _UnlikeError(Exception):
    """The bytes are not in the layout that this module reads."""


_IDS: Final = _Ids({None: None})
_NAMES: Final = _Names({None: None})


def read_brief(data: bytes, count: int) -> Iterable[BriefRecord] | None:
    """The past in brief, from a request or chunk that holds ``count`` events and nothing else.

    Returns:
        The records, or ``None`` if only protobuf can tell what the bytes mean.

    Raises:
        InvalidRequestError: a value cannot be read.
    """
    parts: list[str | None] = list(_pattern().split(data.decode("latin-1")))
    parts += (None,) * (_FIELDS - 1)  # behind the last match, bytes only
    fields = [parts[index::_FIELDS] for index in range(_FIELDS)]
    found = 4 * len(fields[0]) - sum(
        fields[index].count(None) for index in (_ENDED, _MOMENT, _DONE, _SCHEDULED)
    )
    before: list[Sequence[HistoryEvent] | None] = [None] * len(fields[0])
    try:
        for index, rest in enumerate(fields[_BEFORE]):
            if rest:
                events = before[index] = _read_rest(rest.encode("latin-1"))
                found += len(events)
        if found != count:
            return None
        ids, names = _IDS.__getitem__, _NAMES.__getitem__
        return zip(
            before,
            fields[_ENDED],
            fields[_MOMENT],
            list(map(ids, fields[_DONE])),
            _texts(fields[_RESULT], 3),  # wrapped: length, 0a, length
            list(map(ids, fields[_SCHEDULED])),
            list(map(names, fields[_NAME])),
            _texts(fields[_INPUT], 0),  # with its length: only ``expand`` looks at it
            strict=True,
        )
    except (_UnlikeError, UnicodeDecodeError, DecodeError):
        return None


def _texts(column: list[str | None], prefix: int) -> list[str | None]:
    """The texts of a column without the lengths before them."""
    if not "".join(filter(None, column)).isascii():  # rarely, and quickly seen
        column = [text and text[:prefix] + text[prefix:].encode("latin-1").decode() for text in column]
    return [text and text[prefix:] for text in column] if prefix else column


def _read_rest(data: bytes) -> list[HistoryEvent]:
    """The events between two matches."""
    found: list[pb.HistoryEvent] = []
    position, end = 0, len(data)
    while position < end:
        if data[position] not in b"\n\x1a":
            raise _UnlikeError(data)
        size = shift = 0
        more = True
        while more and (position := position + 1) < end:
            size |= (data[position] & 0x7F) << shift
            shift += 7
            more = data[position] > 0x7F
        start, position = position + 1, position + 1 + size
        if more or position > end:
            raise _UnlikeError(data)
        found.append(pb.HistoryEvent.FromString(data[start:position]))
    return decode_past(found)


def read_moment(moment: str) -> datetime:
    """The time at which an episode began, from the bytes in a record."""
    at = moment.encode("latin-1")  # length | 08 seconds, in five bytes | 10 nanoseconds, in four or five
    seconds = at[2] & 0x7F | (at[3] & 0x7F) << 7 | (at[4] & 0x7F) << 14 | (at[5] & 0x7F) << 21 | at[6] << 28
    nanos = at[8] & 0x7F | (at[9] & 0x7F) << 7 | (at[10] & 0x7F) << 14 | (at[11] & 0x7F) << 21
    if len(at) == 13:
        nanos |= at[12] << 28
    return EPOCH + timedelta(0, seconds, nanos // 1000)


def decode_replayed(encoded: Sequence[bytes], data: bytes | None = None) -> list[HistoryEvent]:
    """Events in order, for replay: only ``OrchestratorStarted`` keeps its timestamp.

    Args:
        encoded: bytes of each event.
        data: the same as one request or chunk, if that is at hand.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no event.
        InvalidRequestError: a value cannot be read.
    """
    if len(encoded) > 2:
        records = read_brief(_in_chunk(encoded) if data is None else data, len(encoded))
        if records is not None:
            return list(chain.from_iterable(map(expand, records)))
    return decode_past([pb.HistoryEvent.FromString(event) for event in encoded])


def _in_chunk(encoded: Iterable[bytes]) -> bytes:
    return lean.HistoryChunk(events=encoded).SerializeToString()


_COMPLETED: Final = OrchestratorCompleted(-1, EPOCH)  # without its time they are all the same


def expand(record: BriefRecord) -> list[HistoryEvent]:
    """The events of a record."""
    before, ended, moment, done, result, scheduled, name, given = record
    found: list[HistoryEvent] = [] if before is None else [*before]
    if ended is not None:
        found.append(_COMPLETED)
    if moment is not None:
        found.append(OrchestratorStarted(-1, read_moment(moment)))
    if done is not None:
        found.append(TaskCompleted(-1, EPOCH, done, result))
    if scheduled is not None and name is not None:
        found.append(TaskScheduled(scheduled, EPOCH, name, None, given and given[1:]))
    return found
