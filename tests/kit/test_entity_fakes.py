"""Fakes of entities: results by operation, records of calls and signals, and nothing that passes unnoticed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from durabletask import EntityContext, EntityId, OrchestrationContext, TaskEntity, TaskFailedError, operation
from durabletask.core.errors import (
    ActivityNotRegisteredError,
    EntityNotRegisteredError,
    EntityOperationNotFoundError,
    TaskNotRegisteredError,
)
from durabletask.testing import Chaos, OrchestrationTestEnvironment, sync


@dataclass
class Entry:
    amount: int


class Account(TaskEntity):
    balance: int = 0

    @operation
    def deposit(self, entry: Entry) -> int:
        raise NotImplementedError

    @operation
    def read(self) -> int:
        raise NotImplementedError


def register(ctx: EntityContext, value: int | None = None) -> int:
    raise NotImplementedError


async def saves(ctx: OrchestrationContext, amount: int) -> int:
    account = ctx.entity(Account, "a")
    account.signal.deposit(Entry(amount))
    ctx.entity(Account, "b").signal.deposit(Entry(1))
    return await account.deposit(Entry(2 * amount))


async def saves_under_lock(ctx: OrchestrationContext, amount: int) -> int:
    async with ctx.lock_entities(ctx.entity(Account, "a"), ctx.entity(Account, "b")):
        return await ctx.entity(Account, "a").deposit(Entry(amount))


@pytest.mark.parametrize("is_registered", [True, False], ids=["registered", "given as a class"])
async def test_a_fake_answers_calls_and_records_signals(is_registered: bool) -> None:
    """Inputs are what the operation gets; calls and signals have the same assertions."""
    entities = [Account] if is_registered else []
    async with OrchestrationTestEnvironment(orchestrators=[saves], entities=entities) as env:
        fake = env.fake_entity("account" if is_registered else Account)
        deposit = fake.operation(Account.deposit, side_effect=lambda entry: 100 + entry.amount)
        assert await env.run(saves, 5, instance_id="run") == 110
        deposit.assert_called_once_with(Entry(10))
        deposit.assert_called_once_with({"amount": 10})
        deposit.signals.assert_called_with({"amount": 1})
        deposit.signals.assert_any_call(Entry(5))
        assert deposit.signals.inputs == [Entry(5), Entry(1)]
        of_a = [call for call in fake.calls if call.entity_id.key == "a"]
        assert [(call.is_signal, call.instance_id) for call in of_a] == [(True, None), (False, "run")]
        assert [call.result for call in deposit.calls] == [110]
        assert env.entity_calls == fake.calls
        with pytest.raises(AssertionError, match=r"Operation 'deposit' of entity 'account' .* never"):
            deposit.assert_not_called()
        with pytest.raises(AssertionError, match="should have been signalled once; its signals were"):
            deposit.signals.assert_called_once()


async def test_results_exceptions_and_lists_are_outcomes() -> None:
    """As for activities: one result for all, one exception, or one outcome per call."""

    async def read_once(ctx: OrchestrationContext) -> object:
        try:
            return await ctx.entity(Account, "a").read()
        except TaskFailedError as error:
            return error.details.root_cause.message

    async def reads(ctx: OrchestrationContext) -> list[object]:
        return [await read_once(ctx) for _ in range(3)]

    async with OrchestrationTestEnvironment(orchestrators=[reads]) as env:
        fake = env.fake_entity(Account)
        fake.operation("read", returns=7)
        assert await env.run(reads) == [7, 7, 7]
        fake.operation("READ", side_effect=KeyError("closed"))
        assert await env.run(reads) == ["'closed'"] * 3
        outcomes = fake.operation("read", side_effect=[1, OSError("down")])
        first, second, third = await env.run(reads)
        assert (first, second) == (1, "down")
        assert "operation 'read' of entity 'account' has 2 outcomes and was called 3 times" in third
        assert [call.succeeded for call in outcomes.calls] == [True, False, False]


async def test_a_fake_can_be_locked() -> None:
    """Locks belong to the hub: a critical section over fakes runs, and others wait for it."""
    async with OrchestrationTestEnvironment(orchestrators=[saves_under_lock]) as env:
        env.fake_entity(Account).operation("deposit", returns=1)
        assert await env.run(saves_under_lock, 5) == 1
        assert await env.entity("account", "a").call.deposit({"amount": 1}) == 1


async def test_a_call_without_an_operation_fails_with_the_line_to_write() -> None:
    """The failure of the call names entity and operation, and what the fake has."""
    async with OrchestrationTestEnvironment(orchestrators=[saves]) as env:
        fake = env.fake_entity(Account)
        fake.operation("read")
        with pytest.raises(
            TaskFailedError, match=r"'account' was not given an operation 'deposit'; it has 'read'"
        ) as caught:
            await env.entity(Account, "a").call.deposit(Entry(1))
        assert "fake.operation('deposit', returns=...)" in str(caught.value)
        assert [call.operation for call in fake.calls] == ["deposit"]


async def test_a_signal_without_an_operation_fails_the_test() -> None:
    """Its sender never learns of it, so the environment raises at its end."""

    async def signals(error: Exception | None = None) -> None:
        async with OrchestrationTestEnvironment() as env:
            env.fake_entity(Account)
            await env.entity(Account, "a").signal.read()
            if error is not None:
                raise error

    with pytest.raises(AssertionError, match="'account' was not given an operation 'read'; it has none"):
        await signals()
    with pytest.raises(LookupError, match="of the test"):
        await signals(LookupError("of the test"))


async def test_names_that_can_never_be_right_are_refused() -> None:
    """A misspelt entity, an operation that the class does not have, an entity as an activity."""
    async with OrchestrationTestEnvironment(entities=[Account]) as env:
        with pytest.raises(EntityNotRegisteredError, match="'account' is: the fake would never be called"):
            env.fake_entity("accounts")
        with pytest.raises(EntityOperationNotFoundError, match="no operation 'deposits'"):
            env.fake_entity("Account").operation("deposits")
        with pytest.raises(ActivityNotRegisteredError, match=r"env\.fake_entity"):
            env.fake(Account)
        assert env.fake_entity("orders").name == "orders"


async def test_an_input_that_does_not_fit_fails_the_fake_as_it_fails_the_operation() -> None:
    """A fake does not hide that the real operation would be refused its input."""
    async with OrchestrationTestEnvironment() as env:
        deposit = env.fake_entity(Account).operation("deposit", returns=1)
        with pytest.raises(TaskFailedError, match="Input of operation 'deposit'"):
            await env.entity("account", "a").call.deposit({"amount": "much"})
        with pytest.raises(TaskFailedError, match="Input of operation 'deposit'"):
            await env.entity("account", "a").call.deposit()
        assert deposit.call_count == 2


async def test_function_entities_can_be_faked_and_delayed_signals_wait_for_their_time() -> None:
    """By function or by name; a signal at a time arrives when virtual time reaches it."""
    async with OrchestrationTestEnvironment() as env:
        put = env.fake_entity(register).operation("put")
        await env.client.signal_entity("@register@r", "put", 3, at=timedelta(hours=1))
        await env.advance(minutes=59)
        put.signals.assert_not_called()
        await env.advance(minutes=1)
        put.signals.assert_called_once_with(3)
        assert put.signals.calls[0].started_at == env.now
        assert put.signals.calls[0].entity_id == EntityId("register", "r")


async def test_an_entity_that_is_neither_registered_nor_faked_names_the_fake() -> None:
    """The failure has the line to write."""
    async with OrchestrationTestEnvironment() as env:
        with pytest.raises(TaskNotRegisteredError, match=r"env.fake_entity\('account'\)"):
            await env.entity(Account, "a").call.read()


async def test_operations_of_real_entities_are_recorded_too() -> None:
    """With results as the annotation has them, also when they fail."""

    class Counter(TaskEntity):
        value: int = 0

        @operation
        def add(self, entry: Entry) -> Entry:
            if entry.amount < 0:
                raise ValueError("negative")
            self.value += entry.amount
            return Entry(self.value)

    async with OrchestrationTestEnvironment(entities=[Counter]) as env:
        counter = env.entity(Counter, "k")
        await counter.signal.add(Entry(1))
        await counter.call.add(Entry(2))
        with pytest.raises(TaskFailedError, match="negative"):
            await counter.call.add(Entry(-1))
        assert [(call.input, call.result, call.succeeded) for call in env.entity_calls] == [
            (Entry(1), Entry(1), True),
            (Entry(2), Entry(3), True),
            (Entry(-1), None, False),
        ]


async def test_outcomes_count_for_deliveries_and_runs_under_chaos() -> None:
    """Each run begins with unused outcomes, and a batch that is delivered again has the same ones."""

    async def reads(ctx: OrchestrationContext) -> list[int]:
        return [await ctx.entity(Account, "a").read() for _ in range(4)]

    async with OrchestrationTestEnvironment(orchestrators=[reads]) as env:
        env.fake_entity(Account).operation("read", side_effect=[1, 2, 3, 4])
        chaos = Chaos(seed=3, worker_crashes=0.3, abandoned_items=0.5, expired_locks=0.3)
        assert await env.run(reads, chaos=chaos) == [1, 2, 3, 4]


def test_the_blocking_environment_has_fakes_of_entities() -> None:
    """The same without ``await``; a signal without an operation fails there, too."""
    with sync.OrchestrationTestEnvironment(orchestrators=[saves]) as env:
        deposit = env.fake_entity(Account).operation("deposit", returns=3)
        assert env.run(saves, 5) == 3
        assert len(env.entity_calls) == 3
        assert deposit.call_count == 1

    def signals() -> None:
        with sync.OrchestrationTestEnvironment() as env:
            env.fake_entity(Account)
            env.entity(Account, "a").signal.read()

    with pytest.raises(AssertionError, match="not given an operation"):
        signals()
