"""What workers of any SDK send and get, in raw messages (protocol sections 1.6 and 3)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from durabletask.testing import InMemoryBackend, SqliteStore, VirtualClock
from raw_worker import (
    COMPLETED,
    CONTINUED,
    RUNNING,
    TERMINATED,
    RawHub,
    RawWorker,
    complete,
    kinds,
    raw_hub,
    schedule,
    text,
)

pytestmark = pytest.mark.process
Code = grpc.StatusCode


@pytest.fixture(params=["memory", "sqlite"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RawHub]:
    """A hub behind a server that streams histories above 20 kB."""
    store = SqliteStore(tmp_path / "hub.db", "NORMAL") if request.param == "sqlite" else None
    backend = InMemoryBackend(store=store)
    async with raw_hub(backend, stream_above=20_000) as raw:
        yield raw
    await backend.close()


async def _event(hub: RawHub, name: str = "e") -> None:
    await hub.client.call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name=name))


async def _quiet(worker: RawWorker) -> bool:
    """Whether nothing comes. The read goes on, so the stream is of no use afterwards."""
    try:
        await worker.take(timeout=0.15)
    except asyncio.TimeoutError:
        return True
    return False


async def _take_all(stream: Any, taken: list[pb.WorkItem]) -> None:
    while True:
        taken.append(pb.WorkItem.FromString(await stream.read()))


# --- completions ------------------------------------------------------------------------------------------


async def test_an_answer_without_a_token_ends_no_item(hub: RawHub) -> None:
    """Ids alone do not show who has the item, so such an answer is refused and the item stays with its worker."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    item = await worker.take()
    refusal = await hub.client.refusal(
        "CompleteOrchestratorTask", pb.OrchestratorResponse(instanceId="i", actions=[complete()])
    )
    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
    await worker.answer(item, schedule(1))
    activity = await worker.take()
    refusal = await hub.client.refusal(
        "CompleteActivityTask", pb.ActivityResponse(instanceId="i", taskId=1, result=text('"forged"'))
    )
    assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
    answer = pb.ActivityResponse(instanceId="i", taskId=1, completionToken=activity.completionToken)
    await hub.client.call("CompleteActivityTask", answer)
    request = await worker.episode(complete())
    assert not request.newEvents[1].taskCompleted.HasField("result")


async def test_a_stale_token_is_answered_and_ignored(hub: RawHub) -> None:
    """A second completion, and one of an earlier delivery, change nothing."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    lost = await worker.take()
    worker.stream.cancel()
    worker = RawWorker(hub.client)
    item = await worker.take()
    assert item.completionToken != lost.completionToken
    await worker.answer(lost, complete('"stale"'))
    assert not (await hub.state("i")).HasField("output")
    await worker.answer(item, schedule(1))
    await worker.answer(item, complete('"twice"'))
    activity = await worker.take()
    for result in ("1", "2"):
        answer = pb.ActivityResponse(
            instanceId="i", taskId=1, result=text(result), completionToken=activity.completionToken
        )
        await hub.client.call("CompleteActivityTask", answer)
    request = await worker.episode(complete())
    assert [event.taskCompleted.result.value for event in request.newEvents[1:]] == ["1"]


async def test_a_completion_for_the_item_of_another_is_refused(hub: RawHub) -> None:
    """A token with the wrong instance or task id is INVALID_ARGUMENT; the item stays with its worker."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    item = await worker.take()
    wrong = pb.OrchestratorResponse(instanceId="j", completionToken=item.completionToken)
    refusal = await hub.client.refusal("CompleteOrchestratorTask", wrong)
    assert refusal.code() is Code.INVALID_ARGUMENT
    answer = pb.ActivityResponse(instanceId="i", taskId=1, completionToken=item.completionToken)
    assert (await hub.client.refusal("CompleteActivityTask", answer)).code() is Code.INVALID_ARGUMENT
    await worker.answer(item, complete())
    assert await hub.status("i") == COMPLETED


