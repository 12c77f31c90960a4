"""Episodes: what a worker is given, what its answer commits, in which order (protocol sections 6.3 and 7)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from durabletask.core.actions import (
    CompleteOrchestration,
    CreateTimer,
    ScheduleTask,
    SendEvent,
    TerminateOrchestration,
)
from durabletask.core.errors import InvalidRequestError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EventRaised,
    ExecutionStarted,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
    TaskCompleted,
    TaskFailed,
    TimerFired,
    TraceContext,
)
from durabletask.core.instances import CreateInstanceRequest, OrchestrationStatus
from durabletask.core.work_items import OrchestrationTraceContext, WorkItem, WorkItemStreamOptions
from durabletask.testing import InMemoryBackend
from scripted_worker import Reader, complete


async def history(hub: InMemoryBackend, instance_id: str) -> list[HistoryEvent]:
    return [event async for chunk in hub.stream_history(instance_id) for event in chunk]


def kinds(events: object) -> list[str]:
    return [type(event).__name__ for event in events]  # type: ignore[attr-defined]


async def test_news_that_one_message_cannot_carry_come_in_several_episodes(hub: InMemoryBackend) -> None:
    """New events are bounded by their payloads; one that is larger by itself comes alone, and order is kept."""
    sizes = [900_000, 900_000, 900_000, 3_000_000, 10]
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode())
    held = await _holding(hub, reader)
    for number, size in enumerate(sizes):
        await hub.raise_event("i", f"e{number}", '"' + "x" * size + '"')
    await reader.answer(held)
    batches = []
    while sum(map(len, batches)) < len(sizes):
        item = await reader.episode()
        batches.append([event.name for event in item.new_events if isinstance(event, EventRaised)])
        await reader.answer(item)
    assert await reader.idle()
    await reader.close()

    assert batches == [["e0", "e1"], ["e2"], ["e3"], ["e4"]]


async def test_small_news_come_together(hub: InMemoryBackend) -> None:
    """What fits travels in one episode."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode())
    held = await _holding(hub, reader)
    for number in range(300):
        await hub.raise_event("i", f"e{number}", '"ü"' * 100)
    await reader.answer(held)
    item = await reader.episode()
    assert len(item.new_events) == 301
    await reader.close()


async def _holding(hub: InMemoryBackend, reader: Reader) -> WorkItem:
    """An episode of the instance that a worker has in hand, so that events gather behind it."""
    await hub.raise_event("i", "first")
    return await reader.episode()


async def test_history_is_recorded_in_the_order_of_the_protocol(hub: InMemoryBackend) -> None:
    """Started, inbound events, confirmations in action order, executionCompleted; no orchestratorCompleted."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i", input="1"))
    first = await reader.episode()
    await reader.answer(
        first, ScheduleTask(1, "A", None, '"x"'), CreateTimer(2, hub.clock.now() + timedelta(1))
    )
    await reader.answer(await reader.activity(), result='"y"')
    second = await reader.episode()
    await reader.answer(second, SendEvent(3, "i", "self"), complete('"z"', id=4))

    recorded = await history(hub, "i")

    assert kinds(recorded) == [
        "OrchestratorStarted",
        "ExecutionStarted",
        "TaskScheduled",
        "TimerCreated",
        "OrchestratorStarted",
        "TaskCompleted",
        "EventSent",
        "ExecutionCompleted",
    ]
    assert [event.event_id for event in recorded] == [-1, -1, 1, 2, -1, -1, 3, 4]
    assert kinds(first.new_events) == ["OrchestratorStarted", "ExecutionStarted"]
    assert kinds(second.past_events) == kinds(recorded[:4])
    assert kinds(second.new_events) == ["OrchestratorStarted", "TaskCompleted"]
    await reader.close()


async def test_the_past_that_was_handed_out_never_changes(hub: InMemoryBackend) -> None:
    """An item shows the history as it was, also after the hub has recorded more."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), ScheduleTask(1, "A"))
    await reader.answer(await reader.activity())
    item = await reader.episode()
    before = list(item.past_events)
    await reader.answer(item, complete())

    assert list(item.past_events) == before
    await reader.close()


