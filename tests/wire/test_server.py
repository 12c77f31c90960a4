"""The server answers what it cannot do with the right status, and goes on."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from durabletask.core.errors import ConfigurationError, TaskHubNotFoundError
from durabletask.core.transport import Transport
from durabletask.core.work_items import WorkItem, WorkItemStreamOptions
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from durabletask.grpc.server import TaskHubServer
from durabletask.grpc.server_calls import UNARY_CALLS
from durabletask.testing.hub import InMemoryBackend
from google.protobuf.empty_pb2 import Empty
from wire_server import RawClient, WatchedHub, serving

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("both_servers")]

Code = grpc.StatusCode
GARBAGE = b"\xff\xff\xff\xff garbage \x00"


async def _is_well(client: RawClient) -> None:
    answer = await client.call("StartInstance", pb.CreateInstanceRequest(name="n"), pb.CreateInstanceResponse)
    found = await client.call(
        "GetInstance", pb.GetInstanceRequest(instanceId=answer.instanceId), pb.GetInstanceResponse
    )
    assert found.exists


async def test_garbage_is_an_invalid_argument_for_every_call() -> None:
    """Bytes that are no message get INVALID_ARGUMENT, on all 29 calls, and disturb no other caller."""
    async with serving(InMemoryBackend()) as (_, client):
        for rpc in UNARY_CALLS:
            error = await client.refusal(rpc, GARBAGE)
            assert error.code() is Code.INVALID_ARGUMENT, rpc
            assert "Traceback" not in str(error.details())
        for rpc in ("GetWorkItems", "StreamInstanceHistory"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.stream(rpc, GARBAGE).read()
            assert caught.value.code() is Code.INVALID_ARGUMENT, rpc
        await _is_well(client)


REFUSED: list[tuple[str, Any, grpc.StatusCode]] = [
    ("StartInstance", pb.CreateInstanceRequest(name=""), Code.INVALID_ARGUMENT),
    ("StartInstance", pb.CreateInstanceRequest(name="n", instanceId="@e@k"), Code.INVALID_ARGUMENT),
    ("GetInstance", pb.GetInstanceRequest(), Code.INVALID_ARGUMENT),
    ("WaitForInstanceStart", pb.GetInstanceRequest(), Code.INVALID_ARGUMENT),
    ("RaiseEvent", pb.RaiseEventRequest(instanceId="missing", name="e"), Code.NOT_FOUND),
    ("RaiseEvent", pb.RaiseEventRequest(instanceId="missing"), Code.INVALID_ARGUMENT),
    ("RewindInstance", pb.RewindInstanceRequest(instanceId="missing"), Code.NOT_FOUND),
    ("RestartInstance", pb.RestartInstanceRequest(instanceId="missing"), Code.NOT_FOUND),
    ("PurgeInstances", pb.PurgeInstancesRequest(), Code.INVALID_ARGUMENT),
    (
        "PurgeInstances",
        pb.PurgeInstancesRequest(instanceBatch=pb.InstanceBatch(instanceIds=["i"] * 501)),
        Code.INVALID_ARGUMENT,
    ),
    (
        "QueryInstances",
        pb.QueryInstancesRequest(query=pb.InstanceQuery(maxInstanceCount=-1)),
        Code.INVALID_ARGUMENT,
    ),
    (
        "QueryInstances",
        pb.QueryInstancesRequest(query=pb.InstanceQuery(runtimeStatus=[99])),  # type: ignore[list-item]
        Code.INVALID_ARGUMENT,
    ),
    ("ListInstanceIds", pb.ListInstanceIdsRequest(pageSize=-5), Code.INVALID_ARGUMENT),
    (
        "CompleteOrchestratorTask",
        pb.OrchestratorResponse(actions=[pb.OrchestratorAction(id=1)]),
        Code.INVALID_ARGUMENT,
    ),
    (
        "CompleteEntityTask",
        pb.EntityBatchResult(results=[pb.OperationResult()]),
        Code.INVALID_ARGUMENT,
    ),
]


@pytest.mark.parametrize(
    ("rpc", "request_", "code"), REFUSED, ids=lambda each: each if isinstance(each, str) else ""
)
async def test_refusals(rpc: str, request_: Any, code: grpc.StatusCode) -> None:
    """What is asked for wrongly gets the status of the protocol and a text."""
    async with serving(InMemoryBackend()) as (_, client):
        error = await client.refusal(rpc, request_)
        assert error.code() is code
        assert error.details()
        await _is_well(client)


async def test_tokens_of_nobody_are_ignored() -> None:
    """A completion for an item that was not delivered is answered with OK and changes nothing."""
    async with serving(InMemoryBackend()) as (_, client):
        for token in ("unknown", "x" * 1_000_000):
            await client.call("CompleteOrchestratorTask", pb.OrchestratorResponse(completionToken=token))
            await client.call("CompleteActivityTask", pb.ActivityResponse(completionToken=token, taskId=-7))
        await _is_well(client)


async def test_the_longest_ids_are_only_ids() -> None:
    """A huge id in an error does not break the headers in which the error travels; a longer one is refused."""
    huge = "i" * 8192
    async with serving(InMemoryBackend()) as (_, client):
        error = await client.refusal("RaiseEvent", pb.RaiseEventRequest(instanceId=huge, name="e"))
        assert error.code() is Code.NOT_FOUND
        answer = await client.call(
            "StartInstance", pb.CreateInstanceRequest(name="n", instanceId=huge), pb.CreateInstanceResponse
        )
        assert answer.instanceId == huge
        error = await client.refusal(
            "StartInstance", pb.CreateInstanceRequest(name="n", instanceId=huge + "i")
        )
        assert error.code() is Code.INVALID_ARGUMENT


async def test_a_message_above_the_limit_is_refused() -> None:
    """The limit is the server's to set; a message above it gets RESOURCE_EXHAUSTED."""
    request = pb.RaiseEventRequest(instanceId="i", name="n")
    request.input.value = "x" * 2_000_000
    async with serving(InMemoryBackend(), max_message_length=1_000_000) as (_, client):
        assert (await client.refusal("RaiseEvent", request)).code() is Code.RESOURCE_EXHAUSTED
        await _is_well(client)
    async with serving(InMemoryBackend()) as (_, client):
        assert (await client.refusal("RaiseEvent", request)).code() is Code.NOT_FOUND


