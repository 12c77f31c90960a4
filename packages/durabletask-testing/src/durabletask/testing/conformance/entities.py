"""Entities, an optional capability (protocol section 11)."""

from __future__ import annotations

from durabletask.core.actions import (
    CallEntity,
    OrchestratorAction,
    RequestEntityLock,
    SignalEntity,
    UnlockEntity,
)
from durabletask.core.entities import EntityQuery
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EntityLockGranted,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    ExecutionStarted,
)
from durabletask.core.instances import InstanceQuery
from durabletask.core.work_items import EntitySendSignal, EntityStartOrchestration

from .probe import Probe, ScriptedWorker, of_type
from .spec import spec

__all__ = ["TestEntities"]

COUNTER = "@counter@a"
OTHER = "@counter@b"


@spec("entities")
class TestEntities:
    """Signals, calls, state and locks."""

    async def test_a_signal_reaches_the_entity_and_its_state_is_kept(self, probe: Probe) -> None:
        """The batch carries the operation; the next batch carries the state that was returned."""
        async with probe.worker() as worker:
            await probe.transport.signal_entity(COUNTER, "add", input="1")
            item = await worker.entity(COUNTER)
            assert item.state is None
            (operation,) = item.operations
            assert isinstance(operation, EntityOperationSignaled)
            assert (operation.operation, operation.input) == ("add", "1")
            await worker.answer_entity(item, None, state="1")
            await probe.transport.signal_entity(COUNTER, "add", input="2")
            assert (await worker.entity(COUNTER)).state == "1"

    async def test_signals_keep_their_order(self, probe: Probe) -> None:
        """Signals of one caller arrive in the order in which the calls returned, one batch at a time."""
        for number in range(10):
            await probe.transport.signal_entity(COUNTER, "add", input=str(number))
        seen: list[str | None] = []
        async with probe.worker() as worker:
            while len(seen) < 10:
                item = await worker.entity(COUNTER)
                await worker.nothing()
                seen += [operation.input for operation in item.operations]
                await worker.answer_entity(item, *([None] * len(item.operations)), state="1")
        assert seen == [str(number) for number in range(10)]

    async def test_a_call_is_answered(self, probe: Probe) -> None:
        """Result and failure of a call come back with the id of the request."""
        failure = FailureDetails("app.Broken", "it broke")
        async with probe.worker() as worker:
            await _orchestration(
                probe,
                worker,
                CallEntity(id=0, request_id="r1", operation="get", target_instance_id=COUNTER),
                CallEntity(id=1, request_id="r2", operation="bad", target_instance_id=COUNTER),
            )
            completed: list[EntityOperationCompleted] = []
            failed: list[EntityOperationFailed] = []
            item = await worker.entity(COUNTER)
            calls = of_type(item.operations, EntityOperationCalled)
            assert [call.operation for call in calls] == ["get", "bad"]
            await worker.answer_entity(item, '"value"', failure, state="1")
            while not (completed and failed):
                episode = await worker.run("caller")
                completed += of_type(episode.new_events, EntityOperationCompleted)
                failed += of_type(episode.new_events, EntityOperationFailed)
        assert [(event.request_id, event.output) for event in completed] == [("r1", '"value"')]
        assert [(event.request_id, event.failure) for event in failed] == [("r2", failure)]

    async def test_an_orchestrator_signals_and_goes_on(self, probe: Probe) -> None:
        """A signal of an orchestrator arrives and is not answered."""
        async with probe.worker() as worker:
            await _orchestration(
                probe,
                worker,
                SignalEntity(id=0, request_id="r1", operation="add", target_instance_id=COUNTER, input="1"),
            )
            item = await worker.entity(COUNTER)
            assert [operation.operation for operation in item.operations] == ["add"]
            await worker.answer_entity(item, None, state="1")
            await worker.nothing()

    async def test_a_scheduled_signal_waits_for_its_time(self, probe: Probe) -> None:
        """A signal with a time is not delivered before it."""
        now = (await probe.state(await probe.create("clock"))).created_at
        async with probe.worker() as worker:
            await worker.run("clock")
            await probe.transport.signal_entity(COUNTER, "add", scheduled_time=now + probe.unit * 4)
            await probe.advance(1)
            await worker.nothing()
            await probe.advance(4)
            await worker.entity(COUNTER)

    async def test_a_lost_batch_is_delivered_again(self, probe: Probe) -> None:
        """A batch whose stream was closed comes again; a late answer to the first changes nothing."""
        await probe.transport.signal_entity(COUNTER, "add", input="1")
        async with probe.worker() as worker:
            lost = await worker.entity(COUNTER)
        async with probe.worker() as worker:
            again = await worker.entity(COUNTER)
            assert again.completion_token != lost.completion_token
            await worker.answer_entity(lost, None, state='"wrong"')
            await worker.answer_entity(again, None, state='"right"')
            await worker.nothing()
        entity = await probe.transport.get_entity(COUNTER)
        assert entity is not None
        assert entity.serialized_state == '"right"'

    async def test_a_lock_keeps_others_out(self, probe: Probe) -> None:
        """Between grant and unlock only the holder's messages are delivered; the rest waits in order."""
        async with probe.worker() as worker:
            await _orchestration(
                probe,
                worker,
                RequestEntityLock(
                    id=0, critical_section_id="cs", lock_set=(COUNTER, OTHER), parent_instance_id="caller"
                ),
            )
            granted: list[EntityLockGranted] = []
            await probe.hub.settle()
            item = await worker.episode("caller")
            granted += of_type(item.new_events, EntityLockGranted)
            assert [event.critical_section_id for event in granted] == ["cs"]
            entity = await probe.transport.get_entity(COUNTER)
            assert entity is None or entity.locked_by == "caller"
            await probe.transport.signal_entity(COUNTER, "outside")
            await worker.nothing()
            await worker.commit(
                item,
                CallEntity(
                    id=1,
                    request_id="r1",
                    operation="inside",
                    target_instance_id=COUNTER,
                    parent_instance_id="caller",
                ),
            )
            batch = await worker.entity(COUNTER)
            assert [operation.operation for operation in batch.operations] == ["inside"]
            await worker.answer_entity(batch, "1", state="1")
            await worker.run(
                "caller",
                *(
                    UnlockEntity(
                        id=2 + n, critical_section_id="cs", target_instance_id=t, parent_instance_id="caller"
                    )
                    for n, t in enumerate((COUNTER, OTHER))
                ),
            )
            batch = await worker.entity(COUNTER)
            assert [operation.operation for operation in batch.operations] == ["outside"]

    async def test_effects_of_a_batch_are_carried_out(self, probe: Probe) -> None:
        """Signals and orchestrations that an entity asks for happen when its batch is committed."""
        await probe.transport.signal_entity(COUNTER, "go")
        async with probe.worker() as worker:
            item = await worker.entity(COUNTER)
            actions = (
                EntitySendSignal(id=0, instance_id=OTHER, name="add", input="1"),
                EntityStartOrchestration(id=1, instance_id="started", name="Order", input="2"),
            )
            await worker.answer_entity(item, None, state="1", actions=actions)
            other = await worker.entity(OTHER)
            assert [(o.operation, o.input) for o in other.operations] == [("add", "1")]
            episode = await worker.episode("started")
            assert of_type(episode.new_events, ExecutionStarted)[0].input == "2"

    async def test_entities_can_be_read_and_are_no_instances(self, probe: Probe) -> None:
        """Entities are found by their own queries and never among the instances."""
        async with probe.worker() as worker:
            for instance_id in (OTHER, COUNTER):
                await probe.transport.signal_entity(instance_id, "add")
                await worker.answer_entity(await worker.entity(instance_id), None, state=f'"{instance_id}"')
        page = await probe.transport.query_entities(EntityQuery())
        assert [entity.instance_id for entity in page.entities] == [COUNTER, OTHER]
        assert [entity.serialized_state for entity in page.entities] == [f'"{COUNTER}"', f'"{OTHER}"']
        assert list((await probe.transport.query_instances(InstanceQuery())).states) == []
        assert await probe.transport.get_entity("@counter@missing") is None

    async def test_an_entity_without_state_is_gone(self, probe: Probe) -> None:
        """Returning no state deletes the entity."""
        async with probe.worker() as worker:
            for state in ("1", None):
                await probe.transport.signal_entity(COUNTER, "set")
                await worker.answer_entity(await worker.entity(COUNTER), None, state=state)
        page = await probe.transport.query_entities(EntityQuery())
        assert list(page.entities) == []


async def _orchestration(probe: Probe, worker: ScriptedWorker, *actions: OrchestratorAction) -> None:
    await probe.create("caller")
    await worker.run("caller", *actions)