async def test_a_completion_in_parts_counts_when_its_last_part_has_come(hub: RawHub) -> None:
    """Actions are put together in the order of the parts; nothing happens before the last."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    item = await worker.take()
    for index in (0, 1):
        part: dict[str, Any] = {"isPartial": True, "chunkIndex": {"value": index}}
        if index:
            part["numEventsProcessed"] = {"value": 0}
        await worker.answer(item, schedule(index + 1), customStatus=text('"s"'), **part)
        assert await hub.status("i") == pb.ORCHESTRATION_STATUS_PENDING
    await worker.answer(
        item, schedule(3), customStatus=text('"s"'), chunkIndex={"value": 2}, numEventsProcessed={"value": 0}
    )
    assert [(await worker.activity()).taskId for _ in range(3)] == [1, 2, 3]
    assert (await hub.state("i")).customStatus.value == '"s"'
    assert [event.eventId for event in await hub.history("i") if event.eventId > 0] == [1, 2, 3]


async def test_a_worker_that_lacks_history_gets_the_item_again(hub: RawHub) -> None:
    """With requiresHistory nothing is committed, and the whole past comes."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    await worker.episode()
    await _event(hub)
    item = await worker.take()
    await worker.answer(item, complete(), requiresHistory=True)
    again = await worker.take()
    assert again.completionToken != item.completionToken
    assert list(again.orchestratorRequest.pastEvents) == list(item.orchestratorRequest.pastEvents)
    assert kinds(again.orchestratorRequest.newEvents) == kinds(item.orchestratorRequest.newEvents)


async def test_events_that_were_not_processed_come_again(hub: RawHub) -> None:
    """The number counts from the start of the episode; what is left is new again."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    item = await worker.take()
    for name in ("a", "b", "c"):
        await _event(hub, name)
    await worker.answer(item)
    request = await worker.episode(numEventsProcessed={"value": 2})
    assert [event.eventRaised.name for event in request.newEvents[1:]] == ["a", "b", "c"]
    request = await worker.episode(complete())
    assert [event.eventRaised.name for event in request.newEvents[1:]] == ["b", "c"]
    assert [event.eventRaised.name for event in request.pastEvents if event.HasField("eventRaised")] == ["a"]


@pytest.mark.parametrize("number", [0, 99])
async def test_impossible_numbers_of_events_mean_all(hub: RawHub, number: int) -> None:
    """None, or more than there were."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    await worker.episode(numEventsProcessed={"value": number})
    await _event(hub)
    assert kinds((await worker.episode(complete())).newEvents) == ["orchestratorStarted", "eventRaised"]


async def test_the_custom_status_is_what_the_last_answer_says(hub: RawHub) -> None:
    """Unset clears it, but across continue-as-new it stays."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    await worker.episode(complete("1", CONTINUED), customStatus=text('"one"'))
    assert (await hub.state("i")).customStatus.value == '"one"'
    await worker.episode(complete("2", CONTINUED))
    assert (await hub.state("i")).customStatus.value == '"one"'
    await worker.episode()
    assert not (await hub.state("i")).HasField("customStatus")


async def test_an_activity_fails_by_the_presence_of_its_failure(hub: RawHub) -> None:
    """Details without any text are a failure as well, and travel with everything in them."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    await worker.episode(schedule(1), schedule(2))
    inner = pb.TaskFailureDetails(errorType="Inner", errorMessage="deep")
    details = pb.TaskFailureDetails(
        errorType="T", errorMessage="m", stackTrace=text("at"), innerFailure=inner, isNonRetriable=True
    )
    await worker.activity(failureDetails=pb.TaskFailureDetails())
    first = await worker.take()
    second = await worker.take()
    episode, activity = (
        (first, second) if first.WhichOneof("request") == "orchestratorRequest" else (second, first)
    )
    assert episode.orchestratorRequest.newEvents[1].HasField("taskFailed")
    await worker.answer(episode)
    answer = pb.ActivityResponse(
        instanceId="i", taskId=2, failureDetails=details, completionToken=activity.completionToken
    )
    await hub.client.call("CompleteActivityTask", answer)
    request = await worker.episode(complete())
    assert request.newEvents[1].taskFailed.failureDetails == details


