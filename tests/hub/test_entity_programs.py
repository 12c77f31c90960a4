"""Programs with entities: workers, orchestrators and clients on every transport of the project."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pytest
from durabletask.core.client import DurableTaskClient
from durabletask.core.context import OrchestrationContext
from durabletask.core.entities import EntityId
from durabletask.core.entity_context import EntityContext, TaskEntity
from durabletask.core.errors import TaskFailedError, TaskNotRegisteredError, TransportTimeoutError
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.operations import operation
from durabletask.core.transport import Transport
from durabletask.core.versioning import VersioningOptions, VersionMatchStrategy
from durabletask.core.worker import DurableTaskWorker
from durabletask.testing import InMemoryBackend, VirtualClock
from durabletask.testing.conformance import ConformanceHub

STRICT = VersioningOptions(version="7", match_strategy=VersionMatchStrategy.STRICT)


class Counter(TaskEntity):
    """State in attributes; plain and ``async`` operations."""

    name: str = "unnamed"
    value: int = 0

    @operation
    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    async def rename(self, name: str) -> None:
        self.name = name

    def remind(self, amount: int) -> None:
        self.context.signal_entity(self.entity_id, Counter.add, amount, at=timedelta(hours=1))
        self.signal.add(1)

    def break_it(self) -> None:
        self.value = 99
        raise LookupError("it is broken")


@dataclass
class Entry:
    amount: int
    labels: list[str] = field(default_factory=list)


class Entries(msgspec.Struct):
    entries: list[Entry] = []


class Journal(TaskEntity[Entries]):
    """State of a type of its own; inputs and results of others."""

    def initial_state(self) -> Entries:
        return Entries()

    @operation
    def write(self, entry: Entry) -> Entry:
        self.state.entries.append(entry)
        return entry


class Account(TaskEntity):
    balance: int = 0

    @operation
    def change(self, amount: int) -> int:
        if self.balance + amount < 0:
            raise ValueError(f"The balance is {self.balance}.")
        self.balance += amount
        return self.balance


def register(ctx: EntityContext, value: object = None) -> object:
    """A function entity."""
    if ctx.operation == "set":
        ctx.set_state(value)
    return ctx.get_state(int, 0)


@dataclass
class Transfer:
    source: str
    target: str
    amount: int


async def transfer(ctx: OrchestrationContext, order: Transfer) -> list[int]:
    source, target = ctx.entity(Account, order.source), ctx.entity(Account, order.target)
    async with ctx.lock_entities(source, target):
        return [await source.change(-order.amount), await target.change(order.amount)]


def transfer_in_steps(ctx: OrchestrationContext, order: Transfer):  # type: ignore[no-untyped-def]
    source, target = ctx.entity(Account, order.source), ctx.entity(Account, order.target)
    with (yield ctx.lock_entities(source, target)):
        return [(yield source.change(-order.amount)), (yield target.change(order.amount))]


@pytest.fixture
async def transport(conformance_hub: ConformanceHub) -> AsyncIterator[Transport]:
    yield await conformance_hub.open()
    await conformance_hub.close()


@asynccontextmanager
async def a_program(transport: Transport, **options: object) -> AsyncIterator[DurableTaskClient]:
    worker = DurableTaskWorker(
        transport,
        entities=[Counter, Journal, Account, register],
        orchestrators=[transfer, transfer_in_steps],
        **options,  # type: ignore[arg-type]
    )
    async with worker, DurableTaskClient(transport) as client:
        yield client


async def test_a_client_signals_calls_and_reads_an_entity(transport: Transport) -> None:
    """With attributes, and with a state of its own type; arguments and results are converted."""
    async with a_program(transport) as client:
        counter, journal = client.entity(Counter, "k"), client.entity(Journal, "j")
        assert await counter.state() is None
        await counter.signal.add(3)
        await counter.signal.rename("hits")
        assert await counter.call.add(4) == 7
        assert await counter.add(1) == 8  # type: ignore[attr-defined]
        assert await client.call_entity("@counter@k", Counter.add, 2) == 10
        assert await client.call_entity("@counter@k", "ADD", 1, return_type=float) == 11.0
        state = await counter.state()
        assert isinstance(state, Counter)
        assert (state.name, state.value) == ("hits", 11)
        assert await journal.call.write(Entry(1, ["a"])) == Entry(1, ["a"])
        assert await journal.state() == Entries([Entry(1, ["a"])])
        found = await client.get_entity(journal.entity_id, Entries)
        assert found is not None
        assert found.state == Entries([Entry(1, ["a"])])
        plain = await client.get_entity("@journal@j")
        assert plain is not None
        assert plain.state == {"entries": [{"amount": 1, "labels": ["a"]}]}
        await client.signal_entity("@register@r", "set", 5)
        assert await client.call_entity("@register@r", "get") == 5


async def test_calls_of_clients_leave_nothing_behind(transport: Transport) -> None:
    """The helper is removed when it has answered."""
    async with a_program(transport) as client:
        await client.call_entity("@counter@k", "add", 1)
        with pytest.raises(TaskFailedError):
            await client.call_entity("@counter@k", "break_it")

        assert await client.query_orchestrations(instance_id_prefix="durabletask~").to_list() == []


async def test_a_failed_call_has_the_failure_of_the_operation(transport: Transport) -> None:
    """Its type, message and details; the state is that from before the operation."""
    async with a_program(transport) as client:
        await client.call_entity("@counter@k", "add", 1)
        with pytest.raises(TaskFailedError, match="operation 'break_it' of entity '@counter@k'") as caught:
            await client.call_entity("@counter@k", Counter.break_it)
        assert caught.value.details.error_type == "builtins.LookupError"
        assert caught.value.details.message == "it is broken"
        assert caught.value.task_name == "break_it"
        state = await client.entity(Counter, "k").state()
        assert state is not None
        assert state.value == 1


@pytest.mark.parametrize(
    ("entity", "name", "message"),
    [
        ("counter", "ad", "Its operations are: 'add', 'break_it', 'delete', 'remind', 'rename'"),
        ("counter", "_hidden", "The entity has no operation '_hidden'"),
        ("countr", "add", "No entity named 'countr' is registered"),
    ],
)
async def test_an_unknown_entity_or_operation_fails_for_good(
    transport: Transport, entity: str, name: str, message: str
) -> None:
    """With the names that are known."""
    async with a_program(transport) as client:
        with pytest.raises(TaskNotRegisteredError, match=message) as caught:
            await client.call_entity(EntityId(entity, "k"), name)
        assert caught.value.details.is_final


async def test_calls_work_whatever_versions_and_filters_a_worker_has(transport: Transport) -> None:
    """A client without a version, a worker that accepts version 7 and asks for its own names only."""
    async with a_program(transport, versioning=STRICT, filters="auto") as client:
        assert await client.call_entity("@counter@k", "add", 1) == 1


async def test_a_call_that_nothing_answers_times_out(
    transport: Transport, conformance_hub: ConformanceHub
) -> None:
    """Its helper is terminated, so that it does not wait forever."""
    client = DurableTaskClient(transport)
    call = asyncio.create_task(client.call_entity("@counter@k", "add", 1, timeout=conformance_hub.unit))
    await conformance_hub.settle()
    while not call.done():
        await conformance_hub.advance(conformance_hub.unit)

    with pytest.raises(TransportTimeoutError, match="'add' of entity '@counter@k' has not answered within"):
        await call
    (helper,) = await client.query_orchestrations(instance_id_prefix="durabletask~").to_list()
    assert await client.query_orchestrations().to_list() == []
    async with a_program(transport):
        state = await client.wait_for_orchestration_completion(helper.instance_id)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.TERMINATED
    await client.close()


async def test_delete_empties_an_entity(transport: Transport) -> None:
    """It is not found any more; the next operation starts with the defaults."""
    async with a_program(transport) as client:
        counter = client.entity(Counter, "k")
        await counter.call.add(5)
        await counter.call.delete()
        assert await counter.state() is None
        assert await client.get_entity(counter.entity_id) is None
        assert await counter.call.add(1) == 1


async def test_signals_at_a_time_arrive_then(hub: InMemoryBackend, clock: VirtualClock) -> None:
    """Those of a client, and those that an entity sends to itself."""
    async with a_program(hub) as client:
        counter = client.entity(Counter, "k")
        await client.signal_entity(counter.entity_id, Counter.add, 10, at=5)
        await counter.call.remind(100)
        assert await counter.call.add(1) == 2
        await clock.advance(timedelta(seconds=6))
        assert await counter.call.add(0) == 12
        await clock.advance(timedelta(hours=1))
        assert await counter.call.add(0) == 112


@pytest.mark.parametrize("orchestrator", [transfer, transfer_in_steps])
async def test_money_moves_under_locks(transport: Transport, orchestrator: object) -> None:
    """Proxies inside sections; a failed transfer changes nothing and frees the accounts."""
    async with a_program(transport) as client:
        await client.entity(Account, "a").signal.change(100)

        async def run(order: Transfer) -> OrchestrationState:
            started = await client.schedule_new_orchestration(orchestrator, order)  # type: ignore[call-overload]
            state = await client.wait_for_orchestration_completion(started)
            assert state is not None
            return state

        orders = [
            Transfer("a", "b", 30),
            Transfer("b", "a", 10),
            Transfer("a", "b", 5),
            Transfer("a", "b", 500),
        ]
        states = [await run(order) for order in orders]
        assert [state.output for state in states[:3]] == [[70, 30], [20, 80], [75, 25]]
        assert states[3].failure_details is not None
        assert "The balance is 75." in states[3].failure_details.message
        balances = [await client.entity(Account, key).state() for key in "ab"]
        assert [account.balance for account in balances if account] == [75, 25]
        entities = await client.query_entities().to_list()
        assert [(each.instance_id, each.locked_by) for each in entities] == [
            ("@account@a", None),
            ("@account@b", None),
        ]


async def test_entities_are_listed_purged_and_cleaned(transport: Transport) -> None:
    """By prefix of the id, in upper or lower case, with or without states; step by step or to the end."""
    async with a_program(transport) as client:
        for key in ("a1", "a2", "b1"):
            await client.entity(Counter, key).call.add(1)
        await client.entity(Account, "a1").call.change(1)

        async def ids(prefix: str) -> list[str]:
            listing = client.query_entities(instance_id_prefix=prefix, page_size=1, include_state=False)
            return [each.instance_id async for each in listing]

        assert await ids("@Counter@a") == ["@counter@a1", "@counter@a2"]
        assert await ids("Account") == ["@account@a1"]
        purged = await client.purge_entity("@counter@a1")
        assert purged.deleted_instance_count == 1
        assert (await client.purge_entity("@counter@a1")).deleted_instance_count == 0
        assert await ids("@counter@") == ["@counter@a2", "@counter@b1"]
        step = await client.clean_entity_storage(continue_until_complete=False)
        while step.continuation_token:
            step = await client.clean_entity_storage(
                continuation_token=step.continuation_token, continue_until_complete=False
            )
        assert (await client.clean_entity_storage()).continuation_token is None
        assert await ids("@counter@") == ["@counter@a2", "@counter@b1"]
