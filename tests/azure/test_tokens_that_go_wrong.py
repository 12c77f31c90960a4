"""Tokens expire, are revoked, are for another audience: a worker recovers or reports what is wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timezone

import pytest
from azure_edges import Certificate, GuardedServer, Mint
from durabletask.azuremanaged.credentials import from_credential
from durabletask.azuremanaged.sources import TokenSource
from durabletask.azuremanaged.token_cache import AzureCredentialProvider
from durabletask.core.authoring import ActivityContext
from durabletask.core.client import DurableTaskClient
from durabletask.core.connection import AccessToken, CredentialProvider, resolve_transport
from durabletask.core.context import OrchestrationContext
from durabletask.core.errors import TaskHubNotFoundError, UnauthenticatedError
from durabletask.core.hosting.backoff import Backoff
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.transport import Transport
from durabletask.core.worker import DurableTaskWorker
from durabletask.grpc.channel import ChannelOptions

pytestmark = pytest.mark.process


class Minted(CredentialProvider):
    """Hands out what the mint issues; a token is kept until it is refused or has expired."""

    def __init__(self, mint: Mint, *, tenant: str | None = None) -> None:
        self.mint = mint
        self.options = {} if tenant is None else {"tenant": tenant}
        self.kept: AccessToken | None = None
        self.forced = 0

    async def get_token(self, *, force_new: bool = False) -> AccessToken:
        now = datetime.now(timezone.utc)
        self.forced += force_new
        if self.kept is None or force_new or (self.kept.expires_at - now).total_seconds() < 1:
            token, expires = self.mint.issue("worker", **self.options)
            self.kept = AccessToken(token, datetime.fromtimestamp(expires, timezone.utc))
        return self.kept

    async def close(self) -> None:
        """Nothing to close."""


def connect(
    server: GuardedServer, certificate: Certificate, credential: object, hub: str = "hub"
) -> Transport:
    """A transport that trusts the authority of the tests."""
    options = ChannelOptions(root_certificates=certificate.authority.read_bytes())
    return resolve_transport(f"Endpoint={server.address}", hub, credential=credential, options=options)


async def chain(context: OrchestrationContext, count: int) -> int:
    total = 0
    for number in range(count):
        total += await context.call_activity("add", number)
    return total


class Work:
    """An activity that counts how often it ran, and can be held."""

    def __init__(self) -> None:
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def add(self, context: ActivityContext, number: int) -> int:
        self.runs += 1
        await self.gate.wait()
        return number + 1


@asynccontextmanager
async def hosted(transport: Transport, work: Work) -> AsyncIterator[DurableTaskClient]:
    """A worker and a client on one transport."""
    worker = DurableTaskWorker(
        transport,
        orchestrators={"chain": chain},
        activities={"add": work.add},
        backoff=Backoff(longest=0.05),
    )
    try:
        async with worker:
            yield DurableTaskClient(transport)
    finally:
        await transport.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("did not come about within 10 s")


def streams(server: GuardedServer) -> int:
    """How many streams of work were opened."""
    return sum(call["rpc"] == "GetWorkItems" for call in server.seen)


async def finished(client: DurableTaskClient, instance: str) -> str | None:
    """The output of an instance that has completed."""
    state = await client.wait_for_orchestration_completion(instance, timeout_in_seconds=20)
    assert state is not None
    assert state.runtime_status == OrchestrationStatus.COMPLETED
    return state.serialized_output


async def test_a_stream_is_renewed_before_its_token_expires_and_work_is_not_repeated(
    server: GuardedServer, certificate: Certificate, mint: Mint
) -> None:
    """A long activity runs once although the stream that brought it has been replaced."""
    mint.lifetime = 4.0
    work = Work()
    async with hosted(connect(server, certificate, Minted(mint)), work) as client:
        work.gate.clear()
        instance = await client.schedule_new_orchestration("chain", 1)
        await until(lambda: work.runs == 1)
        await until(lambda: streams(server) >= 2)
        work.gate.set()

        assert await finished(client, instance) == "1"
    assert work.runs == 1
    assert server.refused == []


@pytest.mark.parametrize("how", ["expired", "revoked"])
async def test_a_stream_that_the_hub_ends_for_its_token_goes_on_with_a_new_one(
    how: str, server: GuardedServer, certificate: Certificate, mint: Mint
) -> None:
    """Mid-stream the hub stops accepting the token: one new token, and all work completes."""
    credential = Minted(mint)
    work = Work()
    async with hosted(connect(server, certificate, credential), work) as client:
        instance = await client.schedule_new_orchestration("chain", 30)
        await until(lambda: work.runs >= 5)
        if how == "revoked":
            mint.revoked |= set(mint.issued)
        else:
            for claims in mint.issued.values():
                claims["exp"] = 0
        server.cut_streams()

        assert str(sum(range(1, 31))) == await finished(client, instance)
    assert 1 <= credential.forced <= 10
    assert server.refused


async def test_a_wrong_task_hub_is_told_by_name(
    server: GuardedServer, certificate: Certificate, mint: Mint
) -> None:
    """The endpoint answers and the hub does not exist: the error names it."""
    transport = connect(server, certificate, Minted(mint), hub="hubb")
    with pytest.raises(TaskHubNotFoundError, match="has no task hub 'hubb'"):
        await transport.connect()
    await transport.close()


async def test_a_token_of_another_tenant_is_told_by_client_and_worker(
    server: GuardedServer, certificate: Certificate, mint: Mint, caplog: pytest.LogCaptureFixture
) -> None:
    """What the hub objects to is in the error and in the log, the token is in neither."""
    caplog.set_level(logging.INFO)
    async with hosted(connect(server, certificate, Minted(mint, tenant="other")), Work()) as client:
        with pytest.raises(UnauthenticatedError, match="the token is for the tenant other") as raised:
            await client.get_orchestration_state("x")
        await until(lambda: "the token is for the tenant other" in caplog.text)

    for token in mint.issued:
        assert token not in repr(raised.value)
        assert token not in caplog.text


@pytest.mark.parametrize("skew", [-7200, 7200], ids=["hub is behind", "hub is ahead"])
async def test_a_clock_that_is_wrong_does_not_stop_the_work(
    skew: int, server: GuardedServer, certificate: Certificate, mint: Mint
) -> None:
    """Tokens are issued and checked on the hub's clock; two hours of difference cost nothing but a warning."""
    mint.clock = lambda: time.time() + skew

    class Credential:
        def get_token(self, *scopes: str) -> object:
            token, expires = mint.issue("worker")
            return type("Info", (), {"token": token, "expires_on": expires})()

    async with hosted(connect(server, certificate, from_credential(Credential())), Work()) as client:
        instance = await client.schedule_new_orchestration("chain", 3)

        assert await finished(client, instance) == "6"
    assert server.refused == []
    assert len(mint.issued) == 1