async def test_one_episode_at_a_time_takes_everything_that_has_arrived(hub: InMemoryBackend) -> None:
    """Events that arrive during an episode wait for the next one and come together, in order."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    first = await reader.episode()
    for number in range(3):
        await hub.raise_event("i", "e", str(number))

    assert await reader.idle()
    await reader.answer(first)
    second = await reader.episode()
    assert [event.input for event in second.new_events if isinstance(event, EventRaised)] == ["0", "1", "2"]
    await reader.close()


async def test_an_activity_carries_everything_of_its_action(hub: InMemoryBackend) -> None:
    """Name, version, input, tags and trace context reach the activity item; the failure comes back."""
    trace = TraceContext("00-1-2-01", "a=b", "2")
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), ScheduleTask(1, "A", "2.0", '"in"', {"k": "v"}, trace))
    item = await reader.activity()

    assert (item.name, item.version, item.input, item.tags, item.trace_context, item.task_id) == (
        "A",
        "2.0",
        '"in"',
        {"k": "v"},
        trace,
        1,
    )
    failure = FailureDetails("T", "m")
    await reader.answer(item, failure=failure)
    event = (await reader.episode()).new_events[1]
    assert isinstance(event, TaskFailed)
    assert event.failure == failure
    await reader.close()


async def test_trace_and_custom_status_are_what_the_last_answer_says(hub: InMemoryBackend) -> None:
    """The span of the orchestration is handed back; an unset custom status clears the old one."""
    span = OrchestrationTraceContext("abc", hub.clock.now())
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), custom_status='"busy"', trace_context=span)
    state = await hub.get_instance("i")
    assert state is not None
    assert state.serialized_custom_status == '"busy"'
    await hub.raise_event("i", "go")
    item = await reader.episode()
    assert item.trace_context == span
    await reader.answer(item)
    state = await hub.get_instance("i")
    assert state is not None
    assert state.serialized_custom_status is None
    await reader.close()


async def test_a_timer_of_the_past_fires_at_once_and_others_on_time(hub: InMemoryBackend) -> None:
    """TimerFired carries the fire time and the id; virtual time jumps to it."""
    start = hub.clock.now()
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(
        await reader.episode(),
        CreateTimer(1, start - timedelta(1)),
        CreateTimer(2, start + timedelta(days=30)),
    )
    at_once = await reader.episode()
    assert next(event for event in at_once.new_events if isinstance(event, TimerFired)).timer_id == 1
    assert hub.clock.now() == start
    await reader.answer(at_once)
    later = (await reader.episode()).new_events
    assert isinstance(later[0], OrchestratorStarted)
    assert later[0].timestamp == start + timedelta(days=30)
    assert isinstance(later[1], TimerFired)
    assert (later[1].timer_id, later[1].fire_at) == (2, start + timedelta(days=30))
    await reader.close()


async def test_what_follows_a_terminal_completion_is_ignored(hub: InMemoryBackend) -> None:
    """Actions before the completion are carried out, actions behind it are a defect of the engine."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(
        await reader.episode(), ScheduleTask(1, "before"), complete(id=2), ScheduleTask(3, "behind")
    )

    assert (await reader.activity()).name == "before"
    assert await reader.idle()
    await reader.close()


async def test_an_impossible_completion_changes_nothing(hub: InMemoryBackend) -> None:
    """A completion as RUNNING is refused, and the episode can still be completed properly."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    item = await reader.episode()
    with pytest.raises(InvalidRequestError, match="RUNNING"):
        await reader.answer(item, ScheduleTask(1, "A"), CompleteOrchestration(2, OrchestrationStatus.RUNNING))
    await reader.answer(item, complete())

    assert "TaskScheduled" not in kinds(await history(hub, "i"))
    await reader.close()


async def test_events_left_unprocessed_come_again(hub: InMemoryBackend) -> None:
    """A worker that says how many events it processed gets the rest in the next episode."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    first = await reader.episode()
    await reader.answer(first, num_events_processed=1)
    again = await reader.episode()

    assert [type(event) for event in again.new_events] == [OrchestratorStarted, ExecutionStarted]
    await reader.close()


async def test_an_orchestrator_terminates_another(hub: InMemoryBackend) -> None:
    """The action delivers executionTerminated and leaves no event of its own."""
    reader = Reader(hub, WorkItemStreamOptions(max_orchestrations=1))
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="victim"))
    await reader.answer(await reader.episode())
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(
        await reader.episode(), TerminateOrchestration(1, "victim", '"why"', False), complete(id=2)
    )
    event = (await reader.episode()).new_events[1]

    assert isinstance(event, ExecutionTerminated)
    assert event.input == '"why"'
    assert kinds(await history(hub, "i"))[2:] == ["ExecutionCompleted"]
    await reader.close()


async def test_duplicate_activity_answers_are_dropped(hub: InMemoryBackend) -> None:
    """A second answer for the same delivery changes nothing."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), ScheduleTask(1, "A"))
    item = await reader.activity()
    await reader.answer(item, result="1")
    await reader.answer(item, result="2")
    episode = await reader.episode()

    assert [event.result for event in episode.new_events if isinstance(event, TaskCompleted)] == ["1"]
    await reader.close()