async def test_trace_contexts_and_spans_are_given_back(hub: RawHub) -> None:
    """The parent's trace is in the start and the activity; the span of the orchestration is echoed."""
    trace = pb.TraceContext(traceParent="00-a-b-01", spanID="b", traceState=text("s=1"))
    span = pb.OrchestrationTraceContext(spanID=text("c"))
    worker = RawWorker(hub.client)
    await hub.start("i", parentTraceContext=trace)
    request = await worker.episode(schedule(1, parentTraceContext=trace), orchestrationTraceContext=span)
    assert request.newEvents[1].executionStarted.parentTraceContext == trace
    assert (await worker.activity()).parentTraceContext == trace
    item = await worker.take()
    assert item.orchestratorRequest.orchestrationTraceContext.spanID.value == "c"
    assert item.orchestratorRequest.pastEvents[2].taskScheduled.parentTraceContext == trace


# --- delivery ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1, -(2**31)])
async def test_no_number_of_concurrent_items_is_no_limit(hub: RawHub, number: int) -> None:
    """Zero means no limit, never none; a negative number can mean nothing else."""
    request = pb.GetWorkItemsRequest(
        maxConcurrentOrchestrationWorkItems=number,
        maxConcurrentActivityWorkItems=number,
        maxConcurrentEntityWorkItems=number,
    )
    worker = RawWorker(hub.client, request)
    for each in range(50):
        await hub.start(f"i{each}")
    assert len({(await worker.take()).orchestratorRequest.instanceId for _ in range(50)}) == 50


async def test_a_limit_holds_back_until_something_is_answered_or_given_back(hub: RawHub) -> None:
    """Completing and abandoning both make room."""
    request = pb.GetWorkItemsRequest(maxConcurrentOrchestrationWorkItems=2)
    worker = RawWorker(hub.client, request)
    for each in range(4):
        await hub.start(f"i{each}")
    first, second = await worker.take(), await worker.take()
    third = asyncio.ensure_future(worker.take())
    done, _ = await asyncio.wait({third}, timeout=0.1)
    assert not done
    await worker.answer(first, complete())
    assert (await third).orchestratorRequest.instanceId == "i2"
    abandon = pb.AbandonOrchestrationTaskRequest(completionToken=second.completionToken)
    await hub.client.call("AbandonTaskOrchestratorWorkItem", abandon)
    assert (await worker.take()).orchestratorRequest.instanceId == "i3"


async def test_abandoned_items_come_again_after_growing_pauses() -> None:
    """The pauses are those of the hub's clock, which jumps to what is next."""
    clock = VirtualClock()
    async with raw_hub(InMemoryBackend(clock=clock)) as hub:
        worker = RawWorker(hub.client)
        await hub.start("i")
        times = []
        for _ in range(4):
            item = await worker.take()
            times.append(clock.now())
            abandon = pb.AbandonOrchestrationTaskRequest(completionToken=item.completionToken)
            await hub.client.call("AbandonTaskOrchestratorWorkItem", abandon)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[0] > timedelta(milliseconds=50)
    assert pauses[2] > 2 * pauses[0]


