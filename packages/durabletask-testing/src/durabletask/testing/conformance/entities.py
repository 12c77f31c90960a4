"""Entities, an optional capability (protocol section 11)."""

from __future__ import annotations

from durabletask.core.actions import (
    CallEntity,
    OrchestratorAction,
    RequestEntityLock,
    SignalEntity,
    UnlockEntity,
)
from durabletask.core.entities import EntityMetadata, EntityQuery
from durabletask.core.errors import InvalidRequestError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EntityLockGranted,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    ExecutionStarted,
)
from durabletask.core.instances import InstanceQuery, OrchestrationStatus, PurgeInstance
from durabletask.core.work_items import (
    EntityFilter,
    EntitySendSignal,
    EntityStartOrchestration,
    WorkItemFilters,
)
from msgspec.structs import replace

from .probe import Probe, ScriptedWorker, complete, of_type
from .spec import requires, spec

__all__ = ["TestEntities", "TestEntityLocks"]

COUNTER = "@counter@a"
OTHER = "@counter@b"

S = OrchestrationStatus


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

    async def test_operations_without_a_result_come_again(self, probe: Probe) -> None:
        """A worker may run a part of a batch; the rest comes first in the next one."""
        for number in range(3):
            await probe.transport.signal_entity(COUNTER, "add", input=str(number))
        async with probe.worker() as worker:
            seen: list[str | None] = []
            while len(seen) < 3:
                item = await worker.entity(COUNTER)
                seen.append(item.operations[0].input)
                await worker.answer_entity(item, None, state="1")
            assert seen == ["0", "1", "2"]
            await worker.nothing()

    async def test_a_failed_batch_answers_its_callers(self, probe: Probe) -> None:
        """When the executor itself fails, the call gets that failure, and the state stays."""
        failure = FailureDetails("app.Broken", "no executor")
        async with probe.worker() as worker:
            await probe.transport.signal_entity(COUNTER, "set")
            await worker.answer_entity(await worker.entity(COUNTER), None, state="1")
            await _orchestration(
                probe, worker, CallEntity(id=0, request_id="r1", operation="get", target_instance_id=COUNTER)
            )
            item = await worker.entity(COUNTER)
            await worker.answer_entity(item, failure_of_all=failure)
            episode = await worker.episode("caller")
            answers = of_type(episode.new_events, EntityOperationFailed)
            assert [(answer.request_id, answer.failure) for answer in answers] == [("r1", failure)]
        assert (await _entity(probe, COUNTER)).serialized_state == "1"

    async def test_a_signal_that_is_sent_again_counts_once(self, probe: Probe) -> None:
        """A client that got no answer repeats its signal with the same request id, also when it was run already."""
        for _ in range(2):
            await probe.transport.signal_entity(COUNTER, "add", request_id="r1")
        async with probe.worker() as worker:
            item = await worker.entity(COUNTER)
            assert [operation.request_id for operation in item.operations] == ["r1"]
            await worker.answer_entity(item, None, state="1")
            await probe.transport.signal_entity(COUNTER, "add", request_id="r1")
            await probe.transport.signal_entity(COUNTER, "add", request_id="r2")
            item = await worker.entity(COUNTER)
            assert [operation.request_id for operation in item.operations] == ["r2"]

    async def test_an_answer_for_an_older_execution_is_dropped(self, probe: Probe) -> None:
        """A call outlives its execution; the next execution of the instance gets no answer."""
        async with probe.worker() as worker:
            call = CallEntity(id=0, request_id="r1", operation="get", target_instance_id=COUNTER)
            await _orchestration(probe, worker, call, complete(status=S.CONTINUED_AS_NEW))
            await worker.run("caller")
            await worker.answer_entity(await worker.entity(COUNTER), "1", state="1")
            await worker.nothing()

    @requires("entities", "limits")
    async def test_a_stream_has_no_more_batches_than_its_limit(self, probe: Probe) -> None:
        """The batch of another entity waits until one is answered."""
        for entity_id in (COUNTER, OTHER):
            await probe.transport.signal_entity(entity_id, "add")
        async with probe.worker(max_entities=1) as worker:
            item = await worker.entity()
            await worker.nothing()
            await worker.answer_entity(item, None, state="1")
            assert (await worker.entity()).instance_id != item.instance_id

    @requires("entities", "filters")
    async def test_a_filter_names_entities(self, probe: Probe) -> None:
        """A stream that names entities gets those, and one that names none gets none."""
        await probe.transport.signal_entity("@other@a", "add")
        await probe.transport.signal_entity(COUNTER, "add")
        none, some = WorkItemFilters(), WorkItemFilters(entities=(EntityFilter("counter"),))
        async with probe.worker(filters=none) as idle, probe.worker(filters=some) as worker:
            assert (await worker.entity()).instance_id == COUNTER
            await worker.nothing()
            await idle.nothing()

    async def test_ids_that_are_none_are_refused(self, probe: Probe) -> None:
        """An id has the form ``@name@key``, with a name, in at most 100 characters."""
        for bad in ("counter", "@counter", "@@key", "@c@" + "k" * 98):
            try:
                await probe.transport.signal_entity(bad, "add")
            except InvalidRequestError:
                continue
            raise AssertionError(f"{bad!r} was taken for the id of an entity.")

    async def test_entities_are_listed_by_prefix_page_by_page(self, probe: Probe) -> None:
        """The prefix is compared with the whole id; pages follow each other in the order of ids."""
        ids = [*(f"@counter@{number}" for number in range(5)), "@other@0"]
        async with probe.worker() as worker:
            for entity_id in reversed(ids):
                await probe.transport.signal_entity(entity_id, "set")
                await worker.answer_entity(await worker.entity(entity_id), None, state="1")
        found: list[str] = []
        query: EntityQuery | None = EntityQuery(page_size=2, instance_id_prefix="@counter@")
        while query is not None:
            page = await probe.transport.query_entities(query)
            assert len(page.entities) <= 2
            found += [entity.instance_id for entity in page.entities]
            token = page.continuation_token
            query = None if token is None else replace(query, continuation_token=token)
        assert found == ids[:5]
        bare = await probe.transport.query_entities(EntityQuery(include_state=False))
        assert {entity.serialized_state for entity in bare.entities} == {None}

    async def test_an_entity_can_be_purged(self, probe: Probe) -> None:
        """Its state is deleted; what has none counts nothing."""
        async with probe.worker() as worker:
            await probe.transport.signal_entity(COUNTER, "set")
            await worker.answer_entity(await worker.entity(COUNTER), None, state="1")
        counts = []
        for entity_id in (COUNTER, OTHER):
            request = PurgeInstance(instance_id=entity_id, is_orchestration=False)
            counts.append((await probe.transport.purge_instances(request)).deleted_instance_count)
        assert counts == [1, 0]
        assert await probe.transport.get_entity(COUNTER) is None

    @requires("entities", "durable")
    async def test_entities_survive_a_restart(self, probe: Probe) -> None:
        """State, waiting operations in their order, and locks."""
        async with probe.worker() as worker:
            await probe.transport.signal_entity(COUNTER, "set")
            await worker.answer_entity(await worker.entity(COUNTER), None, state="1")
            await _locked(probe, worker, "holder", OTHER)
        for number in range(3):
            await probe.transport.signal_entity(COUNTER, "add", input=str(number))
        probe.transport = await probe.hub.restart()
        assert (await _entity(probe, OTHER)).locked_by == "holder"
        async with probe.worker() as worker:
            item = await worker.entity(COUNTER)
            assert item.state == "1"
            assert [operation.input for operation in item.operations] == ["0", "1", "2"]