class _Broken(InMemoryBackend):
    async def connect(self) -> None:
        raise KeyError("a secret of the inside")

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        raise KeyError("a secret of the inside")
        yield  # type: ignore[unreachable]


async def test_an_unforeseen_error_is_logged_and_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    """A defect of the hub is INTERNAL with a number; the number is in the log with the traceback."""
    async with serving(_Broken()) as (_, client):
        with caplog.at_level(logging.ERROR, logger="durabletask.grpc.server"):
            error = await client.refusal("Hello", Empty())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.stream("GetWorkItems", pb.GetWorkItemsRequest()).read()
    for each in (error, caught.value):
        assert each.code() is Code.INTERNAL
        assert "secret" not in str(each.details())
    number = str(error.details()).split()[-1].rstrip(".")
    assert any(number in record.getMessage() and record.exc_info for record in caplog.records)


async def test_hubs_are_found_by_header() -> None:
    """The ``taskhub`` header chooses; without one it is ``default``; a hub that is not there is NOT_FOUND."""
    hubs = {"default": InMemoryBackend("default"), "other": InMemoryBackend("other")}

    def find(name: str) -> Transport:
        if name not in hubs:
            raise TaskHubNotFoundError(f"There is no task hub {name!r}.")
        return hubs[name]

    async with serving(find) as (_, client):
        request = pb.CreateInstanceRequest(name="n", instanceId="i")
        await client.call("StartInstance", request)
        other = RawClient(client.channel, taskhub="other")
        question = pb.GetInstanceRequest(instanceId="i")
        assert not (await other.call("GetInstance", question, pb.GetInstanceResponse)).exists
        await other.call("StartInstance", request)
        assert (await client.call("GetInstance", question, pb.GetInstanceResponse)).exists
        missing = RawClient(client.channel, taskhub="missing")
        assert (await missing.refusal("Hello", Empty())).code() is Code.NOT_FOUND


async def test_deadlines_end_waits_on_both_sides() -> None:
    """A wait ends at the deadline of the call, and the hub does not go on waiting."""
    hub = WatchedHub()
    async with serving(hub) as (_, client):
        await client.call("StartInstance", pb.CreateInstanceRequest(name="n", instanceId="i"))
        request = pb.GetInstanceRequest(instanceId="i")
        for timeout in (0.05, 1, 20):  # on a busy machine the first may pass before the call arrives
            error = await client.refusal("WaitForInstanceCompletion", request, timeout=timeout)
            assert error.code() is Code.DEADLINE_EXCEEDED
            if hub.begun:
                break
        await hub.until(lambda hub: hub.over == hub.begun == 1)


