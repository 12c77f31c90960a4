"""Client half: queries, purging, restart, rewind and histories."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Sequence
from datetime import datetime

from durabletask.core.actions import CreateSubOrchestration, RewindOrchestration, ScheduleTask
from durabletask.core.errors import InstanceNotFoundError, InvalidOperationError, TransportError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    ExecutionCompleted,
    ExecutionRewound,
    ExecutionStarted,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskFailed,
    TaskScheduled,
)
from durabletask.core.instances import (
    InstanceIdQuery,
    InstanceQuery,
    OrchestrationState,
    OrchestrationStatus,
    PurgeBatch,
    PurgeFilter,
    PurgeInstance,
)

from .probe import Probe, ScriptedWorker, complete, of_type
from .spec import requires, spec

__all__ = ["TestHistory", "TestListInstanceIds", "TestPurge", "TestQuery", "TestRestart", "TestRewind"]

FAILURE = FailureDetails("app.Broken", "it broke")


async def _all(probe: Probe, page_size: int = 100, **filters: object) -> list[OrchestrationState]:
    """Every instance of a query; a hub that never ends its pages is cut off."""
    states: list[OrchestrationState] = []
    token: str | None = None
    for _ in range(200):
        query = InstanceQuery(page_size=page_size, continuation_token=token, **filters)  # type: ignore[arg-type]
        page = await probe.transport.query_instances(query)
        assert len(page.states) <= page_size
        states += page.states
        token = page.continuation_token
        if token is None:
            return states
    raise AssertionError("The pages of the query never end.")


def _ids(states: Sequence[OrchestrationState]) -> list[str]:
    return [state.instance_id for state in states]


@spec("query")
class TestQuery:  # protocol section 12.4
    """Listing instances."""

    async def test_an_empty_hub_has_no_instances(self, probe: Probe) -> None:
        """A query over nothing is one empty, last page."""
        page = await probe.transport.query_instances(InstanceQuery())
        assert list(page.states) == []
        assert page.continuation_token is None

    async def test_pages_cover_everything_once_and_in_order(self, probe: Probe) -> None:
        """Pages of any size join to the whole list, by creation time, then id."""
        for number in (3, 1, 2):
            await probe.create(f"i{number}")
        await probe.advance(1)
        for number in (7, 5, 6, 4):
            await probe.create(f"i{number}")
        whole = await _all(probe)
        assert sorted(_ids(whole)) == [f"i{number}" for number in range(1, 8)]
        assert [(s.created_at, s.instance_id) for s in whole] == sorted(
            (s.created_at, s.instance_id) for s in whole
        )
        for size in (1, 2, 3, 7, 8):
            assert _ids(await _all(probe, page_size=size)) == _ids(whole)

    async def test_an_instance_created_between_pages_disturbs_nothing(self, probe: Probe) -> None:
        """Instances that were there at the first page come exactly once, whatever is created meanwhile."""
        for number in range(6):
            await probe.create(f"i{number}")
        first = await probe.transport.query_instances(InstanceQuery(page_size=3))
        await probe.create("a-new-one")
        seen = _ids(first.states)
        token = first.continuation_token
        while token is not None:
            page = await probe.transport.query_instances(InstanceQuery(page_size=3, continuation_token=token))
            seen += _ids(page.states)
            token = page.continuation_token
        assert sorted(instance_id for instance_id in seen if instance_id != "a-new-one") == [
            f"i{number}" for number in range(6)
        ]

    async def test_an_instance_purged_between_pages_hides_no_other(self, probe: Probe) -> None:
        """Pages are positions in the order, not counts: a removal does not make the next page skip."""
        async with probe.worker() as worker:
            for number in range(6):
                await probe.finished(worker, f"i{number}")
        first = await probe.transport.query_instances(InstanceQuery(page_size=2))
        await probe.transport.purge_instances(PurgeInstance(instance_id=_ids(first.states)[0]))
        seen = _ids(first.states)
        token = first.continuation_token
        while token is not None:
            page = await probe.transport.query_instances(InstanceQuery(page_size=2, continuation_token=token))
            seen += _ids(page.states)
            token = page.continuation_token
        assert sorted(seen) == [f"i{number}" for number in range(6)]

    async def test_status_is_a_filter(self, probe: Probe) -> None:
        """Only instances of the listed statuses are found; no status means all."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done")
            await probe.finished(worker, "bad", status=OrchestrationStatus.FAILED, failure=FAILURE)
            await probe.create("live")
            await worker.run("live")
        await probe.create("pending")
        found = {
            status: _ids(await _all(probe, runtime_statuses=(status,)))
            for status in (
                OrchestrationStatus.COMPLETED,
                OrchestrationStatus.FAILED,
                OrchestrationStatus.RUNNING,
                OrchestrationStatus.PENDING,
                OrchestrationStatus.TERMINATED,
            )
        }
        assert list(found.values()) == [["done"], ["bad"], ["live"], ["pending"], []]
        both = await _all(
            probe, runtime_statuses=(OrchestrationStatus.COMPLETED, OrchestrationStatus.PENDING), page_size=1
        )
        assert sorted(_ids(both)) == ["done", "pending"]

    async def test_the_prefix_of_the_id_is_a_filter(self, probe: Probe) -> None:
        """A prefix is compared as text; no character of it is a wildcard."""
        for instance_id in ("order-1", "order-2", "orders", "other", "a%b", "axb", "a_b"):
            await probe.create(instance_id)
        assert sorted(_ids(await _all(probe, instance_id_prefix="order-"))) == ["order-1", "order-2"]
        assert _ids(await _all(probe, instance_id_prefix="a%")) == ["a%b"]
        assert _ids(await _all(probe, instance_id_prefix="a_")) == ["a_b"]

    async def test_creation_time_is_a_filter(self, probe: Probe) -> None:
        """From is inclusive, to is exclusive."""
        times: list[datetime] = []
        for number in range(3):
            await probe.create(f"i{number}")
            times.append((await probe.state(f"i{number}")).created_at)
            await probe.advance(1)
        assert _ids(await _all(probe, created_from=times[1])) == ["i1", "i2"]
        assert _ids(await _all(probe, created_to=times[1])) == ["i0"]
        assert _ids(await _all(probe, created_from=times[1], created_to=times[2])) == ["i1"]

    @requires("payload_gating")
    async def test_payloads_come_only_on_request(self, probe: Probe) -> None:
        """A listing is light unless payloads are asked for."""
        await probe.create("one", input="1")
        (light,) = await _all(probe)
        (full,) = await _all(probe, include_payloads=True)
        assert light.serialized_input is None
        assert full.serialized_input == "1"


