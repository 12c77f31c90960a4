"""What clients of any SDK see of instances, in raw messages (protocol sections 5, 7, 12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from durabletask.testing import InMemoryBackend, SqliteStore, VirtualClock
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from raw_worker import (
    COMPLETED,
    CONTINUED,
    FAILED,
    PENDING,
    RUNNING,
    SUSPENDED,
    TERMINATED,
    RawHub,
    RawWorker,
    child,
    complete,
    fail,
    kinds,
    raw_hub,
    schedule,
    stamp,
    text,
)
from wire_server import WatchedHub

pytestmark = pytest.mark.process
Code = grpc.StatusCode


@pytest.fixture(params=["memory", "sqlite"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RawHub]:
    """A hub behind a server."""
    store = SqliteStore(tmp_path / "hub.db", "NORMAL") if request.param == "sqlite" else None
    backend = InMemoryBackend(store=store)
    async with raw_hub(backend) as raw:
        yield raw
    await backend.close()


async def _wait(hub: RawHub, rpc: str, instance_id: str, **more: Any) -> pb.GetInstanceResponse:
    request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
    answer: pb.GetInstanceResponse = await hub.client.call(rpc, request, pb.GetInstanceResponse, **more)
    return answer


async def _run(hub: RawHub, worker: RawWorker, instance_id: str, **more: Any) -> None:
    await hub.start(instance_id, **more)
    await worker.episode(complete('"done"'))


# --- creation ---------------------------------------------------------------------------------------------


async def test_a_new_instance_shows_everything_it_was_made_with(hub: RawHub) -> None:
    """Id, name, version, input, tags, times: all of the request is in the state, before any worker comes."""
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    assert await hub.start("i", "N", version=text("1.2"), input=text('"in"'), tags={"a": "1"}) == "i"
    state = await hub.state("i")
    assert (state.name, state.version.value, state.input.value) == ("N", "1.2", '"in"')
    assert (state.orchestrationStatus, dict(state.tags)) == (PENDING, {"a": "1"})
    assert state.createdTimestamp.ToDatetime(timezone.utc) > before
    assert state.lastUpdatedTimestamp.ToDatetime(timezone.utc) > before
    assert state.executionId.value
    assert not state.HasField("output")
    assert not state.HasField("customStatus")
    assert not state.HasField("completedTimestamp")
    assert not state.HasField("failureDetails")
    assert not state.HasField("parentInstanceId")


async def test_an_empty_id_is_made_by_the_server(hub: RawHub) -> None:
    """Each request without an id is another instance."""
    first, second = await hub.start(""), await hub.start("")
    assert first
    assert second
    assert first != second
    assert await hub.exists(first)


async def test_unset_and_empty_text_differ(hub: RawHub) -> None:
    """Input, output and custom status are given back as they came: unset, or empty."""
    worker = RawWorker(hub.client)
    await hub.start("empty", input=text(""))
    await worker.episode(complete(""), customStatus=text(""))
    await hub.start("unset")
    await worker.episode(complete())
    empty, unset = await hub.state("empty"), await hub.state("unset")
    for field in ("input", "output", "customStatus"):
        assert empty.HasField(field), field
        assert not unset.HasField(field), field


@pytest.mark.parametrize("status", [PENDING, RUNNING, SUSPENDED, COMPLETED, FAILED, TERMINATED])
async def test_reuse_policies_name_the_statuses_that_may_be_replaced(hub: RawHub, status: Any) -> None:
    """Every status is replaced when the policy lists it, and refused when it does not or there is none."""
    await hub.start("i", input=text('"old"'))
    if status == SUSPENDED:
        await hub.client.call("SuspendInstance", pb.SuspendRequest(instanceId="i"))
    worker = RawWorker(hub.client)
    if status != PENDING:
        ends = {COMPLETED: complete(), FAILED: fail(), TERMINATED: complete(status=TERMINATED)}
        await worker.episode(*([ends[status]] if status in ends else []))
    old = await hub.state("i")
    assert old.orchestrationStatus == status
    everything_else = [one for one in (0, 1, 3, 4, 5, 6, 7) if one != status]
    if (
        status == TERMINATED
    ):  # without it the policy may list no status of a running instance (decisions row 30)
        everything_else = [COMPLETED, FAILED]
    for policy in (None, pb.OrchestrationIdReusePolicy(replaceableStatus=everything_else)):
        request = pb.CreateInstanceRequest(instanceId="i", name="O", orchestrationIdReusePolicy=policy)
        assert (await hub.client.refusal("StartInstance", request)).code() is Code.ALREADY_EXISTS
    request = pb.CreateInstanceRequest(instanceId="i", name="O")
    request.orchestrationIdReusePolicy.SetInParent()  # present and empty: nothing may be replaced
    assert (await hub.client.refusal("StartInstance", request)).code() is Code.ALREADY_EXISTS
    assert (await hub.state("i")).executionId == old.executionId

    policy = pb.OrchestrationIdReusePolicy(replaceableStatus=[status, TERMINATED])
    await hub.start("i", input=text('"new"'), orchestrationIdReusePolicy=policy)
    new = await hub.state("i")
    assert (new.orchestrationStatus, new.input.value) == (PENDING, '"new"')
    assert new.executionId != old.executionId
    assert not new.HasField("failureDetails")
    item = await worker.take()
    while item.orchestratorRequest.executionId.value != new.executionId.value:
        await worker.answer(item)  # of the instance that is gone
        item = await worker.take()
    assert not item.orchestratorRequest.pastEvents
    await worker.answer(item, complete('"second"'))
    assert (await hub.state("i")).output.value == '"second"'


async def test_start_times_of_the_past_and_the_epoch_mean_now(hub: RawHub) -> None:
    """One SDK sends the epoch when it means no start time."""
    worker = RawWorker(hub.client)
    await hub.start("epoch", scheduledStartTimestamp=Timestamp())
    await worker.episode(complete())
    past = datetime.now(timezone.utc) - timedelta(days=1)
    await hub.start("past", scheduledStartTimestamp=stamp(past))
    request = await worker.episode(complete())
    assert not (await hub.state("epoch")).HasField("scheduledStartTimestamp")
    assert (await hub.state("past")).scheduledStartTimestamp == stamp(past)
    started = request.newEvents[1].executionStarted
    assert started.scheduledStartTimestamp == stamp(past)


async def test_a_start_of_the_future_is_waited_for() -> None:
    """PENDING until then, although a worker is there; the first episode is not earlier."""
    clock = VirtualClock(auto_advance=False)
    async with raw_hub(InMemoryBackend(clock=clock)) as hub:
        worker = RawWorker(hub.client)
        at = clock.now() + timedelta(hours=1)
        await hub.start("later", scheduledStartTimestamp=stamp(at))
        await hub.start("now")
        assert (await worker.episode(complete())).instanceId == "now"
        assert await hub.status("later") == PENDING
        await clock.advance(timedelta(hours=1))
        request = await worker.episode(complete())
        assert request.instanceId == "later"
        assert request.newEvents[0].timestamp == stamp(at)


# --- status -----------------------------------------------------------------------------------------------


async def test_waits_for_the_start_end_when_the_first_episode_is_committed(hub: RawHub) -> None:
    """PENDING is not started; RUNNING, SUSPENDED and every end are."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    item = await worker.take()
    waiting = asyncio.ensure_future(_wait(hub, "WaitForInstanceStart", "i"))
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    await worker.answer(item)
    assert (await waiting).orchestrationState.orchestrationStatus == RUNNING
    assert (await _wait(hub, "WaitForInstanceStart", "i", timeout=30)).exists


