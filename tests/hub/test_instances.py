"""Clients start, find, wait for and steer instances (protocol section 12)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from durabletask.core.actions import CreateSubOrchestration
from durabletask.core.errors import (
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InvalidOperationError,
    InvalidRequestError,
    TransportUnavailableError,
)
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
)
from durabletask.core.instances import (
    CreateInstanceRequest,
    OrchestrationStatus,
    ReusePolicy,
)
from durabletask.testing import InMemoryBackend, VirtualClock
from scripted_worker import Reader, ScriptedWorker, complete, settle

S = OrchestrationStatus


def create(instance_id: str, **more: object) -> CreateInstanceRequest:
    return CreateInstanceRequest(name="O", instance_id=instance_id, **more)  # type: ignore[arg-type]


async def status(hub: InMemoryBackend, instance_id: str) -> OrchestrationStatus | None:
    state = await hub.get_instance(instance_id)
    return state.runtime_status if state is not None else None


async def test_a_state_tells_everything_and_the_gate_hides_payloads(hub: InMemoryBackend) -> None:
    """Without payloads there is no input, output or custom status, but there are failure details."""
    failure = FailureDetails("T", "m")
    reader = Reader(hub)
    await hub.create_instance(create("i", input="1", version="2", tags={"a": "b"}, execution_id="e"))
    pending = await hub.get_instance("i")
    assert pending is not None
    assert (pending.runtime_status, pending.version, pending.tags, pending.execution_id) == (
        S.PENDING,
        "2",
        {"a": "b"},
        "e",
    )
    await reader.answer(
        await reader.episode(), complete("2", status=S.FAILED, failure=failure), custom_status="3"
    )
    full = await hub.get_instance("i")
    bare = await hub.get_instance("i", include_payloads=False)
    assert full is not None
    assert bare is not None
    assert (full.serialized_input, full.serialized_output, full.serialized_custom_status) == ("1", "2", "3")
    assert (bare.serialized_input, bare.serialized_output, bare.serialized_custom_status) == (
        None,
        None,
        None,
    )
    assert full.failure_details == bare.failure_details == failure
    assert full.completed_at == full.last_updated_at
    assert await hub.get_instance("missing") is None
    await reader.close()


async def test_an_id_in_use_is_refused_unless_the_policy_lists_its_status(hub: InMemoryBackend) -> None:
    """No policy and an empty one replace nothing; a listed status is replaced, a live one terminated first."""
    await hub.create_instance(create("i", execution_id="old"))
    for policy in (None, ReusePolicy(), ReusePolicy.replace_terminal()):
        with pytest.raises(InstanceAlreadyExistsError, match="PENDING"):
            await hub.create_instance(create("i", reuse_policy=policy))
    waiting = asyncio.ensure_future(hub.wait_for_instance_completion("i"))
    await settle(hub)
    await hub.create_instance(create("i", reuse_policy=ReusePolicy.replace_any()))

    ended = await waiting
    assert ended is not None
    assert ended.runtime_status is S.TERMINATED
    fresh = await hub.get_instance("i")
    assert fresh is not None
    assert fresh.runtime_status is S.PENDING
    assert fresh.execution_id != "old"


async def test_an_answer_for_a_replaced_instance_is_dropped(hub: InMemoryBackend) -> None:
    """The episode of the old execution commits nothing to the new one."""
    reader = Reader(hub)
    await hub.create_instance(create("i"))
    old = await reader.episode()
    await hub.create_instance(create("i", reuse_policy=ReusePolicy.replace_any()))
    await reader.answer(old, complete('"old"'))

    assert await status(hub, "i") is S.PENDING
    await reader.answer(await reader.episode(), complete('"new"'))
    state = await hub.get_instance("i")
    assert state is not None
    assert state.output == "new"
    await reader.close()


async def test_names_and_ids_that_cannot_be_are_refused(hub: InMemoryBackend) -> None:
    """No name, an entity's id, an event without a name."""
    with pytest.raises(InvalidRequestError):
        await hub.create_instance(CreateInstanceRequest(name=""))
    with pytest.raises(InvalidRequestError):
        await hub.create_instance(create("@entity@key"))
    await hub.create_instance(create("i"))
    with pytest.raises(InvalidRequestError):
        await hub.raise_event("i", "")


