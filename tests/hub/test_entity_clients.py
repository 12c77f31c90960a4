"""What clients see of entities and do to them: signals, queries, purge, cleaning; and what entities start."""

from __future__ import annotations

from datetime import timedelta

import pytest
from durabletask.core.actions import CallEntity, RequestEntityLock, SignalEntity
from durabletask.core.entities import CleanEntityStorageResult, EntityQuery
from durabletask.core.errors import InvalidRequestError
from durabletask.core.history import EntityOperationCompleted, ExecutionStarted, TraceContext
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceQuery,
    PurgeBatch,
    PurgeInstance,
)
from durabletask.core.work_items import (
    EntitySendSignal,
    EntityStartOrchestration,
    OrchestrationTraceContext,
    OrchestratorResult,
)
from durabletask.testing import InMemoryBackend, VirtualClock
from entity_worker import EntityReader
from scripted_worker import complete

A, B = "@e@a", "@e@b"


@pytest.fixture
async def reader(hub: InMemoryBackend) -> EntityReader:
    return EntityReader(hub)


async def put(hub: InMemoryBackend, reader: EntityReader, entity_id: str, state: str | None) -> None:
    """Give an entity a state."""
    await hub.signal_entity(entity_id, "set")
    await reader.run(await reader.batch(), state=state)


async def test_a_signal_that_is_sent_again_counts_once(
    hub: InMemoryBackend, reader: EntityReader, clock: VirtualClock
) -> None:
    """While it waits, after it was run, and when the entity is gone; the memory is of one entity and has an end."""
    for _ in range(2):
        await hub.signal_entity(A, "op", request_id="r")
    item = await reader.batch()
    assert [one.request_id for one in item.operations] == ["r"]
    await reader.run(item, state=None)
    assert await hub.get_entity(A) is None
    await hub.signal_entity("@E@a", "op", request_id="r")
    assert await reader.idle()
    await hub.signal_entity(B, "op", request_id="r")
    await reader.run(await reader.batch(), state="1")
    for _ in range(2):
        await hub.signal_entity(B, "op")
    assert len({one.request_id for one in (await reader.batch()).operations}) == 2
    await clock.advance(timedelta(hours=1))
    await hub.signal_entity(B, "op", request_id="new")
    await hub.signal_entity(A, "op", request_id="r")
    assert (await hub.get_entity(A)) is not None
    await reader.close()


async def test_a_request_id_is_remembered_for_ten_minutes(hub: InMemoryBackend, clock: VirtualClock) -> None:
    """A retry within that time is dropped, whatever else arrives."""
    await hub.signal_entity(A, "op", request_id="r")
    await clock.advance(timedelta(minutes=9))
    for number in range(20):
        await hub.signal_entity(A, "op", request_id=f"r{number}")
    await clock.advance(timedelta(seconds=59))
    await hub.signal_entity(A, "op", request_id="r")
    entity = await hub.get_entity(A)
    assert entity is not None
    assert entity.backlog_queue_size == 21


async def test_an_entity_without_anything_is_gone(hub: InMemoryBackend, reader: EntityReader) -> None:
    """No state, no message, no lock: it removes itself. A message that waits for its time keeps it."""
    await put(hub, reader, A, "1")
    due = hub.now() + timedelta(minutes=1)
    await hub.signal_entity(A, "op", scheduled_time=due)
    await hub.signal_entity(A, "clear")
    await reader.run(await reader.batch(), state=None)
    entity = await hub.get_entity(A)
    assert entity is not None
    assert (entity.serialized_state, entity.backlog_queue_size) == (None, 0)
    assert list((await hub.query_entities(EntityQuery())).entities) == []
    transient = await hub.query_entities(EntityQuery(include_transient=True))
    assert [one.instance_id for one in transient.entities] == [A]
    await reader.run(await reader.batch(), state=None)
    assert await hub.get_entity(A) is None
    assert list((await hub.query_entities(EntityQuery(include_transient=True))).entities) == []
    await reader.close()