async def test_abandoned_items_come_again_unchanged(hub: RawHub) -> None:
    """Nothing is committed; the token is a new one; an unknown token is no error."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    item = await worker.take()
    for _ in range(2):
        abandon = pb.AbandonOrchestrationTaskRequest(completionToken=item.completionToken)
        await hub.client.call("AbandonTaskOrchestratorWorkItem", abandon)
        again = await worker.take()
        assert again.completionToken != item.completionToken
        assert kinds(again.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted"]
        item = again
    await worker.answer(item, schedule(1))
    activity = await worker.take()
    abandon = pb.AbandonActivityTaskRequest(completionToken=activity.completionToken)
    await hub.client.call("AbandonTaskActivityWorkItem", abandon)
    again = await worker.take()
    assert again.activityRequest == activity.activityRequest
    await hub.client.call(
        "AbandonTaskActivityWorkItem", pb.AbandonActivityTaskRequest(completionToken="unknown")
    )


async def test_two_workers_share_the_work_and_each_keeps_its_own(hub: RawHub) -> None:
    """Neither starves; what one of them had goes to the other when it is lost, in the middle of its work."""
    first, second = RawWorker(hub.client), RawWorker(hub.client)
    await first.stream.initial_metadata()
    await second.stream.initial_metadata()
    for each in range(10):
        await hub.start(f"i{each}")
    mine = {(await first.take()).orchestratorRequest.instanceId for _ in range(5)}
    items = [await second.take() for _ in range(5)]
    assert len(mine) == 5
    first.stream.cancel()
    rest = {(await second.take()).orchestratorRequest.instanceId for _ in range(5)}
    assert rest == mine
    for item in items:
        await second.answer(item, complete())
    assert sorted(await hub.query_ids(runtimeStatus=[COMPLETED])) == sorted(
        item.orchestratorRequest.instanceId for item in items
    )


def _filters(**more: Any) -> pb.GetWorkItemsRequest:
    request = pb.GetWorkItemsRequest()
    request.workItemFilters.SetInParent()
    request.workItemFilters.MergeFrom(pb.WorkItemFilters(**more))
    return request


async def test_filters_take_names_and_versions_exactly(hub: RawHub) -> None:
    """No versions: any; a missing version counts as the empty one; names compare exactly; the rest waits."""
    worker = RawWorker(
        hub.client,
        _filters(
            orchestrations=[
                pb.OrchestrationFilter(name="Any"),
                pb.OrchestrationFilter(name="Some", versions=["1", ""]),
            ]
        ),
    )
    await worker.stream.initial_metadata()
    for name, version in (
        ("any", None),
        ("Some", "2"),
        ("Other", None),
        ("Any", None),
        ("Any", "7"),
        ("Some", "1"),
        ("Some", None),
    ):
        await hub.start(f"{name}-{version}", name, version=text(version))
    found = {(await worker.episode(schedule(1))).instanceId for _ in range(4)}
    assert found == {"Any-None", "Any-7", "Some-1", "Some-None"}
    assert await _quiet(worker)  # a category that is not named takes nothing: no activity comes
    everything = RawWorker(hub.client)
    rest = [await everything.take() for _ in range(7)]
    names = {item.orchestratorRequest.instanceId for item in rest} - {""}
    assert names == {"any-None", "Some-2", "Other-None"}
    assert sum(item.WhichOneof("request") == "activityRequest" for item in rest) == 4


async def test_present_and_empty_filters_take_nothing(hub: RawHub) -> None:
    """The message decides, not what is in it."""
    worker = RawWorker(hub.client, _filters())
    await hub.start("i")
    assert await _quiet(worker)
    assert (await RawWorker(hub.client).take()).orchestratorRequest.instanceId == "i"


async def test_a_deadline_on_the_stream_ends_it_and_gives_back(hub: RawHub) -> None:
    """A worker that limits its call loses nothing."""
    await hub.start("i")
    taken: list[pb.WorkItem] = []
    for timeout in (0.3, 3, 30):  # on a busy machine the first may pass before the item comes
        stream = hub.client.stream("GetWorkItems", pb.GetWorkItemsRequest(), timeout=timeout)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _take_all(stream, taken)
        assert caught.value.code() is Code.DEADLINE_EXCEEDED
        if taken:
            break
    (first,) = taken
    again = await RawWorker(hub.client).take()
    assert again.orchestratorRequest.instanceId == first.orchestratorRequest.instanceId


@pytest.mark.parametrize("is_finished", [False, True])
async def test_a_large_past_is_fetched_exactly_as_it_was_left_out(hub: RawHub, is_finished: bool) -> None:
    """By a worker that announced it; in chunks below the limit of clients; still there once it has ended."""
    able = pb.GetWorkItemsRequest(capabilities=[pb.WORKER_CAPABILITY_HISTORY_STREAMING])
    worker = RawWorker(hub.client, able)
    await hub.start("i", input=text("x" * 900_000))
    for _ in range(5):
        item = await worker.take()
        await hub.client.call(
            "RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="e", input=text("y" * 900_000))
        )
        await worker.answer(item)
    item = await worker.take()
    request = item.orchestratorRequest
    assert request.requiresHistoryStreaming
    assert not request.pastEvents
    sizes: list[int] = []
    events: list[pb.HistoryEvent] = []
    for_worker = pb.StreamInstanceHistoryRequest(
        instanceId="i", executionId=request.executionId, forWorkItemProcessing=True
    )
    async for data in hub.client.stream("StreamInstanceHistory", for_worker):
        sizes.append(len(data))
        events += pb.HistoryChunk.FromString(data).events
    assert max(sizes) < 4_000_000
    assert len(sizes) > 2
    assert kinds(events).count("eventRaised") == 4
    if is_finished:
        await worker.answer(item, complete())
        assert len(await hub.history("i")) == len(events) + 3
        return
    assert await hub.history("i") == events
    worker.stream.cancel()
    plain = RawWorker(hub.client)  # announced nothing
    whole = (await plain.take()).orchestratorRequest
    assert not whole.requiresHistoryStreaming
    assert list(whole.pastEvents) == events


async def test_signs_of_life_carry_nothing() -> None:
    """No token, no item; more often than clients lose patience."""
    async with raw_hub(InMemoryBackend(), ping_interval=timedelta(milliseconds=20)) as hub:
        stream = hub.client.stream("GetWorkItems", pb.GetWorkItemsRequest())
        item = pb.WorkItem.FromString(await asyncio.wait_for(stream.read(), 30))
        assert item == pb.WorkItem(healthPing=pb.HealthPing())


async def test_terminations_beat_what_the_same_episode_continues(hub: RawHub) -> None:
    """A continue-as-new of an episode that saw a termination ends as TERMINATED with its output."""
    await hub.start("i")
    await hub.client.call("TerminateInstance", pb.TerminateRequest(instanceId="i", output=text('"end"')))
    worker = RawWorker(hub.client)
    request = await worker.episode(complete("1", CONTINUED))
    assert kinds(request.newEvents) == ["orchestratorStarted", "executionStarted", "executionTerminated"]
    state = await hub.state("i")
    assert (state.orchestrationStatus, state.output.value) == (TERMINATED, '"end"')


@pytest.mark.parametrize(
    "action",
    [
        pb.OrchestratorAction(id=1),
        complete(status=99),
        complete(status=RUNNING),
        pb.OrchestratorAction(id=-1, rewindOrchestration=pb.RewindOrchestrationAction()),
        pb.OrchestratorAction(
            id=1,
            createTimer=pb.CreateTimerAction(fireAt={"seconds": 2**62}),  # type: ignore[arg-type]
        ),
    ],
    ids=["nothing", "no status", "no end", "no start", "no time"],
)
async def test_answers_that_cannot_be_are_refused_and_change_nothing(hub: RawHub, action: Any) -> None:
    """INVALID_ARGUMENT; a good answer with the same token still counts."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    item = await worker.take()
    bad = pb.OrchestratorResponse(
        instanceId="i", completionToken=item.completionToken, actions=[schedule(5), action]
    )
    assert (await hub.client.refusal("CompleteOrchestratorTask", bad)).code() is Code.INVALID_ARGUMENT
    await worker.answer(item, complete())
    assert kinds(await hub.history("i")) == [
        "orchestratorStarted",
        "executionStarted",
        "executionCompleted",
    ]