async def test_a_scheduled_start_stays_pending_until_its_time(hub: InMemoryBackend) -> None:
    """The first episode comes at the scheduled time; a time in the past means now."""
    start = hub.clock.now()
    at = start + timedelta(hours=5)
    reader = Reader(hub)
    with hub.clock.hold():  # type: ignore[attr-defined]
        await hub.create_instance(create("later", scheduled_start_at=at))
        await hub.create_instance(create("now", scheduled_start_at=start - timedelta(days=9)))
        item = await reader.episode()
        assert item.instance_id == "now"
        await reader.answer(item, complete())
        assert await reader.idle()
        assert await status(hub, "later") is S.PENDING
    item = await reader.episode()
    assert item.instance_id == "later"
    assert item.new_events[0].timestamp == at
    assert isinstance(item.new_events[1], ExecutionStarted)
    assert item.new_events[1].scheduled_start == at
    await reader.close()


async def test_a_scheduled_instance_can_be_terminated_before_its_start(hub: InMemoryBackend) -> None:
    """It is started and terminated in its first episode, without waiting for the time."""
    reader = Reader(hub)
    with hub.clock.hold():  # type: ignore[attr-defined]
        await hub.create_instance(create("i", scheduled_start_at=hub.clock.now() + timedelta(days=1)))
        await hub.terminate_instance("i", output='"stop"')
        item = await reader.episode()
    assert [type(event) for event in item.new_events[1:]] == [ExecutionStarted, ExecutionTerminated]
    await reader.close()


async def test_a_wait_ends_with_the_instance_or_its_time_out(hub: InMemoryBackend) -> None:
    """A start wait ends with the first commit; time-outs run on the hub's clock; unknown ids are waited for."""
    begin = hub.clock.now()
    assert await hub.wait_for_instance_completion("i", timeout=timedelta(minutes=5)) is None
    assert hub.clock.now() == begin + timedelta(minutes=5)

    started = asyncio.ensure_future(hub.wait_for_instance_start("i"))
    ended = asyncio.ensure_future(hub.wait_for_instance_completion("i", include_payloads=False))
    await settle(hub)
    reader = Reader(hub)
    await hub.create_instance(create("i"))
    await reader.answer(await reader.episode())
    first = await started
    assert first is not None
    assert first.runtime_status is S.RUNNING
    assert not ended.done()
    await hub.raise_event("i", "go")
    await reader.answer(await reader.episode(), complete('"x"'))
    last = await ended
    assert last is not None
    assert (last.runtime_status, last.serialized_output) == (S.COMPLETED, None)
    assert await hub.wait_for_instance_start("i") is not None
    await reader.close()


async def test_a_purge_ends_the_waits_for_the_instance(hub: InMemoryBackend) -> None:
    """Who waits for what is purged hears InstanceNotFoundError."""
    await hub.create_instance(create("i"))
    waiting = asyncio.ensure_future(hub.wait_for_instance_completion("i"))
    await settle(hub)
    await hub.delete_task_hub()
    with pytest.raises(InstanceNotFoundError, match="purged"):
        await waiting


async def test_closing_ends_what_is_in_flight_and_the_hub_stays_usable(hub: InMemoryBackend) -> None:
    """Waits and streams end with TransportUnavailableError; later calls work."""
    reader = Reader(hub)
    assert await reader.idle()
    waiting = asyncio.ensure_future(hub.wait_for_instance_completion("i"))
    await settle(hub)
    await hub.close()
    with pytest.raises(TransportUnavailableError):
        await waiting
    with pytest.raises(TransportUnavailableError):
        await reader.take()
    await hub.connect()
    assert await hub.create_instance(create("i")) == "i"
    await reader.close()


async def test_suspend_and_resume_never_reach_the_engine_twice(hub: InMemoryBackend) -> None:
    """A second suspend and a stray resume are dropped (vectors 066 and 067); status follows the commits."""
    reader = Reader(hub)
    await hub.create_instance(create("i"))
    await reader.answer(await reader.episode())
    await hub.resume_instance("i")
    assert await reader.idle()
    await hub.suspend_instance("i", reason='"r"')
    await hub.suspend_instance("i")
    assert await status(hub, "i") is S.RUNNING
    item = await reader.episode()
    assert [type(event) for event in item.new_events[1:]] == [ExecutionSuspended]
    await reader.answer(item)
    assert await status(hub, "i") is S.SUSPENDED
    await hub.suspend_instance("i")
    assert await reader.idle()
    await hub.resume_instance("i")
    await hub.resume_instance("i")
    item = await reader.episode()
    assert [type(event) for event in item.new_events[1:]] == [ExecutionResumed]
    await reader.answer(item)
    assert await status(hub, "i") is S.RUNNING
    await reader.close()


