"""One entity without a hub, and entities in a test environment: results, states, messages, failures, virtual time."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pytest
from durabletask import (
    EntityContext,
    EntityId,
    OrchestrationContext,
    TaskEntity,
    TaskFailedError,
    operation,
)
from durabletask.core.errors import SerializationError, TaskNotRegisteredError
from durabletask.testing import (
    EntityTestEnvironment,
    OrchestrationTestEnvironment,
    SentSignal,
    StartedOrchestration,
    StuckOrchestrationError,
    sync,
)
from durabletask.testing import entity_environment as asynchronous

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Counter(TaskEntity):
    value: int = 0
    labels: tuple[str, ...] = ()

    @operation
    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    @operation
    async def label(self, text: str) -> None:
        self.labels += (text,)

    @operation
    def remind(self, amount: int) -> None:
        self.context.signal_entity(self.entity_id, Counter.add, amount, at=timedelta(hours=1))
        self.signal.add(1)

    @operation
    def report(self) -> str:
        return self.context.schedule_new_orchestration(
            "report", {"value": self.value}, instance_id="report-1", version="2", start_at=timedelta(days=1)
        )

    @operation
    def break_it(self) -> None:
        self.value = 99
        self.signal.add(1)
        raise LookupError("it is broken")

    @operation
    def time(self) -> datetime:
        return self.context.current_utc_datetime


@dataclass
class Cart:
    items: list[str] = field(default_factory=list)


class Carts(TaskEntity[Cart]):
    def initial_state(self) -> Cart:
        return Cart()

    @operation
    def put(self, item: str) -> Cart:
        self.state.items.append(item)
        return self.state


def register(ctx: EntityContext, value: int | None = None) -> int:
    """A function entity."""
    if value is not None:
        ctx.set_state(value)
    return ctx.get_state(int, 0)


# --- one entity ---------------------------------------------------------------------------------------------


async def test_operations_change_the_state_and_return_results() -> None:
    """By proxy, by method, by name, called and signalled; the state is an object of the class."""
    env = EntityTestEnvironment(Counter, "k")
    assert env.state() is None
    assert await env.call.add(3) == 3
    await env.signal.add(4)
    await env.call.label("x")
    assert await env.run(Counter.add, 1) == 8
    assert await env.run("ADD", 1, return_type=float) == 9.0
    state = env.state()
    assert isinstance(state, Counter)
    assert (state.value, state.labels) == (9, ("x",))
    assert str(env.entity_id) == "@counter@k"
    await env.run("delete")
    assert env.state() is None


async def test_a_state_can_be_given() -> None:
    """As an object of the class, as its payload, as a value of the type parameter, and to a function."""
    counter = Counter()
    counter.value = 5
    assert await EntityTestEnvironment(Counter, state=counter).call.add(1) == 6
    assert await EntityTestEnvironment(Counter, state={"value": 6}).call.add(1) == 7
    carts = EntityTestEnvironment(Carts, state=Cart(["a"]))
    assert await carts.call.put("b") == Cart(["a", "b"])
    assert carts.state() == Cart(["a", "b"])
    function = EntityTestEnvironment(register, state=4)
    assert await function.run("get") == 4
    assert await function.call.set(9) == 9
    assert function.state(int) == function.state() == 9


async def test_a_state_that_does_not_fit_fails_the_operation() -> None:
    """As at a worker, the operation fails and the state stays."""
    env = EntityTestEnvironment(Counter, state={"value": "many"})
    with pytest.raises(TaskFailedError, match="State of entity @counter@test"):
        await env.call.add(1)
    with pytest.raises(SerializationError):
        env.state()


async def test_what_is_sent_is_recorded_and_not_delivered() -> None:
    """Signals with their times, and orchestrations with input, version and start."""
    env = EntityTestEnvironment(Counter, "k", state={"value": 2})
    await env.call.remind(5)
    me = EntityId("counter", "k")
    assert env.signals == [
        SentSignal(entity_id=me, operation="add", input=5, at=START + timedelta(hours=1)),
        SentSignal(entity_id=me, operation="add", input=1),
    ]
    assert await env.call.report() == "report-1"
    assert env.orchestrations == [
        StartedOrchestration(
            name="report",
            instance_id="report-1",
            input={"value": 2},
            version="2",
            start_at=START + timedelta(days=1),
        )
    ]
    env.advance(days=2)
    assert await env.run("add", 0) == 2


async def test_a_failure_is_raised_and_changes_nothing() -> None:
    """As for callers: TaskFailedError with details. The exception is its cause; a signal raises as well."""
    env = EntityTestEnvironment(Counter, state={"value": 1})
    with pytest.raises(TaskFailedError, match="it is broken") as caught:
        await env.call.break_it()
    assert caught.value.details.error_type == "builtins.LookupError"
    assert isinstance(caught.value.__cause__, LookupError)
    with pytest.raises(TaskFailedError, match="it is broken"):
        await env.signal.break_it()
    assert env.signals == []
    assert await env.call.add(0) == 1
    with pytest.raises(TaskFailedError, match=r"no operation 'sub'. Its operations are: 'add'"):
        await env.run("sub", 1)
    with pytest.raises(TaskFailedError, match="Input of operation 'add'"):
        await env.run("add", "much")


async def test_operations_see_virtual_time() -> None:
    """Time stands still until it is moved."""
    env = EntityTestEnvironment(Counter, start_time=START)
    assert await env.call.time() == START == env.now
    env.advance(timedelta(hours=1), minutes=5)
    assert await env.call.time() == START + timedelta(hours=1, minutes=5)
    with pytest.raises(ValueError, match="cannot go back"):
        env.advance(seconds=-1)


async def test_operations_at_the_same_time_run_one_after_another() -> None:
    """No update is lost."""
    env = EntityTestEnvironment(Counter)
    assert await asyncio.gather(*(env.run(Counter.add, 1) for _ in range(5))) == [1, 2, 3, 4, 5]


def test_the_blocking_twin_has_the_same_names() -> None:
    """Operations, state, messages and time without ``await``."""
    env = sync.EntityTestEnvironment(Counter, "k", state={"value": 1})
    assert env.call.add(3) == 4  # type: ignore[comparison-overlap]
    env.signal.add(1)
    assert env.run(Counter.add, 1) == 6
    env.call.remind(5)
    env.advance(hours=1)
    assert len(env.signals) == 2
    state = env.state()
    assert state is not None
    assert state.value == 6
    with pytest.raises(TaskFailedError, match="it is broken"):
        env.call.break_it()
    own, twin = asynchronous.EntityTestEnvironment, sync.EntityTestEnvironment
    for name, member in vars(own).items():
        if not name.startswith("_"):
            assert hasattr(twin, name)
            if inspect.isfunction(member):
                assert inspect.signature(member) == inspect.signature(getattr(twin, name))


# --- entities in an environment -----------------------------------------------------------------------------


async def adds(ctx: OrchestrationContext) -> int:
    ctx.entity(Counter, "k").signal.add(2)
    await ctx.create_timer(timedelta(hours=2))
    return await ctx.entity(Counter, "k").add(1)


async def test_an_environment_has_handles_of_entities() -> None:
    """Calls and signals in the order of the test, state as an object, and effects at once."""
    async with OrchestrationTestEnvironment(orchestrators=[adds], entities=[Counter, register]) as env:
        counter = env.entity(Counter, "k")
        assert await counter.state() is None
        await counter.signal.add(3)
        state = await counter.state()
        assert state is not None
        assert state.value == 3
        _ = counter.signal.add(1)  # not awaited: it happens before what follows
        assert await counter.call.add(1) == 5
        run = await env.start(adds)
        assert await counter.call.add(0) == 7
        assert env.now == START
        assert await run.result() == 8
        assert await env.entity("register", "r").call.set(4) == 4
        assert await env.entity(register, "r").state() == 4
        assert [one async for one in env.client.list_instance_ids()] == [run.instance_id]


async def test_delayed_signals_come_with_virtual_time() -> None:
    """Those of entities and those of clients, at their time and not before."""
    async with OrchestrationTestEnvironment(entities=[Counter]) as env:
        counter = env.entity(Counter, "k")
        await counter.call.remind(10)
        assert await counter.call.add(0) == 1
        await env.client.signal_entity(counter.entity_id, Counter.add, 100, at=timedelta(minutes=30))
        await env.advance(minutes=29)
        assert await counter.call.add(0) == 1
        await env.advance(minutes=1)
        assert await counter.call.add(0) == 101
        await env.advance(minutes=30)
        assert await counter.call.add(0) == 111


async def test_a_call_that_fails_raises_in_the_test() -> None:
    """The failure of the operation, of a missing operation, of a missing entity."""
    async with OrchestrationTestEnvironment(entities=[Counter]) as env:
        with pytest.raises(TaskFailedError, match="it is broken"):
            await env.entity(Counter, "k").call.break_it()
        with pytest.raises(TaskNotRegisteredError, match="'another'"):
            await env.entity("another", "k").call.add(1)


async def test_a_call_that_cannot_be_answered_says_so() -> None:
    """An entity that is locked for good: the error names operation and entity, and no time passes."""

    async def holds(ctx: OrchestrationContext) -> None:
        async with ctx.lock_entities(ctx.entity(Counter, "k")):
            await ctx.wait_for_external_event("Go")

    async with OrchestrationTestEnvironment(orchestrators=[holds], entities=[Counter]) as env:
        run = await env.start(holds)
        with pytest.raises(StuckOrchestrationError, match="operation 'add' of entity '@counter@k'") as caught:
            await env.entity(Counter, "k").call.add(1)
        assert f"Entity '@counter@k' is locked by {run.instance_id!r}" in str(caught.value)
        assert env.now == START


def test_the_blocking_environment_has_handles_of_entities() -> None:
    """The same without ``await``."""
    with sync.OrchestrationTestEnvironment(orchestrators=[adds], entities=[Counter]) as env:
        counter = env.entity(Counter, "k")
        counter.signal.add(3)
        assert counter.call.add(1) == 4  # type: ignore[comparison-overlap]
        assert env.run(adds) == 7
        counter.call.remind(1)
        env.advance(hours=1)
        state = counter.state()
        assert state is not None
        assert state.value == 9


async def test_an_environment_that_is_not_started_says_so() -> None:
    """Before ``async with`` there is no worker that could answer."""
    env = OrchestrationTestEnvironment(entities=[Counter])
    with pytest.raises(RuntimeError, match="not started"):
        env.entity(Counter, "k")


async def test_entities_that_every_worker_has_are_left_to_it() -> None:
    """Export jobs run in an environment as at any worker."""
    async with OrchestrationTestEnvironment() as env:
        with pytest.raises(TaskNotRegisteredError, match="Its operations are: 'CommitCheckpoint'"):
            await env.client.call_entity("@exportjob@nightly", "anything")