async def test_entities_are_listed_by_prefix_and_time_page_by_page(
    hub: InMemoryBackend, reader: EntityReader, clock: VirtualClock
) -> None:
    """By id; from is inclusive, to exclusive; prefixes fold the name only; tokens stay good when entities come and go."""
    times = {}
    for number in range(5):
        await put(hub, reader, f"@e@{number}", f'"{number}"')
        times[number] = clock.now()
        await clock.advance(timedelta(minutes=1))
    await put(hub, reader, "@f@0", '"f"')
    await put(hub, reader, "@e@K", '"K"')

    async def ids(**filters: object) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = await hub.query_entities(EntityQuery(page_size=2, continuation_token=token, **filters))
            assert len(page.entities) <= 2
            found += [one.instance_id.removeprefix("@") for one in page.entities]
            token = page.continuation_token
            if token is None:
                return found

    assert await ids() == ["e@0", "e@1", "e@2", "e@3", "e@4", "e@K", "f@0"]
    assert await ids(instance_id_prefix="@E@") == ["e@0", "e@1", "e@2", "e@3", "e@4", "e@K"]
    assert await ids(instance_id_prefix="@e@k") == []
    assert await ids(instance_id_prefix="@f") == ["f@0"]
    assert await ids(instance_id_prefix="e") == []
    assert await ids(last_modified_from=times[1], last_modified_to=times[3]) == ["e@1", "e@2"]
    first = await hub.query_entities(EntityQuery(page_size=2, include_state=False))
    assert {one.serialized_state for one in first.entities} == {None}
    await hub.purge_instances(PurgeInstance(instance_id="@e@1", is_orchestration=False))
    rest = await hub.query_entities(EntityQuery(page_size=9, continuation_token=first.continuation_token))
    assert [one.serialized_state for one in rest.entities] == ['"2"', '"3"', '"4"', '"K"', '"f"']
    with pytest.raises(InvalidRequestError, match="token"):
        await hub.query_entities(EntityQuery(continuation_token="mine"))
    await reader.close()


async def test_large_states_make_pages_shorter(hub: InMemoryBackend, reader: EntityReader) -> None:
    """A page with states must fit into a message; without them it is as long as was asked."""
    for number in range(3):
        await put(hub, reader, f"@e@{number}", '"' + "x" * 1024 * 1024 + '"')
    page = await hub.query_entities(EntityQuery())
    assert (len(page.entities), page.continuation_token is None) == (1, False)
    assert len((await hub.query_entities(EntityQuery(include_state=False))).entities) == 3
    await reader.close()


async def test_entities_are_no_instances(hub: InMemoryBackend, reader: EntityReader) -> None:
    """Queries for instances never show them."""
    await put(hub, reader, A, "1")
    assert list((await hub.query_instances(InstanceQuery())).states) == []
    assert await hub.get_instance(A) is None
    await reader.close()


async def test_a_purge_deletes_the_state(hub: InMemoryBackend, reader: EntityReader) -> None:
    """One id, or some in a batch; what is missing counts nothing; without messages and lock the entity is gone."""
    for entity_id in (A, B):
        await put(hub, reader, entity_id, "1")
    assert (await hub.purge_instances(PurgeInstance(instance_id=A))).deleted_instance_count == 1
    batch = PurgeBatch(instance_ids=[A, "@e@b", "missing"])
    assert (await hub.purge_instances(batch)).deleted_instance_count == 1
    assert [await hub.get_entity(one) for one in (A, B)] == [None, None]
    with pytest.raises(InvalidRequestError, match="not an entity id"):
        await hub.purge_instances(PurgeInstance(instance_id="i", is_orchestration=False))
    await reader.close()


async def test_a_purge_keeps_messages_and_callers(hub: InMemoryBackend, reader: EntityReader) -> None:
    """A batch in flight had the old state, so it counts no more and comes again without; its caller gets an answer."""
    await put(hub, reader, A, "1")
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), CallEntity(1, "r", "get", A))
    old = await reader.batch()
    assert old.state == "1"
    assert (await hub.purge_instances(PurgeInstance(instance_id=A))).deleted_instance_count == 1
    await reader.run(old, '"old"', state="2")
    new = await reader.batch()
    assert (new.state, new.operations[0].request_id) == (None, "r")
    await reader.run(new, '"new"', state="3")
    answer = (await reader.episode()).new_events[1]
    assert isinstance(answer, EntityOperationCompleted)
    assert answer.output == '"new"'
    await reader.close()


async def test_cleaning_finds_nothing_in_a_healthy_hub(hub: InMemoryBackend, reader: EntityReader) -> None:
    """Empty entities remove themselves and ended executions leave their locks, so both counts are zero."""
    await put(hub, reader, A, "1")
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), RequestEntityLock(1, "s", (B,)))
    assert await hub.clean_entity_storage() == CleanEntityStorageResult()
    await hub.force_terminate_instances(["i"])
    assert await hub.clean_entity_storage() == CleanEntityStorageResult()
    assert await hub.get_entity(B) is None
    await reader.close()


async def test_cleaning_goes_on_where_it_stopped(hub: InMemoryBackend) -> None:
    """One call is one bounded step; the token leads through all entities, also when some go in between."""
    for number in range(1200):
        await hub.signal_entity(f"@e@{number:04}", "op")
    steps, token = 0, None
    while True:
        result = await hub.clean_entity_storage(continuation_token=token)
        steps, token = steps + 1, result.continuation_token
        if token is None:
            break
    assert steps == 3


