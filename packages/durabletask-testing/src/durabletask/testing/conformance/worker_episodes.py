"""Worker half: episodes, activities, tokens and redelivery."""

from __future__ import annotations

from collections.abc import Sequence

from durabletask.core.actions import CreateTimer, ScheduleTask
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EventRaised,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import (
    ActivityFilter,
    ActivityResult,
    ActivityWorkItem,
    OrchestrationFilter,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItemFilters,
)

from .probe import Probe, complete, of_type
from .spec import requires, spec

__all__ = ["TestActivities", "TestEpisodes", "TestFilters", "TestLimits", "TestRedelivery", "TestTokens"]

UNKNOWN_TOKEN = "never-given-out"  # noqa: S105 - not a secret


def _kinds(events: Sequence[HistoryEvent]) -> list[type]:
    return [type(event) for event in events]


def _same(left: Sequence[HistoryEvent], right: Sequence[HistoryEvent]) -> bool:
    """Equal but for time stamps, which a transport may leave out of a past."""

    def facts(event: HistoryEvent) -> tuple[object, ...]:
        fields = (name for name in event.__struct_fields__ if name != "timestamp")
        return (type(event), *(getattr(event, name) for name in fields))

    return [facts(event) for event in left] == [facts(event) for event in right]


@spec("episodes")
class TestEpisodes:  # protocol sections 3.2, 6.3 and 7
    """One episode of an orchestrator as the hub sees it."""

    async def test_the_first_episode_starts_the_instance(self, probe: Probe) -> None:
        """No past; the new events are OrchestratorStarted and ExecutionStarted with the whole request."""
        await probe.create("first", input='"in"', version="2", tags={"a": "b"})
        async with probe.worker() as worker:
            item = await worker.episode("first")
        assert item.completion_token
        assert list(item.past_events) == []
        assert _kinds(item.new_events) == [OrchestratorStarted, ExecutionStarted]
        (started,) = of_type(item.new_events, ExecutionStarted)
        assert (started.name, started.instance_id, started.input) == ("Order", "first", '"in"')
        assert started.version == "2"
        assert dict(started.tags or {}) == {"a": "b"}
        assert started.parent is None
        assert [event.event_id for event in item.new_events] == [-1, -1]

    async def test_actions_are_confirmed_in_their_order(self, probe: Probe) -> None:
        """The next past is the last past and new events, then one event per action, with its id."""
        await probe.create("confirmed")
        async with probe.worker() as worker:
            first = await worker.episode("confirmed")
            started_at = first.new_events[0].timestamp
            await worker.commit(
                first,
                ScheduleTask(id=5, name="A", input='"x"'),
                CreateTimer(id=2, fire_at=started_at + probe.unit * 1000),
                ScheduleTask(id=7, name="B"),
            )
            await probe.transport.raise_event("confirmed", "Go")
            second = await worker.episode("confirmed")
        before = [*first.past_events, *first.new_events]
        assert _same(list(second.past_events)[: len(before)], before)
        confirmed = [
            event
            for event in list(second.past_events)[len(before) :]
            if type(event) is not OrchestratorCompleted
        ]
        assert [(type(event), event.event_id) for event in confirmed] == [
            (TaskScheduled, 5),
            (TimerCreated, 2),
            (TaskScheduled, 7),
        ]
        (timer,) = of_type(confirmed, TimerCreated)
        assert timer.fire_at == started_at + probe.unit * 1000
        assert of_type(confirmed, TaskScheduled)[0].input == '"x"'

    async def test_the_past_only_grows(self, probe: Probe) -> None:
        """Over many episodes each past begins with the whole of the one before and its new events."""
        await probe.create("growing")
        known: list[HistoryEvent] = []
        execution_ids = set()
        async with probe.worker() as worker:
            await worker.run("growing")
            for number in range(6):
                await probe.transport.raise_event("growing", "N", str(number))
                item = await worker.run("growing", ScheduleTask(id=number, name="Never"))
                past = list(item.past_events)
                assert _same(past[: len(known)], known)
                assert [event.input for event in of_type(item.new_events, EventRaised)] == [str(number)]
                known = [*past, *item.new_events]
                execution_ids.add(item.execution_id)
        assert len(execution_ids) == 1

    async def test_every_episode_begins_with_the_clock(self, probe: Probe) -> None:
        """The first new event is OrchestratorStarted; the orchestration clock never decreases."""
        await probe.create("clocked")
        times = []
        async with probe.worker() as worker:
            for _ in range(4):
                item = await worker.run("clocked")
                assert type(item.new_events[0]) is OrchestratorStarted
                assert len(of_type(item.new_events, OrchestratorStarted)) == 1
                times.append(item.new_events[0].timestamp)
                await probe.advance(1)
                await probe.transport.raise_event("clocked", "Tick")
        assert times == sorted(times)
        assert times[-1] - times[0] >= probe.unit * 3

    async def test_one_episode_at_a_time(self, probe: Probe) -> None:
        """While an episode of an instance is out, no stream gets another one of it."""
        await probe.create("alone")
        async with probe.worker() as one, probe.worker() as two:
            await probe.hub.settle()
            for number in range(3):
                await probe.transport.raise_event("alone", "N", str(number))
            items = [*await one.items(), *await two.items()]
            assert len([item for item in items if item.instance_id == "alone"]) == 1

    async def test_nothing_is_delivered_without_news(self, probe: Probe) -> None:
        """An episode that scheduled nothing is followed by silence."""
        await probe.create("quiet")
        async with probe.worker() as worker:
            await worker.run("quiet")
            await worker.nothing()
        assert await probe.status("quiet") is OrchestrationStatus.RUNNING

    async def test_completion_carries_out_the_other_actions(self, probe: Probe) -> None:
        """Activities scheduled beside a completion still run, and their answers change nothing."""
        await probe.create("parting")
        async with probe.worker() as worker:
            await worker.run("parting", ScheduleTask(id=0, name="Farewell", input="1"), complete("2"))
            farewell = await worker.activity("Farewell")
            assert farewell.input == "1"
            await worker.answer(farewell, "3")
            await worker.nothing()
        assert (await probe.state("parting")).serialized_output == "2"

    async def test_different_instances_do_not_wait_for_each_other(self, probe: Probe) -> None:
        """Episodes of many instances are out at the same time."""
        for number in range(5):
            await probe.create(f"i{number}")
        async with probe.worker() as worker:
            items = [await worker.episode(f"i{number}") for number in range(5)]
            for item in reversed(items):
                await worker.commit(item, complete(f'"{item.instance_id}"'))
        for number in range(5):
            assert (await probe.state(f"i{number}")).serialized_output == f'"i{number}"'

    @requires("requires_history")
    async def test_a_worker_can_ask_for_the_whole_past(self, probe: Probe) -> None:
        """An item answered with requires_history comes again with its past and the same new events."""
        await probe.create("forgotten")
        async with probe.worker() as worker:
            await worker.run("forgotten")
            await probe.transport.raise_event("forgotten", "Go", "1")
            item = await worker.episode("forgotten")
            await probe.transport.complete_orchestrator(
                OrchestratorResult(
                    instance_id="forgotten",
                    actions=(),
                    completion_token=item.completion_token,
                    requires_history=True,
                )
            )
            await probe.retry_abandoned()
            again = await worker.episode("forgotten")
        assert _same(again.past_events, item.past_events)
        assert len(again.past_events) > 0
        assert [event.input for event in of_type(again.new_events, EventRaised)] == ["1"]