async def test_an_outage_of_the_token_source_loses_nothing(
    server: GuardedServer, certificate: Certificate, mint: Mint, caplog: pytest.LogCaptureFixture
) -> None:
    """The token is refused while its source is down for 30 s (of a clock that the test owns): work goes on after."""
    down_until: list[float] = []
    now = [time.time()]

    class Source(TokenSource):
        async def fetch(self, *, force_new: bool) -> AccessToken:
            if down_until and now[0] < down_until[0]:
                raise ConnectionRefusedError("connection refused")
            token, expires = mint.issue("worker")
            return AccessToken(token, datetime.fromtimestamp(expires, timezone.utc))

        async def close(self) -> None:
            """Nothing to close."""

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        await asyncio.sleep(0.001)

    credential = AzureCredentialProvider(
        Source(),
        what="test",
        hint="",
        clock=lambda: datetime.fromtimestamp(now[0], timezone.utc),
        sleep=sleep,
    )
    work = Work()
    async with hosted(connect(server, certificate, credential), work) as client:
        instance = await client.schedule_new_orchestration("chain", 20)
        await until(lambda: work.runs >= 3)
        down_until.append(now[0] + 30)
        mint.revoked |= set(mint.issued)
        server.cut_streams()

        assert str(sum(range(1, 21))) == await finished(client, instance)
    assert now[0] >= down_until[0]
    assert "does not answer (connection refused)" in caplog.text
