"""The blocking twin of the environment, and single activities."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import timedelta

import pytest
from durabletask import ActivityContext, OrchestrationContext, TaskActivity
from durabletask.testing import environment as asynchronous
from durabletask.testing import run as asynchronous_run
from durabletask.testing import sync
from durabletask.testing.activity_environment import ActivityTestEnvironment


@dataclass
class Order:
    sku: str
    count: int


async def price(ctx: ActivityContext, order: Order) -> int:
    return 10 * order.count


def describe(ctx: ActivityContext, order: Order) -> str:
    return f"{ctx.instance_id}: {order.count} x {order.sku} {dict(ctx.tags)}"


class Fail(TaskActivity):
    def run(self, context: ActivityContext, input: str) -> None:  # noqa: A002
        raise KeyError(input)


async def monthly(ctx: OrchestrationContext, order: Order) -> str:
    await ctx.create_timer(timedelta(days=30))
    word = await ctx.wait_for_external_event("Word", str)
    return f"{word} {await ctx.call_activity(price, order)}"


def test_a_plain_test_can_do_the_same() -> None:
    """Start, advance, events, fakes and results work without await."""
    with sync.OrchestrationTestEnvironment(orchestrators=[monthly], activities=[price]) as env:
        run = env.start(monthly, Order("a", 2))
        assert [task.kind for task in run.pending()] == ["timer"]
        env.advance(days=30)
        assert [task.kind for task in run.pending()] == ["event"]
        run.raise_event("Word", "it costs")
        assert run.result() == "it costs 20"
        assert [call.result for call in run.calls("price")] == [20]


@pytest.mark.parametrize(
    ("blocking", "other"),
    [
        (sync.OrchestrationTestEnvironment, asynchronous.OrchestrationTestEnvironment),
        (sync.OrchestrationRun, asynchronous_run.OrchestrationRun),
    ],
    ids=["environment", "run"],
)
def test_the_twins_have_the_same_methods_and_parameters(blocking: type, other: type) -> None:
    """The blocking twin offers nothing else, and takes the same arguments."""
    missing = {"client", "hub"}  # asynchronous objects
    names = {name for name in vars(other) if not name.startswith("_")} - missing
    assert {name for name in vars(blocking) if not name.startswith("_")} | {"__init__"} >= names
    for name in names | {"__init__"}:
        ours, theirs = getattr(blocking, name), getattr(other, name)
        if inspect.isfunction(theirs) and name != "__init__":
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


async def test_an_activity_runs_alone() -> None:
    """Input is converted by its annotation, the context says what was asked for."""
    env = ActivityTestEnvironment(instance_id="order-1", tags={"a": "b"})
    assert await env.run(price, Order("x", 3)) == 30
    assert await env.run(describe, {"sku": "x", "count": 3}) == "order-1: 3 x x {'a': 'b'}"


def test_an_activity_can_be_tested_as_a_retry() -> None:
    """The attempt is counted, the key and the tags are those of the call."""

    def show(ctx: ActivityContext) -> tuple[int, str, dict[str, str]]:
        return ctx.attempt, ctx.idempotency_key, dict(ctx.tags)

    first = ActivityTestEnvironment(tags={"a": "b"}).call(show)
    third = ActivityTestEnvironment(tags={"a": "b"}, attempt=3).call(show)

    assert (first[0], third[0]) == (1, 3)
    assert first[1:] == third[1:]


def test_an_activity_runs_alone_in_a_plain_test() -> None:
    """``call`` needs no event loop, whatever the kind of activity."""
    env = ActivityTestEnvironment()
    assert env.call(price, Order("x", 3)) == 30
    assert env.call(describe, Order("x", 3)) == "test: 3 x x {}"


async def test_what_an_activity_raises_comes_out_as_it_is() -> None:
    """No failure details in between: ``pytest.raises`` sees the exception."""
    with pytest.raises(KeyError, match="boom"):
        await ActivityTestEnvironment().run(Fail(), "boom")
    with pytest.raises(KeyError, match="boom"):
        ActivityTestEnvironment().call(Fail, "boom")
