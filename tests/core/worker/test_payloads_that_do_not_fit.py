"""An input, result or event that does not fit: the error says of what, and quotes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NewType, TypeVar

import pytest
from durabletask import (
    ActivityContext,
    EntityContext,
    NonRetryableError,
    OrchestrationContext,
    RegistrationError,
    RetryPolicy,
    TaskFailedError,
    TaskNotRegisteredError,
)
from durabletask.core.errors import InvalidArgumentError, SerializationError
from durabletask.core.registry import Registry
from durabletask.core.serialization import DEFAULT_CONVERTER
from durabletask.testing import OrchestrationTestEnvironment


@dataclass
class Order:
    sku: str
    count: int


SECRET = {"sku": "hunter2", "count": "hunter2"}
REFUSED = r"The payload does not fit the type .*Order: at count: Expected `int`, got `str`"


async def take(ctx: ActivityContext, order: Order) -> object:
    return order


async def give(ctx: ActivityContext, _: object) -> object:
    return SECRET


async def typed(ctx: ActivityContext, _: object) -> Order:
    return SECRET  # type: ignore[return-value]


async def child(ctx: OrchestrationContext, order: Order) -> object:
    return order


async def odd_child(ctx: OrchestrationContext, _: object) -> object:
    return {"hunter2"}.__iter__


async def ask_activity(ctx: OrchestrationContext, _: object) -> object:
    return await ctx.call_activity("take", SECRET)


async def ask_child(ctx: OrchestrationContext, _: object) -> object:
    return await ctx.call_sub_orchestrator("child", SECRET)


async def ask_typed(ctx: OrchestrationContext, _: object) -> object:
    return await ctx.call_activity(typed, None)


async def ask_typed_group(ctx: OrchestrationContext, _: object) -> object:
    return await ctx.task_all([ctx.call_activity(typed, None)])


async def ask_event(ctx: OrchestrationContext, _: object) -> object:
    ctx.send_event(ctx.instance_id, "approval", SECRET)
    return await ctx.wait_for_external_event("approval", Order)


async def ask_odd_child(ctx: OrchestrationContext, _: object) -> object:
    return await ctx.call_sub_orchestrator(odd_child)


ALL: dict[str, Any] = {
    "orchestrators": [
        child,
        odd_child,
        ask_activity,
        ask_child,
        ask_typed,
        ask_typed_group,
        ask_event,
        ask_odd_child,
    ],
    "activities": [take, give, typed],
}


@pytest.mark.parametrize(
    ("orchestrator", "given", "subject"),
    [
        (child, SECRET, r"Input of orchestrator 'child' \(.*:\d+\): "),
        (ask_activity, None, r"Input of activity 'take' \(.*:\d+\): "),
        (ask_child, None, r"Input of orchestrator 'child' \(.*:\d+\): "),
        (ask_typed, None, r"Result of activity 'typed', id 1: "),
        (ask_typed_group, None, r"Result of activity 'typed', id 1: "),
        (ask_event, None, r"Data of the event 'approval': "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_does_not_fit_is_named_and_not_quoted(
    orchestrator: Any, given: object, subject: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the failure with all its causes, and in the log."""
    caplog.set_level(logging.DEBUG)
    async with OrchestrationTestEnvironment(**ALL) as env:
        run = await env.start(orchestrator, given)
        with pytest.raises(TaskFailedError, match=subject + REFUSED):
            await run.result()
        failure = run.state.failure_details
    assert failure is not None
    assert "hunter2" not in str([*failure.walk()])
    assert "hunter2" not in caplog.text


async def test_a_child_whose_result_cannot_be_written_fails_with_that() -> None:
    """And not with the StopIteration that carried the result."""
    async with OrchestrationTestEnvironment(**ALL) as env:
        run = await env.start(ask_odd_child)
        with pytest.raises(TaskFailedError, match=r"The result of the orchestrator.* cannot be serialized"):
            await run.result()
        failure = run.state.failure_details
    assert failure is not None
    assert not failure.is_caused_by(StopIteration)
    assert "hunter2" not in str([*failure.walk()])


# --- an input that is missing -----------------------------------------------------------------------------


async def test_a_missing_input_names_the_parameter() -> None:
    """Where it is read, for every role, and not as an AttributeError of None later."""

    async def needs(ctx: OrchestrationContext, order: Order) -> object:
        return order.sku

    async def calls(ctx: OrchestrationContext, name: str) -> object:
        return await ctx.call_activity("take") if name == "a" else await ctx.call_sub_orchestrator("needs")

    async with OrchestrationTestEnvironment(orchestrators=[needs, calls], activities=[take]) as env:
        with pytest.raises(
            InvalidArgumentError, match=r"input of orchestrator 'needs' .* is missing: the param"
        ):
            await env.client.schedule_new_orchestration(needs)  # type: ignore[call-overload]
        assert [state async for state in env.client.query_orchestrations()] == []
        for orchestrator, given, who in (
            ("needs", None, "orchestrator 'needs'"),
            (calls, "a", "activity 'take'"),
            (calls, "b", "orchestrator 'needs'"),
        ):
            run = await env.start(orchestrator, given)
            with pytest.raises(
                TaskFailedError, match=rf"Input of {who} .* is missing: the parameter 'order' takes"
            ):
                await run.result()


