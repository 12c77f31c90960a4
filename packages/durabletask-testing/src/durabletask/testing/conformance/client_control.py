"""Client half: waits, external events, terminate, suspend and resume."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from durabletask.core.actions import CreateSubOrchestration
from durabletask.core.errors import InstanceNotFoundError
from durabletask.core.history import (
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
)
from durabletask.core.instances import OrchestrationState, OrchestrationStatus

from .probe import Probe, ScriptedWorker, complete, of_type
from .spec import requires, spec

__all__ = ["TestControl", "TestExternalEvents", "TestWait"]

# A time-out that is short on every clock: a remote hub may measure it in real time.
SHORT = timedelta(milliseconds=50)


async def _ends(probe: Probe, waiting: asyncio.Future[OrchestrationState | None]) -> OrchestrationState:
    state = await asyncio.wait_for(waiting, probe.hub.patience)
    assert state is not None, "The wait ended without a state."
    return state


@spec("wait")
class TestWait:  # protocol section 12.2
    """Waiting for the start and the end of an instance."""

    async def test_a_start_wait_ends_when_the_first_episode_is_committed(self, probe: Probe) -> None:
        """PENDING is waited for, RUNNING ends the wait."""
        await probe.create("slow")
        waiting = asyncio.ensure_future(probe.transport.wait_for_instance_start("slow"))
        await probe.hub.settle()
        assert not waiting.done()
        async with probe.worker() as worker:
            await worker.run("slow")
            state = await _ends(probe, waiting)
        assert state.runtime_status is OrchestrationStatus.RUNNING

    async def test_a_completion_wait_ends_with_the_output(self, probe: Probe) -> None:
        """A running instance is waited for; the state at the end carries the output."""
        await probe.create("slow")
        waiting = asyncio.ensure_future(probe.transport.wait_for_instance_completion("slow"))
        async with probe.worker() as worker:
            await worker.run("slow")
            await probe.hub.settle()
            assert not waiting.done()
            await probe.transport.raise_event("slow", "Go")
            await worker.run("slow", complete('"done"'))
            state = await _ends(probe, waiting)
        assert state.runtime_status is OrchestrationStatus.COMPLETED
        assert state.serialized_output == '"done"'

    async def test_a_finished_instance_is_not_waited_for(self, probe: Probe) -> None:
        """Both waits answer at once when their condition holds already."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done", result="1")
        for wait in (probe.transport.wait_for_instance_start, probe.transport.wait_for_instance_completion):
            state = await _ends(probe, asyncio.ensure_future(wait("done")))
            assert state.serialized_output == "1"

    async def test_every_waiter_is_woken(self, probe: Probe) -> None:
        """Many waits for one instance all end."""
        await probe.create("popular")
        waits = [
            asyncio.ensure_future(probe.transport.wait_for_instance_completion("popular")) for _ in range(5)
        ]
        await probe.hub.settle()
        async with probe.worker() as worker:
            await worker.run("popular", complete("1"))
            states = [await _ends(probe, waiting) for waiting in waits]
        assert [state.serialized_output for state in states] == ["1"] * 5

    async def test_a_wait_that_takes_too_long_is_none(self, probe: Probe) -> None:
        """The time-out of a wait is an answer, not an error."""
        await probe.create("slow")
        for wait in (probe.transport.wait_for_instance_start, probe.transport.wait_for_instance_completion):
            waiting = asyncio.ensure_future(wait("slow", timeout=SHORT))
            await probe.hub.settle()
            await probe.hub.advance(SHORT * 2)
            assert await asyncio.wait_for(waiting, probe.hub.patience) is None

    async def test_an_unknown_instance_is_none_at_the_time_out(self, probe: Probe) -> None:
        """Waiting for an id that never comes ends at the time-out without an error."""
        waiting = asyncio.ensure_future(probe.transport.wait_for_instance_completion("never", timeout=SHORT))
        await probe.hub.settle()
        await probe.hub.advance(SHORT * 2)
        assert await asyncio.wait_for(waiting, probe.hub.patience) is None

    async def test_an_instance_may_be_created_after_the_wait_began(self, probe: Probe) -> None:
        """A wait for an unknown id ends when the instance appears and completes."""
        waiting = asyncio.ensure_future(probe.transport.wait_for_instance_completion("soon"))
        await probe.hub.settle()
        assert not waiting.done()
        async with probe.worker() as worker:
            await probe.finished(worker, "soon", result="1")
            state = await _ends(probe, waiting)
        assert state.serialized_output == "1"

    async def test_continue_as_new_does_not_end_a_wait(self, probe: Probe) -> None:
        """A completion wait looks through executions to the real end."""
        await probe.create("loop")
        waiting = asyncio.ensure_future(probe.transport.wait_for_instance_completion("loop"))
        async with probe.worker() as worker:
            await worker.run("loop", complete("2", status=OrchestrationStatus.CONTINUED_AS_NEW))
            await probe.hub.settle()
            assert not waiting.done()
            await worker.run("loop", complete('"end"'))
            state = await _ends(probe, waiting)
        assert state.serialized_output == '"end"'

    @requires("payload_gating")
    async def test_a_wait_leaves_payloads_out_on_request(self, probe: Probe) -> None:
        """The state that ends a wait carries payloads only when they were asked for."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done", result="1", input="2")
        state = await probe.transport.wait_for_instance_completion("done", include_payloads=False)
        assert state is not None
        assert (state.serialized_input, state.serialized_output) == (None, None)


@spec("external_events")
class TestExternalEvents:  # protocol section 12.3
    """Raising events."""

    async def test_an_event_arrives_as_it_was_raised(self, probe: Probe) -> None:
        """Name and data arrive character for character, with event id -1."""
        await probe.create("waiter")
        async with probe.worker() as worker:
            await worker.run("waiter")
            await probe.transport.raise_event("waiter", "ApprovalÄ", '{ "ok":true }')
            item = await worker.episode("waiter")
        raised = of_type(item.new_events, EventRaised)
        assert [(event.name, event.input, event.event_id) for event in raised] == [
            ("ApprovalÄ", '{ "ok":true }', -1)
        ]

    async def test_an_event_without_data_has_none(self, probe: Probe) -> None:
        """No data is not empty data."""
        await probe.create("waiter")
        async with probe.worker() as worker:
            await worker.run("waiter")
            await probe.transport.raise_event("waiter", "Go")
            item = await worker.episode("waiter")
        assert [event.input for event in of_type(item.new_events, EventRaised)] == [None]

    async def test_events_keep_the_order_of_their_caller(self, probe: Probe) -> None:
        """Events of one caller arrive in the order in which the calls returned, none twice."""
        await probe.create("waiter")
        for number in range(20):
            await probe.transport.raise_event("waiter", "N", str(number))
        seen: list[str | None] = []
        async with probe.worker() as worker:
            while len(seen) < 20:
                item = await worker.run("waiter")
                seen += [event.input for event in of_type(item.new_events, EventRaised)]
            await worker.nothing()
        assert seen == [str(number) for number in range(20)]

    async def test_an_event_that_comes_during_an_episode_waits_for_the_next(self, probe: Probe) -> None:
        """What arrives while an episode is in flight is delivered in the next one, exactly once."""
        await probe.create("busy")
        async with probe.worker() as worker:
            first = await worker.episode("busy")
            await probe.transport.raise_event("busy", "Late", "1")
            await worker.nothing()
            await worker.commit(first)
            second = await worker.run("busy")
            await worker.nothing()
        assert of_type(first.new_events, EventRaised) == []
        assert [event.input for event in of_type(second.new_events, EventRaised)] == ["1"]

    async def test_an_event_before_the_first_episode_is_kept(self, probe: Probe) -> None:
        """An event for a PENDING instance comes after its ExecutionStarted."""
        await probe.create("pending")
        await probe.transport.raise_event("pending", "Early", "1")
        async with probe.worker() as worker:
            item = await worker.run("pending")
            kinds = [type(event) for event in item.new_events]
            if EventRaised not in kinds:
                later = await worker.run("pending")
                kinds += [type(event) for event in later.new_events]
        assert kinds.index(ExecutionStarted) < kinds.index(EventRaised)

    async def test_a_finished_instance_drops_events(self, probe: Probe) -> None:
        """An event for a finished instance is accepted and leads to nothing."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done", result="1")
            before = await probe.state("done")
            await probe.transport.raise_event("done", "Late", "1")
            await worker.nothing()
        assert await probe.state("done") == before

    async def test_an_event_creates_no_instance(self, probe: Probe) -> None:
        """Raising at an unknown id is refused or dropped; it never makes an instance."""
        with contextlib.suppress(InstanceNotFoundError):
            await probe.transport.raise_event("missing", "Hello")
        async with probe.worker() as worker:
            await worker.nothing()
        assert await probe.transport.get_instance("missing") is None


