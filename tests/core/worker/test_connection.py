"""How a worker stays connected."""

from __future__ import annotations

import asyncio
import logging

import pytest
from durabletask.core.authoring import ActivityContext
from durabletask.core.built_ins import add_built_ins
from durabletask.core.errors import ConfigurationError
from durabletask.core.exports.registration import add_exports
from durabletask.core.hosting.backoff import Backoff
from durabletask.core.registry import Registry
from durabletask.core.schedules.registration import add_schedules
from durabletask.core.versioning import VersioningOptions, VersionMatchStrategy
from durabletask.core.work_items import (
    ActivityFilter,
    ActivityWorkItem,
    EntityFilter,
    OrchestrationFilter,
    WorkItemFilters,
)
from durabletask.core.worker import DurableTaskWorker
from fake_transport import FakeTransport, unavailable


def ping(ctx: ActivityContext) -> str:
    return "pong"


def order(ctx: object) -> None: ...


def a_call(task_id: int) -> ActivityWorkItem:
    return ActivityWorkItem(name="ping", instance_id="i1", task_id=task_id)


class Delays:
    """A back-off that notes its delays instead of waiting."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.time = 0.0
        self.backoff = Backoff(rng=lambda: 1.0, sleep=self._sleep, now=lambda: self.time)

    async def _sleep(self, seconds: float) -> None:
        self.seen.append(seconds)
        await asyncio.sleep(0)


async def test_attempts_go_on_with_growing_delays_until_the_hub_is_there() -> None:
    """Nothing that the hub does ends a worker."""
    transport, delays = FakeTransport(connect_errors=[unavailable() for _ in range(4)]), Delays()
    async with DurableTaskWorker(transport, activities=[ping], backoff=delays.backoff):
        transport.put(a_call(1))
        await transport.wait_for(1)

    assert delays.seen == [1, 2, 4, 8]


async def test_each_attempt_logs_once_where_and_why(caplog: pytest.LogCaptureFixture) -> None:
    """Task hub, endpoint, reason and the next attempt."""
    transport, delays = (
        FakeTransport(connect_errors=[unavailable(), unavailable("host not found.")]),
        Delays(),
    )
    with caplog.at_level(logging.WARNING, "durabletask"):
        async with DurableTaskWorker(transport, activities=[ping], backoff=delays.backoff):
            transport.put(a_call(1))
            await transport.wait_for(1)

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "'test' at http://fake:8080" in lines[0]
    assert "connection refused." in lines[0]
    assert "Trying again in 1.0 s" in lines[0]
    assert "host not found." in lines[1]


async def test_a_stream_that_brought_work_for_a_while_is_reopened_at_once_and_resets_the_delay() -> None:
    """A hub that restarts after a while is no failing hub."""
    transport, delays = FakeTransport(connect_errors=[unavailable(), unavailable()]), Delays()
    async with DurableTaskWorker(transport, activities=[ping], backoff=delays.backoff) as worker:
        transport.put(a_call(1))
        await transport.wait_for(1)
        delays.time += 1
        transport.put(None, a_call(2))
        await transport.wait_for(2)
        delays.time += 1
        transport.put(unavailable("lost."), unavailable("lost again."), a_call(3))
        await transport.wait_for(3)

    assert delays.seen == [1, 2, 1]
    assert worker.metrics.connects == 3


async def test_a_stream_that_ends_after_its_first_item_is_not_reopened_at_once() -> None:
    """One item does not reset the delay, or a hub that breaks every stream would be asked hundreds of times a second."""
    transport, delays = FakeTransport(), Delays()
    async with DurableTaskWorker(transport, activities=[ping], backoff=delays.backoff):
        transport.put(a_call(1), unavailable("lost."), a_call(2), None, a_call(3), None, a_call(4))
        await transport.wait_for(4)

    assert delays.seen == [1, 2, 4]


async def test_a_stream_that_ends_without_any_work_counts_as_a_failure() -> None:
    """A server that ends streams at once causes no hot loop."""
    transport, delays = FakeTransport(), Delays()
    async with DurableTaskWorker(transport, activities=[ping], backoff=delays.backoff):
        transport.put(None, None, None, a_call(1))
        await transport.wait_for(1)

    assert delays.seen == [1, 2, 4]


async def test_a_transport_that_breaks_its_promise_does_not_end_the_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unexpected exception is logged with its trace, then the worker goes on."""
    transport, delays = FakeTransport(), Delays()
    async with DurableTaskWorker(transport, activities=[ping], backoff=delays.backoff):
        transport.put(ZeroDivisionError("bug"), a_call(1))
        await transport.wait_for(1)

    assert any(record.exc_info for record in caplog.records)


