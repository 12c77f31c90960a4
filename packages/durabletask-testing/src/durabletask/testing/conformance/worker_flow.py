"""Worker half: timers, sub-orchestrations, continue-as-new, and messages between instances."""

from __future__ import annotations

from durabletask.core.actions import (
    CreateSubOrchestration,
    CreateTimer,
    OrchestratorAction,
    ScheduleTask,
    SendEvent,
    TerminateOrchestration,
)
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EventRaised,
    EventSent,
    ExecutionStarted,
    ExecutionTerminated,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TimerFired,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestratorWorkItem

from .probe import Probe, ScriptedWorker, complete, of_type
from .spec import requires, spec

__all__ = ["TestChildren", "TestContinueAsNew", "TestMessages", "TestTimers"]

CONTINUED = OrchestrationStatus.CONTINUED_AS_NEW


@spec("timers")
class TestTimers:  # protocol section 7.2
    """Durable timers."""

    async def test_a_timer_fires_at_its_time_and_not_before(self, probe: Probe) -> None:
        """TimerFired comes once the hub's clock has reached the time, with id and time of the timer."""
        async with probe.worker() as worker:
            item = await _started(probe, worker, "sleeper")
            fire_at = item.new_events[0].timestamp + probe.unit * 4
            await worker.commit(item, CreateTimer(id=3, fire_at=fire_at))
            await probe.advance(2)
            await worker.nothing()
            await probe.advance(3)
            fired = await worker.run("sleeper", complete())
            await worker.nothing()
        assert [(e.timer_id, e.fire_at, e.event_id) for e in of_type(fired.new_events, TimerFired)] == [
            (3, fire_at, -1)
        ]
        assert fired.new_events[0].timestamp >= fire_at

    async def test_a_time_in_the_past_fires_at_once(self, probe: Probe) -> None:
        """A timer whose time is in the past fires at once."""
        async with probe.worker() as worker:
            item = await _started(probe, worker, "sleeper")
            past = item.new_events[0].timestamp - probe.unit
            await worker.commit(item, CreateTimer(id=0, fire_at=past))
            fired = await worker.episode("sleeper")
        assert [event.timer_id for event in of_type(fired.new_events, TimerFired)] == [0]

    async def test_timers_fire_in_the_order_of_their_times(self, probe: Probe) -> None:
        """Not the order of creation counts but the time, each timer once."""
        async with probe.worker() as worker:
            item = await _started(probe, worker, "sleeper")
            now = item.new_events[0].timestamp
            spans = {0: 3, 1: 1, 2: 2}
            timers = [CreateTimer(id=n, fire_at=now + probe.unit * spans[n]) for n in spans]
            await worker.commit(item, *timers)
            await probe.advance(5)
            seen: list[int] = []
            while len(seen) < 3:
                fired = await worker.run("sleeper")
                seen += [event.timer_id for event in of_type(fired.new_events, TimerFired)]
            await worker.nothing()
        assert seen == [1, 2, 0]

    async def test_a_finished_instance_gets_no_timer(self, probe: Probe) -> None:
        """A timer that outlives its instance leads to nothing."""
        async with probe.worker() as worker:
            item = await _started(probe, worker, "sleeper")
            fire_at = item.new_events[0].timestamp + probe.unit
            await worker.commit(item, CreateTimer(id=0, fire_at=fire_at), complete("1"))
            before = await probe.state("sleeper")
            await probe.advance(3)
            await worker.nothing()
        assert await probe.state("sleeper") == before

    async def test_a_timer_belongs_to_its_execution(self, probe: Probe) -> None:
        """A timer of an older execution does not fire in the next one."""
        async with probe.worker() as worker:
            item = await _started(probe, worker, "loop")
            fire_at = item.new_events[0].timestamp + probe.unit
            await worker.commit(item, CreateTimer(id=0, fire_at=fire_at), complete("2", status=CONTINUED))
            await worker.run("loop")
            await probe.advance(3)
            await worker.nothing()