@spec("activities")
class TestActivities:  # protocol sections 3.3 and 7.2
    """Activities."""

    async def test_an_activity_is_described_whole(self, probe: Probe) -> None:
        """The item carries name, input, version, tags, task id and the ids of its orchestration."""
        await probe.create("caller")
        async with probe.worker() as worker:
            episode = await worker.run(
                "caller",
                ScheduleTask(id=3, name="Charge", input='{ "n": 1 }', version="1.1", tags={"k": "v"}),
            )
            item = await worker.activity()
        assert (item.name, item.input, item.version) == ("Charge", '{ "n": 1 }', "1.1")
        assert dict(item.tags or {}) == {"k": "v"}
        assert (item.instance_id, item.task_id) == ("caller", 3)
        assert item.execution_id == episode.execution_id
        assert item.completion_token

    async def test_a_result_comes_back(self, probe: Probe) -> None:
        """The answer is a TaskCompleted with the id of the action and the exact text."""
        await probe.create("caller")
        async with probe.worker() as worker:
            await worker.run("caller", ScheduleTask(id=3, name="Charge"))
            await worker.answer(await worker.activity(), '{ "ok":1 }')
            item = await worker.episode("caller")
        assert [(e.task_scheduled_id, e.result) for e in of_type(item.new_events, TaskCompleted)] == [
            (3, '{ "ok":1 }')
        ]

    async def test_no_result_stays_no_result(self, probe: Probe) -> None:
        """An activity without a result completes with none."""
        await probe.create("caller")
        async with probe.worker() as worker:
            await worker.run("caller", ScheduleTask(id=3, name="Charge"))
            await worker.answer(await worker.activity())
            item = await worker.episode("caller")
        assert [event.result for event in of_type(item.new_events, TaskCompleted)] == [None]

    async def test_a_failure_comes_back_whole(self, probe: Probe) -> None:
        """The answer is a TaskFailed with type, message, trace, inner failure and flag."""
        failure = FailureDetails(
            "app.Declined",
            "",
            stack_trace="trace",
            inner_failure=FailureDetails("builtins.OSError", "down"),
            is_non_retriable=True,
        )
        await probe.create("caller")
        async with probe.worker() as worker:
            await worker.run("caller", ScheduleTask(id=3, name="Charge"))
            await worker.answer(await worker.activity(), failure=failure)
            item = await worker.episode("caller")
        assert [(e.task_scheduled_id, e.failure) for e in of_type(item.new_events, TaskFailed)] == [
            (3, failure)
        ]
        assert of_type(item.new_events, TaskCompleted) == []

    async def test_many_answers_all_arrive_once(self, probe: Probe) -> None:
        """A fan-out of fifty: every answer comes back exactly once, to its own id."""
        await probe.create("fan")
        seen: dict[int, str | None] = {}
        async with probe.worker() as worker:
            await worker.run("fan", *(ScheduleTask(id=n, name="Square", input=str(n)) for n in range(50)))
            for _ in range(50):
                item = await worker.activity()
                await worker.answer(item, str(int(item.input or "") ** 2))
            while len(seen) < 50:
                episode = await worker.run("fan")
                for event in of_type(episode.new_events, TaskCompleted):
                    assert event.task_scheduled_id not in seen
                    seen[event.task_scheduled_id] = event.result
            await worker.nothing()
        assert seen == {number: str(number**2) for number in range(50)}

    async def test_an_answer_during_an_episode_waits_for_the_next(self, probe: Probe) -> None:
        """An answer that comes while an episode is in flight is not lost and not delivered twice."""
        await probe.create("busy")
        async with probe.worker() as worker:
            await worker.run("busy", ScheduleTask(id=0, name="Charge"))
            charge = await worker.activity()
            await probe.transport.raise_event("busy", "Go")
            episode = await worker.episode("busy")
            await worker.answer(charge, "1")
            await worker.nothing()
            await worker.commit(episode)
            following = await worker.run("busy")
            await worker.nothing()
        assert of_type(episode.new_events, TaskCompleted) == []
        assert [event.result for event in of_type(following.new_events, TaskCompleted)] == ["1"]


