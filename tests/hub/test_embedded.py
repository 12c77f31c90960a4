"""Embedded hubs: client and worker of one process meet by endpoint and hub name, without a port."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from durabletask.core.actions import ScheduleTask
from durabletask.core.connection import ConnectionString, resolve_transport
from durabletask.core.entities import CleanEntityStorageResult, EntityQuery
from durabletask.core.errors import ConfigurationError, InstanceNotFoundError
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdQuery,
    InstanceQuery,
    OrchestrationStatus,
    PurgeInstance,
)
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    EntityBatchResult,
    EntityOperationResult,
    EntityWorkItem,
    OrchestratorWorkItem,
)
from durabletask.testing import VirtualClock
from durabletask.testing.hub.embedded import EmbeddedTransport, from_connection_string
from scripted_worker import Reader, ScriptedWorker, complete

S = OrchestrationStatus


def connect(endpoint: str, hub: str = "hub", **options: object) -> EmbeddedTransport:
    transport = from_connection_string(ConnectionString.parse(f"Endpoint={endpoint}"), hub, **options)  # type: ignore[arg-type]
    assert isinstance(transport, EmbeddedTransport)
    return transport


def script(item: OrchestratorWorkItem) -> list[object]:
    return [ScheduleTask(1, "A", None, '"x"')] if not item.past_events else [complete('"end"')]


@pytest.fixture(params=["memory", "sqlite"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the hub is."""
    return f"memory://{tmp_path.name}" if request.param == "memory" else f"sqlite:///{tmp_path}/flows.db"


async def test_the_same_endpoint_and_name_is_the_same_hub(endpoint: str) -> None:
    """Another name, or another endpoint, is another hub."""
    client, worker, other = connect(endpoint), connect(endpoint), connect(endpoint, "other")
    elsewhere = connect("memory://elsewhere")
    async with ScriptedWorker(worker, {"O": script}).serving():  # type: ignore[dict-item]
        await client.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
        state = await client.wait_for_instance_completion("i", timeout=timedelta(seconds=5))
    assert state is not None
    assert state.output == "end"
    assert await other.get_instance("i") is None
    assert await elsewhere.get_instance("i") is None
    assert (client.endpoint, client.task_hub, client.backend is worker.backend) == (endpoint, "hub", True)
    for transport in (client, worker, other, elsewhere):
        await transport.close()


async def test_the_last_one_out_closes_the_hub(endpoint: str) -> None:
    """While anybody is in, the state is there; then memory forgets and a file remembers."""
    first, second = connect(endpoint), connect(endpoint)
    await first.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await first.close()
    await first.close()
    assert await second.get_instance("i") is not None
    await second.close()
    again = connect(endpoint)
    assert (await again.get_instance("i") is not None) is endpoint.startswith("sqlite")
    await again.close()


async def test_a_closed_transport_may_be_used_again(endpoint: str) -> None:
    """It enters the hub anew."""
    transport = connect(endpoint)
    await transport.connect()
    await transport.close()
    await transport.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    assert await transport.get_instance("i") is not None
    await transport.close()


def test_separate_event_loops_find_the_same_hub(endpoint: str) -> None:
    """What one asyncio.run has created, the next one runs."""
    client, worker = connect(endpoint), connect(endpoint)
    asyncio.run(_create(client))

    async def serve() -> object:
        async with ScriptedWorker(worker, {"O": script}).serving():  # type: ignore[dict-item]
            state = await client.wait_for_instance_completion("i", timeout=timedelta(seconds=5))
        await client.close()
        await worker.close()
        return state

    assert asyncio.run(serve()) is not None


async def _create(client: Transport) -> None:
    await client.create_instance(CreateInstanceRequest(name="O", instance_id="i"))


async def test_a_client_in_another_thread_is_served(endpoint: str) -> None:
    """Client and worker in the loops of two threads share the hub, in both directions."""
    client, worker = connect(endpoint), connect(endpoint)
    await client.connect()
    ready, done = threading.Event(), threading.Event()

    def serve_elsewhere() -> None:
        async def serve() -> None:
            async with ScriptedWorker(worker, {"O": script}).serving():  # type: ignore[dict-item]
                ready.set()
                while not done.is_set():  # noqa: ASYNC110 - the two loops share nothing else
                    await asyncio.sleep(0.001)
            with pytest.raises(InstanceNotFoundError):
                _ = [chunk async for chunk in worker.stream_history("missing")]
            await worker.close()

        asyncio.run(serve())

    thread = threading.Thread(target=serve_elsewhere)
    thread.start()
    try:
        await client.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
        state = await client.wait_for_instance_completion("i", timeout=timedelta(seconds=5))
        assert state is not None
        assert state.output == "end"
    finally:
        done.set()
        await asyncio.to_thread(thread.join)
        await client.close()


