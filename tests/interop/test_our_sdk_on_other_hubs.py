"""Our client and worker run against the hub of another SDK."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    OrchestrationStatus,
)
from durabletask.core.destinations import Directory
from durabletask.core.exports.forms import FormName
from durabletask.core.exports.job import ExportStatus
from durabletask.core.history import ExecutionStarted
from durabletask.testing.history_files import read_history
from other_sdks import peer_python

pytestmark = [pytest.mark.process, pytest.mark.network, pytest.mark.timeout(300)]

_SERVER = """
import socket, sys, time
from durabletask.testing import create_test_backend
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
backend = create_test_backend(port=port)
print(f"listening on {port}", flush=True)
sys.stdin.read()
backend.stop()
"""


@pytest.fixture(scope="module")
def connection_string() -> Iterator[str]:
    """The in-memory hub of PyPI durabletask 1.12.0, in a process of its own."""
    command = [str(peer_python()), "-E", "-c", _SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"\d+", process.stdout.readline())
            assert found is not None
            yield f"Endpoint=http://127.0.0.1:{found[0]};Authentication=None"
        finally:
            process.kill()


async def increment(_: ActivityContext, number: int) -> int:
    """Add one."""
    return number + 1


async def fail(_: ActivityContext, text: str) -> None:
    """Raise."""
    raise ValueError(text)


async def chain(context: OrchestrationContext, number: int) -> int:
    """Two activities, one after the other."""
    return await context.call_activity(increment, await context.call_activity(increment, number))


async def everything(context: OrchestrationContext, number: int) -> dict[str, object]:
    """Fan-out, a child, a timer, an event and a failure that is caught."""
    numbers = await context.task_all([context.call_activity(increment, each) for each in range(number)])
    child = await context.call_sub_orchestrator(chain, number)
    await context.create_timer(timedelta(milliseconds=50))
    event = await context.wait_for_external_event("go")
    try:
        await context.call_activity(fail, "on purpose")
        failure = ""
    except Exception as error:
        failure = str(error)
    return {"numbers": numbers, "child": child, "event": event, "failure": failure}


async def test_two_activities(connection_string: str) -> None:
    """A chain of two activities completes with its result."""
    async with (
        DurableTaskClient(connection_string, "default") as client,
        DurableTaskWorker(connection_string, "default", orchestrators=[chain], activities=[increment]),
    ):
        instance_id = await client.schedule_new_orchestration(chain, 40)
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=30)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.COMPLETED
    assert state.output == 42


async def test_the_other_features(connection_string: str) -> None:
    """Fan-out, children, timers, events and failures mean on that hub what they mean on ours."""
    async with (
        DurableTaskClient(connection_string, "default") as client,
        DurableTaskWorker(
            connection_string, "default", orchestrators=[chain, everything], activities=[increment, fail]
        ),
    ):
        instance_id = await client.schedule_new_orchestration(everything, 5)
        await client.raise_orchestration_event(instance_id, "go", {"a": 1})
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=30)
    assert state is not None
    output = state.output
    assert isinstance(output, dict)
    assert output["numbers"] == [1, 2, 3, 4, 5]
    assert output["child"] == 7
    assert output["event"] == {"a": 1}
    assert "on purpose" in output["failure"]


@pytest.mark.parametrize("readable_by", ["dotnet", "javascript", "python"])
async def test_exports(connection_string: str, tmp_path: Path, readable_by: FormName) -> None:
    """That hub lists what has ended, runs the entity of a job and streams histories."""
    async with (
        DurableTaskClient(connection_string, "default") as client,
        DurableTaskWorker(
            connection_string,
            "default",
            orchestrators=[chain],
            activities=[increment],
            export_to=Directory(tmp_path),
        ),
    ):
        begun = datetime.now(timezone.utc)
        ids = [await client.schedule_new_orchestration(chain, number) for number in range(5)]
        for instance_id in ids:
            await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=30)
        job_id = f"archive-{readable_by}"
        await client.exports.create(
            job_id,
            completed_from=begun,
            completed_to=datetime.now(timezone.utc),
            page_size=2,
            readable_by=readable_by,
        )
        job = await client.exports.wait(job_id, timeout_in_seconds=60)
        listed = [each.job_id async for each in client.exports.list()]
        await client.exports.delete(job_id)
        assert await client.exports.get(job_id) is None
    assert job is not None
    assert (job.status, job.exported, job.failed) == (ExportStatus.COMPLETED, 5, 0)
    assert listed == [job_id]
    assert _exported(tmp_path) == set(ids)


def _exported(folder: Path) -> set[str]:
    histories = [read_history(path) for path in folder.rglob("*.jsonl.gz")]
    return {
        event.instance_id for events in histories for event in events if isinstance(event, ExecutionStarted)
    }
