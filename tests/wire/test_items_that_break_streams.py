"""A work item that no worker can read does not make the server hot, nor its log long."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from datetime import timedelta

import grpc
import grpc.aio
import pytest
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from durabletask.testing import InMemoryBackend, VirtualClock
from wire_server import RawClient, serving

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("both_servers")]


async def _break_streams(channel: grpc.aio.Channel, clock: VirtualClock, count: int) -> list[timedelta]:
    """Connect again and again, as a worker does that takes 4 MiB; the pauses between streams that broke."""
    worker, times = RawClient(channel), [clock.now()]
    while len(times) <= count:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(worker.stream("GetWorkItems", pb.GetWorkItemsRequest()).read(), 30)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        times.append(clock.now())
    return [after - before for before, after in itertools.pairwise(times)]


async def _first_item(channel: grpc.aio.Channel) -> pb.WorkItem:
    """The first item that a worker which takes 4 MiB gets; the large one may be due before."""
    while True:
        stream = RawClient(channel).stream("GetWorkItems", pb.GetWorkItemsRequest())
        try:
            return pb.WorkItem.FromString(await stream.read())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
        finally:
            stream.cancel()


async def test_a_work_item_too_large_for_its_worker_is_put_off(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """It comes again after growing pauses, others are served meanwhile, and the log has a line each time."""
    caplog.set_level(logging.INFO)
    clock = VirtualClock()
    async with serving(InMemoryBackend(clock=clock)) as (server, client):
        request = pb.CreateInstanceRequest(name="n", instanceId="large")
        request.input.value = "x" * 5_000_000
        await client.call("StartInstance", request)
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            pauses = await _break_streams(channel, clock, 4)
            assert pauses == sorted(pauses)
            # A busy machine may break a stream before it has the item, and that break adds no pause.
            assert pauses[-1] > pauses[0]
            await client.call("StartInstance", pb.CreateInstanceRequest(name="n", instanceId="small"))
            item = await asyncio.wait_for(_first_item(channel), 30)
            assert item.orchestratorRequest.instanceId == "small"
        await clock.advance(timedelta(minutes=1))  # what is delivered stops the clock
        able = client.stream("GetWorkItems", pb.GetWorkItemsRequest())  # this one takes any size
        while item.orchestratorRequest.instanceId != "large":
            item = pb.WorkItem.FromString(await asyncio.wait_for(able.read(), 30))
            # An item in flight stops the clock, and the stream before this one may have broken once more.
            await client.call(
                "CompleteOrchestratorTask",
                pb.OrchestratorResponse(
                    instanceId=item.orchestratorRequest.instanceId, completionToken=item.completionToken
                ),
            )
    assert "Traceback" not in capfd.readouterr().err
    assert not [record for record in caplog.records if record.exc_info]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said
    assert [
        line
        for line in said
        if not re.fullmatch(r".*'large'.*(raise the limit|It is delivered again in).*", line)
    ] == []


async def test_a_caller_that_hangs_up_in_a_history_leaves_no_trace_in_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Hanging up is the caller's right, whatever is being written."""
    caplog.set_level(logging.INFO)
    async with serving(InMemoryBackend()) as (_, client):
        request = pb.CreateInstanceRequest(name="n", instanceId="i")
        request.input.value = "x" * 30_000_000
        await client.call("StartInstance", request)
        stream = client.stream("GetWorkItems", pb.GetWorkItemsRequest())
        item = pb.WorkItem.FromString(await stream.read())
        await client.call(
            "CompleteOrchestratorTask",
            pb.OrchestratorResponse(instanceId="i", completionToken=item.completionToken),
        )
        for _ in range(3):
            history = client.stream("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i"))
            await history.initial_metadata()
            history.cancel()
            found = await client.call(
                "GetInstance", pb.GetInstanceRequest(instanceId="i"), pb.GetInstanceResponse
            )
            assert found.exists
        stream.cancel()
    assert "Traceback" not in capfd.readouterr().err
    assert not [record for record in caplog.records if record.exc_info]