async def test_deadlines_end_waits_with_their_status(hub: RawHub) -> None:
    """A wait that is not fulfilled in time is DEADLINE_EXCEEDED; for a missing instance, exists is false."""
    await hub.start("i")
    loop = asyncio.get_running_loop()
    waits = ("WaitForInstanceStart", "WaitForInstanceCompletion")
    for rpc in waits:
        error = await hub.client.refusal(rpc, pb.GetInstanceRequest(instanceId="i"), timeout=0.2)
        assert error.code() is Code.DEADLINE_EXCEEDED
    for timeout in (2.5, 30):  # the server answers shortly before the deadline, on a busy machine too late
        before = loop.time()
        answers = await asyncio.gather(
            *(_wait(hub, rpc, "missing", timeout=timeout) for rpc in waits), return_exceptions=True
        )
        if not any(isinstance(answer, grpc.aio.AioRpcError) for answer in answers):
            break
    assert [answer.exists for answer in answers] == [False, False]
    assert loop.time() - before > 0.8 * timeout


async def test_a_wait_may_begin_before_the_instance() -> None:
    """A create may be in flight."""
    watched = WatchedHub()
    async with raw_hub(watched) as hub:
        waiting = asyncio.ensure_future(_wait(hub, "WaitForInstanceCompletion", "i", timeout=30))
        await watched.until(lambda hub: hub.begun == 1)
        await _run(hub, RawWorker(hub.client), "i")
        assert (await waiting).orchestrationState.output.value == '"done"'