@spec("tokens")
class TestTokens:  # protocol section 3.1
    """A completion counts once, with the token of the present delivery."""

    async def test_every_delivery_has_a_token_of_its_own(self, probe: Probe) -> None:
        """Tokens differ between items and between deliveries."""
        await probe.create("a")
        await probe.create("b")
        tokens = []
        async with probe.worker() as worker:
            first = [await worker.episode("a"), await worker.episode("b")]
            await worker.commit(first[0], *(ScheduleTask(id=n, name="T") for n in range(3)))
            tokens = [item.completion_token for item in first]
            tokens += [(await worker.activity()).completion_token for _ in range(3)]
        async with probe.worker() as worker:
            tokens += [(await worker.activity()).completion_token for _ in range(3)]
            tokens.append((await worker.episode("b")).completion_token)
        assert all(tokens)
        assert len(set(tokens)) == len(tokens)

    async def test_a_late_episode_changes_nothing(self, probe: Probe) -> None:
        """An episode completed with the token of an earlier delivery is ignored without an error."""
        await probe.create("late")
        async with probe.worker() as worker:
            lost = await worker.episode("late")
        async with probe.worker() as worker:
            present = await worker.episode("late")
            await worker.commit(lost, ScheduleTask(id=0, name="Wrong"), complete('"wrong"'))
            await worker.nothing()
            assert await probe.status("late") is OrchestrationStatus.PENDING
            await worker.commit(present, complete('"right"'))
        assert (await probe.state("late")).serialized_output == '"right"'

    async def test_a_late_activity_answer_changes_nothing(self, probe: Probe) -> None:
        """An activity answered with the token of an earlier delivery is ignored without an error."""
        await probe.create("late")
        async with probe.worker() as worker:
            await worker.run("late", ScheduleTask(id=0, name="Charge"))
            lost = await worker.activity()
        async with probe.worker() as worker:
            present = await worker.activity()
            await worker.answer(lost, '"wrong"')
            await worker.nothing()
            await worker.answer(present, '"right"')
            item = await worker.run("late")
            await worker.nothing()
        assert [event.result for event in of_type(item.new_events, TaskCompleted)] == ['"right"']

    async def test_a_second_completion_changes_nothing(self, probe: Probe) -> None:
        """The same answer sent twice counts once."""
        await probe.create("twice")
        async with probe.worker() as worker:
            episode = await worker.run("twice", ScheduleTask(id=0, name="Charge"))
            await worker.commit(episode, ScheduleTask(id=0, name="Charge"), ScheduleTask(id=1, name="More"))
            charge = await worker.activity()
            await worker.nothing()
            await worker.answer(charge, "1")
            await worker.answer(charge, "2")
            item = await worker.run("twice")
            await worker.nothing()
        assert [event.result for event in of_type(item.new_events, TaskCompleted)] == ["1"]

    async def test_an_unknown_token_changes_nothing(self, probe: Probe) -> None:
        """A token that was never issued completes nothing, and is no error."""
        await probe.create("guess")
        async with probe.worker() as worker:
            item = await worker.episode("guess")
            await probe.transport.complete_orchestrator(
                OrchestratorResult(
                    instance_id="guess", actions=[complete("1")], completion_token=UNKNOWN_TOKEN
                )
            )
            await probe.transport.complete_activity(
                ActivityResult(instance_id="guess", task_id=0, result="1", completion_token=UNKNOWN_TOKEN)
            )
            assert await probe.status("guess") is OrchestrationStatus.PENDING
            await worker.commit(item, complete("2"))
        assert (await probe.state("guess")).serialized_output == "2"