@spec("control")
class TestControl:  # protocol sections 7.5 and 12.3
    """Terminate, suspend and resume."""

    async def test_terminate_reaches_the_orchestrator_with_its_output(self, probe: Probe) -> None:
        """The request arrives as ExecutionTerminated; the worker's answer ends the instance."""
        await probe.create("unwanted")
        async with probe.worker() as worker:
            await worker.run("unwanted")
            await probe.transport.terminate_instance("unwanted", output='"enough"')
            item = await worker.episode("unwanted")
            assert [event.input for event in of_type(item.new_events, ExecutionTerminated)] == ['"enough"']
            await worker.commit(item, complete('"enough"', status=OrchestrationStatus.TERMINATED))
            await worker.nothing()
        state = await probe.state("unwanted")
        assert state.runtime_status is OrchestrationStatus.TERMINATED
        assert state.serialized_output == '"enough"'
        assert state.completed_at is not None

    async def test_a_pending_instance_is_started_and_terminated(self, probe: Probe) -> None:
        """Before its first episode an instance sees its start, then its termination."""
        await probe.create("unwanted")
        await probe.transport.terminate_instance("unwanted")
        async with probe.worker() as worker:
            item = await worker.episode("unwanted")
            kinds = [type(event) for event in item.new_events]
            assert kinds.index(ExecutionStarted) < kinds.index(ExecutionTerminated)
            await worker.commit(item, complete(status=OrchestrationStatus.TERMINATED))
        assert await probe.status("unwanted") is OrchestrationStatus.TERMINATED

    async def test_terminating_what_is_missing_or_finished_does_nothing(self, probe: Probe) -> None:
        """Terminate is a request that may come too late."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done", result="1")
            before = await probe.state("done")
            await probe.transport.terminate_instance("done", output='"late"')
            await probe.transport.terminate_instance("missing")
            await worker.nothing()
        assert await probe.state("done") == before
        assert await probe.transport.get_instance("missing") is None

    @requires("recursive_terminate")
    async def test_terminate_reaches_children_when_it_is_recursive(self, probe: Probe) -> None:
        """Once the parent is terminated its live children end too."""
        async with probe.worker() as worker:
            await _parent_with_child(probe, worker)
            await probe.transport.terminate_instance("parent", recursive=True)
            await worker.run("parent", complete(status=OrchestrationStatus.TERMINATED))
            item = await worker.episode("child")
            assert of_type(item.new_events, ExecutionTerminated)
            await worker.commit(item, complete(status=OrchestrationStatus.TERMINATED))
        assert await probe.status("child") is OrchestrationStatus.TERMINATED

    async def test_terminate_leaves_children_alone_when_it_is_not_recursive(self, probe: Probe) -> None:
        """Without recursion the children go on."""
        async with probe.worker() as worker:
            await _parent_with_child(probe, worker)
            await probe.transport.terminate_instance("parent", recursive=False)
            await worker.run("parent", complete(status=OrchestrationStatus.TERMINATED))
            await worker.nothing()
        assert await probe.status("child") is OrchestrationStatus.RUNNING

    async def test_suspend_and_resume_change_the_status(self, probe: Probe) -> None:
        """Both requests arrive as events with their reason and show in the status once committed."""
        await probe.create("paused")
        async with probe.worker() as worker:
            await worker.run("paused")
            await probe.transport.suspend_instance("paused", reason="lunch")
            item = await worker.run("paused")
            assert [event.input for event in of_type(item.new_events, ExecutionSuspended)] == ["lunch"]
            assert await probe.status("paused") is OrchestrationStatus.SUSPENDED
            await probe.transport.resume_instance("paused", reason="back")
            item = await worker.run("paused")
            assert [event.input for event in of_type(item.new_events, ExecutionResumed)] == ["back"]
            assert await probe.status("paused") is OrchestrationStatus.RUNNING

    async def test_events_still_arrive_while_suspended(self, probe: Probe) -> None:
        """The hub loses nothing that comes during a suspension; it stays SUSPENDED."""
        await probe.create("paused")
        async with probe.worker() as worker:
            await worker.run("paused")
            await probe.transport.suspend_instance("paused")
            await worker.run("paused")
            await probe.transport.raise_event("paused", "Kept", "1")
            await probe.transport.resume_instance("paused")
            seen: list[EventRaised] = []
            resumed: list[ExecutionResumed] = []
            while not (seen and resumed):
                item = await worker.run("paused")
                seen += of_type(item.new_events, EventRaised)
                resumed += of_type(item.new_events, ExecutionResumed)
        assert [event.input for event in seen] == ["1"]
        assert await probe.status("paused") is OrchestrationStatus.RUNNING

    async def test_a_second_suspend_and_a_stray_resume_do_nothing(self, probe: Probe) -> None:
        """Suspending the suspended and resuming the running delivers nothing."""
        await probe.create("paused")
        async with probe.worker() as worker:
            await worker.run("paused")
            await probe.transport.resume_instance("paused")
            await worker.nothing()
            await probe.transport.suspend_instance("paused")
            await worker.run("paused")
            await probe.transport.suspend_instance("paused")
            await worker.nothing()

    async def test_a_finished_instance_is_neither_suspended_nor_resumed(self, probe: Probe) -> None:
        """Requests for a finished instance change nothing."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done", result="1")
            before = await probe.state("done")
            await probe.transport.suspend_instance("done")
            await probe.transport.resume_instance("done")
            await worker.nothing()
        assert await probe.state("done") == before

    @requires("force_terminate")
    async def test_forced_termination_runs_no_orchestrator(self, probe: Probe) -> None:
        """Listed live instances are TERMINATED at once; the others are reported back."""
        async with probe.worker() as worker:
            await probe.finished(worker, "done", result="1")
            await probe.create("live")
            await worker.run("live")
            left = await probe.transport.force_terminate_instances(["live", "missing"], reason="end")
            await worker.nothing()
        assert list(left) == ["missing"]
        assert await probe.status("live") is OrchestrationStatus.TERMINATED


async def _parent_with_child(probe: Probe, worker: ScriptedWorker) -> None:
    await probe.create("parent")
    await worker.run("parent", CreateSubOrchestration(id=0, name="Child", instance_id="child"))
    await worker.run("child")