async def test_a_purge_ends_a_wait_with_no_such_instance(hub: RawHub) -> None:
    """Exists is false, and the status of the call is OK."""
    worker = RawWorker(hub.client)
    await _run(hub, worker, "i")
    assert (await hub.purge(instanceId="i")).deletedInstanceCount == 1
    assert not await hub.exists("i")
    assert not (
        await hub.client.call("GetInstance", pb.GetInstanceRequest(instanceId="i"), pb.GetInstanceResponse)
    ).exists


async def test_suspension_shows_after_the_next_commit_and_events_still_arrive(hub: RawHub) -> None:
    """SUSPENDED, with what arrived delivered; resumed, RUNNING; repeated requests reach no engine."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    await worker.episode()
    for _ in range(2):
        await hub.client.call("SuspendInstance", pb.SuspendRequest(instanceId="i", reason=text("why")))
    request = await worker.episode()
    assert kinds(request.newEvents) == ["orchestratorStarted", "executionSuspended"]
    assert request.newEvents[1].executionSuspended.input.value == "why"
    assert await hub.status("i") == SUSPENDED
    await hub.client.call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="e", input=text("1")))
    assert kinds((await worker.episode()).newEvents) == ["orchestratorStarted", "eventRaised"]
    assert await hub.status("i") == SUSPENDED
    for _ in range(2):
        await hub.client.call("ResumeInstance", pb.ResumeRequest(instanceId="i"))
    assert kinds((await worker.episode()).newEvents) == ["orchestratorStarted", "executionResumed"]
    assert await hub.status("i") == RUNNING


async def test_a_suspension_before_the_start_holds_the_first_episode_up_to_the_engine(hub: RawHub) -> None:
    """A pending instance that is suspended starts with both events and shows SUSPENDED; it can be terminated."""
    await hub.start("i")
    await hub.client.call("SuspendInstance", pb.SuspendRequest(instanceId="i"))
    assert await hub.status("i") == PENDING
    worker = RawWorker(hub.client)
    request = await worker.episode()
    assert kinds(request.newEvents) == ["orchestratorStarted", "executionStarted", "executionSuspended"]
    assert await hub.status("i") == SUSPENDED
    await hub.client.call("TerminateInstance", pb.TerminateRequest(instanceId="i", output=text('"out"')))
    request = await worker.episode(complete('"out"', TERMINATED))
    assert kinds(request.newEvents) == ["orchestratorStarted", "executionTerminated"]
    assert (await hub.state("i")).output.value == '"out"'
    assert await hub.status("i") == TERMINATED


async def test_requests_at_missing_and_finished_instances_have_their_codes(hub: RawHub) -> None:
    """Missing: NOT_FOUND but for terminate and purge; finished: OK and nothing happens."""
    worker = RawWorker(hub.client)
    await _run(hub, worker, "done")
    calls: list[tuple[str, Any, grpc.StatusCode | None]] = [
        ("RaiseEvent", pb.RaiseEventRequest(name="e"), Code.NOT_FOUND),
        ("SuspendInstance", pb.SuspendRequest(), Code.NOT_FOUND),
        ("ResumeInstance", pb.ResumeRequest(), Code.NOT_FOUND),
        ("TerminateInstance", pb.TerminateRequest(recursive=True), None),
        ("PurgeInstances", pb.PurgeInstancesRequest(recursive=True, isOrchestration=True), None),
        ("RewindInstance", pb.RewindInstanceRequest(), Code.NOT_FOUND),
        ("RestartInstance", pb.RestartInstanceRequest(), Code.NOT_FOUND),
    ]
    for rpc, request, missing in calls:
        request.instanceId = "missing"
        if missing is None:
            await hub.client.call(rpc, request)
        else:
            assert (await hub.client.refusal(rpc, request)).code() is missing, rpc
    before = await hub.state("done")
    for rpc, request, _ in calls[:4]:
        request.instanceId = "done"
        await hub.client.call(rpc, request)
    assert await hub.state("done") == before
    rewind = pb.RewindInstanceRequest(instanceId="done")
    assert (await hub.client.refusal("RewindInstance", rewind)).code() is Code.FAILED_PRECONDITION


async def test_payloads_are_gated_and_failures_are_not(hub: RawHub) -> None:
    """Without the flag there is no input, output, or custom status; the failure is always there."""
    worker = RawWorker(hub.client)
    await hub.start("i", input=text("1"))
    await worker.episode(fail("why it failed"), customStatus=text('"status"'))
    for state in (
        await hub.state("i", payloads=False),
        (await hub.query(instanceIdPrefix=text("i"))).orchestrationState[0],
    ):
        assert state.orchestrationStatus == FAILED
        assert not state.HasField("input")
        assert not state.HasField("output")
        assert not state.HasField("customStatus")
        assert state.failureDetails.errorMessage == "why it failed"
    full = (await hub.query(fetchInputsAndOutputs=True)).orchestrationState[0]
    assert (full.input.value, full.customStatus.value) == ("1", '"status"')
    assert full == await hub.state("i")


async def test_continue_as_new_keeps_what_belongs_to_the_instance(hub: RawHub) -> None:
    """Tags, created time and custom status stay, the execution id changes, the status is RUNNING throughout."""
    worker = RawWorker(hub.client)
    await hub.start("i", input=text("1"), tags={"t": "v"})
    await worker.episode(customStatus=text('"kept"'))
    first = await hub.state("i")
    await hub.client.call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="go"))
    carried = pb.HistoryEvent(eventId=-1, eventRaised=pb.EventRaisedEvent(name="Carried"))
    await worker.episode(complete("2", CONTINUED, carryoverEvents=[carried], newVersion=text("9")))
    assert await hub.status("i") == RUNNING
    request = await worker.episode(complete())
    assert not request.pastEvents
    assert kinds(request.newEvents) == ["orchestratorStarted", "executionStarted", "eventRaised"]
    started = request.newEvents[1].executionStarted
    assert (started.input.value, started.version.value, dict(started.tags)) == ("2", "9", {"t": "v"})
    last = await hub.state("i")
    assert last.executionId != first.executionId
    assert last.createdTimestamp == first.createdTimestamp
    assert not last.HasField("customStatus")  # the last response had none
    assert dict(last.tags) == {"t": "v"}


# --- children ---------------------------------------------------------------------------------------------


async def test_children_know_their_parent_and_inherit_its_tags(hub: RawHub) -> None:
    """The state has the parent's id; the start has the whole link; own tags win."""
    worker = RawWorker(hub.client)
    await hub.start("p", "P", tags={"a": "parent", "b": "parent"}, version=text("3"))
    await worker.episode(child(4, "c", tags={"b": "child"}, version=text("5"), input=text("1")))
    item = await worker.take()
    started = item.orchestratorRequest.newEvents[1].executionStarted
    link = started.parentInstance
    assert (link.taskScheduledId, link.name.value, link.version.value) == (4, "P", "3")
    assert link.orchestrationInstance.instanceId == "p"
    assert link.orchestrationInstance.executionId == (await hub.state("p")).executionId
    assert (dict(started.tags), started.version.value) == ({"a": "parent", "b": "child"}, "5")
    assert (await hub.state("c")).parentInstanceId.value == "p"
    await worker.answer(item, complete('"r"'))
    answer = (await worker.episode(complete())).newEvents[1].subOrchestrationInstanceCompleted
    assert (answer.taskScheduledId, answer.result.value) == (4, '"r"')


