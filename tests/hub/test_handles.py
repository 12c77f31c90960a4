"""Handles on every transport of the project."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from durabletask import (
    DurableTaskClient,
    DurableTaskWorker,
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    OrchestrationContext,
    OrchestrationHandle,
    OrchestrationState,
    OrchestrationStatus,
    OrchestrationTerminatedError,
    ReusePolicy,
    SerializationError,
    Task,
    TaskFailedError,
    TaskNotRegisteredError,
    TaskOrchestrator,
    Transport,
    sync,
)
from durabletask.core.errors import InvalidRequestError
from durabletask.testing import OrchestrationTestEnvironment, StuckOrchestrationError
from durabletask.testing.conformance import ConformanceHub
from durabletask.testing.hub import InMemoryBackend
from fake_transport import FakeTransport, a_state

SHORT = timedelta(milliseconds=50)


@dataclass
class Order:
    number: int


async def double(ctx: OrchestrationContext, order: Order) -> Order:
    return Order(order.number * 2)


def yielding(ctx: OrchestrationContext, order: Order) -> Generator[Task[Any], Any, Order]:
    yield ctx.create_timer(0)
    return Order(order.number * 2)


class Plain(TaskOrchestrator[Order, Order]):
    def run(self, context: OrchestrationContext, input: Order, /) -> Order:  # noqa: A002
        return Order(input.number * 2)


async def fail(ctx: OrchestrationContext) -> int:
    raise ValueError("broken")


async def collect(ctx: OrchestrationContext, wanted: int) -> list[object]:
    """Wait for events; the custom status has what came."""
    got: list[object] = []
    while len(got) < wanted:
        got.append(await ctx.wait_for_external_event("item"))
        ctx.set_custom_status(got)
    return got


async def lies(ctx: OrchestrationContext) -> int:
    return "text"  # type: ignore[return-value]


@pytest.fixture
async def transport(conformance_hub: ConformanceHub) -> AsyncIterator[Transport]:
    yield await conformance_hub.open()
    await conformance_hub.close()


@pytest.fixture
async def client(transport: Transport) -> AsyncIterator[DurableTaskClient]:
    orchestrators = [double, yielding, Plain, fail, collect, lies]
    async with DurableTaskWorker(transport, orchestrators=orchestrators):
        yield DurableTaskClient(transport)


async def until(hub: ConformanceHub, condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await hub.advance(SHORT)
        await hub.settle()
    raise AssertionError("It did not come about.")


async def shows(hub: ConformanceHub, handle: OrchestrationHandle[Any], custom_status: object) -> None:
    for _ in range(500):
        if (await handle.state()).custom_status == custom_status:
            return
        await hub.settle()
    raise AssertionError("The custom status did not come.")


@pytest.mark.parametrize("orchestrator", [double, yielding, Plain, Plain()])
async def test_a_result_has_the_type_that_the_orchestrator_returns(
    client: DurableTaskClient, orchestrator: Any
) -> None:
    """As in the annotation, for every kind of orchestrator."""
    handle = await client.start(orchestrator, Order(4))

    assert await handle.result() == Order(8)
    assert await handle.result(timeout=10) == Order(8)
    assert await client.run(orchestrator, Order(5)) == Order(10)
    assert await client.get_handle(handle.instance_id, orchestrator).result() == Order(8)


async def test_a_result_by_name_is_plain_json(client: DurableTaskClient) -> None:
    """Nothing is known of a name."""
    assert await client.run("double", Order(4), instance_id="named") == {"number": 8}
    assert await client.get_handle("named").result() == {"number": 8}
    assert await client.get_handle("named", "double").result() == {"number": 8}


async def test_a_failure_is_raised_with_its_details(client: DurableTaskClient) -> None:
    """The same error as for a failed sub-orchestration."""
    handle = await client.start(fail, instance_id="failing")

    with pytest.raises(
        TaskFailedError, match=r"broken .*ValueError in orchestration 'fail', instance 'failing'"
    ) as found:
        await handle.result()

    assert found.value.details.matches(ValueError)
    assert found.value.task_name == "fail"
    with pytest.raises(TaskFailedError):
        await client.run(fail)


async def test_an_unknown_name_is_an_error_of_its_own(client: DurableTaskClient) -> None:
    """Code that compensates for failures lets it pass."""
    with pytest.raises(TaskNotRegisteredError):
        await client.run("doubled", Order(1))


async def test_termination_is_raised_with_its_output(client: DurableTaskClient) -> None:
    """The output goes into an attribute, and not into the text."""
    handle = await client.start(collect, 1, instance_id="ended")
    await handle.terminate({"secret": 1})

    with pytest.raises(OrchestrationTerminatedError, match=r"'ended'.*TERMINATED") as found:
        await handle.result()

    assert (found.value.instance_id, found.value.output) == ("ended", {"secret": 1})
    assert "secret" not in str(found.value)
    assert await handle.status() is OrchestrationStatus.TERMINATED


async def test_a_time_out_leaves_the_instance_as_it_is(
    client: DurableTaskClient, conformance_hub: ConformanceHub
) -> None:
    """A ``TimeoutError``; the result can be waited for again."""
    handle = await client.start(collect, 1)
    waiting = asyncio.ensure_future(handle.result(timeout=SHORT))
    await until(conformance_hub, waiting.done)
    with pytest.raises(TimeoutError, match=r"has not ended within 0:00:00.05"):
        await waiting

    await handle.raise_event("item", 1)

    assert await handle.result() == [1]


async def test_an_output_of_another_type_is_named(client: DurableTaskClient) -> None:
    """The message has instance and orchestrator, and not the payload."""
    with pytest.raises(SerializationError, match=r"instance 'lying' .orchestrator 'lies'"):
        await client.run(lies, instance_id="lying")


async def test_a_handle_steers_its_instance(
    client: DurableTaskClient, conformance_hub: ConformanceHub
) -> None:
    """Suspend, resume, events, history and explain without the id."""
    handle = await client.start(collect, 2)
    await handle.raise_event("item", "a")
    await shows(conformance_hub, handle, ["a"])
    diagnosis = await handle.explain()
    assert [wait.name for wait in diagnosis.waits] == ["item"]

    await handle.suspend(reason="lunch")
    await handle.raise_event("item", "b")
    for _ in range(500):
        if await handle.status() is OrchestrationStatus.SUSPENDED:
            break
        await conformance_hub.settle()
    assert await handle.status() is OrchestrationStatus.SUSPENDED
    await handle.resume()

    assert await handle.result() == ["a", "b"]
    assert await handle.history() == await client.get_orchestration_history(handle.instance_id)
    assert repr(handle) == f"<orchestration {handle.instance_id!r} of 'collect'>"


async def test_a_handle_of_nothing_says_so(client: DurableTaskClient) -> None:
    """``get_handle`` does not ask the hub; the first call does."""
    handle = client.get_handle("nothing")

    for call in (handle.state, handle.status, handle.explain):
        with pytest.raises(InstanceNotFoundError, match="nothing"):
            await call()  # type: ignore[operator]
    with pytest.raises(InstanceNotFoundError):
        await anext(handle.watch())


async def test_a_watch_shows_every_lasting_change(
    client: DurableTaskClient, conformance_hub: ConformanceHub
) -> None:
    """The present state first, then each change of custom status or status, then the end."""
    handle = await client.start(collect, 2)
    seen: list[OrchestrationState] = []

    async def watch() -> None:
        seen.extend([])
        async for state in handle.watch():
            seen.append(state)  # noqa: PERF401 - the test looks at it meanwhile

    watching = asyncio.ensure_future(watch())
    await until(
        conformance_hub, lambda: bool(seen) and seen[-1].runtime_status is OrchestrationStatus.RUNNING
    )
    await handle.raise_event("item", "a")
    await until(conformance_hub, lambda: seen[-1].custom_status == ["a"])
    await handle.suspend()
    await until(conformance_hub, lambda: seen[-1].runtime_status is OrchestrationStatus.SUSPENDED)
    await handle.resume()
    await until(conformance_hub, lambda: seen[-1].runtime_status is OrchestrationStatus.RUNNING)
    await handle.raise_event("item", "b")
    await until(conformance_hub, watching.done)

    shown = [(state.runtime_status.name, state.custom_status) for state in seen]
    assert shown[-1] == ("COMPLETED", ["a", "b"])
    assert [each for each in shown if each[0] in {"PENDING", "RUNNING"} and each[1] is None]
    assert ("SUSPENDED", ["a"]) in shown
    assert all(shown[index] != shown[index + 1] for index in range(len(shown) - 1))
    assert [state.output async for state in handle.watch()] == [["a", "b"]]


async def test_a_start_with_events_raises_them_in_order(client: DurableTaskClient) -> None:
    """Right after the creation, also for an instance that starts later."""
    assert await client.run(collect, 2, events=[("item", 1), ("ITEM", {"n": 2})]) == [1, {"n": 2}]

    later = await client.start(collect, 1, start_at=0.01, events=[("item", 1)])
    await later.terminate()


async def test_events_reach_an_instance_that_exists(client: DurableTaskClient) -> None:
    """With events, a live instance that may not be replaced is no error: it is signalled."""
    first = await client.start(collect, 3, instance_id="one", events=[("item", 1)])
    second = await client.start(collect, 3, instance_id="one", events=[("item", 2), ("item", 3)])

    assert second.instance_id == first.instance_id
    assert await second.result() == [1, 2, 3]


async def test_events_are_refused_where_nothing_would_read_them(client: DurableTaskClient) -> None:
    """An instance that has ended drops events, so the error of the creation stands."""
    await client.run(collect, 1, instance_id="one", events=[("item", 1)])

    with pytest.raises(InstanceAlreadyExistsError):
        await client.start(collect, 1, instance_id="one", events=[("item", 2)])
    with pytest.raises(InstanceAlreadyExistsError):
        await client.start(collect, 1, instance_id="one")

    replaced = await client.start(
        collect, 1, instance_id="one", reuse_policy=ReusePolicy.replace_terminal(), events=[("item", 3)]
    )
    assert await replaced.result() == [3]


async def test_without_events_a_live_instance_is_an_error(client: DurableTaskClient) -> None:
    """As for ``schedule_new_orchestration``."""
    await client.start(collect, 1, instance_id="one")

    with pytest.raises(InstanceAlreadyExistsError):
        await client.start(collect, 1, instance_id="one")


@pytest.mark.parametrize("events", ["item", [("item",)], {"item": 1}, [("", 1)], [(3, 1)], 5])
async def test_wrong_events_start_nothing(client: DurableTaskClient, events: Any) -> None:
    """The argument is named, and nothing was sent."""
    with pytest.raises(InvalidRequestError, match="events"):
        await client.start(collect, 1, instance_id="none", events=events)

    assert await client.get_orchestration_state("none") is None


async def test_events_without_json_form_start_nothing(client: DurableTaskClient) -> None:
    """All data is encoded before the creation."""
    with pytest.raises(SerializationError, match="Data of event 'item'"):
        await client.start(collect, 1, instance_id="none", events=[("item", 1), ("item", object())])

    assert await client.get_orchestration_state("none") is None


async def test_an_unknown_option_is_named(client: DurableTaskClient) -> None:
    """As for options of clients."""
    with pytest.raises(TypeError, match=r"no option 'instanceid'. Did you mean 'instance_id'"):
        await client.start(collect, 1, instanceid="a")  # type: ignore[call-overload]

    assert await client.get_orchestration_state("a") is None


async def slow(ctx: OrchestrationContext) -> str:
    for step in range(3):
        ctx.set_custom_status(step)
        await ctx.create_timer(timedelta(days=1))
    return "done"


async def test_a_watch_runs_in_virtual_time() -> None:
    """Days pass in the test environment, and every status is seen."""
    async with OrchestrationTestEnvironment(orchestrators=[slow]) as env:
        handle = await env.client.start(slow, start_at=timedelta(days=2))
        seen = [(state.runtime_status.name, state.custom_status) async for state in handle.watch()]

        assert seen == [
            ("PENDING", None),
            ("RUNNING", 0),
            ("RUNNING", 1),
            ("RUNNING", 2),
            ("COMPLETED", 2),
        ]
        assert await handle.result() == "done"


async def test_a_watch_of_what_cannot_change_is_an_error_in_tests() -> None:
    """As for a result: virtual time does not run on forever."""
    async with OrchestrationTestEnvironment(orchestrators=[collect]) as env:
        handle = await env.client.start(collect, 1)
        with pytest.raises(StuckOrchestrationError, match="item"):
            async for _ in handle.watch():
                pass


async def test_a_watch_ends_with_an_error_when_the_instance_is_purged(
    client: DurableTaskClient, conformance_hub: ConformanceHub
) -> None:
    """Whether the purge comes during the wait or between two of them."""
    handle = await client.start(collect, 1, events=[("item", 1)])
    await handle.result()
    watch = handle.watch()
    ended = await anext(watch)
    await watch.aclose()
    await client.purge_orchestration(handle.instance_id)

    before = msgspec.structs.replace(ended, runtime_status=OrchestrationStatus.RUNNING)
    waiting = asyncio.ensure_future(client.transport.wait_for_instance_change(before))
    await until(conformance_hub, waiting.done)
    with pytest.raises(InstanceNotFoundError, match="purged"):
        await waiting


async def test_a_transport_without_news_is_asked_after_growing_pauses() -> None:
    """A start or an end is waited for in the pauses; they are five seconds at most."""
    pending, running = (
        a_state(runtime_status=status)
        for status in (OrchestrationStatus.PENDING, OrchestrationStatus.RUNNING)
    )
    pauses: list[tuple[str, float]] = []

    class Asked(FakeTransport):
        async def wait_for_instance_start(self, instance_id: str, **more: Any) -> OrchestrationState | None:
            pauses.append(("start", more["timeout"].total_seconds()))
            return running if len(pauses) == 2 else None

        async def wait_for_instance_completion(
            self, instance_id: str, **more: Any
        ) -> OrchestrationState | None:
            pauses.append(("end", more["timeout"].total_seconds()))
            return None

        async def get_instance(
            self, instance_id: str, *, include_payloads: bool = True
        ) -> OrchestrationState:
            if len(pauses) < 10:
                return pending if len(pauses) < 2 else running
            return a_state(runtime_status=OrchestrationStatus.COMPLETED)

    seen = [state async for state in DurableTaskClient(Asked()).get_handle("i1").watch()]

    assert [state.runtime_status.name for state in seen] == ["PENDING", "RUNNING", "COMPLETED"]
    assert pauses == [
        *[("start", 0.1), ("start", 0.2)],
        *[("end", pause) for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)],
    ]


def test_the_blocking_twin_does_the_same() -> None:
    """Handles, results and watches without ``await``."""
    hub = InMemoryBackend("twin")
    with (
        sync.DurableTaskWorker(hub, orchestrators=[collect, fail]),
        sync.DurableTaskClient(hub) as client,
    ):
        handle = client.start(collect, 2, events=[("item", 1)])
        watch = handle.watch()
        next(watch)
        handle.raise_event("item", 2)

        assert handle.result(timeout=30) == [1, 2]
        assert [state.runtime_status for state in watch][-1] is OrchestrationStatus.COMPLETED
        assert client.run(collect, 0) == []
        assert repr(handle) == f"<orchestration {handle.instance_id!r} of 'collect'>"
        with pytest.raises(TaskFailedError):
            client.run(fail)
        abandoned = client.start(collect, 1)
        watch = abandoned.watch()
        next(watch)
        watch.close()
        abandoned.terminate()
        with pytest.raises(OrchestrationTerminatedError):
            client.get_handle(abandoned.instance_id, collect).result()
