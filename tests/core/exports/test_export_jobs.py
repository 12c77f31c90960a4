"""Export jobs end to end: a client, workers and every transport of the project."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from conformance_hubs import RealTimeHub
from durabletask import (
    DurableTaskClient,
    DurableTaskWorker,
    InstanceNotFoundError,
    InvalidOperationError,
    InvalidRequestError,
    NotSupportedError,
    OrchestrationContext,
)
from durabletask.core.destinations import Directory
from durabletask.core.entity_context import EntityContext
from durabletask.core.exports.files import file_name
from durabletask.core.exports.job import ExportJob, ExportStatus
from durabletask.core.history import decode_history
from durabletask.core.instances import InstanceIdPage
from durabletask.core.transport import Transport
from durabletask.testing import OrchestrationTestEnvironment
from durabletask.testing.conformance import ConformanceHub

T = TypeVar("T")
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


class Shelf:
    """A destination that remembers what was written."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.headers: dict[str, tuple[str, str | None, Mapping[str, str]]] = {}
        self.written: list[str] = []
        self.changed = asyncio.Condition()
        self.is_closed = False
        self.before: Callable[[str], Awaitable[None]] | None = None

    async def write(
        self,
        container: str,
        name: str,
        content: bytes,
        *,
        content_type: str,
        content_encoding: str | None,
        metadata: Mapping[str, str],
    ) -> None:
        (instance_id,) = metadata.values()
        if self.before is not None:
            await self.before(instance_id)
        self.objects[f"{container}/{name}"] = content
        self.headers[instance_id] = content_type, content_encoding, metadata
        self.written.append(instance_id)
        async with self.changed:
            self.changed.notify_all()

    async def has(self, *instance_ids: str) -> None:
        """Wait until instances are exported."""
        async with self.changed:
            await self.changed.wait_for(lambda: set(instance_ids) <= set(self.written))

    async def close(self) -> None:
        self.is_closed = True


async def greet(ctx: OrchestrationContext, name: str) -> str:
    if name == "bad":
        raise RuntimeError("no greeting")
    if name == "slow":
        await ctx.wait_for_external_event("go")
    return f"Hello {name}"


class Hub:
    """A hub of the fixture with a client and a worker."""

    def __init__(self, hub: ConformanceHub, transport: Transport) -> None:
        self.hub = hub
        self.transport = transport
        self.client = DurableTaskClient(transport)
        self.start = self.now - DAY

    @property
    def now(self) -> datetime:
        """The hub's time, which may be virtual."""
        clock = getattr(getattr(self.hub, "behind", self.hub), "clock", self.transport)
        return clock.now()

    def worker(self, destination: object) -> DurableTaskWorker:
        return DurableTaskWorker(self.transport, orchestrators=[greet], export_to=destination)  # type: ignore[arg-type]

    async def run(self, *instance_ids: str, name: str = "Zoë") -> None:
        for instance_id in instance_ids:
            await self.client.schedule_new_orchestration(greet, name, instance_id=instance_id)
        for instance_id in instance_ids:
            await self.client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=None)
        await self.hub.advance(SECOND)

    async def until(self, wait: Callable[[], Awaitable[T]], step: timedelta = 10 * SECOND) -> T:
        """Wait for something, and let time pass on the hub's clock whenever nothing happens.

        What comes after time has passed needs it, too: an item that was in flight may wait to be delivered again.
        """
        waiting = asyncio.ensure_future(wait())
        for _ in range(100):
            await asyncio.wait({waiting}, timeout=0.1)
            if waiting.done():
                return await waiting
            await self.hub.advance(step)
        waiting.cancel()
        raise AssertionError("it did not happen")

    async def ended(self, job_id: str) -> ExportJob:
        """A job that has ended, with time passing."""
        await self.until(lambda: self.client.exports.wait(job_id, timeout_in_seconds=None))
        job = await self.client.exports.get(job_id)
        assert job is not None
        return job


@pytest.fixture
async def hub(conformance_hub: ConformanceHub) -> AsyncIterator[Hub]:
    transport = await conformance_hub.open()
    try:
        yield Hub(conformance_hub, transport)
    finally:
        await conformance_hub.close()


@pytest.fixture
def virtual_hub(hub: Hub) -> Hub:
    """A hub on which minutes pass at once."""
    if isinstance(hub.hub, RealTimeHub):
        pytest.skip("it takes minutes of real time")
    return hub