async def test_a_child_without_an_id_gets_one_and_answers(hub: RawHub) -> None:
    """The id that the server made is in the parent's history."""
    worker = RawWorker(hub.client)
    await hub.start("p")
    await worker.episode(child(10, ""))
    item = await worker.take()
    assert item.orchestratorRequest.instanceId == "p:000a"
    created = [event for event in await hub.history("p") if event.eventId == 10]
    assert created[0].subOrchestrationInstanceCreated.instanceId == "p:000a"
    await worker.answer(item, complete("1"))
    assert kinds((await worker.episode(complete())).newEvents)[1] == "subOrchestrationInstanceCompleted"


async def test_a_terminated_child_fails_its_task_without_details(hub: RawHub) -> None:
    """Engines must cope with an unset failure."""
    worker = RawWorker(hub.client)
    await hub.start("p")
    await worker.episode(child(1, "c"))
    await worker.episode()
    await hub.client.call("TerminateInstance", pb.TerminateRequest(instanceId="c"))
    await worker.episode(complete(status=TERMINATED))
    failed = (await worker.episode(complete())).newEvents[1].subOrchestrationInstanceFailed
    assert failed.taskScheduledId == 1
    assert not failed.HasField("failureDetails")


@pytest.mark.parametrize("recursive", [True, False])
async def test_termination_reaches_a_deep_tree_only_when_asked_to(hub: RawHub, recursive: bool) -> None:
    """Twelve levels, one child each; a termination without recursion leaves the children alone."""
    worker, depth = RawWorker(hub.client), 12
    await hub.start("l0")
    for level in range(1, depth):
        await worker.episode(child(1, f"l{level}"))
    await worker.episode()
    await hub.client.call(
        "TerminateInstance", pb.TerminateRequest(instanceId="l0", output=text('"x"'), recursive=recursive)
    )
    for _ in range(depth if recursive else 1):
        item = await worker.take()
        assert kinds(item.orchestratorRequest.newEvents)[1] == "executionTerminated"
        await worker.answer(item, complete('"x"', TERMINATED))
    statuses = [await hub.status(f"l{level}") for level in range(depth)]
    assert statuses == [TERMINATED] + [TERMINATED if recursive else RUNNING] * (depth - 1)


