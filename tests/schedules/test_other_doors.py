"""Schedules through the helpers of other SDKs, the blocking twin and converters; without a worker, and with faults."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from durabletask import sync
from durabletask.core.client import DurableTaskClient
from durabletask.core.context import OrchestrationContext
from durabletask.core.errors import SerializationError, TransportTimeoutError
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.schedules.state import Overlap
from durabletask.core.serialization import DataConverter, JsonDataConverter
from durabletask.testing import Chaos, OrchestrationTestEnvironment
from durabletask.testing.clock import VirtualClock
from durabletask.testing.hub import InMemoryBackend

HOUR = timedelta(hours=1)


@dataclass
class Order:
    shop: str
    copies: int = 1


async def report(ctx: OrchestrationContext, order: Order) -> str:
    return f"{order.copies} x {order.shop}"


# --- other SDKs ------------------------------------------------------------------------------------------------

PYTHON = "execute_schedule_operation_orchestrator"
DOTNET = "ExecuteScheduleOperationOrchestrator"


def of_python(operation: str, given: object = None) -> tuple[str, dict[str, object]]:
    return PYTHON, {"entity_id": "@schedule@shared", "operation_name": operation, "input": given}


def of_dotnet(operation: str, given: object = None) -> tuple[str, dict[str, object]]:
    return DOTNET, {"EntityId": "@schedule@shared", "OperationName": operation, "Input": given}


CREATE_PYTHON = of_python(
    "create_schedule",
    {
        "schedule_id": "shared",
        "orchestration_name": "report",
        "interval_seconds": 3600.0,
        "orchestration_input": {"shop": "Lisbon"},
        "orchestration_instance_id": None,
        "start_at": None,
        "end_at": None,
        "start_immediately_if_late": False,
    },
)
CREATE_DOTNET = of_dotnet(
    "CreateSchedule",
    {
        "ScheduleId": "shared",
        "OrchestrationName": "report",
        "Interval": "01:00:00",
        "OrchestrationInput": '{"shop": "Lisbon"}',
        "StartImmediatelyIfLate": False,
    },
)


async def call(
    env: OrchestrationTestEnvironment, request: tuple[str, dict[str, object]]
) -> OrchestrationStatus:
    instance_id = await env.client.schedule_new_orchestration(request[0], request[1])
    state = await env.client.wait_for_orchestration_completion(instance_id)
    assert state is not None
    return state.runtime_status


@pytest.mark.parametrize(
    ("create", "pause", "update"),
    [
        (
            CREATE_PYTHON,
            of_python("pause_schedule"),
            of_python("update_schedule", {"interval_seconds": 1800, "orchestration_input": None}),
        ),
        (CREATE_DOTNET, of_dotnet("PauseSchedule"), of_dotnet("UpdateSchedule", {"Interval": "00:30:00"})),
    ],
    ids=["python", "dotnet"],
)
async def test_clients_of_other_sdks_create_and_change_schedules(
    create: tuple[str, dict[str, object]],
    pause: tuple[str, dict[str, object]],
    update: tuple[str, dict[str, object]],
) -> None:
    """Our client sees them, with the behaviour of the other SDK; an operation that makes no sense fails there."""
    async with OrchestrationTestEnvironment(orchestrators=[report]) as env:
        assert await call(env, create) is OrchestrationStatus.COMPLETED
        await env.advance(hours=1)
        assert await call(env, pause) is OrchestrationStatus.COMPLETED
        assert await call(env, pause) is OrchestrationStatus.FAILED
        assert await call(env, update) is OrchestrationStatus.COMPLETED
        await env.client.schedules.resume("shared")
        await env.advance(hours=1)

        (schedule,) = await env.client.schedules.list().to_list()
        runs = {
            state.instance_id: state.output
            async for state in env.client.query_orchestrations(
                instance_id_prefix="shared-", fetch_payloads=True
            )
        }

    assert (schedule.every, schedule.overlap, schedule.running) == (timedelta(minutes=30), "allow", ())
    assert list(runs) == [f"shared-2026-01-01T{time}:00+00:00" for time in ("01:00", "01:30", "02:00")]
    assert set(runs.values()) == {"1 x Lisbon"}


async def echo(ctx: OrchestrationContext, value: object) -> object:
    return value


async def test_a_text_that_is_no_json_is_the_input_itself() -> None:
    """Schedules of .NET may hold any text."""
    name, request = of_dotnet(
        "CreateSchedule", {"OrchestrationName": "echo", "Interval": "01:00:00", "OrchestrationInput": "hello"}
    )
    async with OrchestrationTestEnvironment(orchestrators=[echo]) as env:
        assert await call(env, (name, request)) is OrchestrationStatus.COMPLETED
        await env.advance(hours=1)
        state = await env.client.get_orchestration_state("shared-2026-01-01T01:00:00+00:00")

    assert state is not None
    assert state.output == "hello"


async def test_a_request_without_an_operation_fails() -> None:
    """And says what is missing."""
    async with OrchestrationTestEnvironment() as env:
        instance_id = await env.client.schedule_new_orchestration(PYTHON, {"entity_id": "@schedule@shared"})
        state = await env.client.wait_for_orchestration_completion(instance_id)

    assert state is not None
    assert state.failure_details is not None
    assert "has no member 'operationname'" in state.failure_details.message


# --- payloads --------------------------------------------------------------------------------------------------


class Hidden(DataConverter):
    """Payloads that are no JSON on the hub, as those of a converter that encrypts."""

    def __init__(self) -> None:
        self._json = JsonDataConverter()

    def serialize(self, value: object) -> str | None:
        text = self._json.serialize(value)
        return None if text is None else base64.b64encode(text.encode()).decode()

    def deserialize(self, payload: str | None, target: object = None) -> object:
        return self._json.deserialize(base64.b64decode(payload).decode() if payload else None, target)


@pytest.mark.parametrize("converter", [None, Hidden()], ids=["json", "hidden"])
async def test_inputs_are_values_of_the_program(converter: DataConverter | None) -> None:
    """With the converter of client and worker; the state of the schedule is hidden by it as well."""
    async with OrchestrationTestEnvironment(orchestrators=[report], data_converter=converter) as env:
        await env.client.schedules.create("hourly", report, Order("Oslo", 2), every=HOUR)
        await env.advance(hours=1)
        state = await env.client.get_orchestration_state("hourly-2026-01-01T01:00:00+00:00")
        entity = await env.client.get_entity("@schedule@hourly")
        assert (await env.client.schedules.list().to_list())[0].started == 1

    assert state is not None
    assert state.output == "2 x Oslo"
    assert entity is not None
    assert ("Oslo" in str(entity.serialized_state)) is (converter is None)


async def test_an_input_without_a_payload_is_refused_by_name() -> None:
    """Before anything is sent."""
    async with OrchestrationTestEnvironment(orchestrators=[report]) as env:
        with pytest.raises(SerializationError, match="Input of schedule 'hourly'"):
            await env.client.schedules.create("hourly", report, object(), every=HOUR)


async def test_descriptions_show_no_payload() -> None:
    """They may end up in logs."""
    async with OrchestrationTestEnvironment(orchestrators=[report]) as env:
        schedule = await env.client.schedules.create("hourly", report, Order("secret"), every=HOUR)

    assert "secret" in str(schedule.serialized_input)
    assert "secret" not in repr(schedule)


# --- trouble ---------------------------------------------------------------------------------------------------


async def test_a_change_without_a_worker_is_a_time_out_that_says_so() -> None:
    """After a minute on the clock of the hub."""
    clock = VirtualClock(auto_advance=False)
    hub = InMemoryBackend("default", clock=clock)
    creating = asyncio.ensure_future(DurableTaskClient(hub).schedules.create("hourly", waiting, every=HOUR))
    await asyncio.sleep(0.01)
    await clock.advance(timedelta(seconds=61))

    with pytest.raises(
        TransportTimeoutError, match=r"'hourly' within 60 s; it may still happen\. Check that a worker"
    ):
        await creating
    await hub.close()


async def waiting(ctx: OrchestrationContext) -> None:
    await ctx.create_timer(timedelta(seconds=10))


@pytest.mark.parametrize("overlap", ["allow", "skip"])
@pytest.mark.parametrize("seed", range(5))
async def test_faults_of_workers_neither_lose_nor_double_a_run(overlap: Overlap, seed: int) -> None:
    """Crashes, expired locks, late and abandoned items. A change that has timed out may be tried again."""
    chaos = Chaos(
        seed=seed, worker_crashes=0.3, delayed_completions=0.3, abandoned_items=0.3, expired_locks=0.3
    )
    async with OrchestrationTestEnvironment(orchestrators=[waiting], chaos=chaos) as env:
        while await env.client.schedules.get("hourly") is None:
            with suppress(TransportTimeoutError):
                await env.client.schedules.create("hourly", waiting, every=HOUR, overlap=overlap)
        await env.advance(hours=12, minutes=30)
        schedule = await env.client.schedules.get("hourly")
        runs = {state.instance_id: state.runtime_status async for state in env.client.query_orchestrations()}

    assert schedule is not None
    assert schedule.created_at is not None
    assert (schedule.started, schedule.skipped, schedule.running) == (len(runs), 0, ())
    times = [schedule.created_at + number * HOUR for number in range(1, len(runs) + 1)]
    assert runs == {f"hourly-{time.isoformat()}": OrchestrationStatus.COMPLETED for time in times}
    assert len(runs) >= 12


# --- blocking --------------------------------------------------------------------------------------------------


def test_the_blocking_client_has_schedules() -> None:
    """The same names, without await."""
    hub = (f"Endpoint=memory://{uuid4().hex};Authentication=None", "default")
    with (
        sync.DurableTaskWorker(*hub, orchestrators=[report]),
        sync.DurableTaskClient(*hub) as client,
    ):
        schedule = client.schedules.create("daily", report, Order("Porto"), cron="0 12 * * *")
        run_id = client.schedules.trigger("daily")
        assert run_id is not None
        state = client.wait_for_orchestration_completion(run_id, timeout_in_seconds=30)
        assert [each.schedule_id for each in client.schedules.list()] == ["daily"]
        assert client.schedules.next("daily", 1) == [schedule.next_run_at]
        client.schedules.delete("daily")
        assert client.schedules.get("daily") is None

    assert state is not None
    assert state.output == "1 x Porto"
