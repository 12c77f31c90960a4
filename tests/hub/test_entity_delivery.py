"""Batches on their way to workers: limits, filters, tokens, redelivery, sizes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from durabletask.core.errors import InvalidRequestError
from durabletask.core.work_items import (
    EntityBatchResult,
    EntityFilter,
    EntityOperationResult,
    EntitySendSignal,
    EntityStartOrchestration,
    EntityWorkItem,
    OrchestratorResult,
    WorkItemFilters,
    WorkItemStreamOptions,
)
from durabletask.testing import InMemoryBackend, VirtualClock
from entity_worker import EntityReader

A, B = "@e@a", "@e@b"


async def signalled(hub: InMemoryBackend, *entity_ids: str) -> EntityReader:
    for entity_id in entity_ids:
        await hub.signal_entity(entity_id, "op")
    return EntityReader(hub)


async def test_a_stream_has_no_more_batches_than_its_limit(hub: InMemoryBackend) -> None:
    """The next entity comes when one is answered or abandoned; 0 is no limit."""
    for number in range(3):
        await hub.signal_entity(f"@e@{number}", "op")
    reader = EntityReader(hub, WorkItemStreamOptions(max_entities=1))
    item = await reader.batch()
    assert await reader.idle()
    await reader.run(item)
    item = await reader.batch()
    assert await reader.idle()
    await hub.abandon_entity(item)
    assert (await reader.batch()).instance_id == "@e@2"
    await reader.close()


async def test_a_stream_gets_the_entities_that_its_filters_name(hub: InMemoryBackend) -> None:
    """Names match whatever their case; a present list without entities takes none."""
    await hub.signal_entity("@other@a", "op")
    await hub.signal_entity(A, "op")
    none = EntityReader(hub, WorkItemStreamOptions(filters=WorkItemFilters()))
    some = EntityReader(hub, WorkItemStreamOptions(filters=WorkItemFilters(entities=(EntityFilter("E"),))))
    assert (await some.batch()).instance_id == A
    assert await some.idle()
    assert await none.idle()
    await some.close()
    await none.close()


async def test_a_lost_batch_comes_again_and_late_answers_count_nothing(
    hub: InMemoryBackend, clock: VirtualClock
) -> None:
    """The stream ends, the lease expires, the worker abandons: each time the same operations, with a new token."""
    reader = await signalled(hub, A)
    items = [await reader.batch()]
    await reader.close()
    reader = EntityReader(hub)
    items.append(await reader.batch())
    await clock.advance(timedelta(minutes=5))
    items.append(await reader.batch())
    await hub.abandon_entity(items[-1])
    await clock.advance(timedelta(minutes=5))
    items.append(await reader.batch())
    assert len({item.completion_token for item in items}) == 4
    assert len({item.operations[0].request_id for item in items}) == 1
    for item in items[:-1]:
        await reader.run(item, state='"late"')
    await reader.run(items[-1], state='"now"')
    await reader.run(items[-1], state='"twice"')
    entity = await hub.get_entity(A)
    assert entity is not None
    assert (entity.serialized_state, entity.backlog_queue_size) == ('"now"', 0)
    assert await reader.idle()
    await reader.close()


async def test_a_batch_without_a_token_counts_when_it_is_the_only_one(hub: InMemoryBackend) -> None:
    """Exactly one batch in flight, of that entity if one is named; otherwise the token is asked for."""
    reader = await signalled(hub, A, B)
    first, second = await reader.batch(), await reader.batch()
    done = (EntityOperationResult(),)
    with pytest.raises(InvalidRequestError, match="no completion token, and 2 batches"):
        await hub.complete_entity(EntityBatchResult(instance_id="", results=done))
    await reader.run(first, state="1", token="")
    with pytest.raises(InvalidRequestError, match="'@e@a' has no completion token, and 0 batches"):
        await hub.complete_entity(EntityBatchResult(instance_id=A, results=done))
    await hub.complete_entity(EntityBatchResult(instance_id="", results=done, state="2"))
    assert second.instance_id == B
    for entity_id, state in ((A, "1"), (B, "2")):
        entity = await hub.get_entity(entity_id)
        assert entity is not None
        assert entity.serialized_state == state
    await reader.close()


async def test_a_token_of_another_item_is_refused(hub: InMemoryBackend) -> None:
    """Nothing changes; an episode cannot be answered with the token of a batch, and the reverse."""
    reader = await signalled(hub, A, B)
    first, second = await reader.batch(), await reader.batch()
    with pytest.raises(InvalidRequestError, match="another work item"):
        await reader.run(first, state="1", token=second.completion_token)
    with pytest.raises(InvalidRequestError, match="another work item"):
        await hub.complete_orchestrator(
            OrchestratorResult(instance_id=A, actions=(), completion_token=first.completion_token)
        )
    await reader.run(first, state="1")
    await reader.run(second, state="2")
    await reader.close()


async def test_a_result_that_cannot_be_is_refused_and_changes_nothing(hub: InMemoryBackend) -> None:
    """More results than operations, a target that is no entity, a time without a zone: the batch can still be answered."""
    reader = await signalled(hub, A)
    item = await reader.batch()
    naive = hub.now().replace(tzinfo=None)
    with pytest.raises(InvalidRequestError, match="1 operations, and its result has 2"):
        await reader.run(item, None, None)
    with pytest.raises(InvalidRequestError, match="'x' is not an entity id"):
        await reader.run(item, actions=(EntitySendSignal(id=0, instance_id="x", name="op"),))
    with pytest.raises(InvalidRequestError, match="time zone"):
        await reader.run(
            item, actions=(EntitySendSignal(id=0, instance_id=B, name="op", scheduled_time=naive),)
        )
    with pytest.raises(InvalidRequestError, match="'@e@b' cannot be the id of an orchestration"):
        await reader.run(item, actions=(EntityStartOrchestration(id=0, instance_id=B, name="O"),))
    assert await hub.get_entity(B) is None
    await reader.run(item, state="1")
    await reader.close()


async def test_a_result_that_ran_nothing_puts_the_batch_off(
    hub: InMemoryBackend, clock: VirtualClock
) -> None:
    """No results and no failure, or a worker that lacks the state: the same batch comes again after a pause."""
    reader = await signalled(hub, A)
    item = await reader.batch()
    await hub.complete_entity(
        EntityBatchResult(instance_id=A, results=(), completion_token=item.completion_token)
    )
    assert await reader.idle()
    await clock.advance(timedelta(seconds=1))
    item = await reader.batch()
    await hub.complete_entity(
        EntityBatchResult(
            instance_id=A, results=(), requires_state=True, completion_token=item.completion_token
        )
    )
    await clock.advance(timedelta(seconds=1))
    await reader.run(await reader.batch(), state="1")
    await reader.close()


async def test_a_batch_that_exceeds_a_message_is_cut(hub: InMemoryBackend) -> None:
    """State and operations stay below the usual limit of a message; one operation always goes, however large."""
    large = '"' + "x" * (1024 * 1024) + '"'
    for _ in range(5):
        await hub.signal_entity(A, "op", input=large)
    reader = EntityReader(hub)
    sizes = []
    state = None
    while sum(sizes) < 5:
        item = await reader.batch()
        sizes.append(len(item.operations))
        state = '"' + "s" * (len(sizes) * 1024 * 1024) + '"'
        await reader.run(item, state=state)
    assert sizes == [2, 1, 1, 1]
    await reader.close()


async def test_a_long_queue_comes_in_batches_of_a_thousand(hub: InMemoryBackend) -> None:
    """A batch must end before its lease does."""
    for number in range(1500):
        await hub.signal_entity(A, "op", input=str(number))
    reader = EntityReader(hub)
    seen = []
    for _ in range(2):
        item = await reader.batch()
        seen.append([int(one.input or "") for one in item.operations])
        await reader.run(item, state="1")
    assert [len(part) for part in seen] == [1000, 500]
    assert [number for part in seen for number in part] == list(range(1500))
    await reader.close()


async def test_the_worker_of_a_closed_stream_is_replaced(hub: InMemoryBackend) -> None:
    """What one stream leaves, another takes, entity by entity."""
    first = await signalled(hub, A, B)
    items = {(await first.batch()).instance_id, (await first.batch()).instance_id}
    second = EntityReader(hub)
    assert await second.idle()
    await first.close()
    again = [await second.batch(), await second.batch()]
    assert {item.instance_id for item in again} == items == {A, B}
    assert all(isinstance(item, EntityWorkItem) for item in again)
    await second.close()