async def test_work_in_progress_survives_a_reconnect() -> None:
    """An item of the old stream is answered after the stream has gone."""
    gate = asyncio.Event()

    async def slow(ctx: ActivityContext) -> str:
        await gate.wait()
        return "done"

    transport, delays = FakeTransport(), Delays()
    async with DurableTaskWorker(transport, activities=[slow, ping], backoff=delays.backoff):
        transport.put(ActivityWorkItem(name="slow", instance_id="i1", task_id=1), None, a_call(2))
        await transport.wait_for(1)
        gate.set()
        await transport.wait_for(2)

    assert [result.result for result in transport.completed] == ['"pong"', '"done"']  # type: ignore[union-attr]


async def test_starting_does_not_wait_for_the_hub() -> None:
    """A program comes up before its hub does."""
    transport = FakeTransport()
    worker = DurableTaskWorker(transport, activities=[ping])
    await worker.start()
    assert worker.is_running

    with pytest.raises(RuntimeError, match="running already"):
        await worker.start()
    await worker.stop()
    await worker.stop()
    assert not worker.is_running


async def test_a_worker_can_be_started_again() -> None:
    """Stop ends nothing for good."""
    transport = FakeTransport()
    worker = DurableTaskWorker(transport, activities=[ping])
    for number in (1, 2):
        async with worker:
            transport.put(a_call(number))
            await transport.wait_for(number)

    assert transport.closed_streams == 2
    assert worker.metrics.activities == 1


async def test_answers_that_are_sent_at_the_same_time_are_all_counted() -> None:
    """Metrics do not lose what happens during an await."""
    transport = FakeTransport()
    async with DurableTaskWorker(transport, activities=[ping]) as worker:
        transport.put(*[a_call(number) for number in range(20)])
        await transport.wait_for(20)

    assert worker.metrics.activities == 20


async def test_cancelling_run_stops_at_once() -> None:
    """``run`` serves until it is told otherwise."""
    transport = FakeTransport()
    worker = DurableTaskWorker(transport, activities=[ping])
    running = asyncio.create_task(worker.run())
    transport.put(a_call(1))
    await transport.wait_for(1)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert not worker.is_running


async def test_automatic_filters_name_what_is_registered() -> None:
    """Versions are listed only when exactly one is accepted."""
    transport = FakeTransport()
    exact = VersioningOptions(version="2", match_strategy=VersionMatchStrategy.STRICT)
    for versioning in (None, exact):
        async with DurableTaskWorker(
            transport,
            orchestrators=[order],
            activities=[ping],
            entities={"Counter": ping},
            versioning=versioning,
            filters="auto",
        ):
            while len(transport.options) < (1 if versioning is None else 2):  # noqa: ASYNC110
                await asyncio.sleep(0)

    built_in = Registry()
    add_built_ins(built_in)
    add_schedules(built_in, transport)
    add_exports(built_in, transport, None)
    orchestrators, activities, entities = built_in.built_in_names
    for options, versions in zip(transport.options, ((), ("2",)), strict=True):
        assert options.filters == WorkItemFilters(
            (OrchestrationFilter("order", versions), *map(OrchestrationFilter, orchestrators)),
            (ActivityFilter("ping", versions), *map(ActivityFilter, activities)),
            (EntityFilter("counter"), *map(EntityFilter, entities)),
        )


async def test_a_worker_inside_a_functions_host_warns_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Durable Functions is another product."""
    monkeypatch.setenv("FUNCTIONS_WORKER_RUNTIME", "python")
    async with DurableTaskWorker(FakeTransport(), activities=[ping]):
        pass

    (record,) = caplog.records
    assert "Azure Functions host" in record.getMessage()


async def test_a_task_hub_other_than_the_transports_is_an_error() -> None:
    """Two names for one hub are a mistake of the program."""
    with pytest.raises(ConfigurationError, match=r"'test'.*'other'"):
        DurableTaskWorker(FakeTransport(), "other")