@spec("redelivery")
class TestRedelivery:  # protocol sections 3.1 and 3.7
    """What a worker does not finish is delivered again."""

    async def test_a_closed_stream_gives_its_episode_back(self, probe: Probe) -> None:
        """The same past and new events come again on another stream."""
        await probe.create("lost")
        await probe.transport.raise_event("lost", "Go", "1")
        async with probe.worker() as worker:
            lost = await worker.episode("lost")
        async with probe.worker() as worker:
            again = await worker.episode("lost")
            assert again.completion_token != lost.completion_token
            assert _same(again.past_events, lost.past_events)
            assert _same(again.new_events[: len(lost.new_events)], lost.new_events)
            await worker.commit(again, complete("1"))
        assert (await probe.state("lost")).serialized_output == "1"

    async def test_a_closed_stream_gives_its_activity_back(self, probe: Probe) -> None:
        """The same activity comes again on another stream."""
        await probe.create("lost")
        async with probe.worker() as worker:
            await worker.run("lost", ScheduleTask(id=4, name="Charge", input="1"))
            lost = await worker.activity()
        async with probe.worker() as worker:
            again = await worker.activity()
            assert (again.name, again.input, again.task_id) == (lost.name, lost.input, lost.task_id)
            await worker.answer(again, "2")
            item = await worker.episode("lost")
        assert [event.result for event in of_type(item.new_events, TaskCompleted)] == ["2"]

    async def test_what_was_never_looked_at_is_not_lost(self, probe: Probe) -> None:
        """Items that reached a stream and were not read are delivered to another worker."""
        for number in range(5):
            await probe.create(f"i{number}")
        async with probe.worker():
            await probe.hub.settle()
        async with probe.worker() as worker:
            for number in range(5):
                await worker.run(f"i{number}", complete())

    async def test_what_is_completed_is_not_delivered_again(self, probe: Probe) -> None:
        """Closing a stream abandons only what is open."""
        await probe.create("done")
        async with probe.worker() as worker:
            await worker.run("done", ScheduleTask(id=0, name="Charge"))
            await worker.answer(await worker.activity(), "1")
            await worker.run("done", complete())
        async with probe.worker() as worker:
            await worker.nothing()

    async def test_events_that_came_meanwhile_are_delivered_too(self, probe: Probe) -> None:
        """A redelivered episode or its successor brings what arrived during the lost one, in order."""
        await probe.create("lost")
        await probe.transport.raise_event("lost", "N", "0")
        async with probe.worker() as worker:
            await worker.episode("lost")
            await probe.transport.raise_event("lost", "N", "1")
        seen: list[str | None] = []
        async with probe.worker() as worker:
            while len(seen) < 2:
                item = await worker.run("lost")
                seen += [event.input for event in of_type(item.new_events, EventRaised)]
            await worker.nothing()
        assert seen == ["0", "1"]

    async def test_an_abandoned_episode_comes_again_unchanged(self, probe: Probe) -> None:
        """Abandoning commits nothing; the item returns with a new token."""
        await probe.create("given-up")
        async with probe.worker() as worker:
            item = await worker.episode("given-up")
            await probe.transport.abandon_orchestrator(item)
            await probe.retry_abandoned()
            again = await worker.episode("given-up")
            assert again.completion_token != item.completion_token
            assert _kinds(again.new_events) == _kinds(item.new_events)
            assert await probe.status("given-up") is OrchestrationStatus.PENDING
            await worker.commit(again, complete("1"))
            await worker.nothing()
        assert (await probe.state("given-up")).serialized_output == "1"

    async def test_an_abandoned_activity_comes_again(self, probe: Probe) -> None:
        """Abandoning an activity is no answer to it."""
        await probe.create("given-up")
        async with probe.worker() as worker:
            await worker.run("given-up", ScheduleTask(id=0, name="Charge", input="1"))
            item = await worker.activity()
            await probe.transport.abandon_activity(item)
            await probe.retry_abandoned()
            again = await worker.activity()
            assert again.completion_token != item.completion_token
            assert (again.task_id, again.input) == (0, "1")
            await worker.answer(again, "2")
            episode = await worker.run("given-up")
            await worker.nothing()
        assert [event.result for event in of_type(episode.new_events, TaskCompleted)] == ["2"]

    async def test_the_token_alone_gives_work_back(self, probe: Probe) -> None:  # protocol section 3.5
        """Over the wire an abandoned item is nothing but its token."""
        await probe.create("given-up")
        async with probe.worker() as worker:
            item = await worker.episode("given-up")
            await probe.transport.abandon_orchestrator(
                OrchestratorWorkItem(instance_id="", new_events=(), completion_token=item.completion_token)
            )
            await probe.retry_abandoned()
            await worker.run("given-up", ScheduleTask(id=0, name="Charge", input="1"))
            activity = await worker.activity()
            await probe.transport.abandon_activity(
                ActivityWorkItem(
                    instance_id="", name="", task_id=0, completion_token=activity.completion_token
                )
            )
            await probe.retry_abandoned()
            assert (await worker.activity()).completion_token != activity.completion_token

    @requires("lock_expiry")
    async def test_an_item_that_is_held_too_long_goes_to_somebody_else(self, probe: Probe) -> None:
        """After the lock time-out the item is delivered again, and the first holder is too late."""
        assert probe.hub.lock_timeout is not None
        await probe.create("stuck")
        async with probe.worker(max_orchestrations=1) as first, probe.worker() as second:
            items = [*await first.items(), *await second.items()]
            (held,) = [item for item in items if isinstance(item, OrchestratorWorkItem)]
            await probe.hub.advance(probe.hub.lock_timeout * 1.5)
            again = [*await first.items(), *await second.items()]
            (other,) = [item for item in again if isinstance(item, OrchestratorWorkItem)]
            await first.commit(held, complete('"late"'))
            await second.commit(other, complete('"right"'))
        assert (await probe.state("stuck")).serialized_output == '"right"'