async def test_a_batch_exports_what_ended_in_its_window(hub: Hub):
    """Page by page, one file for each instance, with its whole history."""
    shelf = Shelf()
    async with hub.worker(shelf):
        await hub.run("i1", "i2", "i3", "i4", "i5")
        await hub.run("b1", name="bad")
        until = hub.now
        await hub.run("later")
        await hub.client.schedule_new_orchestration(greet, "slow", instance_id="live")
        job = await hub.client.exports.create(
            "nightly", completed_from=hub.start, completed_to=until, page_size=2, max_parallel=2
        )
        assert job.settings is not None
        assert job.settings.prefix == "batch-nightly"
        job = await hub.ended("nightly")

    assert (job.status, job.scanned, job.exported, job.failed) == (ExportStatus.COMPLETED, 6, 6, 0)
    assert sorted(shelf.written) == ["b1", "i1", "i2", "i3", "i4", "i5"]
    for instance_id in shelf.written:
        state = await hub.client.get_orchestration_state(instance_id)
        assert state is not None
        content = shelf.objects[
            "exports/" + file_name(instance_id, state.last_updated_at, "batch-nightly", "jsonl")
        ]
        events = decode_history(b"[" + b",".join(gzip.decompress(content).splitlines()) + b"]")
        assert events == await hub.client.get_orchestration_history(instance_id)
    assert shelf.headers["i1"] == ("application/jsonl+gzip", "gzip", {"instanceId": "i1"})
    assert shelf.is_closed


async def test_statuses_choose_what_is_exported(hub: Hub):
    """In the format that was asked for."""
    shelf = Shelf()
    async with hub.worker(shelf):
        await hub.run("i1")
        await hub.run("b1", name="bad")
        await hub.client.exports.create(
            "failures",
            completed_from=hub.start,
            completed_to=hub.now,
            statuses="failed",
            prefix="",
            container="bad",
            format="json",
        )
        await hub.ended("failures")

    assert shelf.written == ["b1"]
    ((name, content),) = shelf.objects.items()
    assert name.startswith("bad/")
    assert name.count("/") == 1
    assert decode_history(content) == await hub.client.get_orchestration_history("b1")
    assert shelf.headers["b1"][:2] == ("application/json", None)


async def test_a_job_without_instances_completes(hub: Hub):
    """Nothing is written."""
    async with hub.worker(Shelf()):
        await hub.client.exports.create("empty", completed_from=hub.start, completed_to=hub.now)
        job = await hub.ended("empty")

    assert (job.status, job.scanned) == (ExportStatus.COMPLETED, 0)


async def test_a_continuous_job_exports_what_ends_and_nothing_twice(virtual_hub: Hub):
    """It follows the hub over many windows and continue-as-new, until it is deleted."""
    hub = virtual_hub
    shelf = Shelf()
    async with hub.worker(shelf):
        await hub.run("i1", "i2", "i3")
        await hub.client.exports.create("tail", completed_from=hub.start, mode="continuous", page_size=2)
        for ids in (["i1", "i2", "i3"], ["j1"], ["k1", "k2"]):
            if ids[0] != "i1":
                await hub.run(*ids)
            await hub.until(lambda ids=ids: shelf.has(*ids))  # type: ignore[misc]
        for _ in range(12):  # quiet windows
            await hub.hub.advance(timedelta(minutes=1))
            await hub.hub.settle()
        job = await hub.client.exports.get("tail")
        assert job is not None
        assert job.status is ExportStatus.ACTIVE
        await hub.until(lambda: hub.client.exports.delete("tail"))
        assert await hub.client.exports.get("tail") is None

    assert sorted(shelf.written) == ["i1", "i2", "i3", "j1", "k1", "k2"]
    assert await hub.client.get_orchestration_state("ExportJob-tail") is None