@spec("children")
class TestChildren:  # protocol section 7.4
    """Sub-orchestrations."""

    async def test_a_child_knows_its_parent(self, probe: Probe) -> None:
        """ExecutionStarted of a child names the parent's instance and the action that created it."""
        async with probe.worker() as worker:
            await _started(probe, worker, "parent", _child(7, input='"in"'))
            item = await worker.episode("child")
        (started,) = of_type(item.new_events, ExecutionStarted)
        assert (started.name, started.instance_id, started.input) == ("Child", "child", '"in"')
        assert started.parent is not None
        assert (started.parent.instance_id, started.parent.task_scheduled_id) == ("parent", 7)
        assert (await probe.state("child")).parent_instance_id == "parent"

    async def test_the_parent_gets_the_result(self, probe: Probe) -> None:
        """A completed child reports to its parent with the id of the action and the exact text."""
        async with probe.worker() as worker:
            await _started(probe, worker, "parent", _child(7))
            await worker.run("child", complete('{ "n":1 }'))
            item = await worker.run("parent", complete())
            await worker.nothing()
        created = of_type(item.past_events, SubOrchestrationInstanceCreated)
        assert [(event.event_id, event.name, event.instance_id) for event in created] == [
            (7, "Child", "child")
        ]
        completed = of_type(item.new_events, SubOrchestrationInstanceCompleted)
        assert [(event.task_scheduled_id, event.result) for event in completed] == [(7, '{ "n":1 }')]

    async def test_the_parent_gets_the_failure(self, probe: Probe) -> None:
        """A failed child reports its failure whole."""
        failure = FailureDetails("app.Broken", "it broke", inner_failure=FailureDetails("a.B", "c"))
        async with probe.worker() as worker:
            await _started(probe, worker, "parent", _child(7))
            await worker.run("child", complete(status=OrchestrationStatus.FAILED, failure=failure))
            item = await worker.episode("parent")
        failed = of_type(item.new_events, SubOrchestrationInstanceFailed)
        assert [(event.task_scheduled_id, event.failure) for event in failed] == [(7, failure)]

    async def test_a_terminated_child_is_a_failed_task(self, probe: Probe) -> None:
        """The parent of a terminated child is notified, with or without details."""
        async with probe.worker() as worker:
            await _started(probe, worker, "parent", _child(7))
            await worker.run("child")
            await probe.transport.terminate_instance("child", output='"enough"')
            await worker.run("child", complete('"enough"', status=OrchestrationStatus.TERMINATED))
            item = await worker.episode("parent")
        failed = of_type(item.new_events, SubOrchestrationInstanceFailed)
        assert [event.task_scheduled_id for event in failed] == [7]

    async def test_an_id_that_is_live_fails_the_task_of_the_parent(self, probe: Probe) -> None:
        """A child cannot take over a live instance; its parent gets a failure, the other goes on."""
        await probe.create("child", input='"mine"')
        async with probe.worker() as worker:
            await worker.run("child")
            await _started(probe, worker, "parent", _child(7))
            item = await worker.episode("parent")
            failed = of_type(item.new_events, SubOrchestrationInstanceFailed)
            assert [event.task_scheduled_id for event in failed] == [7]
            await worker.nothing()
        state = await probe.state("child")
        assert state.serialized_input == '"mine"'
        assert state.runtime_status is OrchestrationStatus.RUNNING

    async def test_a_finished_parent_is_not_disturbed(self, probe: Probe) -> None:
        """The answer of a child that outlives its parent is dropped."""
        async with probe.worker() as worker:
            await _started(probe, worker, "parent", _child(7), complete("1"))
            await worker.run("child", complete("2"))
            await worker.nothing()
        assert (await probe.state("parent")).serialized_output == "1"

    async def test_a_child_that_continues_as_new_answers_at_its_end(self, probe: Probe) -> None:
        """The parent is answered once, by the last execution."""
        async with probe.worker() as worker:
            await _started(probe, worker, "parent", _child(7))
            await worker.run("child", complete("1", status=CONTINUED))
            item = await worker.episode("child")
            await worker.nothing()
            await worker.commit(item, complete('"end"'))
            parent = await worker.run("parent")
            await worker.nothing()
        completed = of_type(parent.new_events, SubOrchestrationInstanceCompleted)
        assert [(event.task_scheduled_id, event.result) for event in completed] == [(7, '"end"')]