@spec("limits")
class TestLimits:  # protocol section 1.4
    """The limits of a stream."""

    async def test_episodes_are_bounded(self, probe: Probe) -> None:
        """No more episodes are in flight than the worker asked for; completing one makes room."""
        for number in range(4):
            await probe.create(f"i{number}")
        async with probe.worker(max_orchestrations=2) as worker:
            items = await worker.items(2)
            assert len(items) == 2
            done = {items[0].instance_id}
            await worker.commit(_episode(items[0]), complete())
            items = [items[1], *await worker.items()]
            while items:
                assert len(items) <= 2
                item = items.pop(0)
                done.add(item.instance_id)
                await worker.commit(_episode(item), complete())
                items += await worker.items()
        assert done == {f"i{number}" for number in range(4)}

    async def test_activities_are_bounded(self, probe: Probe) -> None:
        """No more activities are in flight than the worker asked for; episodes do not count."""
        await probe.create("fan")
        async with probe.worker(max_activities=3) as worker:
            await worker.run("fan", *(ScheduleTask(id=n, name="T") for n in range(5)))
            items = await worker.items(3)
            assert len(items) == 3
            for item in items:
                assert isinstance(item, ActivityWorkItem)
                await worker.answer(item)
            assert len([i for i in await worker.items(2) if isinstance(i, ActivityWorkItem)]) == 2

    async def test_zero_means_no_limit(self, probe: Probe) -> None:
        """A worker that names no limit gets everything."""
        for number in range(20):
            await probe.create(f"i{number}")
        async with probe.worker() as worker:
            assert len(await worker.items(20)) == 20


