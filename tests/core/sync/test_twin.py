"""The blocking twin does what the async objects do, and nothing else."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator

import pytest
from durabletask import sync
from durabletask.core import client, entity_client, handles, orchestration_client, worker
from durabletask.core.authoring import ActivityContext
from durabletask.core.entity_context import TaskEntity
from durabletask.core.errors import TransportUnavailableError
from durabletask.core.instances import InstancePage
from durabletask.core.operations import operation
from durabletask.core.schedules import client as schedules
from durabletask.core.work_items import ActivityWorkItem
from durabletask.sync import entities as sync_entities
from durabletask.sync import handles as sync_handles
from durabletask.sync import orchestrations as sync_orchestrations
from durabletask.sync import schedules as sync_schedules
from fake_transport import FakeTransport, a_state, unavailable

PAIRS = [
    (client.DurableTaskClient, sync.DurableTaskClient),
    (entity_client.EntityClient, sync_entities.EntityClient),
    (orchestration_client.OrchestrationClient, sync_orchestrations.OrchestrationClient),
    (handles.HandleClient, sync_handles.HandleClient),
    (handles.OrchestrationHandle, sync_handles.OrchestrationHandle),
    (schedules.Schedules, sync_schedules.Schedules),
    (worker.DurableTaskWorker, sync.DurableTaskWorker),
]

HANDED_OUT = {schedules.Schedules, handles.OrchestrationHandle, orchestration_client.OrchestrationClient}
"""Classes whose twins are not made by programs, or not by the same arguments."""


def public_members(kind: type) -> dict[str, object]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize(("original", "twin"), PAIRS)
def test_the_twin_has_exactly_the_same_names(original: type, twin: type) -> None:
    """Nothing is missing and nothing is extra."""
    assert public_members(twin).keys() == public_members(original).keys()


@pytest.mark.parametrize(
    ("original", "twin", "name"),
    [
        (original, twin, name)
        for original, twin in PAIRS
        for name, member in {**public_members(original), "__init__": vars(twin).get("__init__")}.items()
        if inspect.isfunction(member)
        and (name != "__init__" or ("__init__" in vars(original) and original not in HANDED_OUT))
    ],
)
def test_every_method_takes_the_same_arguments(original: type, twin: type, name: str) -> None:
    """Names, kinds, defaults and annotations; results differ only where listings are paged."""
    expected = inspect.signature(getattr(original, name))
    found = inspect.signature(getattr(twin, name))

    assert found.parameters == expected.parameters
    assert str(found.return_annotation) == str(expected.return_annotation).replace("Async", "")
    assert not inspect.iscoroutinefunction(getattr(twin, name))


@pytest.fixture
def hub() -> FakeTransport:
    return FakeTransport()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "durabletask-sync"] == []


def test_a_call_returns_the_answer(hub: FakeTransport) -> None:
    """Without await, from a program without an event loop."""
    hub.answers["get_instance"] = [a_state(serialized_output="[1]")]
    with sync.DurableTaskClient(hub) as c:
        state = c.get_orchestration_state("i1")
        instance_id = c.schedule_new_orchestration("order", {"n": 1}, instance_id="o1")

    assert state is not None
    assert state.output == [1]
    assert instance_id == "o1"


def test_errors_are_the_same(hub: FakeTransport) -> None:
    """They arrive in the calling thread."""
    hub.answers["get_instance"] = [unavailable()]

    with sync.DurableTaskClient(hub) as c, pytest.raises(TransportUnavailableError):
        c.get_orchestration_state("i1")


def test_listings_are_plain_iterators(hub: FakeTransport) -> None:
    """Pages are fetched as they are needed."""
    hub.answers["query_instances"] = [InstancePage([a_state("a")], "t"), InstancePage([a_state("b")])]
    with sync.DurableTaskClient(hub) as c:
        listing = iter(c.query_orchestrations())
        assert next(listing).instance_id == "a"
        assert len(hub.calls) == 1
        assert [state.instance_id for state in listing] == ["b"]


def test_a_client_can_be_used_again_after_close(hub: FakeTransport) -> None:
    """As the async one can."""
    c = sync.DurableTaskClient(hub)
    c.close()
    assert c.get_orchestration_state("i1") is None
    c.close()


def test_a_constructor_that_fails_leaves_no_thread() -> None:
    """The error of the async constructor comes through."""
    with pytest.raises(ValueError, match="task hub"):
        sync.DurableTaskClient(FakeTransport(), "other")


def test_a_worker_runs_beside_the_program(hub: FakeTransport) -> None:
    """``with`` starts it and drains it at the end."""
    done = threading.Event()

    def ping(ctx: ActivityContext) -> str:
        done.set()
        return "pong"

    with sync.DurableTaskWorker(hub, activities=[ping]) as w:
        hub.put(ActivityWorkItem(name="ping", instance_id="i1", task_id=1))
        wake(hub)
        assert done.wait(10)
        assert w.is_running

    assert [result.result for result in hub.completed] == ['"pong"']  # type: ignore[union-attr]
    assert w.metrics.activities == 1
    assert not w.is_running


def wake(hub: FakeTransport) -> None:
    """The queue was filled from another thread: make the loop look."""
    loop = sync._portal._loop
    assert loop is not None
    loop.call_soon_threadsafe(lambda: None)


def test_a_call_from_the_twins_own_loop_is_an_error_not_a_deadlock(hub: FakeTransport) -> None:
    """An async activity must use the async client; the message says so."""
    c = sync.DurableTaskClient(hub)
    seen: list[str] = []
    done = threading.Event()

    async def wrong(ctx: ActivityContext) -> None:
        try:
            c.get_orchestration_state("i1")
        except RuntimeError as error:
            seen.append(str(error))
        done.set()

    with c, sync.DurableTaskWorker(hub, activities=[wrong]):
        hub.put(ActivityWorkItem(name="wrong", instance_id="i1", task_id=1))
        wake(hub)
        assert done.wait(10)

    assert "would wait for itself" in seen[0]


async def test_a_call_inside_a_running_event_loop_is_an_error(hub: FakeTransport) -> None:
    """It would block everything else on that loop, also a worker that it waits for."""
    with pytest.raises(RuntimeError, match="would block it"):
        sync.DurableTaskClient(hub)


async def test_a_thread_beside_a_running_event_loop_may_call(hub: FakeTransport) -> None:
    """What the message recommends."""

    def ask() -> object:
        with sync.DurableTaskClient(hub) as c:
            return c.get_orchestration_state("i1")

    assert await asyncio.to_thread(ask) is None


class Tally(TaskEntity):
    value: int = 0

    @operation
    def add(self, amount: int) -> int:
        self.value += amount
        return self.value


def test_entities_are_called_signalled_and_read_without_await() -> None:
    """Proxies, references to methods, typed states."""
    hub = "Endpoint=memory://sync-entities"
    with sync.DurableTaskWorker(hub, entities=[Tally]), sync.DurableTaskClient(hub) as c:
        tally = c.entity(Tally, "k")
        assert tally.state() is None
        assert tally.signal.add(2) is None  # type: ignore[comparison-overlap]
        assert tally.call.add(3) == 5  # type: ignore[comparison-overlap]
        assert c.call_entity(tally.entity_id, Tally.add, 1) == 6
        state = tally.state()
        assert state is not None
        assert state.value == 6
        assert [each.instance_id for each in c.query_entities()] == ["@tally@k"]
        assert c.purge_entity("@tally@k").deleted_instance_count == 1
