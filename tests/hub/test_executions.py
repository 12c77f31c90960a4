"""Continue-as-new, children and rewind (protocol sections 7.3, 7.4, 12.8)."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import msgspec
import pytest
from durabletask.core.actions import (
    CreateSubOrchestration,
    CreateTimer,
    RewindOrchestration,
    ScheduleTask,
)
from durabletask.core.errors import InstanceNotFoundError, InvalidOperationError, InvalidRequestError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EventRaised,
    ExecutionCompleted,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskFailed,
    TaskScheduled,
    TraceContext,
)
from durabletask.core.instances import CreateInstanceRequest, OrchestrationStatus, PurgeInstance
from durabletask.core.work_items import OrchestratorWorkItem
from durabletask.testing import InMemoryBackend, VirtualClock
from scripted_worker import Reader, complete, everything, settle

S = OrchestrationStatus


async def state_of(hub: InMemoryBackend, instance_id: str) -> OrchestrationStatus:
    state = await hub.get_instance(instance_id)
    assert state is not None
    return state.runtime_status


def again(result: str | None = None, **more: object) -> object:
    return complete(result, status=S.CONTINUED_AS_NEW, **more)


async def test_a_new_execution_keeps_what_belongs_to_the_instance(hub: InMemoryBackend) -> None:
    """Name, tags and creation stay; input, execution id and history are new; RUNNING all the time."""
    reader = Reader(hub)
    trace = TraceContext("00-1-2-01")
    await hub.create_instance(
        CreateInstanceRequest(
            name="O", instance_id="i", input="1", version="1", tags={"t": "u"}, trace_context=trace
        )
    )
    first = await reader.episode()
    carried = EventRaised(-1, hub.clock.now(), "carried", "c")
    await hub.raise_event("i", "arrived", "a")
    completed = asyncio.ensure_future(hub.wait_for_instance_completion("i"))
    await reader.answer(
        first,
        again("2", new_version="2", carryover_events=[carried]),  # type: ignore[arg-type]
        custom_status='"kept"',
    )
    item = await reader.episode()
    state = await hub.get_instance("i")
    assert state is not None
    assert (state.runtime_status, state.input, state.version, state.tags, state.custom_status) == (
        S.RUNNING,
        2,
        "2",
        {"t": "u"},
        "kept",
    )
    started = item.new_events[1]
    assert isinstance(started, ExecutionStarted)
    assert (started.input, started.execution_id, started.trace_context) == ("2", item.execution_id, trace)
    assert item.execution_id != first.execution_id
    assert list(item.past_events) == []
    assert [event.name for event in item.new_events if isinstance(event, EventRaised)] == [
        "carried",
        "arrived",
    ]
    assert not completed.done()
    await reader.answer(item, complete('"end"'))
    ended = await completed
    assert ended is not None
    assert ended.output == "end"
    assert ended.created_at == state.created_at
    await reader.close()


async def test_answers_of_an_old_execution_never_reach_the_new_one(hub: InMemoryBackend) -> None:
    """Activities still run, timers and their answers are gone, also with the same ids."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    timer = CreateTimer(2, hub.clock.now() + timedelta(hours=1))
    await reader.answer(await reader.episode(), ScheduleTask(1, "old"), timer, again())  # type: ignore[arg-type]
    items = [await reader.take(), await reader.take()]
    new = next(item for item in items if isinstance(item, OrchestratorWorkItem))
    old = next(item for item in items if not isinstance(item, OrchestratorWorkItem))
    await reader.answer(new, CreateTimer(2, hub.clock.now() + timedelta(hours=2)))
    await reader.answer(old, result='"old"')
    item = await reader.episode()
    assert item.new_events[0].timestamp == timer.fire_at + timedelta(hours=1)
    assert [type(event).__name__ for event in item.new_events] == ["OrchestratorStarted", "TimerFired"]
    await reader.close()


async def test_a_termination_beats_a_continue_as_new(hub: InMemoryBackend) -> None:
    """When both are in one episode, the instance ends as TERMINATED with the request's output."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await hub.terminate_instance("i", output='"out"')
    await reader.answer(await reader.episode(), again())  # type: ignore[arg-type]
    state = await hub.get_instance("i")
    assert state is not None
    assert (state.runtime_status, state.output) == (S.TERMINATED, "out")
    await reader.close()


async def test_a_suspension_survives_into_the_new_execution(hub: InMemoryBackend) -> None:
    """A suspend that the ending execution has seen too late is delivered to the next one."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await hub.suspend_instance("i")
    await reader.answer(await reader.episode(), again())  # type: ignore[arg-type]
    assert await state_of(hub, "i") is S.SUSPENDED
    item = await reader.episode()
    assert isinstance(item.new_events[2], ExecutionSuspended)
    await reader.answer(item)
    assert await state_of(hub, "i") is S.SUSPENDED
    await reader.close()