# --- lists ------------------------------------------------------------------------------------------------


async def test_queries_select_by_status_time_and_prefix(hub: RawHub) -> None:
    """From is inclusive, to is exclusive; prefixes are exact; statuses are a set; entities are no instances."""
    worker = RawWorker(hub.client)
    for instance_id in ("a1", "a2", "b1", "A3", "a%", "a_"):
        await _run(hub, worker, instance_id)
    await hub.start("a4")
    created = [(await hub.state(one)).createdTimestamp for one in ("a1", "a2", "b1")]
    assert await hub.query_ids(instanceIdPrefix=text("a")) == ["a1", "a2", "a%", "a_", "a4"]
    assert await hub.query_ids(instanceIdPrefix=text("a_")) == ["a_"]
    assert await hub.query_ids(runtimeStatus=[PENDING, FAILED]) == ["a4"]
    assert await hub.query_ids(runtimeStatus=[TERMINATED]) == []
    assert await hub.query_ids(createdTimeFrom=created[0], createdTimeTo=created[2]) == ["a1", "a2"]
    assert await hub.query_ids(createdTimeFrom=created[1], createdTimeTo=created[1]) == []
    assert await hub.query_ids(taskHubNames=[text("elsewhere")], maxInstanceCount=1) == ["a1"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 2**31 - 1])
async def test_pages_of_any_size_cover_everything_once(hub: RawHub, size: int) -> None:
    """The last page has no token; every token continues behind its page."""
    worker = RawWorker(hub.client)
    ids = [f"i{number}" for number in range(7)]
    for instance_id in ids[:4]:
        await _run(hub, worker, instance_id)
    for instance_id in ids[4:]:
        await hub.start(instance_id)
    found: list[str] = []
    token = None
    while True:
        page = await hub.query(maxInstanceCount=size, continuationToken=token)
        assert len(page.orchestrationState) <= size
        found += [state.instanceId for state in page.orchestrationState]
        if not page.HasField("continuationToken"):
            break
        token = page.continuationToken
        assert token.value
    assert found == ids


async def test_a_page_stays_within_what_clients_receive(hub: RawHub) -> None:
    """Clients take 4 MiB; a page that would be larger is shorter instead, and has a token."""
    for number in range(12):
        await hub.start(f"i{number:02}", input=text("x" * 1_000_000))
    found: list[str] = []
    page = await hub.query(maxInstanceCount=2**31 - 1, fetchInputsAndOutputs=True)
    while True:
        assert page.ByteSize() < 4 * 1024 * 1024
        found += [state.instanceId for state in page.orchestrationState]
        if not page.HasField("continuationToken"):
            break
        page = await hub.query(
            maxInstanceCount=2**31 - 1, fetchInputsAndOutputs=True, continuationToken=page.continuationToken
        )
    assert found == [f"i{number:02}" for number in range(12)]


