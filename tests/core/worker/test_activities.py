"""What a worker answers to activity work items."""

# ruff: noqa: A002 - "input" is the word of the protocol

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from durabletask.core.authoring import ActivityContext
from durabletask.core.errors import NonRetryableError, ResourceExhaustedError, RetryAfter
from durabletask.core.failures import RETRY_AFTER_PROPERTY
from durabletask.core.hosting.backoff import Backoff
from durabletask.core.hosting.limits import ConcurrencyOptions
from durabletask.core.work_items import ActivityResult, ActivityWorkItem
from durabletask.core.worker import DurableTaskWorker
from fake_transport import FakeTransport, unavailable


async def no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


NO_WAIT = Backoff(rng=lambda: 1.0, sleep=no_wait)


@asynccontextmanager
async def a_worker(
    transport: FakeTransport, *activities: object, **options: object
) -> AsyncIterator[DurableTaskWorker]:
    async with DurableTaskWorker(transport, activities=activities, backoff=NO_WAIT, **options) as worker:  # type: ignore[arg-type]
        yield worker


def call(name: str, input: str | None = None, task_id: int = 1) -> ActivityWorkItem:
    return ActivityWorkItem(
        name=name, instance_id="i1", task_id=task_id, input=input, completion_token=f"token-{task_id}"
    )


async def answer_to(item: ActivityWorkItem, *activities: object, **options: object) -> ActivityResult:
    transport = FakeTransport()
    async with a_worker(transport, *activities, **options):
        transport.put(item)
        await transport.wait_for(1)
    (result,) = transport.completed
    assert isinstance(result, ActivityResult)
    assert (result.instance_id, result.task_id, result.completion_token) == ("i1", 1, "token-1")
    return result


@dataclass
class Order:
    id: int


async def describe(ctx: ActivityContext, order: Order) -> dict[str, object]:
    return {"order": order, "by": ctx.orchestration_id, "task": ctx.task_id, "name": ctx.name}


def in_thread(ctx: ActivityContext, text: str) -> list[object]:
    return [text, threading.current_thread() is threading.main_thread()]


async def fails(ctx: ActivityContext) -> None:
    raise ValueError("no stock") from KeyError("sku")


async def final(ctx: ActivityContext) -> None:
    raise NonRetryableError("never")


async def later(ctx: ActivityContext) -> None:
    raise RetryAfter(timedelta(seconds=90))


def exits(ctx: ActivityContext) -> None:
    raise SystemExit(3)


def leaves(ctx: ActivityContext) -> None:
    raise GeneratorExit


async def leaves_a_coroutine(ctx: ActivityContext) -> None:
    raise GeneratorExit


def interrupts(ctx: ActivityContext) -> None:
    raise KeyboardInterrupt


def stops(ctx: ActivityContext) -> None:
    raise StopIteration


async def cancels_itself(ctx: ActivityContext) -> None:
    raise asyncio.CancelledError


async def gives_object(ctx: ActivityContext) -> object:
    return {"items": [object()]}


def hands_back_a_coroutine(ctx: ActivityContext) -> object:
    return asyncio.sleep(0, "done")


async def test_input_is_converted_and_the_result_serialized_by_value() -> None:
    """The annotation decides what the function gets; the context tells who called."""
    result = await answer_to(call("describe", '{"id":7}'), describe)

    assert result.result == '{"order":{"id":7},"by":"i1","task":1,"name":"describe"}'
    assert result.failure is None


async def test_plain_functions_run_in_a_thread() -> None:
    """They may block without holding up the worker."""
    assert (await answer_to(call("in_thread", '"x"'), in_thread)).result == '["x",false]'


async def test_context_variables_reach_plain_functions() -> None:
    """A thread sees the variables of the worker's task."""
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")

    def look(ctx: ActivityContext) -> str:
        return variable.get()

    assert (await answer_to(call("look"), look)).result == '"set"'


async def test_a_plain_function_may_hand_back_a_coroutine() -> None:
    """Decorated and partial functions work, too."""
    result = await answer_to(call("hands_back_a_coroutine"), hands_back_a_coroutine)

    assert result.result == '"done"'


async def test_an_exception_becomes_failure_details_with_its_cause() -> None:
    """Type, message, cause, and a trace that begins in user code."""
    failure = (await answer_to(call("fails"), fails)).failure

    assert failure is not None
    assert (failure.error_type, failure.message) == ("builtins.ValueError", "no stock")
    assert failure.inner_failure is not None
    assert failure.inner_failure.error_type == "builtins.KeyError"
    assert failure.stack_trace is not None
    assert "durabletask/core" not in failure.stack_trace
    assert not failure.is_non_retriable


async def test_a_non_retryable_error_is_marked() -> None:
    """No retry policy applies to it."""
    failure = (await answer_to(call("final"), final)).failure

    assert failure is not None
    assert failure.is_non_retriable


async def test_a_retry_delay_travels_with_the_failure() -> None:
    """``RetryAfter`` reaches the retry policy of the orchestrator."""
    failure = (await answer_to(call("later"), later)).failure

    assert failure is not None
    assert failure.properties == {RETRY_AFTER_PROPERTY: 90.0}


