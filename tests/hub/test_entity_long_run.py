"""A long run: money moves under locks while workers and the hub are killed. The total holds, and everything ends."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import bank_worker
import pytest
from durabletask.core.entities import EntityQuery
from durabletask.core.errors import InstanceAlreadyExistsError, TransportError
from durabletask.core.instances import CreateInstanceRequest, InstanceQuery, OrchestrationStatus, ReusePolicy
from durabletask.core.transport import Transport
from durabletask.grpc.transport import GrpcTransport

pytestmark = [pytest.mark.process, pytest.mark.extended]

T = TypeVar("T")
ACCOUNTS = 10
ORCHESTRATIONS = 100
KILLS = int(os.environ.get("DURABLETASK_BANK_KILLS", "12"))
LIVE = [OrchestrationStatus.PENDING, OrchestrationStatus.RUNNING]


async def started(*arguments: str, port: bool = False) -> tuple[asyncio.subprocess.Process, int]:
    """Start a process and wait for its first line; the port that the line names."""
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    assert line, f"{arguments[0]} ended by itself"
    return process, int(found[1]) if port and found else 0


class Bank:
    """A hub on a file and two workers, each a process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = 0
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> None:
        if name == "hub":
            command = (
                "-m",
                "durabletask.testing.emulator",
                "--port",
                str(self.port),
                "--store",
                str(self.path),
            )
            self.processes[name], self.port = await started(*command, port=True)
        else:
            endpoint = f"Endpoint=http://127.0.0.1:{self.port};Authentication=None"
            self.processes[name], _ = await started(bank_worker.__file__, endpoint)

    async def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        await process.wait()

    async def close(self) -> None:
        for name in list(self.processes):
            await self.kill(name)


async def patient(call: Callable[[], Awaitable[T]]) -> T:
    """Try until the hub is there."""
    for _ in range(200):
        with suppress(TransportError):
            return await call()
        await asyncio.sleep(0.1)
    return await call()


async def create(transport: Transport, number: int, moves: str) -> None:
    request = CreateInstanceRequest(
        name="transfer", instance_id=f"t{number}", input=moves, reuse_policy=ReusePolicy()
    )
    try:
        await transport.create_instance(request)
    except InstanceAlreadyExistsError:  # the answer to an earlier attempt was lost
        return


async def test_no_money_is_lost_however_often_workers_and_the_hub_are_killed(tmp_path: Path) -> None:
    """100 orchestrations, 10 accounts, two workers; a process is killed every second or so, the hub as well."""
    dice = random.Random(1)
    bank = Bank(tmp_path / "bank.db")
    try:
        for name in ("hub", "first", "second"):
            await bank.start(name)
        transport = GrpcTransport(f"http://127.0.0.1:{bank.port}", "default")
        for number in range(ORCHESTRATIONS):
            moves = [[*dice.sample(range(ACCOUNTS), 2), dice.randrange(1, 400)] for _ in range(3)]
            await patient(lambda number=number, moves=moves: create(transport, number, str(moves)))
            if number % 20 == 10:
                await bank.kill("hub")
                await bank.start("hub")
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.3, 1.2))
            name = dice.choice(["hub", "first", "second"])
            await bank.kill(name)
            await bank.start(name)
        query = InstanceQuery(runtime_statuses=LIVE, page_size=ORCHESTRATIONS)
        for _ in range(400):
            if not (await patient(lambda: transport.query_instances(query))).states:
                break
            await asyncio.sleep(0.2)
        states = (
            await transport.query_instances(InstanceQuery(page_size=1000, include_payloads=True))
        ).states
        assert [one.runtime_status for one in states] == [OrchestrationStatus.COMPLETED] * ORCHESTRATIONS
        assert sum(int(one.serialized_output or 0) for one in states) > ORCHESTRATIONS
        entities = (await transport.query_entities(EntityQuery(include_transient=True))).entities
        balances = [int(re.findall(r"\d+", one.serialized_state or "")[0]) for one in entities]
        assert sum(balances) == ACCOUNTS * bank_worker.OPENING
        assert {(one.locked_by, one.backlog_queue_size) for one in entities} == {(None, 0)}
        await transport.close()
    finally:
        await bank.close()