async def test_requests_at_missing_and_finished_instances(hub: InMemoryBackend) -> None:
    """Missing: NOT_FOUND but for terminate. Finished: everything is ignored."""
    await hub.terminate_instance("missing")
    for call in (
        hub.suspend_instance("missing"),
        hub.resume_instance("missing"),
        hub.raise_event("missing", "e"),
    ):
        with pytest.raises(InstanceNotFoundError, match="missing"):
            await call
    reader = Reader(hub)
    await hub.create_instance(create("i"))
    await reader.answer(await reader.episode(), complete())
    await hub.raise_event("i", "e")
    await hub.suspend_instance("i")
    await hub.resume_instance("i")
    await hub.terminate_instance("i")
    assert await reader.idle()
    await reader.close()


async def test_a_recursive_terminate_reaches_the_children_of_the_children(hub: InMemoryBackend) -> None:
    """Children are asked to end after their parent has; a plain terminate leaves them running."""

    def script(item: object) -> list[object]:
        ended = [event for event in item.new_events if isinstance(event, ExecutionTerminated)]  # type: ignore[attr-defined]
        if ended:
            return [complete(ended[0].input, status=S.TERMINATED)]
        if len(item.instance_id) < 3 and not item.past_events:  # type: ignore[attr-defined]
            return [CreateSubOrchestration(1, "O", item.instance_id + "x")]  # type: ignore[attr-defined]
        return []

    async with ScriptedWorker(hub, {"O": script}).serving():  # type: ignore[dict-item]
        for root in ("a", "b"):
            await hub.create_instance(create(root))
            await hub.wait_for_instance_start(root + "xx")
        await hub.terminate_instance("a", output='"out"', recursive=True)
        await hub.terminate_instance("b", recursive=False)
        ended = await hub.wait_for_instance_completion("axx")
        assert ended is not None
        assert (ended.runtime_status, ended.output) == (S.TERMINATED, "out")
        await hub.wait_for_instance_completion("b")
    assert [await status(hub, one) for one in ("b", "bx", "bxx")] == [S.TERMINATED, S.RUNNING, S.RUNNING]


async def test_forced_termination_runs_nothing(hub: InMemoryBackend) -> None:
    """Live instances end at once; missing and finished ids come back."""
    await hub.create_instance(create("i"))
    refused = await hub.force_terminate_instances(["i", "missing"], reason='"r"')
    again = await hub.force_terminate_instances(["i"])
    state = await hub.get_instance("i")
    assert state is not None
    assert (refused, again, state.runtime_status, state.output) == (["missing"], ["i"], S.TERMINATED, "r")
    reader = Reader(hub)
    assert await reader.idle()
    with pytest.raises(InvalidRequestError, match="500"):
        await hub.force_terminate_instances(["x"] * 501)
    await reader.close()


async def test_a_restart_keeps_input_version_and_tags(hub: InMemoryBackend) -> None:
    """The same id is replaced, or a new one is made; live and missing instances are refused."""
    reader = Reader(hub)
    await hub.create_instance(create("i", input="7", version="3", tags={"a": "b"}))
    with pytest.raises(InvalidOperationError, match="PENDING"):
        await hub.restart_instance("i")
    with pytest.raises(InstanceNotFoundError):
        await hub.restart_instance("missing")
    await reader.answer(await reader.episode(), complete())
    new_id = await hub.restart_instance("i", with_new_instance_id=True)
    assert new_id != "i"
    assert await hub.restart_instance("i") == "i"
    for one in ("i", new_id):
        state = await hub.get_instance(one)
        assert state is not None
        assert (state.input, state.version, state.tags, state.runtime_status) == (
            7,
            "3",
            {"a": "b"},
            S.PENDING,
        )
    await reader.close()


async def test_finished_instances_can_be_capped() -> None:
    """Only the latest finished instances are kept; live ones always are."""
    hub = InMemoryBackend(clock=VirtualClock(), max_finished_instances=2)
    reader = Reader(hub)
    await hub.create_instance(create("live"))
    await reader.answer(await reader.episode())
    for number in range(5):
        await hub.create_instance(create(f"i{number}"))
        await reader.answer(await reader.episode(), complete())
    found = [f"i{n}" for n in range(5) if await hub.get_instance(f"i{n}") is not None]
    assert found == ["i3", "i4"]
    assert await status(hub, "live") is S.RUNNING
    await reader.close()
