"""Raw messages of the protocol, as a client and a worker of any SDK would send them."""

# ruff: noqa: A002 - `id` is the protocol's word

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Any

from durabletask.core.transport import Transport
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import StringValue
from wire_server import RawClient, serving

PENDING = pb.ORCHESTRATION_STATUS_PENDING
RUNNING = pb.ORCHESTRATION_STATUS_RUNNING
COMPLETED = pb.ORCHESTRATION_STATUS_COMPLETED
FAILED = pb.ORCHESTRATION_STATUS_FAILED
TERMINATED = pb.ORCHESTRATION_STATUS_TERMINATED
SUSPENDED = pb.ORCHESTRATION_STATUS_SUSPENDED
CONTINUED = pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW


def text(value: str | None) -> StringValue | None:
    """Optional text."""
    return None if value is None else StringValue(value=value)


def stamp(moment: datetime) -> Timestamp:
    """A time."""
    found = Timestamp()
    found.FromDatetime(moment.astimezone(timezone.utc))
    return found


def complete(
    result: str | None = None, status: Any = COMPLETED, *, id: int = 99, **more: Any
) -> pb.OrchestratorAction:
    """The action that ends an execution."""
    return pb.OrchestratorAction(
        id=id,
        completeOrchestration=pb.CompleteOrchestrationAction(
            orchestrationStatus=status, result=text(result), **more
        ),
    )


def fail(message: str = "broken", *, id: int = 99) -> pb.OrchestratorAction:
    """The action that ends an execution as FAILED."""
    return complete(
        status=FAILED, id=id, failureDetails=pb.TaskFailureDetails(errorType="E", errorMessage=message)
    )


def schedule(id: int, name: str = "A", value: str | None = None, **more: Any) -> pb.OrchestratorAction:
    """The action that schedules an activity."""
    return pb.OrchestratorAction(
        id=id, scheduleTask=pb.ScheduleTaskAction(name=name, input=text(value), **more)
    )


def child(id: int, instance_id: str, name: str = "C", **more: Any) -> pb.OrchestratorAction:
    """The action that starts a child."""
    return pb.OrchestratorAction(
        id=id,
        createSubOrchestration=pb.CreateSubOrchestrationAction(instanceId=instance_id, name=name, **more),
    )


class RawWorker:
    """A stream of work items whose answers are written by the test."""

    def __init__(self, client: RawClient, request: pb.GetWorkItemsRequest | None = None) -> None:
        self.client = client
        self.stream = client.stream("GetWorkItems", request or pb.GetWorkItemsRequest())

    async def take(self, timeout: float = 30) -> pb.WorkItem:
        """The next item that is no sign of life."""
        while True:
            item = pb.WorkItem.FromString(await asyncio.wait_for(self.stream.read(), timeout))
            if item.WhichOneof("request") != "healthPing":
                return item

    async def answer(self, item: pb.WorkItem, *actions: pb.OrchestratorAction, **more: Any) -> None:
        """Answer an episode."""
        request = pb.OrchestratorResponse(
            instanceId=item.orchestratorRequest.instanceId,
            completionToken=item.completionToken,
            actions=actions,
        )
        request.MergeFrom(pb.OrchestratorResponse(**more))
        await self.client.call("CompleteOrchestratorTask", request)

    async def episode(self, *actions: pb.OrchestratorAction, **more: Any) -> pb.OrchestratorRequest:
        """Take the next item, an episode, and answer it."""
        item = await self.take()
        assert item.WhichOneof("request") == "orchestratorRequest", item
        await self.answer(item, *actions, **more)
        return item.orchestratorRequest

    async def activity(self, result: str | None = None, **more: Any) -> pb.ActivityRequest:
        """Take the next item, an activity, and answer it."""
        item = await self.take()
        assert item.WhichOneof("request") == "activityRequest", item
        work = item.activityRequest
        await self.client.call(
            "CompleteActivityTask",
            pb.ActivityResponse(
                instanceId=work.orchestrationInstance.instanceId,
                taskId=work.taskId,
                result=text(result),
                completionToken=item.completionToken,
                **more,
            ),
        )
        return work


class RawHub:
    """The calls of a client, one line each."""

    def __init__(self, client: RawClient) -> None:
        self.client = client

    async def start(self, instance_id: str, name: str = "O", **more: Any) -> str:
        """StartInstance."""
        request = pb.CreateInstanceRequest(instanceId=instance_id, name=name, **more)
        answer = await self.client.call("StartInstance", request, pb.CreateInstanceResponse)
        found: str = answer.instanceId
        return found

    async def state(self, instance_id: str, *, payloads: bool = True) -> pb.OrchestrationState:
        """GetInstance."""
        request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=payloads)
        answer = await self.client.call("GetInstance", request, pb.GetInstanceResponse)
        assert answer.exists
        state: pb.OrchestrationState = answer.orchestrationState
        return state

    async def status(self, instance_id: str) -> int:
        """The status of an instance."""
        return (await self.state(instance_id)).orchestrationStatus

    async def exists(self, instance_id: str) -> bool:
        """Whether there is such an instance."""
        request = pb.GetInstanceRequest(instanceId=instance_id)
        answer = await self.client.call("GetInstance", request, pb.GetInstanceResponse)
        return bool(answer.exists)

    async def history(self, instance_id: str, **more: Any) -> list[pb.HistoryEvent]:
        """StreamInstanceHistory."""
        request = pb.StreamInstanceHistoryRequest(instanceId=instance_id, **more)
        events: list[pb.HistoryEvent] = []
        async for data in self.client.stream("StreamInstanceHistory", request):
            events += pb.HistoryChunk.FromString(data).events
        return events

    async def query(self, **more: Any) -> pb.QueryInstancesResponse:
        """QueryInstances."""
        request = pb.QueryInstancesRequest(query=pb.InstanceQuery(**more))
        answer: pb.QueryInstancesResponse = await self.client.call(
            "QueryInstances", request, pb.QueryInstancesResponse
        )
        return answer

    async def query_ids(self, **more: Any) -> list[str]:
        """Ids of one page of QueryInstances."""
        return [state.instanceId for state in (await self.query(**more)).orchestrationState]

    async def purge(self, **more: Any) -> pb.PurgeInstancesResponse:
        """PurgeInstances."""
        request = pb.PurgeInstancesRequest(**more)
        answer: pb.PurgeInstancesResponse = await self.client.call(
            "PurgeInstances", request, pb.PurgeInstancesResponse
        )
        return answer


def kinds(events: Sequence[pb.HistoryEvent]) -> list[str | None]:
    """What the events are."""
    return [event.WhichOneof("eventType") for event in events]


@asynccontextmanager
async def raw_hub(hub: Transport, **options: Any) -> AsyncIterator[RawHub]:
    """A hub behind a server, and its raw client."""
    async with serving(hub, **options) as (_, client):
        yield RawHub(client)