@spec("entities")
class TestEntityLocks:
    """Locks of entities: who is kept out, who is next, and that none outlives its holder."""

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

    async def test_a_lock_is_handed_on(self, probe: Probe) -> None:
        """Who asks for a lock that is held waits; with the unlock the next has all of its locks."""
        async with probe.worker() as worker:
            await _locked(probe, worker, "first", OTHER)
            await probe.create("second")
            await worker.run("second", _lock("second", COUNTER, OTHER))
            await worker.nothing()
            assert (await _entity(probe, OTHER)).locked_by == "first"
            await probe.transport.raise_event("first", "go")
            await worker.run("first", *_unlocks("first", OTHER))
            item = await worker.episode("second")
            assert [event.critical_section_id for event in of_type(item.new_events, EntityLockGranted)] == [
                "second"
            ]
            for entity_id in (COUNTER, OTHER):
                assert (await _entity(probe, entity_id)).locked_by == "second"

    async def test_an_ended_orchestration_holds_no_lock(self, probe: Probe) -> None:
        """However the holder ends, and although it does not unlock, the next one gets the lock."""
        statuses = (S.COMPLETED, S.FAILED, S.TERMINATED, S.CONTINUED_AS_NEW)
        async with probe.worker() as worker:
            await _locked(probe, worker, "holder 0", COUNTER)
            for number, status in enumerate(statuses, 1):
                await probe.create(f"holder {number}")
                await worker.run(f"holder {number}", _lock(f"holder {number}", COUNTER))
                await probe.transport.raise_event(f"holder {number - 1}", "go")
                await worker.run(f"holder {number - 1}", complete(status=status))
                item = await worker.episode(f"holder {number}")
                assert of_type(item.new_events, EntityLockGranted), f"not released by {status}"
                await worker.commit(item)

    async def test_cleaning_takes_no_lock_that_is_held(self, probe: Probe) -> None:
        """It ends, and a live holder keeps its entities."""
        async with probe.worker() as worker:
            await _locked(probe, worker, "holder", COUNTER)
            token = None
            while True:
                result = await probe.transport.clean_entity_storage(continuation_token=token)
                assert result.orphaned_locks_released == 0
                token = result.continuation_token
                if token is None:
                    break
            assert (await _entity(probe, COUNTER)).locked_by == "holder"


def _lock(section_id: str, *targets: str) -> RequestEntityLock:
    return RequestEntityLock(
        id=0, critical_section_id=section_id, lock_set=targets, parent_instance_id=section_id
    )


def _unlocks(section_id: str, *targets: str) -> list[UnlockEntity]:
    return [
        UnlockEntity(
            id=1 + number,
            critical_section_id=section_id,
            target_instance_id=target,
            parent_instance_id=section_id,
        )
        for number, target in enumerate(targets)
    ]


async def _locked(probe: Probe, worker: ScriptedWorker, instance_id: str, target: str) -> None:
    """Let an orchestration lock an entity, in a section of its own name."""
    await probe.create(instance_id)
    await worker.run(instance_id, _lock(instance_id, target))
    await worker.run(instance_id)


async def _entity(probe: Probe, entity_id: str) -> EntityMetadata:
    entity = await probe.transport.get_entity(entity_id)
    assert entity is not None, f"The hub does not know entity {entity_id!r}."
    return entity


async def _orchestration(probe: Probe, worker: ScriptedWorker, *actions: OrchestratorAction) -> None:
    await probe.create("caller")
    await worker.run("caller", *actions)