def _episode(item: object) -> OrchestratorWorkItem:
    assert isinstance(item, OrchestratorWorkItem)
    return item


@spec("filters")
class TestFilters:  # protocol section 1.6
    """Streams restricted to names and versions."""

    async def test_only_accepted_names_are_delivered(self, probe: Probe) -> None:
        """What no stream accepts stays queued until one does."""
        await probe.create("mine", name="Mine")
        await probe.create("other", name="Other")
        mine = WorkItemFilters(orchestrations=(OrchestrationFilter("Mine"),))
        async with probe.worker(filters=mine) as worker:
            await worker.run("mine", ScheduleTask(id=0, name="Charge"))
            await worker.nothing()
        async with probe.worker() as worker:
            await worker.run("other", complete())
            await worker.activity("Charge")

    async def test_versions_restrict_and_an_empty_list_does_not(self, probe: Probe) -> None:
        """Listed versions must match; no versions means any."""
        for instance_id, version in (("one", "1"), ("two", "2"), ("none", None)):
            await probe.create(instance_id, version=version)
        only_two = WorkItemFilters(orchestrations=(OrchestrationFilter("Order", ("2",)),))
        async with probe.worker(filters=only_two) as worker:
            await worker.run("two", complete())
            await worker.nothing()
        everything = WorkItemFilters(orchestrations=(OrchestrationFilter("Order"),))
        async with probe.worker(filters=everything) as worker:
            assert sorted(item.instance_id for item in await worker.items(2)) == ["none", "one"]

    async def test_an_empty_category_means_nothing_of_it(self, probe: Probe) -> None:
        """Filters without orchestrations get no episode, only the listed activities."""
        await probe.create("caller")
        charge = WorkItemFilters(activities=(ActivityFilter("Charge"),))
        async with probe.worker(filters=charge) as worker:
            await worker.nothing()
            orchestrations = WorkItemFilters(orchestrations=(OrchestrationFilter("Order"),))
            async with probe.worker(filters=orchestrations) as other:
                await other.run(
                    "caller", ScheduleTask(id=0, name="Charge"), ScheduleTask(id=1, name="Refund")
                )
                assert (await worker.activity()).name == "Charge"
                await worker.nothing()
                await other.nothing()