async def test_an_entity_signals_itself_and_others(
    hub: InMemoryBackend, reader: EntityReader, clock: VirtualClock
) -> None:
    """Its signals are queued when the batch is committed, in their order; those with a time wait for it."""
    now = clock.now()
    await hub.signal_entity(A, "go")
    item = await reader.batch()
    actions = (
        EntitySendSignal(id=0, instance_id=A, name="self", input="1"),
        EntitySendSignal(id=1, instance_id="@E@b", name="one", input="2"),
        EntitySendSignal(id=2, instance_id=B, name="two"),
        EntitySendSignal(id=3, instance_id=B, name="late", scheduled_time=now + timedelta(hours=1)),
    )
    await reader.run(item, state=None, actions=actions)
    batches = {item.instance_id: item for item in (await reader.batch(), await reader.batch())}
    assert [(one.operation, one.input) for one in batches[A].operations] == [("self", "1")]
    assert [(one.operation, one.input) for one in batches[B].operations] == [("one", "2"), ("two", None)]
    await reader.run(batches[A])
    await reader.run(batches[B])
    assert [one.operation for one in (await reader.batch()).operations] == ["late"]
    assert clock.now() == now + timedelta(hours=1)
    await reader.close()


async def test_an_entity_starts_orchestrations(
    hub: InMemoryBackend, reader: EntityReader, clock: VirtualClock
) -> None:
    """Detached, at their time, with the trace; one that has ended gives its id, one that runs keeps it."""
    trace = TraceContext("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "b" * 16)
    due = clock.now() + timedelta(hours=1)
    starts = (
        EntityStartOrchestration(
            id=0, instance_id="i", name="O", version="2", input="1", trace_context=trace
        ),
        EntityStartOrchestration(id=1, instance_id="", name="Unnamed"),
        EntityStartOrchestration(id=2, instance_id="late", name="O", scheduled_time=due),
    )
    await hub.signal_entity(A, "go")
    await reader.run(await reader.batch(), state="1", actions=starts)
    first, second = await reader.episode(), await reader.episode()
    started = first.new_events[1]
    assert isinstance(started, ExecutionStarted)
    assert (first.instance_id, started.name, started.version, started.input) == ("i", "O", "2", "1")
    assert (started.tags, started.parent, started.trace_context) == ({"FireAndForget": ""}, None, trace)
    assert len(second.instance_id) == 32
    await hub.signal_entity(A, "go")
    batch = await reader.batch()
    await reader.run(batch, state="1", actions=starts[:1])
    state = await hub.get_instance("i")
    assert state is not None
    assert state.execution_id == first.execution_id
    await reader.answer(first, complete())
    await reader.answer(second, complete())
    await hub.signal_entity(A, "go")
    await reader.run(await reader.batch(), state="1", actions=starts[:1])
    again = await reader.episode()
    assert (again.instance_id, again.execution_id != first.execution_id) == ("i", True)
    await reader.answer(again, complete())
    late = await reader.episode()
    assert (late.instance_id, clock.now()) == ("late", due)
    await reader.close()


async def test_an_answer_of_a_dead_execution_is_dropped(hub: InMemoryBackend, reader: EntityReader) -> None:
    """The caller was replaced by another execution of its id: the operation runs, and the new one gets no answer."""
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), CallEntity(1, "r", "get", A))
    batch = await reader.batch()
    await hub.force_terminate_instances(["i"])
    await hub.restart_instance("i")
    await reader.answer(await reader.episode())
    await reader.run(batch, '"v"', state="1")
    assert await reader.idle()
    await reader.close()


async def test_the_trace_of_a_sender_goes_along(hub: InMemoryBackend, reader: EntityReader) -> None:
    """A signal of a client and one of an entity carry the context of what sent them, also through the file."""
    trace = TraceContext("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "b" * 16)
    other = TraceContext("00-" + "c" * 32 + "-" + "d" * 16 + "-01", "d" * 16)
    await hub.signal_entity(A, "op", trace_context=trace)
    batch = await reader.batch()
    assert [one.trace_context for one in batch.operations] == [trace]  # type: ignore[union-attr]
    signal = EntitySendSignal(id=0, instance_id=B, name="op", trace_context=other)
    await reader.run(batch, state="1", actions=(signal,))
    batch = await reader.batch()
    assert [one.trace_context for one in batch.operations] == [other]  # type: ignore[union-attr]
    await reader.close()


@pytest.mark.parametrize("span", ["e" * 16, None])
async def test_operations_of_an_orchestration_run_in_its_trace(
    hub: InMemoryBackend, reader: EntityReader, span: str | None
) -> None:
    """Under its span if the worker has named it, else beside it."""
    trace = TraceContext("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "b" * 16)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i", trace_context=trace))
    item = await reader.episode()
    await hub.complete_orchestrator(
        OrchestratorResult(
            instance_id="i",
            actions=(CallEntity(1, "c", "get", A), SignalEntity(2, "s", "set", A)),
            completion_token=item.completion_token,
            trace_context=OrchestrationTraceContext(span),
        )
    )
    parents = [
        one.trace_context and one.trace_context.trace_parent for one in (await reader.batch()).operations
    ]
    assert parents == [f"00-{'a' * 32}-{span or 'b' * 16}-01"] * 2
    await reader.close()
