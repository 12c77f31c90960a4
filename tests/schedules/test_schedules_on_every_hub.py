"""Schedules on every transport of the project, with workers that come and go.

The entity takes the time from its worker. Behind a socket that is the clock of the machine, so the hub there runs on
real time, with the shortest interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from conformance_hubs import MemoryHub, RealTimeHub, SqliteHub, WireHub
from durabletask.core.client import DurableTaskClient
from durabletask.core.context import OrchestrationContext
from durabletask.core.entity_context import EntityContext
from durabletask.core.errors import InstanceNotFoundError, InvalidOperationError
from durabletask.core.transport import Transport
from durabletask.core.worker import DurableTaskWorker
from durabletask.testing.conformance import ConformanceHub

SECOND = timedelta(seconds=1)


async def report(ctx: OrchestrationContext, value: object = None) -> object:
    return value


@pytest.fixture(params=["memory", "sqlite", pytest.param("wire", marks=pytest.mark.process)])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ConformanceHub]:
    makers: dict[str, Callable[[], ConformanceHub]] = {
        "memory": MemoryHub,
        "sqlite": lambda: SqliteHub(tmp_path),
        "wire": lambda: WireHub(RealTimeHub()),  # type: ignore[arg-type]
    }
    made = makers[request.param]()
    yield made
    await made.close()


@pytest.fixture(params=["memory", "sqlite"])
async def virtual_hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryHub]:
    made = MemoryHub() if request.param == "memory" else SqliteHub(tmp_path)
    yield made
    await made.close()


def worker_on(transport: Transport) -> DurableTaskWorker:
    return DurableTaskWorker(transport, orchestrators=[report])


async def outputs(client: DurableTaskClient) -> list[object]:
    return [state.output async for state in client.query_orchestrations(fetch_payloads=True)]


async def until(hub: ConformanceHub, condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(200):
        if await condition():
            return
        await hub.settle()
    raise AssertionError("It did not come about.")


async def ended_runs(client: DurableTaskClient) -> int:
    return len([state async for state in client.query_orchestrations() if state.is_finished])


@pytest.mark.parametrize("overlap", ["allow", "skip"])
async def test_a_schedule_lives_from_its_creation_to_its_end(hub: ConformanceHub, overlap: str) -> None:
    """Runs with their input, pause, trigger, update, delete; with and without a helper between entity and run."""
    transport = await hub.open()
    client = DurableTaskClient(transport)
    async with worker_on(transport):
        created = await client.schedules.create("often", report, {"a": 1}, every=SECOND, overlap=overlap)  # type: ignore[arg-type]
        assert created.created_at is not None
        assert created.next_run_at == created.created_at + SECOND

        await hub.advance(SECOND)
        await until(hub, lambda: at_least(client, 1))
        await client.schedules.pause("often")
        with pytest.raises(InvalidOperationError, match="is PAUSED and cannot be paused"):
            await client.schedules.pause("often")
        await client.schedules.update("often", input="later", every=3600)
        run_id = await client.schedules.trigger("often")
        assert run_id is not None
        await until(hub, lambda: has_output(client, run_id, "later"))
        await client.schedules.resume("often")
        (schedule,) = await client.schedules.list(status="active").to_list()
        await client.schedules.delete("often")

    assert schedule.every == timedelta(hours=1)
    assert await client.schedules.get("often") is None
    assert {"a": 1} in await outputs(client)


async def at_least(client: DurableTaskClient, count: int) -> bool:
    return await ended_runs(client) >= count


async def has_output(client: DurableTaskClient, instance_id: str, output: object) -> bool:
    state = await client.get_orchestration_state(instance_id)
    return state is not None and state.output == output


@pytest.mark.parametrize(
    ("catch_up", "expected"), [(timedelta(), ["16:00"]), (timedelta(hours=2), ["14:00", "15:00", "16:00"])]
)
async def test_a_laptop_that_slept_starts_one_run(
    virtual_hub: MemoryHub, catch_up: timedelta, expected: list[str]
) -> None:
    """The latest of forty, or those that ``catch_up`` covers. Creating the schedule again at the start loses none."""
    transport = await virtual_hub.open()
    client = DurableTaskClient(transport)

    async def create() -> None:
        await client.schedules.create("hourly", report, cron="0 * * * *", catch_up=catch_up, overlap="allow")

    async with worker_on(transport):
        await create()

    await virtual_hub.advance(timedelta(hours=40))
    async with worker_on(transport):
        await create()
        await until(virtual_hub, lambda: at_least(client, len(expected)))
        await virtual_hub.settle()

    assert [state.instance_id[-14:-9] async for state in client.query_orchestrations()] == expected


async def test_a_schedule_survives_a_crash_of_hub_and_worker(tmp_path: Path) -> None:
    """Also with a run that goes on; what was due meanwhile is started once."""
    hub = SqliteHub(tmp_path)
    transport = await hub.open()
    client = DurableTaskClient(transport)
    async with worker_on(transport):
        await client.schedules.create("daily", report, every=timedelta(days=1))

    for _ in range(3):
        transport = await hub.restart()
        await hub.advance(timedelta(days=1))
    client = DurableTaskClient(transport)
    async with worker_on(transport):
        await hub.advance(SECOND)
        await until(hub, lambda: at_least(client, 1))
        await hub.advance(timedelta(days=1))
        await until(hub, lambda: at_least(client, 2))
    schedule = await client.schedules.get("daily")
    await hub.close()

    assert schedule is not None
    assert (schedule.started, schedule.running) == (2, ())


async def test_a_worker_without_cronsim_leaves_the_run_to_another(
    virtual_hub: MemoryHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The schedule tries again after a minute; its signal is not lost."""
    transport = await virtual_hub.open()
    client = DurableTaskClient(transport)
    async with worker_on(transport):
        await client.schedules.create("hourly", report, cron="0 * * * *")
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, "cronsim", None)
            await virtual_hub.advance(timedelta(hours=1))
            await until(virtual_hub, lambda: was_logged(caplog))
        assert await ended_runs(client) == 0

        await virtual_hub.advance(timedelta(minutes=1))
        await until(virtual_hub, lambda: at_least(client, 1))

    assert [state.instance_id[-14:-9] async for state in client.query_orchestrations()] == ["01:00"]
    assert "pip install 'durabletask-core[cron]'" in caplog.text