UserId = NewType("UserId", int)
MaybeId = NewType("MaybeId", int | None)  # type: ignore[valid-newtype]
T = TypeVar("T")


@pytest.mark.parametrize(
    "annotation",
    [
        Order,
        int,
        str,
        list[int],
        dict[str, Any],
        int | str,
        UserId,
        Annotated[Order, "x"],
        Literal["a"],
        set[int | None],
    ],
    ids=str,
)
def test_none_is_no_value_of_an_annotation_without_none(annotation: object) -> None:
    """Whether the input is absent or a JSON null."""
    definition = Registry(activities={"a": _function_of(annotation)}).activity("a")
    for payload in (None, "", "null"):
        with pytest.raises(SerializationError, match="Input of activity 'a'"):
            definition.read_input(payload, DEFAULT_CONVERTER.deserialize)


@pytest.mark.parametrize(
    "annotation",
    [
        Order | None,
        Any,
        object,
        None,
        T,
        Annotated[Order | None, "x"],
        Literal["a"] | None,
        MaybeId,
    ],
    ids=str,
)
def test_an_annotation_that_allows_none_takes_a_missing_input(annotation: object) -> None:
    """So does a parameter without annotation, or with a default."""
    definition = Registry(activities={"a": _function_of(annotation)}).activity("a")
    assert definition.read_input(None, DEFAULT_CONVERTER.deserialize) is None

    def with_default(ctx: object, order: Order = Order("a", 1)) -> Order:  # noqa: B008
        return order

    definition = Registry(activities=[with_default]).activity("with_default")
    assert definition.invoke(None, definition.read_input(None, DEFAULT_CONVERTER.deserialize)) == Order(
        "a", 1
    )


def _function_of(annotation: object) -> Callable[..., object]:
    def function(ctx: object, value: object) -> object:
        return value

    function.__annotations__["value"] = annotation
    return function


def keyword_with_default(ctx: object, *, order: object = None) -> None: ...
def keyword_required(ctx: object, *, order: object) -> None: ...
def two_keywords(ctx: object, *, a: object = 1, b: object = 2) -> None: ...


@pytest.mark.parametrize("target", [keyword_with_default, keyword_required, two_keywords])
@pytest.mark.parametrize("role", ["orchestrators", "activities", "entities"])
def test_a_keyword_only_parameter_does_not_lose_its_input(target: object, role: str) -> None:
    """It is refused at registration; beside an input it may have a default."""
    with pytest.raises(RegistrationError, match=r"keyword-only|must take \(context\)"):
        Registry(**{role: [target]})

    def beside(ctx: object, value: object, *, client: object = None) -> object:
        return value

    assert Registry(**{role: [beside]})


# --- finality, seen by the programs -----------------------------------------------------------------------


async def test_no_parent_repeats_what_is_final() -> None:
    """Neither an activity's NonRetryableError two levels below, nor a type of the policy, nor a name that is unknown."""
    runs: list[str] = []

    class Declined(Exception):
        pass

    async def charge(ctx: ActivityContext, how: str) -> None:
        runs.append(how)
        raise NonRetryableError("no") if how == "final" else Declined("no")

    async def middle(ctx: OrchestrationContext, how: str) -> object:
        return await ctx.call_activity("charge" if how != "unknown" else "chrage", how)

    async def outer(ctx: OrchestrationContext, how: str) -> object:
        return await ctx.call_sub_orchestrator(middle, how)

    async def top(ctx: OrchestrationContext, how: str) -> object:
        policy = RetryPolicy(first_retry_interval=1, max_number_of_attempts=3, non_retryable="Declined")
        try:
            return await ctx.call_sub_orchestrator(outer, how, retry_policy=policy)
        except TaskNotRegisteredError:
            return "unknown"
        except TaskFailedError as error:
            return str(error)

    async with OrchestrationTestEnvironment(orchestrators=[middle, outer, top], activities=[charge]) as env:
        for how, expected in (("final", "no ("), ("declined", "no ("), ("unknown", "unknown")):
            assert str(await env.run(top, how)).startswith(expected)
    assert runs == ["final", "declined"]


async def test_an_entity_operation_names_what_does_not_fit() -> None:
    """As activities do."""

    def counter(ctx: EntityContext, order: Order) -> None: ...

    definition = Registry(entities=[counter]).entity("counter")
    with pytest.raises(SerializationError, match=r"Input of entity 'counter'.*at count"):
        definition.read_input('{"sku":"a","count":"b"}', DEFAULT_CONVERTER.deserialize)