async def test_a_child_that_nobody_waits_for_answers_nobody(hub: InMemoryBackend) -> None:
    """The protocol's tag for it suppresses the message to the parent."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="P", instance_id="p"))
    await reader.answer(
        await reader.episode(), CreateSubOrchestration(1, "C", "c", None, None, {"FireAndForget": "1"})
    )
    await reader.answer(await reader.episode(), complete('"done"'))
    assert await reader.idle()
    assert await state_of(hub, "c") is S.COMPLETED
    assert await state_of(hub, "p") is S.RUNNING
    await reader.close()


async def test_a_child_knows_its_parent_and_answers_it(hub: InMemoryBackend) -> None:
    """Parent info, inherited and own tags, version, trace; the result comes back once."""
    trace = TraceContext("00-3-4-01")
    reader = Reader(hub)
    await hub.create_instance(
        CreateInstanceRequest(
            name="P", instance_id="p", version="7", tags={"a": "1", "b": "1", "FireAndForget": "x"}
        )
    )
    parent = await reader.episode()
    await reader.answer(parent, CreateSubOrchestration(1, "C", "c", "2", "5", {"b": "2"}, trace))
    child = await reader.episode()
    started = child.new_events[1]
    assert isinstance(started, ExecutionStarted)
    link = started.parent
    assert link is not None
    assert (link.task_scheduled_id, link.instance_id, link.execution_id, link.name, link.version) == (
        1,
        "p",
        parent.execution_id,
        "P",
        "7",
    )
    assert (started.name, started.version, started.input, started.tags, started.trace_context) == (
        "C",
        "2",
        "5",
        {"a": "1", "b": "2"},
        trace,
    )
    state = await hub.get_instance("c")
    assert state is not None
    assert state.parent_instance_id == "p"
    await reader.answer(child, complete("6"))
    answer = (await reader.episode()).new_events[1]
    assert isinstance(answer, SubOrchestrationInstanceCompleted)
    assert (answer.task_scheduled_id, answer.result) == (1, "6")
    await reader.close()


async def test_a_child_that_fails_or_is_terminated_fails_its_task(hub: InMemoryBackend) -> None:
    """A failure carries its details, a termination none."""
    reader = Reader(hub)
    failure = FailureDetails("T", "m")
    await hub.create_instance(CreateInstanceRequest(name="P", instance_id="p"))
    await reader.answer(
        await reader.episode(), CreateSubOrchestration(1, "C", "c1"), CreateSubOrchestration(2, "C", "c2")
    )
    first, second = await reader.episode(), await reader.episode()
    await reader.answer(first, complete(status=S.FAILED, failure=failure))
    await reader.answer(second, complete(status=S.TERMINATED))
    answers = (await reader.episode()).new_events[1:]
    assert [(event.task_scheduled_id, event.failure) for event in answers] == [(1, failure), (2, None)]  # type: ignore[union-attr]
    await reader.close()


async def test_a_child_id_in_use_fails_the_task_unless_it_was_the_same_parents_child(
    hub: InMemoryBackend,
) -> None:
    """The error of the failed task names the instance and its status; only the parent's own child is replaced."""
    reader = Reader(hub)
    for one in ("done", "live"):
        await hub.create_instance(CreateInstanceRequest(name="X", instance_id=one))
    done, live = await reader.episode(), await reader.episode()
    await reader.answer(done, complete('"old"'))
    await reader.answer(live)
    await settle(hub)
    await hub.create_instance(CreateInstanceRequest(name="P", instance_id="p"))
    await reader.answer(
        await reader.episode(),
        CreateSubOrchestration(1, "C", "done"),
        CreateSubOrchestration(2, "C", "live"),
        CreateSubOrchestration(3, "C", "@e@k"),
        CreateSubOrchestration(4, "C", "own"),
    )
    items = {item.instance_id: item for item in (await reader.episode(), await reader.episode())}
    assert set(items) == {"p", "own"}
    failures = [event for event in items["p"].new_events if isinstance(event, SubOrchestrationInstanceFailed)]
    assert [event.task_scheduled_id for event in failures] == [1, 2, 3]
    for failure, words in zip(failures, ("'done'.*COMPLETED", "'live'.*RUNNING", "@e@k"), strict=True):
        assert failure.failure is not None
        assert re.search(words, failure.failure.message)
    state = await hub.get_instance("done")
    assert state is not None
    assert state.serialized_output == '"old"'

    await reader.answer(items["own"], complete('"first"'))
    await reader.answer(items["p"])
    await reader.answer(await reader.episode(), CreateSubOrchestration(5, "C", "own"))
    assert (await reader.episode()).instance_id == "own"
    await reader.close()


