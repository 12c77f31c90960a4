"""A worker process of a bank, to be killed at random: ``python bank_worker.py ENDPOINT``."""

from __future__ import annotations

import asyncio
import sys

from durabletask import DurableTaskWorker, OrchestrationContext, TaskEntity

OPENING = 1000


class Account(TaskEntity):
    """An account that opens with some money."""

    balance: int = OPENING

    def change(self, amount: int) -> int:
        """Move money in or out; there is never less than none."""
        if self.balance + amount < 0:
            raise ValueError("not enough money")
        self.balance += amount
        return self.balance

    def read(self) -> int:
        """How much there is."""
        return self.balance


async def transfer(ctx: OrchestrationContext, moves: list[list[int]]) -> int:
    """Move money between accounts, each time under the locks of both; how many moves were made."""
    made = 0
    for source, target, amount in moves:
        payer, payee = f"@account@{source}", f"@account@{target}"
        async with ctx.lock_entities(payer, payee):
            if await ctx.call_entity(payer, "read") < amount:
                continue
            await ctx.call_entity(payer, "change", -amount)
            await ctx.call_entity(payee, "change", amount)
            made += 1
    return made


async def main(endpoint: str) -> None:
    """Serve until killed."""
    worker = DurableTaskWorker(endpoint, orchestrators=[transfer], entities=[Account])
    async with worker:
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