async def test_a_worker_that_goes_away_gives_its_items_back() -> None:
    """Cancelling the stream closes the hub's stream, so its items are handed out again."""
    async with serving(InMemoryBackend()) as (_, client):
        stream = client.stream("GetWorkItems", pb.GetWorkItemsRequest())
        await client.call("StartInstance", pb.CreateInstanceRequest(name="n", instanceId="i"))
        first = pb.WorkItem.FromString(await stream.read())
        stream.cancel()
        again = pb.WorkItem.FromString(
            await asyncio.wait_for(client.stream("GetWorkItems", pb.GetWorkItemsRequest()).read(), 30)
        )
        assert first.orchestratorRequest.instanceId == again.orchestratorRequest.instanceId == "i"
        assert first.completionToken != again.completionToken


async def test_silent_streams_get_signs_of_life() -> None:
    """A stream without work is kept alive by pings."""
    async with serving(InMemoryBackend(), ping_interval=timedelta(milliseconds=10)) as (_, client):
        stream = client.stream("GetWorkItems", pb.GetWorkItemsRequest())
        for _ in range(2):
            item = pb.WorkItem.FromString(await asyncio.wait_for(stream.read(), 30))
            assert item.WhichOneof("request") == "healthPing"


async def test_stopping_ends_streams_and_waits_at_once() -> None:
    """A server that stops does not wait for calls that last for ever; they end with UNAVAILABLE."""
    hub = WatchedHub()
    async with serving(hub) as (server, client):
        stream = client.stream("GetWorkItems", pb.GetWorkItemsRequest())
        await stream.initial_metadata()
        request = pb.GetInstanceRequest(instanceId="missing")
        waiting = asyncio.ensure_future(client.refusal("WaitForInstanceCompletion", request))
        await hub.until(lambda hub: hub.begun == 2)
        await asyncio.wait_for(server.stop(grace=100), 30)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is Code.UNAVAILABLE
        assert (await waiting).code() is Code.UNAVAILABLE


async def test_a_taken_port_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """Two servers never share a port; the second says which one is taken, once."""
    async with serving(InMemoryBackend()) as (server, _):
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{server.port}"):
            await TaskHubServer(InMemoryBackend(), port=server.port).start()
    assert capfd.readouterr().err == ""


async def test_a_taken_port_of_another_program_is_said() -> None:
    """It does not matter who has the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigurationError, match="Cannot listen"):
            await TaskHubServer(InMemoryBackend(), port=other.getsockname()[1]).start()


async def test_large_histories_are_streamed_only_to_workers_that_can() -> None:
    """Above the limit a worker that announced it fetches the past; another gets all of it."""
    async with serving(InMemoryBackend(), stream_above=2000) as (_, client):
        request = pb.CreateInstanceRequest(name="n", instanceId="i")
        request.input.value = "x" * 5000
        await client.call("StartInstance", request)
        stream = client.stream("GetWorkItems", pb.GetWorkItemsRequest())
        item = pb.WorkItem.FromString(await stream.read())
        await client.call(
            "CompleteOrchestratorTask",
            pb.OrchestratorResponse(instanceId="i", completionToken=item.completionToken),
        )
        await client.call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="e"))
        plain = pb.WorkItem.FromString(await stream.read()).orchestratorRequest
        assert not plain.requiresHistoryStreaming
        stream.cancel()

        able = pb.GetWorkItemsRequest(capabilities=[pb.WORKER_CAPABILITY_HISTORY_STREAMING])
        lean = pb.WorkItem.FromString(await client.stream("GetWorkItems", able).read()).orchestratorRequest
        assert lean.requiresHistoryStreaming
        assert not lean.pastEvents
        history = client.stream(
            "StreamInstanceHistory",
            pb.StreamInstanceHistoryRequest(instanceId="i", forWorkItemProcessing=True),
        )
        chunk = pb.HistoryChunk.FromString(await history.read())
        assert list(chunk.events) == list(plain.pastEvents)


async def test_an_answer_without_its_token_is_refused() -> None:
    """It could end an item of another worker; the refusal says what to send."""
    async with serving(InMemoryBackend()) as (_, client):
        for rpc, request in (
            ("CompleteOrchestratorTask", pb.OrchestratorResponse(instanceId="i")),
            ("CompleteOrchestratorTask", pb.OrchestratorResponse(instanceId="i", isPartial=True)),
            ("CompleteActivityTask", pb.ActivityResponse(instanceId="i")),
            ("AbandonTaskOrchestratorWorkItem", pb.AbandonOrchestrationTaskRequest()),
            ("AbandonTaskActivityWorkItem", pb.AbandonActivityTaskRequest()),
            ("AbandonTaskEntityWorkItem", pb.AbandonEntityTaskRequest()),
        ):
            error = await client.refusal(rpc, request)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "send back the token" in str(error.details())