async def test_a_child_that_continues_as_new_answers_with_its_last_execution(hub: InMemoryBackend) -> None:
    """The parent is answered once, by the last execution; a parent that continued as new is not answered."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="P", instance_id="p"))
    await reader.answer(
        await reader.episode(), CreateSubOrchestration(1, "C", "c"), CreateSubOrchestration(2, "C", "d")
    )
    child, other = await reader.episode(), await reader.episode()
    await reader.answer(child, again())  # type: ignore[arg-type]
    await reader.answer(await reader.episode(), complete("1"))
    parent = await reader.episode()
    assert [type(event).__name__ for event in parent.new_events[1:]] == ["SubOrchestrationInstanceCompleted"]
    await reader.answer(parent, again())  # type: ignore[arg-type]
    parent = await reader.episode()
    await reader.answer(parent)
    await reader.answer(other, complete("2"))
    assert await reader.idle()
    await reader.close()


def rewritten(item: OrchestratorWorkItem) -> RewindOrchestration:
    """What a worker answers to a rewind."""
    rewound = item.new_events[-1]
    assert isinstance(rewound, ExecutionRewound)
    failed = {event.task_scheduled_id for event in everything(item) if isinstance(event, TaskFailed)}
    kept: list[HistoryEvent] = []
    for event in everything(item):
        if isinstance(event, (TaskFailed, SubOrchestrationInstanceFailed, ExecutionCompleted)):
            continue
        if isinstance(event, TaskScheduled) and event.event_id in failed:
            continue
        if isinstance(event, ExecutionStarted):
            link = event.parent
            if link is not None and rewound.parent_execution_id:
                link = msgspec.structs.replace(link, execution_id=rewound.parent_execution_id)
            kept.append(msgspec.structs.replace(event, execution_id=f"{event.execution_id}+", parent=link))
            continue
        kept.append(event)
    return RewindOrchestration(-1, kept)


async def test_a_rewind_is_delivered_alone(hub: InMemoryBackend) -> None:
    """What arrives behind it waits for an episode of its own."""
    reader = Reader(hub)
    failure = FailureDetails("T", "m")
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), complete(status=S.FAILED, failure=failure))
    await hub.rewind_instance("i")
    await hub.raise_event("i", "later")
    item = await reader.episode()
    assert [type(event) for event in item.new_events] == [OrchestratorStarted, ExecutionRewound]
    await reader.answer(item, rewritten(item))
    following = await reader.episode()
    assert [type(event) for event in following.new_events] == [OrchestratorStarted, EventRaised]
    await reader.close()


async def test_a_rewind_goes_on_behind_the_failure(hub: InMemoryBackend) -> None:
    """The failed activity runs again under a new execution id; lost answers and timers are asked for again."""
    reader = Reader(hub)
    failure = FailureDetails("T", "m")
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    with pytest.raises(InvalidOperationError, match="PENDING"):
        await hub.rewind_instance("i")
    with pytest.raises(InstanceNotFoundError):
        await hub.rewind_instance("missing")
    await reader.answer(await reader.episode(), ScheduleTask(1, "bad"), ScheduleTask(2, "slow"))
    bad, slow = await reader.activity(), await reader.activity()
    await reader.answer(bad, failure=failure)
    failed = await reader.episode()
    await reader.answer(failed, complete(status=S.FAILED, failure=failure, id=3))
    await reader.answer(slow)
    await settle(hub)
    await hub.rewind_instance("i", reason="again")
    assert await state_of(hub, "i") is S.RUNNING
    item = await reader.episode()
    assert [type(event) for event in item.new_events] == [OrchestratorStarted, ExecutionRewound]
    assert any(isinstance(event, ExecutionCompleted) for event in item.past_events)
    await hub.raise_event("i", "later")
    with pytest.raises(InvalidRequestError):
        await reader.answer(item, RewindOrchestration(-1, []))
    await reader.answer(item, rewritten(item))
    nexts = [await reader.take(), await reader.take()]
    episode = next(one for one in nexts if isinstance(one, OrchestratorWorkItem))
    assert {one.name for one in nexts if not isinstance(one, OrchestratorWorkItem)} == {"slow"}  # type: ignore[union-attr]
    assert episode.execution_id == f"{failed.execution_id}+"
    assert not any(isinstance(event, TaskFailed) for event in episode.past_events)
    await reader.answer(episode, ScheduleTask(1, "bad"), complete('"fine"', id=4))
    state = await hub.get_instance("i")
    assert state is not None
    assert (state.runtime_status, state.output, state.failure_details) == (S.COMPLETED, "fine", None)
    await reader.close()


async def test_a_rewind_that_is_impossible_changes_nothing(hub: InMemoryBackend) -> None:
    """The failure that ended the instance was answered by a compensation."""
    reader = Reader(hub)
    failure = FailureDetails("T", "m")
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), ScheduleTask(1, "pay"))
    await reader.answer(await reader.activity(), failure=failure)
    await reader.answer(await reader.episode(), ScheduleTask(2, "refund"))
    await reader.answer(await reader.activity())
    ended = FailureDetails("TaskFailedError", "m (T)", inner_failure=failure)
    await reader.answer(await reader.episode(), complete(status=S.FAILED, failure=ended, id=3))
    before = await hub.get_instance("i")
    with pytest.raises(InvalidOperationError, match=r"'i'.*answered by its code.*Restart"):
        await hub.rewind_instance("i")
    await settle(hub)
    assert await hub.get_instance("i") == before
    await reader.close()


@pytest.mark.parametrize("is_purged", [False, True])
async def test_a_rewind_reaches_failed_and_purged_children(hub: InMemoryBackend, is_purged: bool) -> None:
    """A failed child is rewound and answers the new execution of its parent; a purged one is made anew."""
    reader = Reader(hub)
    failure = FailureDetails("T", "m")
    await hub.create_instance(CreateInstanceRequest(name="P", instance_id="p"))
    await reader.answer(await reader.episode(), CreateSubOrchestration(1, "C", "c", input="5"))
    await reader.answer(await reader.episode(), complete(status=S.FAILED, failure=failure))
    await reader.answer(await reader.episode(), complete(status=S.FAILED, failure=failure, id=2))
    if is_purged:
        await hub.purge_instances(PurgeInstance(instance_id="c"))
    await hub.rewind_instance("p")
    item = await reader.episode()
    await reader.answer(item, rewritten(item))
    for _ in range(4):
        item = await reader.episode()
        if item.instance_id == "p" and not any(
            isinstance(event, SubOrchestrationInstanceCompleted) for event in item.new_events
        ):
            await reader.answer(item)
        elif item.instance_id == "c" and isinstance(item.new_events[-1], ExecutionRewound):
            await reader.answer(item, rewritten(item))
        elif item.instance_id == "c":
            await reader.answer(item, complete('"better"'))
        else:
            break
    assert item.instance_id == "p"
    assert item.new_events[1].result == '"better"'  # type: ignore[union-attr]
    await reader.close()


async def test_virtual_time_waits_for_unserved_work(clock: VirtualClock) -> None:
    """While an episode waits for a worker, time does not jump to the time-out of a wait."""
    hub = InMemoryBackend(clock=clock)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    waiting = asyncio.ensure_future(hub.wait_for_instance_completion("i", timeout=timedelta(days=1)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    reader = Reader(hub)
    await reader.answer(await reader.episode())
    assert await waiting is None
    await reader.close()


@pytest.mark.parametrize("ends_as", [None, S.COMPLETED, S.TERMINATED])
async def test_a_rewind_listens_again_to_the_other_children(
    hub: InMemoryBackend, ends_as: OrchestrationStatus | None
) -> None:
    """A child that ended while its parent was FAILED answers at once; one that still runs is linked again."""
    reader = Reader(hub)
    failure = FailureDetails("T", "m")
    await hub.create_instance(CreateInstanceRequest(name="P", instance_id="p"))
    fire_at = hub.clock.now() + timedelta(hours=1)
    await reader.answer(
        await reader.episode(),
        CreateSubOrchestration(1, "C", "c"),
        CreateTimer(2, fire_at),
        ScheduleTask(3, "A"),
    )
    items = [await reader.take(), await reader.take()]
    child = next(item for item in items if isinstance(item, OrchestratorWorkItem))
    await reader.answer(next(item for item in items if item is not child), failure=failure)
    await reader.answer(await reader.episode(), complete(status=S.FAILED, failure=failure, id=4))
    if ends_as is not None:
        await reader.answer(child, complete('"c"', status=ends_as))
    await settle(hub)
    await hub.rewind_instance("p")
    item = await reader.episode()
    await reader.answer(item, rewritten(item))
    if ends_as is None:
        await reader.answer(await reader.episode())
        await reader.answer(child, complete('"c"'))
    item = await reader.episode()
    kind = SubOrchestrationInstanceFailed if ends_as is S.TERMINATED else SubOrchestrationInstanceCompleted
    assert [type(event) for event in item.new_events[1:]] == [kind]
    await reader.answer(item)
    timer = await reader.episode()
    assert timer.new_events[0].timestamp == fire_at
    await reader.close()
