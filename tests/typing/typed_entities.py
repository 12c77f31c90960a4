"""Never run, only checked, by mypy and by pyright: what a type checker knows about entities.

A ``type: ignore`` marks what must be refused; both checkers complain when it is not needed.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from durabletask import (
    DurableTaskClient,
    EntityContext,
    EntityId,
    OrchestrationContext,
    Task,
    TaskEntity,
    operation,
    sync,
    task_all,
)
from typing_extensions import assert_type


@dataclass
class Cart:
    items: list[str] = field(default_factory=list[str])


class Counter(TaskEntity):
    value: int = 0

    @operation
    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    @operation
    async def reset(self) -> None:
        self.value = 0

    async def fetch(self, amount: int) -> str:
        return str(amount)

    def plain(self, amount: int) -> int:
        return amount


class Carts(TaskEntity[Cart]):
    def initial_state(self) -> Cart:
        return Cart()

    @operation
    def put(self, item: str, /) -> Cart:
        assert_type(self.state, Cart)
        assert_type(self.context, EntityContext)
        self.state.items.append(item)
        return self.state


class Emptied(Counter):
    @operation
    def delete(self) -> None:
        self.value = -1


def ledger(ctx: EntityContext, entry: int) -> int:
    total = ctx.get_state(int, 0)
    ctx.set_state(total + entry)
    ctx.signal_entity("@counter@k", Counter.add, 1, at=timedelta(hours=1))
    return total


async def orchestrator(ctx: OrchestrationContext) -> None:
    counter = ctx.entity(Counter, "k")
    assert_type(await counter.add(3), int)
    assert_type(await ctx.entity(Counter, "k").add(amount=3), int)
    assert_type(await counter.reset(), None)
    assert_type(await counter.fetch(3), str)
    assert_type(await counter.delete(), None)
    assert_type(await ctx.entity(Emptied, "k").delete(), None)
    assert_type(await ctx.entity(Carts, "k").put("x"), Cart)
    assert_type(await task_all([counter.add(1), counter.add(2)]), list[int])
    assert_type(counter.entity_id, EntityId)
    counter.add("3")  # type: ignore[arg-type]
    counter.add()  # type: ignore[call-arg]
    counter.ad(3)  # type: ignore[attr-defined]
    await counter.fetch("3")  # type: ignore[arg-type]
    await counter.plain(3)  # type: ignore[misc]  # a plain method needs the decorator


async def signals(ctx: OrchestrationContext) -> None:
    counter = ctx.entity(Counter, "k")
    counter.signal.add(3)
    counter.signal.reset()
    counter.signal.plain(3)
    counter.signal.add("3")  # type: ignore[arg-type]
    counter.signal.plain("3")  # type: ignore[arg-type]
    counter.signal.ad(3)  # type: ignore[attr-defined]
    counter.signal.fetch(3)  # type: ignore[unused-coroutine]  # so does an async one that is not awaited
    ctx.signal_entity(counter.entity_id, Counter.fetch, 3, at=5)
    ctx.signal_entity(counter.entity_id, Counter.fetch, "3")  # type: ignore[arg-type]
    ctx.signal_entity("@counter@k", "anything", object())
    ctx.signal_entity("@counter@k", Counter.reset)


async def references(ctx: OrchestrationContext) -> None:
    assert_type(ctx.call_entity("@counter@k", Counter.plain, 3), Task[int])
    assert_type(await ctx.call_entity("@counter@k", Counter.plain, 3), int)
    assert_type(await ctx.call_entity("@counter@k", Counter.add, 3), int)
    assert_type(await ctx.call_entity("@counter@k", Counter.fetch, 3), str)
    assert_type(await ctx.call_entity("@counter@k", Counter.reset), None)
    assert_type(await ctx.call_entity("@counter@k", "add", 3), Any)
    assert_type(await ctx.call_entity("@counter@k", "add", 3, return_type=int), int)
    ctx.call_entity("@counter@k", Counter.plain, "3")  # type: ignore[arg-type]
    ctx.call_entity("@counter@k", Counter.fetch, "3")  # type: ignore[arg-type]
    assert_type(ctx.entity("counter", "k"), Any)
    assert_type(ctx.entity(ledger, "k"), Any)


async def locks(ctx: OrchestrationContext) -> None:
    counter, carts = ctx.entity(Counter, "k"), ctx.entity(Carts, "k")
    async with ctx.lock_entities(counter, carts, EntityId("a", "b"), "@c@d") as lock:
        assert_type(lock.entities, tuple[EntityId, ...])
    async with ctx.lock_entities([counter, carts]):
        pass
    ctx.lock_entities(3)  # type: ignore[arg-type]


def generator(ctx: OrchestrationContext) -> Generator[Any, Any, int]:
    counter = ctx.entity(Counter, "k")
    with (yield ctx.lock_entities(counter)):
        result: int = yield counter.add(3)
        yield counter.plain(3)
    return result


async def client_of_entities(client: DurableTaskClient) -> None:
    counter = client.entity(Counter, "k")
    await counter.signal.add(3)
    await counter.signal.fetch(3)
    assert_type(await counter.call.add(3), int)
    assert_type(await counter.state(), Counter | None)
    assert_type(await client.entity(Emptied, "k").state(), Emptied | None)
    assert_type(await client.entity(Carts, "k").state(), Cart | None)
    assert_type(await client.call_entity("@counter@k", Counter.plain, 3), int)
    assert_type(await client.call_entity("@counter@k", Counter.fetch, 3, timeout=5), str)
    assert_type(await client.call_entity("@counter@k", "add", 3, return_type=int), int)
    await counter.signal.add("3")  # type: ignore[arg-type]
    await counter.call.add("3")  # type: ignore[arg-type]
    await counter.signal.ad(3)  # type: ignore[attr-defined]
    await counter.signl.add(3)  # type: ignore[attr-defined]
    await client.call_entity("@counter@k", Counter.plain, "3")  # type: ignore[arg-type]
    found = await client.get_entity("@carts@k", Cart)
    if found is not None:
        assert_type(found.state, Cart)
    async for entity in client.query_entities():
        assert_type(entity.state, Any)


def blocking_client(client: sync.DurableTaskClient) -> None:
    counter = client.entity(Counter, "k")
    counter.signal.add(3)
    assert_type(counter.state(), Counter | None)
    assert_type(client.entity(Carts, "k").state(), Cart | None)
    assert_type(counter.call.plain(3), int)
    assert_type(client.call_entity("@counter@k", Counter.add, 3), int)
    counter.signal.add("3")  # type: ignore[arg-type]
    found = client.get_entity("@carts@k", Cart)
    if found is not None:
        assert_type(found.state, Cart)