async def test_a_window_that_ends_in_the_future_is_waited_for(virtual_hub: Hub):
    """The clock of another SDK's client may be ahead; what ends until then is exported, too."""
    hub, shelf = virtual_hub, Shelf()
    async with hub.worker(shelf):
        await hub.run("i1")
        creation = {
            "jobId": "ahead",
            "mode": "Batch",
            "completedTimeFrom": hub.start.isoformat(),
            "completedTimeTo": (hub.now + timedelta(seconds=30)).isoformat(),
            "destination": {"container": "c"},
        }
        helper = await hub.client.schedule_new_orchestration(
            "ExecuteExportJobOperationOrchestrator",
            {"entityId": "@exportjob@ahead", "operationName": "create", "input": creation},
        )
        await hub.client.wait_for_orchestration_start("ExportJob-ahead", timeout_in_seconds=None)
        await hub.run("i2")
        job = await hub.ended("ahead")

    assert job.status is ExportStatus.COMPLETED
    assert sorted(shelf.written) == sorted(["i1", "i2", helper])


async def test_a_continuous_job_may_begin_in_the_future(virtual_hub: Hub):
    """Until then it exports nothing."""
    hub, shelf = virtual_hub, Shelf()
    async with hub.worker(shelf):
        await hub.run("early")
        await hub.client.exports.create(
            "tail", completed_from=hub.now + timedelta(minutes=5), mode="continuous"
        )
        for _ in range(6):
            await hub.hub.advance(timedelta(minutes=1))
            await hub.hub.settle()
        await hub.run("late")
        await hub.until(lambda: shelf.has("late"))
        await hub.until(lambda: hub.client.exports.delete("tail"))

    assert shelf.written == ["late"]


