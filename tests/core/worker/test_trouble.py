"""What a worker does when something breaks that is not user code."""

from __future__ import annotations

import asyncio
import logging

import pytest
from durabletask.core.authoring import ActivityContext
from durabletask.core.errors import InstanceNotFoundError, InvalidRequestError
from durabletask.core.execution.activities import ActivityExecutor
from durabletask.core.hosting.backoff import Backoff
from durabletask.core.hosting.episodes import EpisodeRunner
from durabletask.core.hosting.limits import ConcurrencyOptions
from durabletask.core.work_items import ActivityWorkItem, EntityWorkItem, OrchestratorWorkItem, WorkItem
from durabletask.core.worker import DurableTaskWorker
from fake_transport import NOON, FakeTransport, unavailable


def ping(ctx: ActivityContext) -> str:
    return "pong"


A_CALL = ActivityWorkItem(name="ping", instance_id="i1", task_id=1)
AN_EPISODE = OrchestratorWorkItem(instance_id="i1", new_events=[])
A_BATCH = EntityWorkItem(instance_id="no entity id", operations=[])


def broken(*_: object) -> object:
    raise ZeroDivisionError("a bug of ours")


def exiting(*_: object) -> object:
    raise SystemExit(1)


@pytest.mark.parametrize("fault", [broken, exiting])
@pytest.mark.parametrize("item", [A_CALL, AN_EPISODE, A_BATCH], ids=lambda item: type(item).__name__)
async def test_a_bug_in_the_worker_gives_the_item_back_and_is_logged(
    item: WorkItem, fault: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """User code is not blamed: the item waits for a worker that can do it."""
    monkeypatch.setattr(ActivityExecutor, "execute", fault)
    monkeypatch.setattr(EpisodeRunner, "run", fault)
    transport = FakeTransport()
    with caplog.at_level(logging.ERROR, "durabletask"):
        async with DurableTaskWorker(transport, activities=[ping]):
            transport.put(item)
            await transport.wait_for(1)

    assert transport.abandoned == [item]
    assert transport.completed == []
    assert any(record.exc_info for record in caplog.records)


async def test_the_answer_for_an_instance_that_is_gone_is_dropped() -> None:
    """It was purged meanwhile, and the answer is dropped."""
    transport = FakeTransport(complete_errors=[InstanceNotFoundError("no i1.")])
    async with DurableTaskWorker(transport, activities=[ping]) as worker:
        transport.put(A_CALL, A_CALL)
        await transport.wait_for(1)

    assert (worker.metrics.activities, worker.metrics.send_retries, worker.metrics.abandoned) == (1, 0, 0)


async def test_an_answer_refused_twice_is_not_sent_for_ever() -> None:
    """Neither the result nor its failure can be stored: the item is abandoned, the log has both."""
    transport = FakeTransport(complete_errors=[InvalidRequestError("no."), InvalidRequestError("no.")])
    async with DurableTaskWorker(transport, activities=[ping]) as worker:
        transport.put(A_CALL)
        await transport.wait_for(1)

    assert transport.abandoned == [A_CALL]
    assert worker.metrics.activities == 0


async def test_a_worker_that_stops_gives_up_an_answer_that_cannot_be_sent() -> None:
    """The hub delivers the item again; the process ends."""

    async def for_ever(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    waiting = asyncio.Event()
    transport = FakeTransport(complete_errors=[unavailable()])
    backoff = Backoff(rng=lambda: 1.0, sleep=for_ever)
    async with DurableTaskWorker(transport, activities=[ping], backoff=backoff, drain_timeout=0.0):
        transport.put(A_CALL)
        await waiting.wait()

    assert transport.abandoned == [A_CALL]


async def test_an_item_of_an_unexpected_kind_is_left_to_the_hub(caplog: pytest.LogCaptureFixture) -> None:
    """A newer transport may know more than this worker."""
    transport = FakeTransport()
    with caplog.at_level(logging.ERROR, "durabletask"):
        async with DurableTaskWorker(transport, activities=[ping]):
            transport.put(NOON, A_CALL)  # type: ignore[arg-type]
            await transport.wait_for(1)

    assert "was not expected" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_orchestrations", -1), ("max_activities", -1), ("max_entities", -5), ("max_threads", 0)],
)
def test_limits_have_a_range(name: str, value: int) -> None:
    """The message names the option."""
    with pytest.raises(ValueError, match=name):
        ConcurrencyOptions(**{name: value})  # type: ignore[arg-type]


def test_zero_means_no_limit() -> None:
    """As the protocol has it."""
    assert ConcurrencyOptions(max_activities=0).max_activities == 0
