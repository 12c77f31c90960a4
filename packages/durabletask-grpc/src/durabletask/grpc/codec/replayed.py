"""The past of an orchestration, read for replay straight from its bytes.

A cold start reads thousands of events of four kinds: an episode begins, an activity is scheduled, it
answers, the episode ends. Making a protobuf message of each costs more than all the rest of replay. So
these four are read by hand, in the one layout in which serializers write them: fields in the order of their
numbers, ids of at most two bytes, lengths of one. Whatever looks different in any way, and every other kind,
goes through protobuf and ``decode_past``; the two ways give equal events.

    08 id | 12 length timestamp | tag length body        a HistoryEvent; its body is the last field
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from durabletask.core.history import (
    EPOCH,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskScheduled,
)
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .history import decode_past

__all__ = ["decode_replayed"]

_NO_ID: Final = b"\x08" + b"\xff" * 9 + b"\x01\x12"  # eventId -1, and the tag of the timestamp
_TIME_AT: Final = len(_NO_ID) + 1
_TASK_SCHEDULED: Final = 0x32  # field 6
_TASK_COMPLETED: Final = 0x3A  # field 7
_ORCHESTRATOR_STARTED: Final = 0x72  # field 14
_ORCHESTRATOR_COMPLETED: Final = 0x7A  # field 15
_COMPLETED: Final = OrchestratorCompleted(-1, EPOCH)  # without its time they are all the same


def decode_replayed(encoded: Iterable[bytes]) -> list[HistoryEvent]:
    """Events in order, for replay: only ``OrchestratorStarted`` keeps its timestamp.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no event.
        InvalidRequestError: a value cannot be read.
    """
    found: list[HistoryEvent] = []
    append, no_id, started_at = found.append, _NO_ID, _TimeReader().read
    for data in encoded:
        event: HistoryEvent | None = None
        try:
            if data.startswith(no_id):
                at = data[12] + _TIME_AT
                kind = data[at]
                if kind == _TASK_COMPLETED:
                    event = _task_completed(data, at)
                elif data[at + 1] == 0 and at + 2 == len(data):
                    if kind == _ORCHESTRATOR_COMPLETED:
                        event = _COMPLETED
                    elif kind == _ORCHESTRATOR_STARTED:
                        event = started_at(data, at)
            else:
                event = _task_scheduled(data)
        except (IndexError, UnicodeDecodeError):
            pass  # not that layout
        append(event if event is not None else _by_protobuf(data))
    return found


def _by_protobuf(data: bytes) -> HistoryEvent:
    return decode_past((pb.HistoryEvent.FromString(data),))[0]


def _task_completed(data: bytes, at: int) -> HistoryEvent | None:
    """``08 id | 12 length (0a length text)``: the id of the task, and its result."""
    end = len(data)
    if data[at + 1] != end - at - 2 or data[at + 2] != 0x08:
        return None
    number = data[at + 3]
    at += 4
    if number > 0x7F:
        high = data[at]
        if high > 0x7F:
            return None
        number += (high << 7) - 0x80
        at += 1
    if at == end:
        return TaskCompleted(-1, EPOCH, number)
    length = end - at - 2
    if data[at] != 0x12 or data[at + 1] != length or data[at + 2] != 0x0A or data[at + 3] != length - 2:
        return None
    return TaskCompleted(-1, EPOCH, number, data[at + 4 :].decode())


def _task_scheduled(data: bytes) -> HistoryEvent | None:
    """``0a length name | 1a length (0a length text)``: the name of the activity, and its input."""
    number = data[1]
    at = 2
    if number > 0x7F:
        high = data[2]
        if high > 0x7F:
            return None
        number += (high << 7) - 0x80
        at = 3
    if data[0] != 0x08 or data[at] != 0x12:
        return None
    at += data[at + 1] + 2
    end = len(data)
    if data[at] != _TASK_SCHEDULED or data[at + 1] != end - at - 2 or data[at + 2] != 0x0A:
        return None
    name = at + 4
    at = name + data[at + 3]
    if at == end:
        return TaskScheduled(number, EPOCH, data[name:].decode())
    length = end - at - 2
    if data[at] != 0x1A or data[at + 1] != length or data[at + 2] != 0x0A or data[at + 3] != length - 2:
        return None
    return TaskScheduled(number, EPOCH, data[name:at].decode(), None, data[at + 4 :].decode())


class _TimeReader:
    """Reads timestamps; seconds that share all but their lowest seven bits share a start."""

    def __init__(self) -> None:
        self._starts: dict[bytes, datetime] = {}

    def read(self, data: bytes, end: int) -> HistoryEvent | None:
        """``08 seconds | 10 nanoseconds`` up to ``end``; seconds of five bytes are the years 1978 to 3058."""
        size = end - 20
        if data[13] != 0x08 or data[19] != 0x10 or not 4 <= size <= 5 or data[18] > 0x7F or data[end - 1] > 0x7F:
            return None
        rest = data[14:19]
        if not rest[0] & rest[1] & rest[2] & rest[3] & 0x80:
            return None
        start = self._starts.get(rest[1:])
        if start is None:
            seconds = (rest[1] & 0x7F) << 7 | (rest[2] & 0x7F) << 14 | (rest[3] & 0x7F) << 21 | rest[4] << 28
            start = self._starts[rest[1:]] = EPOCH + timedelta(0, seconds)
        nanos = data[20] & 0x7F | (data[21] & 0x7F) << 7 | (data[22] & 0x7F) << 14 | (data[23] & 0x7F) << 21
        if size == 5:
            nanos |= data[24] << 28
        return OrchestratorStarted(-1, start + timedelta(0, rest[0] & 0x7F, nanos // 1000))
