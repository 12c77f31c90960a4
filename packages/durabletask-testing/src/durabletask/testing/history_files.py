"""Reading saved histories: our own JSON, and the exports of other SDKs of the protocol.

Known forms, recognised by their content; every one may also be compressed with gzip:

* what ``DurableTaskClient.download_history`` writes: an array of events with ``type``;
* dictionary exports of the history-export jobs of the Python SDK: events with ``event_type``, as
  ``{"events": [...]}``, as an array, or one per line after a line of metadata;
* what the JavaScript SDK's client returns, as ``JSON.stringify`` writes it: events with ``type`` and the names of
  the protobuf messages;
* the JSON form of the protobuf messages: events with ``eventId`` and a member named after the kind, as an array,
  as ``{"events": [...]}``, or one per line.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Final, cast

import msgspec
from durabletask.core import history as _history
from durabletask.core.history import HistoryEvent, HistoryEventBase
from durabletask.core.instances import OrchestrationStatus

__all__ = ["decode_any_history", "is_history_file", "read_history"]

_SUFFIXES: Final = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_GZIP_MAGIC: Final = b"\x1f\x8b"
_LARGEST: Final = 128 * 1024 * 1024  # bytes that a compressed file may grow to; its own size is no bound
_Object = dict[str, object]

# Members of the protobuf messages that our events name otherwise.
_RENAMED: Final = {
    "scheduledStartTimestamp": "scheduledStart",
    "parentTraceContext": "traceContext",
    "orchestrationSpanID": "orchestrationSpanId",
    "orchestrationStatus": "status",
    "failureDetails": "failure",
    "errorMessage": "message",
    "spanID": "spanId",
    "parentInstance": "parent",
}
_STATUS_PREFIX: Final = "ORCHESTRATION_STATUS_"
# Members that the JSON form of protobuf leaves out, because they have the default of their type.
_LEFT_OUT: Final[Mapping[str, object]] = {
    "eventId": 0,
    "timestamp": "1970-01-01T00:00:00Z",
    "fireAt": "1970-01-01T00:00:00Z",
    "taskScheduledId": 0,
    "timerId": 0,
    "status": 0,
    "lockSet": [],
}
_KINDS: Final[Mapping[str, type[HistoryEventBase]]] = {
    name: value
    for name, value in vars(_history).items()
    if isinstance(value, type) and issubclass(value, HistoryEventBase) and value is not HistoryEventBase
}
_HEADER: Final = frozenset({"eventId", "timestamp"})


def is_history_file(path: Path) -> bool:
    """Whether a file in a folder of histories is one, by its name: ``.json`` or ``.jsonl``, perhaps with ``.gz``."""
    return path.name.endswith(_SUFFIXES) and path.is_file()


def read_history(path: str | PathLike[str]) -> list[HistoryEvent]:
    """Read a history file of any known form.

    Raises:
        ValueError: the file is no history; the message says what was found.
    """
    return decode_any_history(Path(path).read_bytes())


def decode_any_history(content: bytes) -> list[HistoryEvent]:
    """The events of a saved history of any known form; see the module.

    Raises:
        ValueError: this is no history; the message says what was found.
    """
    if content.startswith(_GZIP_MAGIC):
        content = _decompressed(content)
    try:
        return _renumbered([_event(entry, number) for number, entry in enumerate(_entries(content), 1)])
    except RecursionError:
        raise ValueError("The file is nested too deeply to be a history.") from None


def _decompressed(content: bytes) -> bytes:
    """The content of a gzip file, which may have several members."""
    parts: list[bytes] = []
    left = _LARGEST
    try:
        while content:
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            parts.append(member.decompress(content, left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise ValueError(
                    f"The file grows to more than {_LARGEST // 2**20} MiB when it is decompressed. If it is really a "
                    "history, decompress it and give the plain file."
                )
            if not member.eof:
                raise ValueError("The file is gzip that ends early: it is truncated.")
            content = member.unused_data.lstrip(b"\0")  # members may be padded
    except zlib.error as error:
        raise ValueError(f"The file is broken gzip: {error}.") from error
    return b"".join(parts)


# Events that answer an action, and the member that has its id.
_ANSWERS: Final[Mapping[type[HistoryEventBase], str]] = {
    _history.TaskCompleted: "task_scheduled_id",
    _history.TaskFailed: "task_scheduled_id",
    _history.SubOrchestrationInstanceCompleted: "task_scheduled_id",
    _history.SubOrchestrationInstanceFailed: "task_scheduled_id",
    _history.TimerFired: "timer_id",
}


def _renumbered(events: list[HistoryEvent]) -> list[HistoryEvent]:
    """Give every action an id of its own, as this SDK does.

    The Python SDK of the protocol schedules every attempt of a call under the id of the first. Such a history gets
    its ids anew, in the order of the actions; every other one stays as it is.
    """
    ids = [event.event_id for event in events if event.event_id >= 0]
    if len(ids) == len(set(ids)):
        return events
    latest: dict[int, int] = {}
    renumbered: list[HistoryEvent] = []
    number = 0
    for event in events:
        member = _ANSWERS.get(type(event))
        if event.event_id >= 0:
            number += 1
            latest[event.event_id] = number
            renumbered.append(msgspec.structs.replace(event, event_id=number))
        elif member is not None:
            asked: int = getattr(event, member)
            renumbered.append(msgspec.structs.replace(event, **{member: latest.get(asked, asked)}))
        else:
            renumbered.append(event)
    return renumbered


def _entries(content: bytes) -> list[_Object]:
    try:
        document: object = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        document = _lines(content, error)
    if isinstance(document, dict):
        document = document.get("events", [document])
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise ValueError("A history is an array of events, an object with 'events', or one event per line.")
    entries = cast("list[_Object]", document)
    return [entry for entry in entries if entry.get("kind") != "metadata"]


def _lines(content: bytes, error: msgspec.DecodeError) -> list[object]:
    lines = [line for line in content.splitlines() if line.strip()]
    try:
        return [msgspec.json.decode(line) for line in lines] if len(lines) > 1 else _fail(error)
    except msgspec.DecodeError:
        return _fail(error)


def _fail(error: Exception) -> list[object]:
    raise ValueError(f"The file is neither JSON nor one JSON object per line: {error}") from error


def _event(entry: _Object, number: int) -> HistoryEvent:
    kind, members = _kind_and_members(entry, number)
    cls = _KINDS.get(kind)
    if cls is None:
        raise ValueError(f"Event {number} is of the unknown kind {kind!r}.")
    for field in msgspec.structs.fields(cls):
        if field.required and field.encode_name not in members:
            members[field.encode_name] = _LEFT_OUT.get(field.encode_name, "")
    try:
        return cast("HistoryEvent", msgspec.convert({**members, "type": kind}, cls, strict=False))
    except msgspec.ValidationError as error:
        raise ValueError(f"Event {number} ({kind}): {error}") from error


def _kind_and_members(entry: _Object, number: int) -> tuple[str, _Object]:
    own = entry.get("type")
    if isinstance(own, str):
        return own, _members({key: value for key, value in entry.items() if key != "type"})
    exported = entry.get("event_type")
    if isinstance(exported, str):
        kind = exported if exported in _KINDS else exported.removesuffix("Event")
        return kind, _members(entry)
    bodies = [key for key in entry if key not in _HEADER and isinstance(entry[key], dict)]
    if len(bodies) != 1:
        raise ValueError(
            f"Event {number} has no 'type', no 'event_type' and no member named after its kind; it has "
            f"{', '.join(map(repr, entry)) or 'nothing'}."
        )
    body = cast("_Object", entry[bodies[0]])
    header = {key: value for key, value in entry.items() if key in _HEADER}
    return bodies[0][:1].upper() + bodies[0][1:], _members({**header, **body})


def _members(entry: Mapping[str, object]) -> _Object:
    """Members in our words; unset ones left out."""
    members: _Object = {}
    for key, value in entry.items():
        if value is None or key == "event_type":
            continue
        name = _camel(key)
        if name == "orchestrationInstance" and isinstance(value, dict):
            members.update(_members(value))
        else:
            name = _RENAMED.get(name, name)
            members[name] = _value(name, value)
    return members


def _value(name: str, value: object) -> object:
    if name in {"tags", "properties"}:
        return value
    if isinstance(value, dict):
        return _members(value)
    if name == "status" and isinstance(value, str):
        status = OrchestrationStatus.__members__.get(value.removeprefix(_STATUS_PREFIX))
        return value if status is None else status.value  # the conversion refuses what is no number
    return value


def _camel(name: str) -> str:
    head, *rest = name.lstrip("_").split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)