async def test_ids_of_finished_instances_are_listed_by_completion(hub: RawHub) -> None:
    """Completed first, listed first; from inclusive, to exclusive; nothing that still runs."""
    worker = RawWorker(hub.client)
    await hub.start("late")
    await hub.start("early")
    late, early = await worker.take(), await worker.take()
    await worker.answer(early, complete())
    await asyncio.sleep(0.002)
    await worker.answer(late, fail())
    await hub.start("running")
    await worker.episode()

    async def listed(**more: Any) -> pb.ListInstanceIdsResponse:
        request = pb.ListInstanceIdsRequest(**more)
        answer: pb.ListInstanceIdsResponse = await hub.client.call(
            "ListInstanceIds", request, pb.ListInstanceIdsResponse
        )
        return answer

    assert list((await listed()).instanceIds) == ["early", "late"]
    assert list((await listed(runtimeStatus=[FAILED])).instanceIds) == ["late"]
    assert list((await listed(runtimeStatus=[RUNNING])).instanceIds) == []
    ended = (await hub.state("late")).completedTimestamp
    assert list((await listed(completedTimeFrom=ended)).instanceIds) == ["late"]
    assert list((await listed(completedTimeTo=ended)).instanceIds) == ["early"]
    first = await listed(pageSize=1)
    assert (list(first.instanceIds), first.HasField("lastInstanceKey")) == (["early"], True)
    second = await listed(pageSize=1, lastInstanceKey=first.lastInstanceKey)
    assert (list(second.instanceIds), second.HasField("lastInstanceKey")) == (["late"], False)


async def test_purges_count_what_they_removed(hub: RawHub) -> None:
    """Live and missing ones count nothing; a filter takes what has ended; a batch takes what it names."""
    worker = RawWorker(hub.client)
    for instance_id in ("a", "b", "c", "d"):
        await _run(hub, worker, instance_id)
    await hub.start("live")
    await worker.episode()
    for instance_id in ("live", "missing"):
        answer = await hub.purge(instanceId=instance_id, isOrchestration=True)
        assert answer.deletedInstanceCount == 0
    batch = pb.InstanceBatch(instanceIds=["a", "a", "missing", "live"])
    assert (await hub.purge(instanceBatch=batch, isOrchestration=True)).deletedInstanceCount == 1
    window = pb.PurgeInstanceFilter(createdTimeTo=(await hub.state("c")).createdTimestamp)
    answer = await hub.purge(purgeInstanceFilter=window)
    assert (answer.deletedInstanceCount, answer.isComplete.value) == (1, True)
    only = pb.PurgeInstanceFilter(runtimeStatus=[FAILED, RUNNING], timeout=Duration(seconds=5))
    assert (await hub.purge(purgeInstanceFilter=only)).deletedInstanceCount == 0
    assert (await hub.purge(purgeInstanceFilter=pb.PurgeInstanceFilter())).deletedInstanceCount == 2
    assert await hub.query_ids() == ["live"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await hub.history("a")
    assert caught.value.code() is Code.NOT_FOUND


async def test_a_recursive_purge_takes_the_children_along(hub: RawHub) -> None:
    """Depth first, counted; without recursion the children stay."""
    worker = RawWorker(hub.client)
    for root in ("p", "q"):
        await hub.start(root)
        await worker.episode(child(1, f"{root}-c"))
        await worker.episode(child(1, f"{root}-g"))
        await worker.episode(complete())
        await worker.episode(complete())
        await worker.episode(complete())
    assert (await hub.purge(instanceId="p", recursive=True)).deletedInstanceCount == 3
    assert (await hub.purge(instanceId="q")).deletedInstanceCount == 1
    assert await hub.query_ids() == ["q-c", "q-g"]


# --- restart, rewind, history -----------------------------------------------------------------------------


async def test_a_restart_runs_again_under_the_same_or_a_new_id(hub: RawHub) -> None:
    """Only what has ended; name, input, version and tags are those of the original."""
    worker = RawWorker(hub.client)
    await hub.start("i", "N", input=text("7"), version=text("1"), tags={"t": "v"})
    error = await hub.client.refusal("RestartInstance", pb.RestartInstanceRequest(instanceId="i"))
    assert error.code() is Code.FAILED_PRECONDITION
    await worker.episode(complete('"one"'))
    old = await hub.state("i")
    for anew in (True, False):
        request = pb.RestartInstanceRequest(instanceId="i", restartWithNewInstanceId=anew)
        answer = await hub.client.call("RestartInstance", request, pb.RestartInstanceResponse)
        assert (answer.instanceId == "i") is not anew
        started = (await worker.episode(complete('"two"'))).newEvents[1].executionStarted
        assert (started.name, started.input.value, started.version.value) == ("N", "7", "1")
        state = await hub.state(answer.instanceId)
        assert (state.output.value, dict(state.tags)) == ('"two"', {"t": "v"})
        assert state.executionId != old.executionId


async def test_a_rewind_runs_through_the_worker(hub: RawHub) -> None:
    """The worker gets the whole past and one event, answers with a new history, and goes on from there."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    await worker.episode(schedule(1))
    await worker.activity(failureDetails=pb.TaskFailureDetails(errorType="E", errorMessage="m"))
    await worker.episode(fail(id=2))
    await hub.client.call("RewindInstance", pb.RewindInstanceRequest(instanceId="i", reason=text("again")))
    state = await hub.state("i")
    assert state.orchestrationStatus == RUNNING
    assert not state.HasField("failureDetails")
    assert not state.HasField("completedTimestamp")
    item = await worker.take()
    request = item.orchestratorRequest
    assert kinds(request.newEvents) == ["orchestratorStarted", "executionRewound"]
    assert request.newEvents[1].executionRewound.reason.value == "again"
    assert "executionCompleted" in kinds(request.pastEvents)
    kept = [
        event
        for event in [*request.pastEvents, *request.newEvents]
        if event.WhichOneof("eventType") not in {"taskFailed", "taskScheduled", "executionCompleted"}
    ]
    kept[1].executionStarted.orchestrationInstance.executionId.value = "rewound"
    rewind = pb.RewindOrchestrationAction(newHistory=kept)
    await worker.answer(item, pb.OrchestratorAction(id=-1, rewindOrchestration=rewind))
    request = await worker.episode(schedule(1))
    assert kinds(request.newEvents) == ["orchestratorStarted"]
    assert request.executionId.value == "rewound"
    await worker.activity("1")
    await worker.episode(complete("1"))
    assert await hub.status("i") == COMPLETED


async def test_a_history_is_in_order_with_the_ids_of_the_protocol(hub: RawHub) -> None:
    """Section 6.3: started, inbound, confirmations, completion, completed; confirmations carry action ids."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    timer = pb.OrchestratorAction(
        id=2, createTimer=pb.CreateTimerAction(fireAt=stamp(datetime.now(timezone.utc)))
    )
    event = pb.SendEventAction(instance=pb.OrchestrationInstance(instanceId="missing"), name="e")
    await worker.episode(schedule(1, tags={"k": "v"}), timer, pb.OrchestratorAction(id=3, sendEvent=event))
    seen = [await worker.take(), await worker.take()]
    for item in seen:
        if item.WhichOneof("request") == "activityRequest":
            assert dict(item.activityRequest.tags) == {"k": "v"}
        else:
            await worker.answer(item, complete("1", id=4))
    events = await hub.history("i")
    assert [(kind, one.eventId) for kind, one in zip(kinds(events), events, strict=True)] == [
        ("orchestratorStarted", -1),
        ("executionStarted", -1),
        ("taskScheduled", 1),
        ("timerCreated", 2),
        ("eventSent", 3),
        ("orchestratorStarted", -1),
        ("timerFired", -1),
        ("executionCompleted", 4),
    ]
    assert all(one.timestamp.seconds > 1_600_000_000 for one in events)
    execution = (await hub.state("i")).executionId
    assert await hub.history("i", executionId=execution) == events
    assert await hub.history("i", executionId=execution, forWorkItemProcessing=True) == events
    for instance_id, other in (("missing", None), ("i", text("other"))):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hub.history(instance_id, executionId=other)
        assert caught.value.code() is Code.NOT_FOUND