async def test_every_call_reaches_the_hub(endpoint: str) -> None:
    """The whole client half and worker half pass through."""
    hub = connect(endpoint, clock=VirtualClock())
    reader = Reader(hub)
    await hub.create_task_hub(recreate_if_exists=True)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    item = await reader.episode()
    await hub.abandon_orchestrator(item)
    item = await reader.episode()
    await reader.answer(item, ScheduleTask(1, "A"))
    assert (await hub.wait_for_instance_start("i")) is not None
    await hub.abandon_activity(await reader.activity())
    await reader.answer(await reader.activity())
    await reader.answer(await reader.episode())
    await hub.raise_event("i", "e")
    await hub.suspend_instance("i")
    await hub.resume_instance("i")
    await hub.terminate_instance("i")
    item = await reader.episode()
    while len(item.new_events) < 2:
        item = await reader.episode()
    await reader.answer(item, complete(status=S.FAILED))
    await hub.rewind_instance("i")
    assert await hub.force_terminate_instances(["i", "missing"]) == ["missing"]
    assert [chunk async for chunk in hub.stream_history("i")]
    assert len((await hub.query_instances(InstanceQuery())).states) == 1
    assert list((await hub.list_instance_ids(InstanceIdQuery())).instance_ids) == ["i"]
    new_id = await hub.restart_instance("i", with_new_instance_id=True)
    assert new_id != "i"
    assert (await hub.purge_instances(PurgeInstance(instance_id="i"))).deleted_instance_count == 1
    await reader.answer(await reader.episode(), complete())
    await hub.signal_entity("@e@k", "op")
    batch = await reader.take()
    assert isinstance(batch, EntityWorkItem)
    await hub.abandon_entity(batch)
    batch = await reader.take()
    done = EntityOperationResult(result="1")
    await hub.complete_entity(
        EntityBatchResult(
            instance_id="@e@k", results=(done,), state="1", completion_token=batch.completion_token
        )
    )
    entity = await hub.get_entity("@e@k")
    assert entity is not None
    assert list((await hub.query_entities(EntityQuery())).entities) == [entity]
    assert await hub.clean_entity_storage() == CleanEntityStorageResult()
    await hub.delete_task_hub()
    assert await hub.get_instance(new_id) is None
    await reader.close()
    await hub.close()


async def test_unknown_options_are_refused() -> None:
    """The message names them."""
    with pytest.raises(ConfigurationError, match="colour"):
        connect("memory://", colour="red")
    with pytest.raises(ConfigurationError, match="clock"):
        connect("memory://", clock="noon")


async def test_the_entry_points_lead_here(tmp_path: Path) -> None:
    """Connection strings of both schemes resolve to embedded hubs."""
    for text in ("Endpoint=memory://entry", f"Endpoint=sqlite:///{tmp_path}/a.db"):
        transport = resolve_transport(text, "hub")
        assert isinstance(transport, EmbeddedTransport)
        await transport.connect()
        await transport.close()


async def test_short_lived_loops_take_nothing_with_them(endpoint: str) -> None:
    """Request threads use the hub first and end; a worker in another loop goes on."""
    worker, client = connect(endpoint), connect(endpoint)

    def request(instance_id: str) -> None:
        async def ask() -> None:
            transport = connect(endpoint)
            await transport.create_instance(CreateInstanceRequest(name="O", instance_id=instance_id))
            await transport.wait_for_instance_completion(instance_id, timeout=timedelta(seconds=10))
            await transport.close()

        asyncio.run(ask())

    await asyncio.to_thread(asyncio.run, _create(client))
    async with ScriptedWorker(worker, {"O": script}).serving():  # type: ignore[dict-item]
        await asyncio.gather(*(asyncio.to_thread(request, f"i{n}") for n in range(4)))
        await asyncio.to_thread(request, "last")
        for instance_id in ("i", "i0", "i3", "last"):
            state = await client.wait_for_instance_completion(instance_id, timeout=timedelta(seconds=10))
            assert state is not None
            assert state.runtime_status is S.COMPLETED
    await client.close()
    await worker.close()


async def test_the_thread_of_the_hubs_ends_with_the_last_user(endpoint: str) -> None:
    """Nothing is left running, and the next user starts it again."""
    for _ in range(2):
        transport = connect(endpoint)
        await transport.connect()
        assert "durabletask-embedded-hubs" in [thread.name for thread in threading.enumerate()]
        await transport.close()
        assert "durabletask-embedded-hubs" not in [thread.name for thread in threading.enumerate()]


async def test_a_cancelled_call_is_cancelled_in_the_hub(endpoint: str) -> None:
    """A wait that is given up leaves no waiter behind, and the transport goes on."""
    transport = connect(endpoint)
    waiting = asyncio.ensure_future(transport.wait_for_instance_completion("i"))
    await transport.connect()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await _create(transport)
    assert await transport.get_instance("i") is not None
    await transport.close()


async def test_several_processes_of_a_server_are_warned_of(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each would have a hub of its own, which is hard to see from outside."""
    transport = connect(endpoint, "quiet")
    await transport.close()
    assert "siblings" not in caplog.text
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/23.0.0")
    transport, other = connect(endpoint, "loud"), connect(endpoint, "loud")
    assert caplog.text.count("Its siblings do not share the hub") == 1
    assert "durabletask-emulator --store" in caplog.text
    await transport.close()
    await other.close()