async def test_a_hub_that_repeats_its_key_does_not_keep_a_job_forever(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    """The page that has no successor is the last."""

    async def repeat(query: object) -> InstanceIdPage:
        return InstanceIdPage(["i1"], "k")

    monkeypatch.setattr(hub.transport, "list_instance_ids", repeat)
    shelf = Shelf()
    async with hub.worker(shelf):
        await hub.run("i1")
        await hub.client.exports.create("nightly", completed_from=hub.start, completed_to=hub.now)
        job = await hub.ended("nightly")

    assert job.status is ExportStatus.COMPLETED
    assert shelf.written == ["i1", "i1"]


async def test_a_worker_may_stop_anywhere(hub: Hub):
    """Another one goes on: no instance is missing, and none has a second file."""
    shelf = Shelf()
    ids = [f"i{number}" for number in range(8)]
    async with hub.worker(shelf):
        await hub.run(*ids)

    for count in range(1, 4):
        reached = asyncio.Event()

        async def stop_at(
            instance_id: str, last: int = len(shelf.written) + count, reached: asyncio.Event = reached
        ) -> None:
            if len(shelf.written) >= last:
                reached.set()
                await asyncio.Event().wait()  # until the worker is stopped

        shelf.before = stop_at
        async with hub.worker(shelf) as worker:
            if count == 1:
                await hub.client.exports.create(
                    "nightly", completed_from=hub.start, completed_to=hub.now, page_size=3, max_parallel=2
                )
            await hub.until(reached.wait, step=SECOND)
            await worker.stop(timeout=0)
    shelf.before = None
    async with hub.worker(shelf):
        job = await hub.ended("nightly")

    assert (job.status, job.scanned, job.exported) == (ExportStatus.COMPLETED, 8, 8)
    assert set(shelf.written) == set(ids)
    assert len(shelf.objects) == 8


async def test_a_failing_instance_is_retried_and_fails_the_job_before_its_page(virtual_hub: Hub):
    """The failure is recorded with its attempts; a resumed job goes on after the last checkpoint."""
    hub = virtual_hub
    shelf = Shelf()
    attempts = 0

    async def refuse(instance_id: str) -> None:
        nonlocal attempts
        if instance_id == "i4":
            attempts += 1
            raise OSError("no space left")

    shelf.before = refuse
    async with hub.worker(shelf):
        for number in range(5):
            await hub.run(f"i{number}")
        await hub.client.exports.create(
            "nightly", completed_from=hub.start, completed_to=hub.now, page_size=2
        )
        job = await hub.ended("nightly")
        assert (job.status, job.scanned, job.exported, job.failed) == (ExportStatus.FAILED, 4, 4, 1)
        assert [(each.instance_id, each.attempt_count) for each in job.failures] == [("i4", 5)]
        assert job.last_error is not None
        assert "no space left" in job.last_error
        assert attempts == 5

        shelf.before = None
        written = len(shelf.written)
        job = await hub.until(lambda: hub.client.exports.resume("nightly"))
        assert job.status is not ExportStatus.FAILED
        job = await hub.ended("nightly")

    assert (job.status, job.scanned, job.exported) == (ExportStatus.COMPLETED, 5, 5)
    assert (job.last_error, job.failed, job.failures) == (None, 0, ())
    assert shelf.written[written:] == ["i4"]


async def test_a_worker_without_a_destination_says_what_to_pass(hub: Hub):
    """At once, without retries."""
    async with hub.worker(None):
        await hub.run("i1")
        await hub.client.exports.create("nightly", completed_from=hub.start, completed_to=hub.now)
        job = await hub.client.exports.wait("nightly", timeout_in_seconds=None)

    assert job is not None
    assert job.status is ExportStatus.FAILED
    assert job.last_error is not None
    assert "export_to=Directory('exports')" in job.last_error
    assert [each.attempt_count for each in job.failures] == [1]


async def test_a_hub_that_cannot_list_ends_the_job_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    """Some servers of the protocol lack the call."""

    async def refuse(query: object) -> None:
        raise NotSupportedError("There is no ListInstanceIds here.")

    monkeypatch.setattr(hub.transport, "list_instance_ids", refuse)
    async with hub.worker(Shelf()):
        await hub.client.exports.create("nightly", completed_from=hub.start, completed_to=hub.now)
        job = await hub.client.exports.wait("nightly", timeout_in_seconds=None)

    assert job is not None
    assert job.status is ExportStatus.FAILED
    assert job.last_error is not None
    assert "There is no ListInstanceIds here." in job.last_error


async def test_an_entity_without_a_job_is_not_listed(hub: Hub):
    """A signal to a job that does not exist fails, and creates none."""
    async with hub.worker(Shelf()):
        await hub.client.signal_entity("@exportjob@none", "Run")
        await hub.client.exports.create("empty", completed_from=hub.start, completed_to=hub.now)
        assert [job.job_id async for job in hub.client.exports.list()] == ["empty"]
    assert await hub.client.exports.get("none") is None


async def test_a_name_that_the_destination_refuses_fails_the_job_at_once(hub: Hub, tmp_path: Path):
    """The prefix comes from a client; the directory is the worker's."""
    async with hub.worker(Directory(tmp_path / "root")):
        await hub.run("i1")
        await hub.client.exports.create(
            "nightly", completed_from=hub.start, completed_to=hub.now, prefix="../../etc"
        )
        job = await hub.client.exports.wait("nightly", timeout_in_seconds=None)

    assert job is not None
    assert job.last_error is not None
    assert "is not a path below the directory" in job.last_error
    assert not (tmp_path / "root").exists()
    assert not (tmp_path.parent / "etc").exists()


async def test_an_instance_that_is_purged_meanwhile_is_recorded_and_passed_over(hub: Hub):
    """Also one that runs again. Neither can be exported, and neither is a reason to stop."""
    shelf = Shelf()

    async def interfere(instance_id: str) -> None:
        shelf.before = None
        await hub.client.purge_orchestration("i2")
        await hub.client.restart_orchestration("slow")

    async with hub.worker(shelf):
        await hub.run("i1")
        await hub.run("i2")
        await hub.client.schedule_new_orchestration(greet, "slow", instance_id="slow")
        await hub.client.raise_orchestration_event("slow", "go")
        await hub.client.wait_for_orchestration_completion("slow", timeout_in_seconds=None)
        await hub.hub.advance(SECOND)
        shelf.before = interfere
        await hub.client.exports.create(
            "nightly", completed_from=hub.start, completed_to=hub.now, max_parallel=1
        )
        job = await hub.ended("nightly")

    assert (job.status, job.scanned, job.exported, job.failed) == (ExportStatus.COMPLETED, 3, 1, 2)
    reasons = {each.instance_id: each.reason for each in job.failures}
    assert reasons == {
        "i2": "the instance was purged before it was exported",
        "slow": "the instance runs again",
    }


async def test_a_job_begins_anew_when_it_has_ended(hub: Hub):
    """While it is active, its id is taken."""
    shelf = Shelf()
    exports = hub.client.exports
    async with hub.worker(shelf):
        await hub.run("i1")
        until = hub.now
        for _ in range(2):
            await hub.until(lambda: exports.create("nightly", completed_from=hub.start, completed_to=until))
            job = await hub.ended("nightly")
            assert (job.status, job.exported) == (ExportStatus.COMPLETED, 1)
        await hub.until(lambda: exports.create("tail", completed_from=hub.start, mode="continuous"))
        with pytest.raises(
            InvalidOperationError, match="There is an export job 'tail' already; it is ACTIVE"
        ):
            await hub.until(lambda: exports.create("tail", completed_from=hub.start, mode="continuous"))
        with pytest.raises(InvalidOperationError, match="'tail' is ACTIVE; only a FAILED job can be resumed"):
            await exports.resume("tail")
        with pytest.raises(InvalidOperationError, match="'nightly' already; it is COMPLETED"):
            await exports.create("nightly", completed_from=hub.start, mode="continuous", readable_by="python")
        await hub.until(lambda: exports.delete("tail"))

    assert shelf.written[:2] == ["i1", "i1"]
    assert len([name for name in shelf.objects if "batch-nightly" in name]) == 1


async def test_jobs_are_listed_in_every_form(hub: Hub):
    """Those of both families of names, with a filter."""
    exports = hub.client.exports
    async with hub.worker(Shelf()):
        for form in ("dotnet", "javascript", "python"):
            create = partial(exports.create, f"a-{form}", completed_from=hub.start, completed_to=hub.now)
            await hub.until(partial(create, readable_by=form))
            await hub.ended(f"a-{form}")
        await hub.until(lambda: exports.create("b", completed_from=hub.start, mode="continuous"))
        listed = [job.job_id async for job in exports.list(page_size=1)]
        assert sorted(listed) == ["a-dotnet", "a-javascript", "a-python", "b"]
        assert [job.job_id async for job in exports.list(job_id_prefix="b")] == ["b"]
        assert [job.job_id async for job in exports.list(statuses="active")] == ["b"]
        for job_id in listed:
            await hub.until(lambda job_id=job_id: exports.delete(job_id))  # type: ignore[misc]

        async def are_gone() -> None:  # that of Python is deleted by a signal
            while await exports.list().to_list() or await hub.client.query_entities().to_list():
                await hub.hub.settle()

        await hub.until(are_gone)
        await exports.delete("a-dotnet")

    with pytest.raises(InstanceNotFoundError, match="There is no export job 'b'"):
        await exports.wait("b")
    with pytest.raises(InstanceNotFoundError, match="There is no export job 'b'"):
        await exports.resume("b")


@pytest.mark.parametrize(
    ("form", "entity", "operation", "creation"),
    [
        (
            "dotnet",
            "@exportjob@theirs",
            "Create",
            {"JobId": "theirs", "Mode": 1, "CompletedTimeFrom": "from", "CompletedTimeTo": "to"}
            | {"Destination": {"Container": "c"}, "Format": {"Kind": "Jsonl"}, "MaxInstancesPerBatch": 7},
        ),
        (
            "javascript",
            "@exportjob@theirs",
            "create",
            {"jobId": "theirs", "mode": "Batch", "completedTimeFrom": "from", "completedTimeTo": "to"}
            | {"destination": {"container": "c"}, "format": {"kind": "Jsonl"}, "maxInstancesPerBatch": 7},
        ),
    ],
)
async def test_a_client_of_another_sdk_creates_and_reads_a_job(
    hub: Hub, form: str, entity: str, operation: str, creation: dict[str, Any]
):
    """By the helper orchestration of its SDK; the state is in its spelling."""
    shelf = Shelf()
    times = {"from": hub.start.isoformat(), "to": hub.now.isoformat()}
    argument = {
        key: times[value] if isinstance(value, str) and value in times else value
        for key, value in creation.items()
    }
    names = (
        ("EntityId", "OperationName", "Input") if form == "dotnet" else ("entityId", "operationName", "input")
    )
    async with hub.worker(shelf):
        await hub.run("i1")
        argument = {
            key: hub.now.isoformat() if value == times["to"] else value for key, value in argument.items()
        }
        helper = await hub.client.schedule_new_orchestration(
            "ExecuteExportJobOperationOrchestrator",
            dict(zip(names, (entity, operation, argument), strict=True)),
        )
        state = await hub.client.wait_for_orchestration_completion(helper, timeout_in_seconds=None)
        assert state is not None
        assert state.runtime_status.name == "COMPLETED"
        await hub.client.wait_for_orchestration_completion("ExportJob-theirs", timeout_in_seconds=None)
        metadata = await hub.client.get_entity(entity)

    assert metadata is not None
    assert metadata.serialized_state is not None
    plain = json.loads(metadata.serialized_state)
    assert plain["Status" if form == "dotnet" else "status"] == (3 if form == "dotnet" else "Completed")
    assert plain["ExportedInstances" if form == "dotnet" else "exportedInstances"] == 1
    assert shelf.written == ["i1"]
    assert next(iter(shelf.objects)).startswith("c/")


async def test_the_client_of_python_creates_and_reads_a_job(hub: Hub):
    """By a signal, without a helper."""
    shelf = Shelf()
    async with hub.worker(shelf):
        await hub.run("i1")
        config = {
            "mode": "Batch",
            "filter": {
                "completed_time_from": hub.start.isoformat(),
                "completed_time_to": hub.now.isoformat(),
                "runtime_status": None,
            },
            "destination": {"container": "c", "prefix": "p"},
            "format": {"kind": "JsonlGzip", "schema_version": "1.0"},
            "max_instances_per_batch": 7,
            "max_parallel_exports": 3,
        }
        await hub.client.signal_entity(
            "@exportjobentity@theirs", "create", {"config": config, "created_at": hub.now.isoformat()}
        )
        await hub.client.wait_for_orchestration_completion("export-job-theirs", timeout_in_seconds=None)
        metadata = await hub.client.get_entity("@exportjobentity@theirs")

    assert metadata is not None
    assert metadata.serialized_state is not None
    plain = json.loads(metadata.serialized_state)
    assert (plain["schema_version"], plain["status"], plain["exported_instances"]) == ("1.0", "Completed", 1)
    assert plain["config"] == {**config, "filter": {**config["filter"], "runtime_status": [1, 3, 5]}}  # type: ignore[dict-item]
    assert shelf.headers["i1"] == ("application/x-ndjson", "gzip", {"instance_id": "i1"})


async def test_a_creation_that_the_entity_refuses_is_an_error_of_the_helper(hub: Hub):
    """A client of another SDK gets the reason."""
    async with hub.worker(Shelf()):
        helper = await hub.client.schedule_new_orchestration(
            "ExecuteExportJobOperationOrchestrator",
            {"EntityId": "@exportjob@x", "OperationName": "Create", "Input": {"Mode": 1}},
        )
        state = await hub.client.wait_for_orchestration_completion(helper, timeout_in_seconds=None)

    assert state is not None
    assert state.failure_details is not None
    assert "The input of 'create' cannot be read" in state.failure_details.message
    assert await hub.client.exports.get("x") is None


async def test_wrong_arguments_are_refused_before_anything_is_sent(hub: Hub):
    """No worker is needed to find out."""
    exports = hub.client.exports
    with pytest.raises(InvalidRequestError, match="completed_to is missing"):
        await exports.create("x", completed_from=hub.start)
    with pytest.raises(InvalidRequestError, match="readable_by must be one of dotnet, javascript, python"):
        await exports.create("x", completed_from=hub.start, completed_to=hub.now, readable_by="ruby")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="job_id must not be empty"):
        await exports.create("", completed_from=hub.start, completed_to=hub.now)
    assert await hub.client.exports.get("x") is None


async def test_a_job_id_that_makes_no_entity_is_refused_by_its_name():
    """Before anything is sent, in both families of names."""
    async with OrchestrationTestEnvironment() as env:
        with pytest.raises(
            InvalidRequestError, match=r"^job_id='x{40}'\.\.\. has 84 characters; at most 83 are"
        ):
            await env.client.exports.get("x" * 84)
        assert await env.client.exports.get("x" * 83) is None


async def exportjob(ctx: EntityContext, state: object) -> None:
    ctx.set_state(state)


async def test_a_job_that_cannot_be_read_hides_no_other(caplog: pytest.LogCaptureFixture):
    """Another SDK, or a later version, has written its state."""
    async with OrchestrationTestEnvironment(entities=[exportjob]) as env:
        await env.client.call_entity("@exportjob@bad", "write", {"Config": {"Mode": 9, "Filter": {}}})
        await env.client.call_entity("@exportjob@blank", "write", {"Status": 0})

        assert await env.client.exports.list().to_list() == []
        with pytest.raises(InvalidRequestError, match="export job 'bad' cannot be read"):
            await env.client.exports.get("bad")

    assert "@exportjob@bad is left out: its state cannot be read" in caplog.text
    assert "@exportjob@blank" not in caplog.text