async def test_forced_terminations_end_what_no_worker_would(hub: RawHub) -> None:
    """Running and pending ones end at once; missing and finished ones are named in the answer."""
    worker = RawWorker(hub.client)
    await _run(hub, worker, "done")
    await hub.start("running")
    await worker.episode()
    worker.stream.cancel()
    await hub.start("pending")
    request = pb.SkipGracefulOrchestrationTerminationsRequest(
        instanceBatch=pb.InstanceBatch(instanceIds=["done", "running", "missing", "pending"]),
        reason=text("out of order"),
    )
    answer = await hub.client.call(
        "SkipGracefulOrchestrationTerminations",
        request,
        pb.SkipGracefulOrchestrationTerminationsResponse,
    )
    assert list(answer.unterminatedInstanceIds) == ["done", "missing"]
    assert [await hub.status(one) for one in ("done", "running", "pending")] == [
        COMPLETED,
        TERMINATED,
        TERMINATED,
    ]
    assert kinds(await hub.history("pending"))[-2:] == ["executionTerminated", "executionCompleted"]


HOSTILE: list[tuple[str, Any]] = [
    ("StartInstance", pb.CreateInstanceRequest(name="n", scheduledStartTimestamp=Timestamp(seconds=2**62))),
    (
        "StartInstance",
        pb.CreateInstanceRequest(name="n", scheduledStartTimestamp=Timestamp(seconds=-(2**62))),
    ),
    ("StartInstance", pb.CreateInstanceRequest(name="n", requestTime=Timestamp(seconds=2**62))),
    (
        "QueryInstances",
        pb.QueryInstancesRequest(query=pb.InstanceQuery(createdTimeFrom=Timestamp(seconds=2**62))),
    ),
    ("QueryInstances", pb.QueryInstancesRequest(query=pb.InstanceQuery(continuationToken=text("garbage")))),
    ("ListInstanceIds", pb.ListInstanceIdsRequest(lastInstanceKey=text("\0"))),
    (
        "PurgeInstances",
        pb.PurgeInstancesRequest(purgeInstanceFilter=pb.PurgeInstanceFilter(timeout=Duration(seconds=2**62))),
    ),
    (
        "SkipGracefulOrchestrationTerminations",
        pb.SkipGracefulOrchestrationTerminationsRequest(
            instanceBatch=pb.InstanceBatch(instanceIds=["i"] * 501)
        ),
    ),
]


