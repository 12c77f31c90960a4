"""What an explanation says about waits for entities: operation, entity, since when, and who holds the lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    EntityMetadata,
    OrchestrationContext,
    TaskEntity,
    operation,
)
from durabletask.core.diagnosis import Diagnosis
from durabletask.core.entity_waits import WaitedEntity
from durabletask.core.errors import NotSupportedError
from durabletask.core.history import EntityLockGranted, EntityLockRequested, EntityOperationCalled
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.transport import Transport
from durabletask.testing import OrchestrationTestEnvironment, WrappedTransport
from durabletask.testing.conformance import ConformanceHub


class Account(TaskEntity):
    balance: int = 0

    @operation
    async def slow(self) -> None:
        await asyncio.Event().wait()


class Accounts(TaskEntity):
    balance: int = 0


async def holds(ctx: OrchestrationContext, key: str) -> None:
    async with ctx.lock_entities(ctx.entity(Account, key)):
        await ctx.call_activity("entered")
        await ctx.wait_for_external_event("Go")


async def moves(ctx: OrchestrationContext) -> None:
    async with ctx.lock_entities(ctx.entity(Account, "a"), ctx.entity(Account, "b")):
        pass


async def calls(ctx: OrchestrationContext) -> None:
    await ctx.entity(Account, "b").slow()


async def calls_inside(ctx: OrchestrationContext) -> None:
    async with ctx.lock_entities(ctx.entity(Account, "b")):
        await ctx.entity(Account, "b").slow()


class Program:
    """A worker with a client, and an event that is set where ``holds`` has its lock."""

    def __init__(self, client: DurableTaskClient) -> None:
        self.client = client
        self.entered = asyncio.Event()

    async def start(self, orchestrator: object, value: object = None) -> str:
        """Start an orchestration and wait until its first episode is committed."""
        name = orchestrator.__name__  # type: ignore[attr-defined]
        created: str = await self.client.schedule_new_orchestration(name, value, instance_id=name)
        await self.client.wait_for_orchestration_start(created)
        return created

    async def time_of(self, instance_id: str, kind: type) -> datetime:
        """The timestamp of the first event of a kind."""
        history = await self.client.get_orchestration_history(instance_id)
        return next(event.timestamp for event in history if isinstance(event, kind))


@pytest.fixture
async def transport(conformance_hub: ConformanceHub) -> AsyncIterator[Transport]:
    yield await conformance_hub.open()
    await conformance_hub.close()


@asynccontextmanager
async def a_program(transport: Transport) -> AsyncIterator[Program]:
    program = Program(DurableTaskClient(transport))

    async def entered(ctx: ActivityContext) -> None:
        program.entered.set()

    worker = DurableTaskWorker(
        transport,
        entities=[Account],
        orchestrators=[holds, moves, calls, calls_inside],
        activities=[entered],
    )
    await worker.start()
    try:
        yield program
    finally:
        await worker.stop(timeout=0)


@pytest.mark.parametrize("has_code", [False, True])
async def test_a_lock_names_what_is_held_and_who_holds_the_next(transport: Transport, has_code: bool) -> None:
    """Of a lock of two entities: the held one, the missing one, its holder, since when, and the status of the holder."""
    async with a_program(transport) as program:
        await program.start(holds, "b")
        await program.entered.wait()
        await program.start(moves)
        given = [moves] if has_code else []
        diagnosis = await program.client.explain("moves", orchestrators=given, entities=[Account])
        requested = await program.time_of("moves", EntityLockRequested)
        granted = await program.time_of("holds", EntityLockGranted)
    (wait,) = diagnosis.waits
    assert (wait.kind, wait.lock_set, wait.since) == ("lock", ("@account@a", "@account@b"), requested)
    assert diagnosis.entities["@account@b"] == WaitedEntity(
        entity_id="@account@b",
        messages=1,
        locked_by="holds",
        holder_status=OrchestrationStatus.RUNNING,
        locked_since=granted,
    )
    text = str(diagnosis)
    assert f"lock of @account@a, @account@b since {requested.isoformat()}" in text
    assert (
        f"    It holds '@account@a'. Entity '@account@b' is locked by 'holds' since {granted.isoformat()}, which is "
        "RUNNING; 1 message waits for it." in text
    )
    assert diagnosis.advice[0] == "Explain the holder of '@account@b': client.explain('holds')."
    assert (f"{__file__}:{moves.__code__.co_firstlineno + 1}" in text) is has_code


async def test_a_call_of_a_locked_entity_names_the_holder(transport: Transport) -> None:
    """The operation, its entity, since when it waits, and the orchestration in its way."""
    async with a_program(transport) as program:
        await program.start(holds, "b")
        await program.entered.wait()
        await program.start(calls)
        diagnosis = await program.client.explain("calls")
        called = await program.time_of("calls", EntityOperationCalled)
    (wait,) = diagnosis.waits
    assert (wait.kind, wait.name, wait.target, wait.since) == ("entity", "slow", "@account@b", called)
    assert f"operation 'slow' of entity '@account@b' since {called.isoformat()}" in str(diagnosis)
    assert diagnosis.entities["@account@b"].locked_by == "holds"
    assert diagnosis.advice[0] == "Explain the holder of '@account@b': client.explain('holds')."


async def test_a_call_under_way_points_to_the_workers(transport: Transport) -> None:
    """Nothing holds the entity: its operation is queued or running, and names that the given code lacks are named."""
    async with a_program(transport) as program:
        await program.start(calls)
        diagnosis = await program.client.explain("calls", entities=[Account])
        other = await program.client.explain("calls", entities=[Accounts])
    assert "    Entity '@account@b' is not locked; 1 message waits for it." in str(diagnosis)
    assert diagnosis.advice[0] == (
        "Operations of '@account@b' are queued or running: check the workers that have this entity."
    )
    assert other.advice[0] == (
        "The entity 'account' is not among those that were given. The nearest names are 'accounts'."
    )


async def test_an_entity_that_no_worker_has_is_shown_waiting(conformance_hub: ConformanceHub) -> None:
    """Without a worker for the entity, the messages that wait for it are counted."""
    transport = await conformance_hub.open()
    async with (
        DurableTaskWorker(transport, orchestrators=[calls], filters="auto"),
        DurableTaskClient(transport) as client,
    ):
        await client.schedule_new_orchestration(calls, instance_id="calls")
        await client.wait_for_orchestration_start("calls")
        diagnosis = await client.explain("calls", orchestrators=[calls])
    await conformance_hub.close()
    assert diagnosis.entities["@account@b"].messages == 1
    assert "check the workers that have this entity" in diagnosis.advice[0]


async def test_a_call_in_a_critical_section_says_that_the_lock_is_its_own() -> None:
    """An orchestration that holds the entity waits for the operation, not for the lock; ``run.explain`` asks as well."""
    async with OrchestrationTestEnvironment(orchestrators=[calls_inside], entities=[Account]) as env:
        run = await env.start(calls_inside)
        text = str(run.explain())
    assert "It holds the lock of '@account@b'; 1 message waits for it." in text
    assert "check the workers that have this entity" in text


# --- hubs that answer otherwise -----------------------------------------------------------------------------

_MADE = datetime(2026, 1, 1, tzinfo=timezone.utc)


class _Hub(WrappedTransport):
    """A hub that shows an entity otherwise, or has no entities for clients."""

    def __init__(self, inner: Transport, shown: EntityMetadata | NotSupportedError | None) -> None:
        super().__init__(inner)
        self._shown = shown

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        if isinstance(self._shown, NotSupportedError):
            raise self._shown
        return self._shown


async def _explained(shown: EntityMetadata | NotSupportedError | None) -> Diagnosis:
    """What is said about a call when the hub shows its entity like this."""
    async with OrchestrationTestEnvironment(orchestrators=[calls], entities=[Account]) as env:
        run = await env.start(calls, instance_id="calls")
        return await DurableTaskClient(_Hub(env.hub, shown)).explain(run.instance_id)


async def test_a_lock_of_an_orchestration_that_is_gone_is_to_be_cleaned() -> None:
    """The holder does not exist: the advice is to clean the storage."""
    held = EntityMetadata(instance_id="@account@b", last_modified_at=_MADE, locked_by="purged")
    diagnosis = await _explained(held)
    assert diagnosis.entities["@account@b"].is_orphaned
    assert "is locked by 'purged', which is not there any more; 0 messages wait for it." in str(diagnosis)
    assert diagnosis.advice[0] == (
        "The holder of '@account@b' is gone: client.clean_entity_storage() releases its lock."
    )


async def test_an_entity_that_the_hub_does_not_show_may_have_been_purged() -> None:
    """A call whose entity is not there is probably lost."""
    diagnosis = await _explained(None)
    assert "    The hub shows no entity '@account@b'." in str(diagnosis)
    assert "If entity '@account@b' was purged, this wait may never end" in diagnosis.advice[0]


async def test_a_hub_without_entities_leaves_what_the_history_shows() -> None:
    """The wait is named all the same, with what to look at."""
    diagnosis = await _explained(NotSupportedError("GetEntity is not supported."))
    assert diagnosis.entities == {}
    assert diagnosis.waits[0].target == "@account@b"
    assert "client.get_entity('@account@b')" in diagnosis.advice[0]
