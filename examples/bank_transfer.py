"""A transfer between accounts: two entities under locks, so that no other transfer sees it half done."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from durabletask import (
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    TaskEntity,
    TaskFailedError,
    operation,
)

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")


class Account(TaskEntity):
    """The annotated attribute is the state; the public methods are the operations."""

    balance: int = 0

    @operation
    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    @operation
    def withdraw(self, amount: int) -> int:
        if amount > self.balance:
            raise ValueError(f"{amount} is more than the balance")
        self.balance -= amount
        return self.balance


@dataclass
class Transfer:
    source: str
    target: str
    amount: int


async def transfer(ctx: OrchestrationContext, order: Transfer) -> bool:
    source, target = ctx.entity(Account, order.source), ctx.entity(Account, order.target)
    # Any order will do: locks are always taken in the same one, so two transfers cannot wait for each other.
    async with ctx.lock_entities(source, target):
        try:
            await source.withdraw(order.amount)
        except TaskFailedError:
            return False  # leaving the section gives both locks back
        await target.deposit(order.amount)
    return True


async def main() -> None:
    worker = DurableTaskWorker(CONNECTION_STRING, TASK_HUB, orchestrators=[transfer], entities=[Account])
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        ada, bob = client.entity(Account, "ada"), client.entity(Account, "bob")
        await ada.signal.deposit(100)
        await bob.signal.deposit(100)
        orders = [Transfer("ada", "bob", 30), Transfer("bob", "ada", 50), Transfer("ada", "bob", 500)]
        ids = [await client.schedule_new_orchestration(transfer, order) for order in orders]
        for order, instance_id in zip(orders, ids, strict=True):
            state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
            done = state is not None and state.output
            print(f"{order.amount} from {order.source} to {order.target}: {'done' if done else 'refused'}")
        for name, account in (("ada", ada), ("bob", bob)):
            found = await account.state()
            print(f"{name} has {found.balance if found else 0}")


if __name__ == "__main__":
    asyncio.run(main())
