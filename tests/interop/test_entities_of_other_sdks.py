"""Entities, schedules and exports of other SDKs against our server: alone, and mixed with our worker and client."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypedDict, cast

import pytest
from durabletask import (
    DurableTaskClient,
    DurableTaskWorker,
    EntityId,
    OrchestrationContext,
    OrchestrationStatus,
    ScheduleStatus,
    TaskEntity,
    TaskFailedError,
)
from durabletask.core.destinations import Directory
from other_sdks import emulator, node_modules, peer_python, run_suite

HERE = Path(__file__).parent
PYTHON_SUITE = HERE / "python_sdk" / "entities.py"
JAVASCRIPT_SUITE = HERE / "js_sdk" / "entities.js"
PYTHON_SCENARIOS = re.findall(r"^@scenario\ndef (\w+)", PYTHON_SUITE.read_text(), re.MULTILINE)
JAVASCRIPT_SCENARIOS = re.findall(
    r"^  async (\w+)\(c\) \{", JAVASCRIPT_SUITE.read_text().partition("const scenarios")[2], re.MULTILINE
)

pytestmark = [pytest.mark.process, pytest.mark.network, pytest.mark.timeout(300)]


def _command(language: str, address: str, role: str) -> tuple[list[str], dict[str, str]]:
    if language == "python":
        return [str(peer_python()), "-E", str(PYTHON_SUITE), address, role], {}
    modules = node_modules()
    if modules is None:
        pytest.skip("Node.js and npm are not installed")
    return ["node", str(JAVASCRIPT_SUITE), address, role], {"NODE_PATH": str(modules)}


# --- alone: their client, their worker -------------------------------------------------------------------


def _alone(language: str) -> dict[str, dict[str, object]]:
    with emulator() as address:
        return run_suite(*_command(language, address, "both"))


@pytest.fixture(scope="module")
def reports() -> Iterator[dict[str, Future[dict[str, dict[str, object]]]]]:
    """What both SDKs say, each of a server of its own. They mostly wait, so they run side by side."""
    with ThreadPoolExecutor() as pool:
        yield {language: pool.submit(_alone, language) for language in ("python", "javascript")}


@pytest.mark.parametrize(
    ("language", "scenario"),
    [("python", name) for name in PYTHON_SCENARIOS] + [("javascript", name) for name in JAVASCRIPT_SCENARIOS],
)
def test_another_sdk_works_against_our_server(
    reports: dict[str, Future[dict[str, dict[str, object]]]], language: str, scenario: str
) -> None:
    """Client and worker of another SDK get what they expect of entities."""
    report = reports[language].result()
    assert report[scenario]["ok"], report[scenario]["detail"]


# --- our worker, their client ----------------------------------------------------------------------------


class Counter(TaskEntity[int]):
    """The counter that both suites know: its state is a bare number."""

    def initial_state(self) -> int:
        """Zero."""
        return 0

    def add(self, amount: int) -> int:
        """Add, and give the sum."""
        self.state += amount
        return self.state

    def get(self) -> int:
        """The sum."""
        return self.state

    def add_and_fail(self, amount: int) -> None:
        """Change the state and raise."""
        self.state += amount
        raise ValueError("on purpose")

    def pass_on(self, amount: int) -> None:
        """Signal another counter."""
        self.context.signal_entity(EntityId("counter", f"{self.context.entity_id.key}-next"), "add", amount)

    def start_child(self, number: int) -> str:
        """Start an orchestration."""
        return self.context.schedule_new_orchestration(echo_number, number)


async def echo_number(_: OrchestrationContext, number: int) -> int:
    """The input."""
    return number


async def report(_: OrchestrationContext, text: str) -> str:
    """The input."""
    return text


async def add_twice(context: OrchestrationContext, key: str) -> list[int]:
    """Two calls."""
    counter = EntityId("counter", key)
    return [await context.call_entity(counter, "add", 2), await context.call_entity(counter, "add", 3)]


async def signal_then_get(context: OrchestrationContext, key: str) -> int:
    """Ten signals, and a call that comes after them."""
    counter = EntityId("counter", key)
    for _ in range(10):
        context.signal_entity(counter, "add", 1)
    return await context.call_entity(counter, "get")


async def call_what_fails(context: OrchestrationContext, key: str) -> list[object]:
    """The text of a failed call, and the state after it."""
    counter = EntityId("counter", key)
    try:
        await context.call_entity(counter, "add_and_fail", 5)
    except TaskFailedError as error:
        return [str(error), await context.call_entity(counter, "get")]
    return []


class Transfer(TypedDict):
    """Input of ``transfer``."""

    keys: list[str]
    amount: int


async def transfer(context: OrchestrationContext, order: Transfer) -> bool:
    """Move an amount under two locks, if it is there."""
    source, target = (EntityId("counter", key) for key in order["keys"])
    async with context.lock_entities(source, target):
        if await context.call_entity(source, "get") < order["amount"]:
            return False
        await context.call_entity(source, "add", -order["amount"])
        await context.call_entity(target, "add", order["amount"])
    return True


async def hold_until_told(context: OrchestrationContext, key: str) -> str:
    """Hold a lock until an event comes."""
    counter = EntityId("counter", key)
    async with context.lock_entities(counter):
        context.set_custom_status("locked")
        await context.wait_for_external_event("release")
        await context.call_entity(counter, "add", 1)
    return "released"


async def signal_later(context: OrchestrationContext, key: str) -> None:
    """A signal half a second ahead."""
    at = context.current_utc_datetime + timedelta(milliseconds=500)
    context.signal_entity(EntityId("counter", key), "add", 7, at=at)


ORCHESTRATORS = [
    echo_number,
    report,
    add_twice,
    signal_then_get,
    call_what_fails,
    transfer,
    hold_until_told,
    signal_later,
]


async def _with_our_worker(language: str) -> dict[str, dict[str, object]]:
    with emulator() as address:
        connection_string = f"Endpoint=http://{address};Authentication=None"
        async with DurableTaskWorker(
            connection_string,
            "default",
            orchestrators=ORCHESTRATORS,
            entities={"counter": Counter},
            export_to=Directory(tempfile.gettempdir()),
        ):
            return await asyncio.to_thread(run_suite, *_command(language, address, "client"))


@pytest.fixture(scope="module")
def reports_of_clients() -> dict[str, dict[str, dict[str, object]]]:
    """What the clients of both SDKs say of our server and worker."""

    async def both() -> dict[str, dict[str, dict[str, object]]]:
        found = await asyncio.gather(_with_our_worker("python"), _with_our_worker("javascript"))
        return dict(zip(("python", "javascript"), found, strict=True))

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("language", "scenario"),
    [("python", name) for name in PYTHON_SCENARIOS] + [("javascript", name) for name in JAVASCRIPT_SCENARIOS],
)
def test_their_client_works_with_our_worker(
    reports_of_clients: dict[str, dict[str, dict[str, object]]], language: str, scenario: str
) -> None:
    """The client of another SDK gets from our worker what it gets from its own."""
    report = reports_of_clients[language]
    assert report[scenario]["ok"], report[scenario]["detail"]


# --- their worker, our client ----------------------------------------------------------------------------


@pytest.fixture(params=["python", "javascript"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of ours that has a worker of another SDK."""
    with emulator() as address:
        command, environment = _command(request.param, address, "worker")
        with subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == "ready\n"
                yield address
            finally:
                process.kill()


