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
    append, no_id, completed, delta = found.append, _NO_ID, _COMPLETED, timedelta
    starts: dict[bytes, datetime] = {}
    for data in encoded:
        try:
            if not data.startswith(no_id):
                append(_task_scheduled(data))
                continue
            at = data[12] + 13  # behind the timestamp
            kind = data[at]
            if kind == _TASK_COMPLETED:
                append(_task_completed(data, at))
            elif at + 2 != len(data):
                append(_by_protobuf(data))
            elif kind == _ORCHESTRATOR_COMPLETED:
                append(completed)
            elif kind == _ORCHESTRATOR_STARTED and 24 <= at <= 25 and data[18] <= 0x7F and data[19] == 0x10:
                # 08 seconds, in five bytes (the years 1978 to 3058) | 10 nanoseconds, in four or five.
                # Seconds that share all but their lowest seven bits share a start.
                start = starts.get(data[15:19])
                if start is None:
                    start = starts[data[15:19]] = _start_of(data)
                nanos = (
                    data[20] & 0x7F
                    | (data[21] & 0x7F) << 7
                    | (data[22] & 0x7F) << 14
                    | (data[23] & 0x7F) << 21
                )
                if at == 25:
                    nanos |= data[24] << 28
                append(OrchestratorStarted(-1, start + delta(0, data[14] & 0x7F, nanos // 1000)))
            else:
                append(_by_protobuf(data))
        except (IndexError, UnicodeDecodeError):  # not that layout
            append(_by_protobuf(data))
    return found


def _by_protobuf(data: bytes) -> HistoryEvent:
    return decode_past((pb.HistoryEvent.FromString(data),))[0]


def _start_of(data: bytes) -> datetime:
    """The time of the seconds at 14 without their lowest seven bits."""
    high = (data[15] & 0x7F) << 7 | (data[16] & 0x7F) << 14 | (data[17] & 0x7F) << 21 | data[18] << 28
    return EPOCH + timedelta(0, high)


def _task_completed(data: bytes, at: int) -> HistoryEvent:
    """``08 id | 12 length (0a length text)``: the id of the task, and its result."""
    number = data[at + 3]
    end = len(data)
    body = end - at - 2
    if data[at + 1] != body or data[at + 2] != 0x08:
        return _by_protobuf(data)
    at += 4
    if number > 0x7F:
        high = data[at]
        if high > 0x7F:
            return _by_protobuf(data)
        number += (high << 7) - 0x80
        at += 1
    if at == end:
        return TaskCompleted(-1, EPOCH, number)
    text = at + 4
    if data[at + 3] != end - text or data[at + 1] != end - at - 2 or data[at] != 0x12 or data[at + 2] != 0x0A:
        return _by_protobuf(data)
    return TaskCompleted(-1, EPOCH, number, data[text:].decode())


def _task_scheduled(data: bytes) -> HistoryEvent:
    """``0a length name | 1a length (0a length text)``: the name of the activity, and its input."""
    number = data[1]
    at = 2
    if number > 0x7F:
        high = data[2]
        if high > 0x7F:
            return _by_protobuf(data)
        number += (high << 7) - 0x80
        at = 3
    at += data[at + 1] + 2  # behind the timestamp
    end = len(data)
    if data[at] != _TASK_SCHEDULED or data[at + 1] != end - at - 2 or data[at + 2] != 0x0A or data[0] != 0x08:
        return _by_protobuf(data)
    name = at + 4
    at = name + data[at + 3]
    if at == end:
        return TaskScheduled(number, EPOCH, data[name:].decode())
    text = at + 4
    if data[at + 3] != end - text or data[at + 1] != end - at - 2 or data[at] != 0x1A or data[at + 2] != 0x0A:
        return _by_protobuf(data)
    return TaskScheduled(number, EPOCH, data[name:at].decode(), None, data[text:].decode())
