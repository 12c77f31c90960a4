"""A worker and its hub are killed while they export."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from durabletask import DurableTaskClient
from durabletask.core.exports.files import file_name
from durabletask.core.exports.job import ExportStatus
from durabletask.testing.history_files import read_history

VICTIM = Path(__file__).parents[2] / "support" / "export_victim.py"
COUNT = 40


@pytest.mark.process
@pytest.mark.timeout(120)
def test_a_killed_process_loses_no_instance_and_doubles_none(tmp_path: Path) -> None:
    """Killed in the middle of a page, several times; the last process ends the job."""
    database, folder = tmp_path / "hub.db", tmp_path / "files"
    for number, files in enumerate((1, 4, 7, 6)):
        _kill_after(database, folder, files, COUNT if number == 0 else 0)
    victim = subprocess.run(
        [sys.executable, str(VICTIM), str(database), str(folder), "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert victim.stdout.splitlines()[-1:] == ["done"], victim.stderr

    written = {path.name: read_history(path) for path in folder.rglob("*.jsonl.gz")}
    assert written == asyncio.run(_expected(database))


def _kill_after(database: Path, folder: Path, files: int, count: int) -> None:
    """Run a process, and kill it when it has written so many files."""
    command = [sys.executable, str(VICTIM), str(database), str(folder), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(files)]
        finally:
            process.kill()
    assert lines == ["wrote\n"] * files


async def _expected(database: Path) -> dict[str, object]:
    async with DurableTaskClient(f"Endpoint=sqlite:///{database}") as client:
        job = await client.exports.get("nightly")
        assert job is not None
        assert (job.status, job.scanned, job.exported) == (ExportStatus.COMPLETED, COUNT, COUNT)
        expected: dict[str, object] = {}
        for number in range(COUNT):
            state = await client.get_orchestration_state(f"i{number}")
            assert state is not None
            name = file_name(state.instance_id, state.last_updated_at, None, "jsonl")
            expected[name] = await client.get_orchestration_history(state.instance_id)
        return expected