@spec("list_instance_ids")
class TestListInstanceIds:  # protocol section 12.5
    """Listing finished instances."""

    async def test_finished_instances_are_listed_by_completion(self, probe: Probe) -> None:
        """Terminal instances only, in the order of their completion, page by page."""
        async with probe.worker() as worker:
            for instance_id in ("c", "a", "b"):
                await probe.finished(worker, instance_id)
                await probe.advance(1)
            await probe.create("live")
        for size in (1, 2, 3):
            assert await _listed(probe, size) == ["c", "a", "b"]

    async def test_completion_time_and_status_are_filters(self, probe: Probe) -> None:
        """From is inclusive, to is exclusive, statuses restrict."""
        async with probe.worker() as worker:
            await probe.finished(worker, "early")
            await probe.advance(1)
            await probe.finished(worker, "late", status=OrchestrationStatus.FAILED, failure=FAILURE)
        border = (await probe.state("late")).completed_at
        assert await _listed(probe, completed_from=border) == ["late"]
        assert await _listed(probe, completed_to=border) == ["early"]
        assert await _listed(probe, runtime_statuses=(OrchestrationStatus.FAILED,)) == ["late"]


async def _listed(probe: Probe, page_size: int = 100, **filters: object) -> list[str]:
    ids: list[str] = []
    key: str | None = None
    for _ in range(100):
        query = InstanceIdQuery(page_size=page_size, last_instance_key=key, **filters)  # type: ignore[arg-type]
        page = await probe.transport.list_instance_ids(query)
        assert len(page.instance_ids) <= page_size
        ids += page.instance_ids
        key = page.last_instance_key
        if key is None:
            return ids
    raise AssertionError("The pages of the listing never end.")


