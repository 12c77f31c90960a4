"""Never run, only checked, by mypy and by pyright: what a type checker knows about tests of entities.

A ``type: ignore`` marks what must be refused; both checkers complain when it is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from durabletask import EntityContext, EntityId, TaskEntity, operation
from durabletask.core.entity_client import EntityHandle
from durabletask.testing import (
    EntityTestEnvironment,
    FakeOperation,
    OperationCall,
    OrchestrationTestEnvironment,
)
from durabletask.testing import sync as testing_sync
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

    async def fetch(self, amount: int) -> str:
        return str(amount)

    def plain(self, amount: int) -> int:
        return amount


class Carts(TaskEntity[Cart]):
    def initial_state(self) -> Cart:
        return Cart()


def ledger(ctx: EntityContext, entry: int) -> int:
    return ctx.get_state(int, 0) + entry


async def tests_of_entities(env: OrchestrationTestEnvironment) -> None:
    counter = env.entity(Counter, "k")
    assert_type(counter, EntityHandle[Counter])
    assert_type(await counter.call.add(3), int)
    await counter.signal.add(3)
    assert_type(await counter.state(), Counter | None)
    assert_type(await env.entity(Carts, "k").state(), Cart | None)
    assert_type(env.entity("counter", "k"), EntityHandle[Any])
    await counter.call.add("3")  # type: ignore[arg-type]
    await counter.signal.ad(3)  # type: ignore[attr-defined]


async def tests_of_one_entity() -> None:
    env = EntityTestEnvironment(Counter, "k", state={"value": 1})
    assert_type(env, EntityTestEnvironment[Counter])
    assert_type(await env.call.add(3), int)
    assert_type(await env.run(Counter.plain, 3), int)
    assert_type(await env.run(Counter.fetch, 3), str)
    assert_type(await env.run("add", 3), Any)
    assert_type(await env.run("add", 3, return_type=int), int)
    await env.signal.add(3)
    assert_type(env.state(), Counter | None)
    assert_type(EntityTestEnvironment(Carts).state(), Cart | None)
    assert_type(EntityTestEnvironment(ledger), EntityTestEnvironment[Any])
    assert_type(EntityTestEnvironment(ledger).state(int), int | None)
    assert_type([signal.at for signal in env.signals], list[datetime | None])
    await env.call.add("3")  # type: ignore[arg-type]
    await env.run(Counter.plain, "3")  # type: ignore[arg-type]
    EntityTestEnvironment(Counter, stat=1)  # type: ignore[call-overload]


def blocking_tests_of_entities(env: testing_sync.OrchestrationTestEnvironment) -> None:
    assert_type(env.entity(Counter, "k").state(), Counter | None)
    assert_type(env.entity(Counter, "k").call.plain(3), int)
    env.entity(Counter, "k").signal.add("3")  # type: ignore[arg-type]
    one = testing_sync.EntityTestEnvironment(Counter)
    assert_type(one, testing_sync.EntityTestEnvironment[Counter])
    assert_type(one.run(Counter.add, 3), int)
    assert_type(one.state(), Counter | None)
    one.call.add("3")  # type: ignore[arg-type]


async def tests_with_fakes(env: OrchestrationTestEnvironment) -> None:
    fake = env.fake_entity(Counter)
    add = fake.operation(Counter.add, returns=3)
    assert_type(add, FakeOperation)
    assert_type([call.entity_id for call in add.signals.calls], list[EntityId])
    assert_type(env.entity_calls, Sequence[OperationCall])
    add.assert_called_once_with(3)
    fake.operation(3)  # type: ignore[arg-type]
