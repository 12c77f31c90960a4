"""The files that an export writes: their names, headers and content.

A file has the history of one instance, in the JSON form of ``encode_history``. Its name is a hash of the instance id
and of the time at which the instance ended, so a repeated export of the same end replaces the file, and a later end of
the same id has a file of its own.

``durabletask.testing.read_history`` reads the files, and the replay check takes a folder of them.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from durabletask.core.history import HistoryEvent, encode_history
from durabletask.core.times import as_utc

from .job import ExportFileFormat

__all__ = ["CONTENT_ENCODINGS", "encode_file", "file_name"]

_SUFFIXES: Final[dict[ExportFileFormat, str]] = {"jsonl": ".jsonl.gz", "json": ".json"}
CONTENT_ENCODINGS: Final[dict[ExportFileFormat, str | None]] = {"jsonl": "gzip", "json": None}
"""Content encoding of the files of a format."""


def file_name(instance_id: str, ended_at: datetime, prefix: str | None, kind: ExportFileFormat) -> str:
    """The name of a file below its container; the same that other SDKs of the protocol give it.

    Args:
        instance_id: id of the instance.
        ended_at: when the instance was updated last, which is its end.
        prefix: prefix of the job.
        kind: format of the file.
    """
    # The round-trip form of .NET has seven digits of a second; a datetime has six.
    moment = as_utc(ended_at).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0+00:00"
    digest = hashlib.sha256(f"{moment}|{instance_id}".encode()).hexdigest()
    folder = prefix.rstrip("/") + "/" if prefix else ""
    return f"{folder}{digest}{_SUFFIXES[kind]}"


def encode_file(events: Sequence[HistoryEvent], kind: ExportFileFormat) -> bytes:
    """The content of a file; always the same for the same history."""
    if kind == "json":
        return encode_history(events)
    lines = bytearray()
    encoder = msgspec.json.Encoder()
    for event in events:
        lines += encoder.encode(event)
        lines += b"\n"
    return gzip.compress(bytes(lines), mtime=0)
