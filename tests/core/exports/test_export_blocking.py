"""``client.exports`` of the blocking client."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from durabletask.core.destinations import Directory
from durabletask.core.exports.job import ExportStatus
from durabletask.sync import DurableTaskClient, DurableTaskWorker
from durabletask.testing.history_files import read_history

CONNECTION = "Endpoint=memory://blocking-exports"


def greet(ctx: object, name: str) -> str:
    return f"Hello {name}"


@pytest.mark.timeout(60)
def test_a_program_without_an_event_loop_exports(tmp_path: Path):
    """The same methods without ``await``."""
    with (
        DurableTaskClient(CONNECTION) as client,
        DurableTaskWorker(CONNECTION, orchestrators=[greet], export_to=Directory(tmp_path)),
    ):
        client.wait_for_orchestration_completion(client.schedule_new_orchestration(greet, "Zoë"))
        now = datetime.now(timezone.utc)
        client.exports.create("nightly", completed_from=now - timedelta(hours=1), completed_to=now)
        job = client.exports.wait("nightly")
        assert job is not None
        assert (job.status, job.exported) == (ExportStatus.COMPLETED, 1)
        assert [each.job_id for each in client.exports.list()] == ["nightly"]
        client.exports.delete("nightly")
        assert client.exports.get("nightly") is None

    (path,) = tmp_path.glob("exports/batch-nightly/*.jsonl.gz")
    assert read_history(path)