@spec("continue_as_new")
class TestContinueAsNew:  # protocol section 7.3
    """Executions of an instance."""

    async def test_the_next_execution_starts_with_the_new_input(self, probe: Probe) -> None:
        """Same id, name and tags; a new execution id, an empty past and the chosen input."""
        async with probe.worker() as worker:
            first = await _started(probe, worker, "loop", tags={"a": "b"}, input="1", version="1")
            await worker.commit(first, complete("2", status=CONTINUED))
            item = await worker.episode("loop")
        assert list(item.past_events) == []
        (started,) = of_type(item.new_events, ExecutionStarted)
        assert (started.name, started.input, started.version) == ("Order", "2", "1")
        assert dict(started.tags or {}) == {"a": "b"}
        assert item.execution_id is None or item.execution_id != first.execution_id

    async def test_the_instance_stays_running(self, probe: Probe) -> None:
        """Between executions the instance is neither finished nor pending."""
        async with probe.worker() as worker:
            first = await _started(probe, worker, "loop")
            created_at = (await probe.state("loop")).created_at
            await worker.commit(first, complete("2", status=CONTINUED))
            await worker.episode("loop")
            state = await probe.state("loop")
        assert state.runtime_status is OrchestrationStatus.RUNNING
        assert state.created_at == created_at
        assert state.completed_at is None

    async def test_a_new_version_can_be_chosen(self, probe: Probe) -> None:
        """The next execution runs as the version that the action names."""
        async with probe.worker() as worker:
            first = await _started(probe, worker, "loop", version="1")
            await worker.commit(first, complete("2", status=CONTINUED, version="2"))
            item = await worker.episode("loop")
        assert of_type(item.new_events, ExecutionStarted)[0].version == "2"

    @requires("carry_over_events")
    async def test_carried_events_come_before_those_that_waited(self, probe: Probe) -> None:
        """After ExecutionStarted: the carried events in their order, then what arrived meanwhile."""
        async with probe.worker() as worker:
            await probe.create("loop")
            await probe.transport.raise_event("loop", "N", "0")
            await probe.transport.raise_event("loop", "N", "1")
            carried: list[EventRaised] = []
            item = await worker.episode("loop")
            carried += of_type(item.new_events, EventRaised)
            while len(carried) < 2:
                await worker.commit(item)
                item = await worker.episode("loop")
                carried += of_type(item.new_events, EventRaised)
            await probe.transport.raise_event("loop", "N", "2")
            await worker.commit(item, complete("2", status=CONTINUED, carry_over=carried))
            seen: list[str | None] = []
            while len(seen) < 3:
                item = await worker.run("loop")
                seen += [event.input for event in of_type(item.new_events, EventRaised)]
            await worker.nothing()
        assert seen == ["0", "1", "2"]

    async def test_events_that_waited_survive(self, probe: Probe) -> None:
        """An event that arrived during the last episode of an execution reaches the next one."""
        async with probe.worker() as worker:
            first = await _started(probe, worker, "loop")
            await probe.transport.raise_event("loop", "Kept", "1")
            await worker.commit(first, complete("2", status=CONTINUED))
            seen: list[str | None] = []
            while not seen:
                item = await worker.run("loop")
                seen += [event.input for event in of_type(item.new_events, EventRaised)]
            await worker.nothing()
        assert seen == ["1"]

    async def test_answers_to_an_older_execution_are_dropped(self, probe: Probe) -> None:
        """An activity of the old execution does not answer one of the new, though ids repeat."""
        async with probe.worker() as worker:
            first = await _started(probe, worker, "loop")
            await worker.commit(first, ScheduleTask(id=0, name="Old"), complete("2", status=CONTINUED))
            old = await worker.activity("Old")
            await worker.run("loop", ScheduleTask(id=0, name="New"))
            new = await worker.activity("New")
            await worker.answer(old, '"old"')
            await worker.nothing()
            await worker.answer(new, '"new"')
            item = await worker.run("loop")
            await worker.nothing()
        assert [event.result for event in of_type(item.new_events, TaskCompleted)] == ['"new"']

    async def test_many_executions_leave_one_short_history(self, probe: Probe) -> None:
        """The history is that of the last execution."""
        async with probe.worker() as worker:
            await probe.create("loop", input="0")
            for number in range(1, 8):
                item = await worker.run("loop", complete(str(number), status=CONTINUED))
                assert list(item.past_events) == []
            item = await worker.run("loop", complete('"end"'))
            assert of_type(item.new_events, ExecutionStarted)[0].input == "7"
        started = of_type(await probe.history("loop"), ExecutionStarted)
        assert [event.input for event in started] == ["7"]