@pytest.fixture
async def client(address: str) -> AsyncIterator[DurableTaskClient]:
    """A client of ours."""
    async with DurableTaskClient(f"Endpoint=http://{address};Authentication=None", "default") as client:
        yield client


async def _result(client: DurableTaskClient, name: str, value: object) -> object:
    instance_id = await client.schedule_new_orchestration(name, value)
    state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=30)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.COMPLETED
    return state.output


async def _state(client: DurableTaskClient, key: str, expected: object) -> None:
    """Wait for a state."""
    for _ in range(400):
        found = await client.get_entity(EntityId("counter", key))
        if (found.state if found else None) == expected:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{key} has never been {expected}")


async def test_our_client_works_with_their_worker(client: DurableTaskClient) -> None:
    """Signals, calls, failures, locks and listings of entities that another SDK runs."""
    for _ in range(20):
        await client.signal_entity(EntityId("counter", "a"), "add", 1)
    await _state(client, "a", 20)
    at = datetime.now(timezone.utc) + timedelta(milliseconds=300)
    await client.signal_entity(EntityId("counter", "later"), "add", 1, at=at)
    await _state(client, "later", None)
    assert await _result(client, "add_twice", "b") == [2, 5]
    assert await _result(client, "signal_then_get", "c") == 10
    text, value = cast("list[object]", await _result(client, "call_what_fails", "b"))
    assert "on purpose" in str(text)
    assert value == 5
    assert await _result(client, "transfer", {"keys": ["a", "b"], "amount": 15}) is True
    await _state(client, "b", 20)
    await _state(client, "later", 1)
    found = [one.instance_id async for one in client.query_entities()]
    assert found == [f"@counter@{key}" for key in ("a", "b", "c", "later")]
    await client.signal_entity(EntityId("counter", "a"), "delete")
    await _state(client, "a", None)


@pytest.mark.parametrize("address", ["python"], indirect=True)
async def test_their_worker_runs_our_schedules_and_exports(client: DurableTaskClient) -> None:
    """Schedules and export jobs of our client run on a worker of the other Python SDK, which has no JavaScript twin."""
    made = await client.schedules.create("often", "report", "text", every=timedelta(seconds=1))
    assert made.status is ScheduleStatus.ACTIVE
    for _ in range(400):
        done = [one async for one in client.query_orchestrations(instance_id_prefix="often-")]
        if len(done) >= 2:
            break
        await asyncio.sleep(0.05)
    assert {one.name for one in done} == {"report"}
    await client.schedules.pause("often")
    assert [one.status async for one in client.schedules.list()] == [ScheduleStatus.PAUSED]
    await client.schedules.delete("often")
    assert await client.schedules.get("often") is None
    now = datetime.now(timezone.utc)
    await client.exports.create(
        "archive", completed_from=now - timedelta(hours=1), completed_to=now, readable_by="python"
    )
    job = await client.exports.wait("archive", timeout_in_seconds=60)
    assert job.exported >= 2
    await client.exports.delete("archive")
    assert await client.exports.get("archive") is None