async def schedule(ctx: EntityContext, state: object) -> None:
    """The entity as a worker of another SDK writes it."""
    ctx.set_state(state)


def state_of(**members: object) -> dict[str, object]:
    configuration = {"OrchestrationName": "report", "Interval": "01:00:00", **members}
    return {
        "Status": 1,
        "ExecutionToken": "t",
        "ScheduleConfiguration": configuration,
        "Progress": {"Started": None},
    }


async def test_a_state_that_another_sdk_has_rewritten_is_read_or_left_out(
    virtual_hub: MemoryHub, caplog: pytest.LogCaptureFixture
) -> None:
    """One state that cannot be read hides none of the others, and its schedule goes on when it can be read again."""
    transport = await virtual_hub.open()
    client = DurableTaskClient(transport)
    good, bad = state_of(Options={"Overlap": None}), state_of(Options={"Overlap": "some"})
    async with DurableTaskWorker(transport, entities=[schedule]):
        await client.call_entity("@schedule@bad", "write", bad)
        await client.call_entity("@schedule@good", "write", good)
    async with worker_on(transport):
        assert [each.schedule_id async for each in client.schedules.list()] == ["good"]
        assert "@schedule@bad is left out: its state cannot be read" in caplog.text
        with pytest.raises(ValueError, match="cannot be read: Invalid enum value"):
            await client.schedules.get("bad")
        assert await client.schedules.trigger("good") is not None
        await client.signal_entity("@schedule@bad", "run_schedule", "t")
        await until(virtual_hub, lambda: was_logged(caplog))
    async with DurableTaskWorker(transport, entities=[schedule]):
        await client.call_entity("@schedule@bad", "write", state_of(Options={"Overlap": "allow"}))
    async with worker_on(transport):
        await virtual_hub.advance(timedelta(minutes=1))
        await until(virtual_hub, lambda: is_armed(client))


async def test_a_schedule_that_cannot_be_read_can_be_deleted(virtual_hub: MemoryHub) -> None:
    """And then be created anew."""
    transport = await virtual_hub.open()
    client = DurableTaskClient(transport)
    async with DurableTaskWorker(transport, entities=[schedule]):
        await client.call_entity("@schedule@bad", "write", state_of(Options={"Overlap": "some"}))
    async with worker_on(transport):
        await client.schedules.delete("bad")
        with pytest.raises(InstanceNotFoundError):
            await client.schedules.delete("bad")
        await client.schedules.create("bad", report, every=3600)


async def is_armed(client: DurableTaskClient) -> bool:
    found = await client.schedules.get("bad")
    return found is not None and found.next_run_at is not None


async def was_logged(caplog: pytest.LogCaptureFixture) -> bool:
    await asyncio.sleep(0)
    return "could not run; it tries again in 0:01:00" in caplog.text