@pytest.mark.parametrize(
    ("activity", "error"),
    [
        (exits, "builtins.SystemExit"),
        (stops, "builtins.RuntimeError"),
        (leaves, "builtins.RuntimeError"),
        (leaves_a_coroutine, "builtins.RuntimeError"),
        (interrupts, "builtins.RuntimeError"),
        (cancels_itself, "asyncio.exceptions.CancelledError"),
    ],
)
async def test_exceptions_of_the_interpreter_are_failures_too(activity: object, error: str) -> None:
    """An activity cannot end or hang the worker with them."""
    failure = (await answer_to(call(activity.__name__), activity)).failure  # type: ignore[attr-defined]

    assert failure is not None
    assert failure.error_type == error


async def test_an_unknown_activity_is_a_final_failure_that_lists_the_nearest() -> None:
    """It is not abandoned: no other attempt would find it."""
    failure = (await answer_to(call("descibe"), describe)).failure

    assert failure is not None
    assert failure.error_type.endswith("ActivityNotRegisteredError")
    assert failure.is_non_retriable
    assert "'describe'" in failure.message


@pytest.mark.parametrize(
    ("item", "activity", "message"),
    [
        (call("gives_object"), gives_object, r"Result of activity 'gives_object' .*items[0]: object of type"),
        (call("describe", '{"id":"x"}'), describe, "Input of activity 'describe'"),
        (call("describe", "{bad"), describe, "is no JSON"),
    ],
)
async def test_payload_trouble_is_a_failure_that_names_the_part(
    item: ActivityWorkItem, activity: object, message: str
) -> None:
    """In both directions."""
    failure = (await answer_to(item, activity)).failure

    assert failure is not None
    assert failure.error_type.endswith("SerializationError")
    for part in message.split(" .*"):
        assert part in failure.message


async def test_an_answer_that_cannot_be_sent_is_sent_again() -> None:
    """Answers survive a hub that is away for a while."""
    transport = FakeTransport(complete_errors=[unavailable(), unavailable()])
    async with a_worker(transport, describe) as worker:
        transport.put(call("describe", '{"id":1}'))
        await transport.wait_for(1)

    assert worker.metrics.send_retries == 2
    assert worker.metrics.activities == 1


async def test_an_answer_that_the_hub_refuses_becomes_a_failure() -> None:
    """A result that is too large fails the activity instead of vanishing."""
    transport = FakeTransport(complete_errors=[ResourceExhaustedError("5 MB are too much.")])
    async with a_worker(transport, describe):
        transport.put(call("describe", '{"id":1}'))
        await transport.wait_for(1)

    (result,) = transport.completed
    assert isinstance(result, ActivityResult)
    assert result.failure is not None
    assert result.failure.message == "5 MB are too much."


async def test_no_more_than_the_limit_run_at_once_and_all_run() -> None:
    """The limit is told to the hub and kept even by a hub that ignores it."""
    running, most, gate = 0, 0, asyncio.Event()

    async def busy(ctx: ActivityContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    transport = FakeTransport()
    async with a_worker(transport, busy, concurrency=ConcurrencyOptions(max_activities=3)):
        transport.put(*[call("busy", task_id=n) for n in range(10)])
        while running < 3:  # noqa: ASYNC110 - plain and deterministic
            await asyncio.sleep(0)
        gate.set()
        await transport.wait_for(10)

    assert most == 3
    assert transport.options[0].max_activities == 3


async def test_work_in_progress_finishes_when_the_worker_stops() -> None:
    """Leaving the block waits for it."""
    started, gate = asyncio.Event(), asyncio.Event()

    async def slow(ctx: ActivityContext) -> str:
        started.set()
        await gate.wait()
        return "done"

    transport = FakeTransport()
    async with a_worker(transport, slow):
        transport.put(call("slow"))
        await started.wait()
        asyncio.get_running_loop().call_soon(gate.set)

    assert [result.result for result in transport.completed] == ['"done"']  # type: ignore[union-attr]
    assert transport.closed_streams == 1


async def test_work_that_does_not_finish_in_time_is_given_back() -> None:
    """It is cancelled and abandoned, not failed."""
    started = asyncio.Event()

    async def endless(ctx: ActivityContext) -> None:
        started.set()
        await asyncio.Event().wait()

    transport = FakeTransport()
    async with a_worker(transport, endless, drain_timeout=0.0) as worker:
        transport.put(call("endless"))
        await started.wait()

    assert transport.completed == []
    assert transport.abandoned == [call("endless")]
    assert worker.metrics.abandoned == 1


async def test_an_interrupted_block_does_not_wait() -> None:
    """Ctrl-C stops at once, whatever the drain time."""
    started = asyncio.Event()

    async def endless(ctx: ActivityContext) -> None:
        started.set()
        await asyncio.Event().wait()

    transport = FakeTransport()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the block is what is tested
        async with a_worker(transport, endless, drain_timeout=3600.0):
            transport.put(call("endless"))
            await started.wait()
            raise KeyboardInterrupt

    assert transport.abandoned == [call("endless")]


async def test_cancelling_the_end_ends_at_once() -> None:
    """Work in progress at the end of the drain time-out is abandoned, and nothing is left running."""
    started = asyncio.Event()

    async def endless(ctx: ActivityContext) -> None:
        started.set()
        await asyncio.Event().wait()

    transport = FakeTransport()
    worker = DurableTaskWorker(transport, activities=[endless], drain_timeout=3600.0)
    await worker.start()
    transport.put(call("endless"))
    await started.wait()
    stopping = asyncio.ensure_future(worker.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping

    assert transport.abandoned == [call("endless")]
    assert not worker.is_running
    assert asyncio.all_tasks() == {asyncio.current_task()}