@spec("send_event")
class TestMessages:  # protocol section 7.2
    """What orchestrators send to other instances."""

    async def test_a_sent_event_is_raised_at_its_target(self, probe: Probe) -> None:
        """The target gets an EventRaised; the sender's history has an EventSent."""
        async with probe.worker() as worker:
            await probe.create("target")
            await worker.run("target")
            await _started(
                probe, worker, "sender", SendEvent(id=0, instance_id="target", name="Hello", data='{ "n":1 }')
            )
            item = await worker.run("target")
        raised = of_type(item.new_events, EventRaised)
        assert [(event.name, event.input) for event in raised] == [("Hello", '{ "n":1 }')]
        sent = of_type(await probe.history("sender"), EventSent)
        assert [(event.event_id, event.instance_id, event.name) for event in sent] == [(0, "target", "Hello")]

    async def test_sent_events_keep_their_order(self, probe: Probe) -> None:
        """Events of one episode arrive in the order of the actions."""
        async with probe.worker() as worker:
            await probe.create("target")
            await worker.run("target")
            events = [SendEvent(id=n, instance_id="target", name="N", data=str(n)) for n in range(5)]
            await _started(probe, worker, "sender", *events)
            seen: list[str | None] = []
            while len(seen) < 5:
                item = await worker.run("target")
                seen += [event.input for event in of_type(item.new_events, EventRaised)]
        assert seen == ["0", "1", "2", "3", "4"]

    async def test_an_event_to_nobody_is_dropped(self, probe: Probe) -> None:
        """A missing target does not hold up the sender."""
        async with probe.worker() as worker:
            await _started(
                probe, worker, "sender", SendEvent(id=0, instance_id="missing", name="N"), complete("1")
            )
            await worker.nothing()
        assert (await probe.state("sender")).serialized_output == "1"
        assert await probe.transport.get_instance("missing") is None

    @requires("terminate_action")
    async def test_an_orchestrator_can_terminate_another_instance(self, probe: Probe) -> None:
        """The target gets an ExecutionTerminated with the reason."""
        async with probe.worker() as worker:
            await probe.create("target")
            await worker.run("target")
            await _started(
                probe, worker, "killer", TerminateOrchestration(id=0, instance_id="target", reason='"why"')
            )
            item = await worker.episode("target")
        assert [event.input for event in of_type(item.new_events, ExecutionTerminated)] == ['"why"']


def _child(action_id: int, *, input: str | None = None) -> CreateSubOrchestration:  # noqa: A002
    return CreateSubOrchestration(id=action_id, name="Child", instance_id="child", input=input)


async def _started(
    probe: Probe, worker: ScriptedWorker, instance_id: str, *actions: OrchestratorAction, **members: object
) -> OrchestratorWorkItem:
    """Create an instance and take its first episode; with actions, commit them."""
    await probe.create(instance_id, **members)
    item = await worker.episode(instance_id)
    if actions:
        await worker.commit(item, *actions)
    return item
