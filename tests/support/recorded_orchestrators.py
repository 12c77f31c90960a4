"""The orchestrators whose recorded histories must replay forever. Never change one; add another."""

from __future__ import annotations

from datetime import timedelta

from durabletask import OrchestrationContext, RetryPolicy, TaskFailedError


async def chain(ctx: OrchestrationContext, number: int) -> int:
    for _ in range(3):
        number = await ctx.call_activity("increment", number)
    return number


async def fan_out(ctx: OrchestrationContext, numbers: list[int]) -> int:
    return sum(await ctx.task_all([ctx.call_activity("square", n) for n in numbers]))


async def retried(ctx: OrchestrationContext, amount: int) -> str:
    policy = RetryPolicy(
        first_retry_interval=timedelta(seconds=5), max_number_of_attempts=3, backoff_coefficient=2
    )
    return await ctx.call_activity("charge", amount, retry_policy=policy)


async def approval(ctx: OrchestrationContext, amount: int) -> str:
    try:
        decision = await ctx.wait_for_external_event("Decision", str, timeout=timedelta(days=3))
    except TimeoutError:
        decision = "nobody"
    await ctx.create_timer(timedelta(hours=1))
    return f"{decision}: {amount}"


async def parent(ctx: OrchestrationContext, number: int) -> list[int]:
    first = await ctx.call_sub_orchestrator(chain, number)
    other = ctx.call_sub_orchestrator("fan_out", [first, 2])
    try:
        await ctx.call_activity("broken", None)
    except TaskFailedError:
        return [first, await other]
    return []


def generator(ctx: OrchestrationContext, number: int):
    winner = yield ctx.task_any([ctx.create_timer(timedelta(days=1)), ctx.call_activity("increment", number)])
    return [ctx.new_uuid(), (yield winner)]


async def fibers(ctx: OrchestrationContext, numbers: list[int]) -> list[int]:
    async def twice(number: int) -> int:
        return await ctx.call_activity("increment", await ctx.call_activity("increment", number))

    return await ctx.task_all([twice(n) for n in numbers])


async def failing(ctx: OrchestrationContext, _: object) -> None:
    ctx.set_custom_status("about to fail")
    await ctx.call_activity("broken", None)


RECORDED = {
    "chain": (chain, 1),
    "fan_out": (fan_out, [1, 2, 3]),
    "retried": (retried, 5),
    "approval": (approval, 7),
    "parent": (parent, 1),
    "generator": (generator, 4),
    "fibers": (fibers, [1, 5]),
    "failing": (failing, None),
}
ORCHESTRATORS = [target for target, _ in RECORDED.values()]
