"""Entities in the local hub: batches, answers, state (protocol sections 11.4 and 11.5)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from durabletask.core.actions import CallEntity, SignalEntity
from durabletask.core.errors import InvalidRequestError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EntityOperationCompleted, EntityOperationFailed
from durabletask.core.instances import CreateInstanceRequest, PurgeInstance
from durabletask.testing import InMemoryBackend, VirtualClock
from entity_worker import EntityReader

COUNTER = "@counter@a"


@pytest.fixture
async def reader(hub: InMemoryBackend) -> EntityReader:
    return EntityReader(hub)


async def test_a_batch_takes_everything_that_waits(hub: InMemoryBackend, reader: EntityReader) -> None:
    """One batch in flight per entity; what arrives meanwhile is the next, with the state of the first."""
    for number in range(3):
        await hub.signal_entity(COUNTER, "add", input=str(number))
    first = await reader.batch()
    assert [one.input for one in first.operations] == ["0", "1", "2"]
    assert first.state is None
    await hub.signal_entity(COUNTER, "add", input="3")
    assert await reader.idle()
    await reader.run(first, state="6")
    second = await reader.batch()
    assert ([one.input for one in second.operations], second.state) == (["3"], "6")
    await reader.close()


async def test_operations_without_a_result_go_back_to_the_front(
    hub: InMemoryBackend, reader: EntityReader
) -> None:
    """A worker may run a part of a batch; the rest comes again, before what arrived later."""
    for number in range(3):
        await hub.signal_entity(COUNTER, "add", input=str(number))
    item = await reader.batch()
    await hub.signal_entity(COUNTER, "add", input="3")
    await reader.run(item, None, state="0")
    item = await reader.batch()
    assert ([one.input for one in item.operations], item.state) == (["1", "2", "3"], "0")
    await reader.close()


async def test_calls_are_answered_with_results_and_failures(
    hub: InMemoryBackend, reader: EntityReader
) -> None:
    """The request id, the output or the details come back; empty text is no output; a call of no entity fails."""
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(
        await reader.episode(),
        CallEntity(1, "r1", "get", COUNTER),
        CallEntity(2, "r2", "bad", COUNTER),
        CallEntity(3, "r3", "none", COUNTER),
        CallEntity(4, "r4", "get", "@@a"),
        SignalEntity(5, "r5", "add", COUNTER, "1"),
    )
    items = [await reader.take(), await reader.take()]
    (batch,) = [one for one in items if hasattr(one, "operations")]
    (episode,) = [one for one in items if one is not batch]
    (refused,) = [one for one in episode.new_events if isinstance(one, EntityOperationFailed)]
    assert (refused.request_id, refused.failure.is_non_retriable) == ("r4", True)
    await reader.answer(episode)
    failure = FailureDetails("app.Broken", "no", "trace", FailureDetails("app.Cause", "why"))
    await reader.run(batch, '"v"', failure, "", None, state="1")
    events = (await reader.episode()).new_events
    completed = [(one.request_id, one.output) for one in events if isinstance(one, EntityOperationCompleted)]
    failed = [(one.request_id, one.failure) for one in events if isinstance(one, EntityOperationFailed)]
    assert completed == [("r1", '"v"'), ("r3", None)]
    assert failed == [("r2", failure)]
    await reader.close()


async def test_a_failed_batch_answers_every_caller(hub: InMemoryBackend, reader: EntityReader) -> None:
    """When the executor itself fails, each call gets that failure, and the state stays."""
    await hub.signal_entity(COUNTER, "add")
    await reader.run(await reader.batch(), None, state="1")
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i"))
    await reader.answer(await reader.episode(), *(CallEntity(n, f"r{n}", "get", COUNTER) for n in range(3)))
    failure = FailureDetails("app.Broken", "no executor")
    await reader.run(await reader.batch(), failure_of_all=failure, state=None)
    events = (await reader.episode()).new_events
    assert [one.failure for one in events if isinstance(one, EntityOperationFailed)] == [failure] * 3
    entity = await hub.get_entity(COUNTER)
    assert entity is not None
    assert entity.serialized_state == "1"
    await reader.close()


async def test_an_id_that_is_none_is_refused_clearly(hub: InMemoryBackend) -> None:
    """No form, no name, too long: the message says which. The name is folded, the key is not."""
    for bad, text in (
        ("counter", "form is '@name@key'"),
        ("@counter", "form is '@name@key'"),
        ("@@a", "has no name"),
        ("@c@" + "k" * 98, "101 characters; at most 100"),
    ):
        with pytest.raises(InvalidRequestError, match=text):
            await hub.signal_entity(bad, "add")
        with pytest.raises(InvalidRequestError, match=text):
            await hub.get_entity(bad)
        with pytest.raises(InvalidRequestError, match=text):
            await hub.purge_instances(PurgeInstance(instance_id=bad, is_orchestration=False))
    await hub.signal_entity("@Counter@A", "add")
    assert await hub.get_entity("@counter@a") is None
    entity = await hub.get_entity("@COUNTER@A")
    assert entity is not None
    assert entity.instance_id == "@counter@A"


async def test_commands_for_orchestrations_refuse_entities(hub: InMemoryBackend) -> None:
    """Each says that the id is one of an entity."""
    await hub.signal_entity(COUNTER, "add")
    for call in (
        hub.raise_event(COUNTER, "e"),
        hub.terminate_instance(COUNTER),
        hub.suspend_instance(COUNTER),
        hub.resume_instance(COUNTER),
        hub.restart_instance(COUNTER),
        hub.rewind_instance(COUNTER),
        hub.wait_for_instance_completion(COUNTER),
        hub.create_instance(CreateInstanceRequest(name="O", instance_id=COUNTER)),
    ):
        with pytest.raises(InvalidRequestError, match="entities"):
            await call
    assert await hub.get_instance(COUNTER) is None
    assert await hub.force_terminate_instances([COUNTER]) == [COUNTER]


async def test_a_signal_with_a_time_waits_for_it(
    hub: InMemoryBackend, reader: EntityReader, clock: VirtualClock
) -> None:
    """Delayed signals arrive at their time, in the order of their times, and hold up no other."""
    now = clock.now()
    for minutes in (2, 1):
        due = now + timedelta(minutes=minutes)
        await hub.signal_entity(COUNTER, "add", input=str(minutes), scheduled_time=due)
    await hub.signal_entity(COUNTER, "add", input="0", scheduled_time=now)
    seen = []
    for _ in range(3):
        item = await reader.batch()
        seen.append((item.operations[0].input, clock.now() - now))
        await reader.run(item, None, state="1")
    assert seen == [(str(n), timedelta(minutes=n)) for n in range(3)]
    await reader.close()