@pytest.mark.parametrize(("rpc", "request_"), HOSTILE, ids=lambda each: each if isinstance(each, str) else "")
async def test_times_and_tokens_that_cannot_be_are_invalid(hub: RawHub, rpc: str, request_: Any) -> None:
    """INVALID_ARGUMENT with a text, not INTERNAL; and the hub goes on."""
    error = await hub.client.refusal(rpc, request_)
    assert error.code() is Code.INVALID_ARGUMENT, error
    assert await hub.start("well") == "well"


async def test_times_at_the_edges_of_the_calendar_do_no_harm(hub: RawHub) -> None:
    """The first and the last moment that a time can name are times."""
    worker = RawWorker(hub.client)
    last = Timestamp(seconds=253402300799, nanos=999_999_999)
    first = Timestamp(seconds=-62135596800)
    await hub.start("never", scheduledStartTimestamp=last)
    await hub.start("long-ago", scheduledStartTimestamp=first)
    far = pb.OrchestratorAction(id=1, createTimer=pb.CreateTimerAction(fireAt=last))
    near = pb.OrchestratorAction(id=2, createTimer=pb.CreateTimerAction(fireAt=first))
    assert (await worker.episode(far, near)).instanceId == "long-ago"
    assert kinds((await worker.episode(complete())).newEvents) == ["orchestratorStarted", "timerFired"]
    assert await hub.query_ids(createdTimeFrom=first, createdTimeTo=last) == ["never", "long-ago"]
    timeout = Duration(seconds=315_576_000_000)
    purged = await hub.purge(purgeInstanceFilter=pb.PurgeInstanceFilter(timeout=timeout))
    assert purged.deletedInstanceCount == 1


async def test_task_hubs_are_created_and_emptied(hub: RawHub) -> None:
    """Creating keeps what is there, unless it is to be made anew; deleting empties it, live ones included."""
    worker = RawWorker(hub.client)
    await hub.start("i")
    await worker.episode()
    await hub.client.call("CreateTaskHub", pb.CreateTaskHubRequest())
    assert await hub.exists("i")
    await hub.client.call("CreateTaskHub", pb.CreateTaskHubRequest(recreateIfExists=True))
    assert not await hub.exists("i")
    await hub.start("i")
    item = await worker.take()
    await hub.client.call("DeleteTaskHub", pb.DeleteTaskHubRequest())
    await worker.answer(item, complete())
    assert await hub.query_ids() == []
    await _run(hub, worker, "after")
    assert await hub.status("after") == COMPLETED


async def test_a_disk_that_is_full_is_an_error_with_a_reason(tmp_path: Path) -> None:
    """The client is told INTERNAL and why, no traceback; with room again, everything that was answered is there."""
    store = SqliteStore(tmp_path / "a.db")
    backend = InMemoryBackend(store=store)
    async with raw_hub(backend) as hub:
        await hub.start("kept")

        async def set_pages(pages: int) -> None:
            assert store._file is not None
            await asyncio.wrap_future(
                store._file.on_writer(lambda disk: disk.execute(f"PRAGMA max_page_count = {pages}"))
            )

        await set_pages(1)
        request = pb.CreateInstanceRequest(name="O", instanceId="lost", input=text("x" * 100_000))
        error = await hub.client.refusal("StartInstance", request)
        assert error.code() is Code.INTERNAL
        assert "full" in str(error.details())
        assert "Traceback" not in str(error.details())
        await set_pages(10_000)
        assert await hub.exists("kept")
        assert not await hub.exists("lost")
        assert await hub.start("lost") == "lost"
    await backend.close()
