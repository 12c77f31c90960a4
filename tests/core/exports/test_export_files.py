"""The files of an export: names, content, and where they are written."""

from __future__ import annotations

import gzip
import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from durabletask.core.destinations import Directory
from durabletask.core.errors import InvalidRequestError
from durabletask.core.exports.files import encode_file, file_name
from durabletask.core.exports.job import ExportFileFormat
from durabletask.core.history import ExecutionCompleted, ExecutionStarted, OrchestratorStarted, decode_history
from durabletask.testing import read_history
from durabletask.testing.history_files import is_history_file

ENDED = datetime(2026, 2, 20, 15, 30, 0, 120, tzinfo=timezone.utc)
HISTORY = [
    OrchestratorStarted(-1, ENDED),
    ExecutionStarted(-1, ENDED, name="greet", instance_id="i1", input='"Zoë"'),
    ExecutionCompleted(1, ENDED, status=1, result="7"),
]


async def write(directory: Directory, name: str, content: bytes, container: str = "exports") -> None:
    await directory.write(
        container, name, content, content_type="application/json", content_encoding=None, metadata={}
    )


def test_the_name_is_the_hash_that_other_sdks_make():
    """SHA-256 of the round-trip form of the time, a bar, and the instance id (protocol section 15)."""
    digest = hashlib.sha256(b"2026-02-20T15:30:00.0001200+00:00|i1").hexdigest()
    assert file_name("i1", ENDED, None, "jsonl") == f"{digest}.jsonl.gz"
    assert file_name("i1", ENDED, "archive/", "json") == f"archive/{digest}.json"
    assert file_name("i1", ENDED, "a/b", "json") == f"a/b/{digest}.json"


def test_the_name_depends_on_the_moment_and_not_on_its_zone():
    """The same end has the same name; a later end of the same id another one."""
    elsewhere = ENDED.astimezone(timezone(timedelta(hours=5)))
    assert file_name("i1", elsewhere, None, "json") == file_name("i1", ENDED, None, "json")
    assert file_name("i1", ENDED + timedelta(seconds=1), None, "json") != file_name("i1", ENDED, None, "json")


def test_a_compressed_file_has_one_event_per_line():
    """In the JSON form of saved histories; the same history gives the same bytes."""
    content = encode_file(HISTORY, "jsonl")
    lines = gzip.decompress(content).splitlines()
    assert decode_history(b"[" + b",".join(lines) + b"]") == HISTORY
    assert content == encode_file(HISTORY, "jsonl")


@pytest.mark.parametrize("kind", ["jsonl", "json"])
async def test_an_exported_file_is_read_back_for_replay(tmp_path: Path, kind: ExportFileFormat):
    """The replay check takes a folder of exported files."""
    name = file_name("i1", ENDED, "batch-1", kind)
    await write(Directory(tmp_path), name, encode_file(HISTORY, kind))
    path = tmp_path / "exports" / name
    assert is_history_file(path)
    assert read_history(path) == HISTORY


async def test_a_file_is_replaced_as_a_whole(tmp_path: Path):
    """No temporary file is left behind."""
    directory = Directory(tmp_path)
    await write(directory, "a/f.json", b"first, and longer")
    await write(directory, "a/f.json", b"second")
    assert (tmp_path / "exports/a/f.json").read_bytes() == b"second"
    assert [each.name for each in (tmp_path / "exports/a").iterdir()] == ["f.json"]


async def test_a_failed_write_leaves_no_file(tmp_path: Path):
    """A folder stands where the file should be."""
    (tmp_path / "exports/f.json").mkdir(parents=True)
    with pytest.raises(OSError, match=r"f\.json"):
        await write(Directory(tmp_path), "f.json", b"x")
    assert [each.name for each in (tmp_path / "exports").iterdir()] == ["f.json"]


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ("..", "f.json"),
        ("exports", "../f.json"),
        ("exports", "a/../../f.json"),
        ("", "f.json"),
        ("exports", "c:/f.json"),
        ("exports", "a\\..\\f.json"),
        ("/", "f.json"),
        ("exports", ".. /f.json"),  # Windows drops spaces and dots at the end of a name
    ],
)
async def test_a_name_cannot_lead_out_of_the_directory(tmp_path: Path, container: str, name: str):
    """Any client can name a container and a prefix; the worker decides where they are."""
    root = tmp_path / "root"
    with pytest.raises(InvalidRequestError, match="is not a path below the directory"):
        await write(Directory(root), name, b"x", container)
    assert not root.exists()