@spec("purge")
class TestPurge:  # protocol section 12.6
    """Removing instances."""

    async def test_a_finished_instance_is_gone(self, probe: Probe) -> None:
        """State and history disappear, and the id is free again."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done", result="1")
            result = await probe.transport.purge_instances(PurgeInstance(instance_id="done"))
            assert result.deleted_instance_count == 1
            assert await probe.transport.get_instance("done") is None
            assert _ids(await _all(probe)) == []
            await probe.finished(worker, "done", result="2")
        assert (await probe.state("done")).serialized_output == "2"

    async def test_live_and_missing_instances_count_zero(self, probe: Probe) -> None:
        """Only finished instances are purged; asking for others is no error."""
        await probe.create("live")
        for instance_id in ("live", "missing"):
            result = await probe.transport.purge_instances(PurgeInstance(instance_id=instance_id))
            assert result.deleted_instance_count == 0
        assert await probe.status("live") is OrchestrationStatus.PENDING

    async def test_a_batch_purges_what_can_be_purged(self, probe: Probe) -> None:
        """A batch counts the finished instances among its ids."""
        async with probe.worker() as worker:
            await probe.finished(worker, "a")
            await probe.finished(worker, "b")
            await probe.create("live")
            await probe.finished(worker, "kept")
        request = PurgeBatch(instance_ids=["a", "b", "live", "missing"])
        assert (await probe.transport.purge_instances(request)).deleted_instance_count == 2
        assert sorted(_ids(await _all(probe))) == ["kept", "live"]

    @requires("filtered_purge")
    async def test_a_filter_purges_by_time_and_status(self, probe: Probe) -> None:
        """The same bounds as in a query; live instances stay whatever the filter."""
        async with probe.worker() as worker:
            await probe.finished(worker, "old")
            await probe.finished(worker, "old-bad", status=OrchestrationStatus.FAILED, failure=FAILURE)
            await probe.create("live")
            await probe.advance(1)
            await probe.finished(worker, "new")
        border = (await probe.state("new")).created_at
        by_status = PurgeFilter(created_to=border, runtime_statuses=(OrchestrationStatus.FAILED,))
        assert (await probe.transport.purge_instances(by_status)).deleted_instance_count == 1
        assert sorted(_ids(await _all(probe))) == ["live", "new", "old"]
        by_time = PurgeFilter(created_to=border)
        assert (await probe.transport.purge_instances(by_time)).deleted_instance_count == 1
        assert sorted(_ids(await _all(probe))) == ["live", "new"]

    @requires("recursive_purge")
    async def test_a_recursive_purge_takes_the_children(self, probe: Probe) -> None:
        """Children are purged and counted with their parent, only when asked for."""
        async with probe.worker() as worker:
            for parent in ("p1", "p2"):
                await probe.create(parent)
                child = CreateSubOrchestration(id=0, name="Child", instance_id=f"{parent}-child")
                await worker.run(parent, child)
                await worker.run(f"{parent}-child", complete("1"))
                await worker.run(parent, complete("2"))
        alone = await probe.transport.purge_instances(PurgeInstance(instance_id="p1"))
        assert alone.deleted_instance_count == 1
        whole = await probe.transport.purge_instances(PurgeInstance(instance_id="p2", recursive=True))
        assert whole.deleted_instance_count == 2
        assert _ids(await _all(probe)) == ["p1-child"]


@spec("history")
class TestHistory:  # protocol sections 6.3 and 12.9
    """Reading a history."""

    async def test_a_history_is_what_the_worker_saw_and_did(self, probe: Probe) -> None:
        """Per episode: start, inbound events, confirmations in the order of actions, completion, end."""
        await probe.create("told", input="1")
        async with probe.worker() as worker:
            await worker.run("told", ScheduleTask(id=0, name="A", input='"a"'), ScheduleTask(id=1, name="B"))
            await worker.answer(await worker.activity("A"), '"x"')
            item = await worker.run("told", complete("2"))
        history = await probe.history("told")
        seen = [*item.past_events, *item.new_events]
        assert _facts(history[: len(seen)]) == _facts(seen)
        rest = [type(event) for event in history[len(seen) :]]
        assert rest in ([ExecutionCompleted, OrchestratorCompleted], [ExecutionCompleted])
        scheduled = of_type(history, TaskScheduled)
        assert [(event.event_id, event.name, event.input) for event in scheduled] == [
            (0, "A", '"a"'),
            (1, "B", None),
        ]
        (completed,) = of_type(history, ExecutionCompleted)
        assert completed.status == OrchestrationStatus.COMPLETED.value
        assert completed.result == "2"

    async def test_a_missing_instance_has_no_history(self, probe: Probe) -> None:
        """Reading the history of an unknown id fails or is empty."""
        with contextlib.suppress(InstanceNotFoundError):
            assert await probe.history("missing") == []

    async def test_a_long_history_comes_whole(self, probe: Probe) -> None:
        """Chunks join to the whole history, without gaps or repetitions."""
        await probe.create("long")
        async with probe.worker() as worker:
            actions = [ScheduleTask(id=number, name="A", input=str(number)) for number in range(500)]
            await worker.run("long", *actions)
        scheduled = of_type(await probe.history("long"), TaskScheduled)
        assert [event.event_id for event in scheduled] == list(range(500))


def _facts(events: Sequence[object]) -> list[object]:
    """Events without what a hub may leave out of a delivered past: most time stamps."""
    return [
        (type(event).__name__, {k: v for k, v in _members(event) if k != "timestamp"}) for event in events
    ]


def _members(event: object) -> list[tuple[str, object]]:
    return [(name, getattr(event, name)) for name in getattr(event, "__struct_fields__", ())]


@spec("restart")
class TestRestart:  # protocol section 12.7
    """Running an instance again."""

    async def test_a_restart_under_the_same_id_begins_anew(self, probe: Probe) -> None:
        """Name, input and version are kept; history, output and execution id are new."""
        async with probe.worker() as worker:
            await probe.finished(worker, "again", result="1", input='"in"', version="3", tags={"a": "b"})
            old = await probe.state("again")
            assert await probe.transport.restart_instance("again") == "again"
            item = await worker.episode("again")
            (started,) = of_type(item.new_events, ExecutionStarted)
            assert (started.name, started.input, started.version) == ("Order", '"in"', "3")
            assert item.execution_id is None or item.execution_id != old.execution_id
            assert list(item.past_events) == []
            state = await probe.state("again")
            assert state.serialized_output is None
            assert state.completed_at is None
            await worker.commit(item, complete("2"))
        assert (await probe.state("again")).serialized_output == "2"

    async def test_a_restart_under_a_new_id_leaves_the_old_run(self, probe: Probe) -> None:
        """The new run has an id of its own; the old one can still be read."""
        async with probe.worker() as worker:
            await probe.finished(worker, "first", result="1", input='"in"')
            second = await probe.transport.restart_instance("first", with_new_instance_id=True)
            assert second != "first"
            item = await worker.run(second, complete("2"))
            assert of_type(item.new_events, ExecutionStarted)[0].input == '"in"'
        assert (await probe.state("first")).serialized_output == "1"
        assert (await probe.state(second)).serialized_output == "2"

    async def test_what_is_missing_or_live_cannot_be_restarted(self, probe: Probe) -> None:
        """A missing instance is not found, a live one is in the wrong state."""
        await probe.create("live")
        assert await _error(probe.transport.restart_instance("missing")) is InstanceNotFoundError
        assert await _error(probe.transport.restart_instance("live")) is InvalidOperationError


@spec("rewind")
class TestRewind:  # protocol section 12.8
    """Undoing failures."""

    async def test_a_failed_instance_goes_on_from_before_its_failure(self, probe: Probe) -> None:
        """The worker sees the whole past and the request, and its new history replaces the old one."""
        async with probe.worker() as worker:
            await _failed_by_activity(probe, worker)
            await probe.transport.rewind_instance("broken", reason="fixed")
            item = await worker.episode("broken")
            assert [type(event) for event in item.new_events] == [OrchestratorStarted, ExecutionRewound]
            assert of_type(item.new_events, ExecutionRewound)[0].reason == "fixed"
            assert of_type(item.past_events, ExecutionCompleted)
            kept = [
                event
                for event in (*item.past_events, *item.new_events)
                if not isinstance(event, (TaskFailed, TaskScheduled, ExecutionCompleted))
            ]
            await worker.commit(item, RewindOrchestration(id=-1, new_history=kept))
            again = await worker.episode("broken")
            assert [type(event) for event in again.new_events] == [OrchestratorStarted]
            assert [type(event) for event in again.past_events] == [type(event) for event in kept]
            assert await probe.status("broken") is OrchestrationStatus.RUNNING
            await worker.commit(again, ScheduleTask(id=0, name="Charge"))
            await worker.answer(await worker.activity("Charge"), "1")
            await worker.run("broken", complete("2"))
        state = await probe.state("broken")
        assert state.runtime_status is OrchestrationStatus.COMPLETED
        assert state.failure_details is None

    async def test_only_failed_instances_can_be_rewound(self, probe: Probe) -> None:
        """A missing instance is not found; one that is live or completed is in the wrong state."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done")
        await probe.create("live")
        assert await _error(probe.transport.rewind_instance("missing")) is InstanceNotFoundError
        assert await _error(probe.transport.rewind_instance("done")) is InvalidOperationError
        assert await _error(probe.transport.rewind_instance("live")) is InvalidOperationError


async def _failed_by_activity(probe: Probe, worker: ScriptedWorker) -> None:
    await probe.create("broken")
    await worker.run("broken", ScheduleTask(id=0, name="Charge"))
    await worker.answer(await worker.activity("Charge"), failure=FAILURE)
    await worker.run("broken", complete(status=OrchestrationStatus.FAILED, failure=FAILURE))
    assert await probe.status("broken") is OrchestrationStatus.FAILED


async def _error(call: Awaitable[object]) -> type[TransportError] | None:
    try:
        await call
    except TransportError as error:
        return type(error)
    return None
