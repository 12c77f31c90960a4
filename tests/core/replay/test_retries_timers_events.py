"""Retries, timers, external events, children, continue-as-new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Optional, Union

import pytest
from durabletask.core.actions import CreateTimer, ScheduleTask
from durabletask.core.errors import SerializationError, TaskFailedError
from durabletask.core.failures import RETRY_AFTER_PROPERTY
from durabletask.core.history import (
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    OrchestratorStarted,
    TaskFailed,
    TimerFired,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.retry import RetryPolicy
from durabletask.core.serialization import JsonDataConverter
from durabletask.core.versioning import VersioningOptions
from replay_story import T0, Story, failure

POLICY = RetryPolicy(
    first_retry_interval=timedelta(seconds=5), max_number_of_attempts=3, backoff_coefficient=2
)


def test_every_attempt_has_a_new_id_and_keeps_the_rest() -> None:
    """Name, input, version and tags are kept; the delay grows; the last failure is the task's."""

    async def main(ctx, _):
        try:
            await ctx.call_activity("A", [1], retry_policy=POLICY, tags={"t": "1"}, version="7")
        except TaskFailedError as error:
            return [str(error), error.task_id]

    story = Story(main)
    (first,) = story.start()
    (timer,) = story.fail(1)
    assert (timer.id, timer.fire_at) == (2, story.now + timedelta(seconds=5))
    (second,) = story.fire(2)
    assert (second.id, second.name, second.input, second.tags, second.version) == (
        3,
        "A",
        "[1]",
        {"t": "1"},
        "7",
    )
    (timer,) = story.fail(3)
    assert timer.fire_at == story.now + timedelta(seconds=10)
    story.fire(4)
    story.fail(5, "last")
    assert story.output == ["last (app.Boom in activity 'A', id 5)", 5]
    assert first.id == 1


def test_retried_child_keeps_its_instance_id() -> None:
    """The child is started again under the id it had."""

    async def main(ctx, _):
        return await ctx.call_sub_orchestrator("Child", 1, retry_policy=POLICY, tags={"a": "b"})

    story = Story(main, started={"execution_id": "run-1"})
    (first,) = story.start()
    assert first.instance_id == "run-1:0001"
    story.advance(story.child_failed(1))
    (second,) = story.fire(2)
    assert (second.id, second.instance_id, second.tags) == (3, "run-1:0001", {"a": "b"})
    story.advance(story.child_completed(3, 9))
    assert story.output == 9


def test_retry_after_and_final_failures_are_honoured() -> None:
    """An activity can ask for its own delay, or for none."""

    async def main(ctx, _):
        await ctx.call_activity("A", retry_policy=POLICY)

    story = Story(main)
    story.start()
    (timer,) = story.advance(type(story.failed(1))(-1, T0, 1, failure(properties={RETRY_AFTER_PROPERTY: 60})))
    assert timer.fire_at == story.now + timedelta(seconds=60)
    story.fire(2)
    story.fail(3, is_non_retriable=True)
    assert story.error_name == "TaskFailedError"


@pytest.mark.parametrize("seconds", [1e12, 1e300])
def test_delay_beyond_all_dates_means_no_further_attempt(seconds: float) -> None:
    """The task fails with its own failure; the orchestration can handle it."""

    async def main(ctx, _):
        await ctx.call_activity("A", retry_policy=POLICY)

    story = Story(main)
    story.start()
    story.advance(type(story.failed(1))(-1, T0, 1, failure(properties={RETRY_AFTER_PROPERTY: seconds})))
    assert story.error_name == "TaskFailedError"
    assert "boom" in story.error.message


def test_answer_before_its_confirmation_leaves_no_second_action_with_that_id() -> None:
    """A malformed history may tell of a failure first: then the attempt is not asked for again."""

    async def main(ctx, _):
        await ctx.call_activity("A", retry_policy=POLICY)

    registry = Registry(orchestrators={"main": main})
    session = OrchestrationSession("i", ReplayOptions(registry=registry, converter=JsonDataConverter()))
    session.replay([OrchestratorStarted(-1, T0), ExecutionStarted(-1, T0, "main", "i")])
    actions = session.advance(
        [
            OrchestratorStarted(-1, T0),
            TaskFailed(-1, T0, 1, failure()),
            TimerFired(-1, T0, T0 + timedelta(hours=1), 2),
        ]
    ).actions
    assert [(action.id, type(action)) for action in actions] == [(2, CreateTimer), (3, ScheduleTask)]


def test_predicate_that_raises_fails_the_task() -> None:
    """An error in should_retry is the task's error."""
    policy = RetryPolicy(
        first_retry_interval=timedelta(seconds=1),
        max_number_of_attempts=3,
        should_retry=lambda _: 1 / 0 > 1,
    )

    async def main(ctx, _):
        await ctx.call_activity("A", retry_policy=policy)

    story = Story(main)
    story.start()
    story.fail(1)
    assert story.error_name == "ZeroDivisionError"


def test_cancelled_retry_makes_no_further_attempt() -> None:
    """Cancelling a call that waits for its next attempt ends it."""

    async def main(ctx, _):
        call = ctx.call_activity("A", retry_policy=POLICY)
        await ctx.task_any([call, ctx.wait_for_external_event("stop")])
        call.cancel()
        await ctx.wait_for_external_event("end")

    story = Story(main)
    story.start()
    story.fail(1)
    assert story.send("stop") == []
    assert story.fire(2) == []


def test_failure_without_details_is_explained() -> None:
    """A child that was terminated carries no details; the error says so."""

    async def main(ctx, _):
        await ctx.call_sub_orchestrator("Child")

    story = Story(main)
    story.start()
    story.advance(story.child_failed(1))
    assert story.error_name == "TaskFailedError"
    assert "no details" in story.error.message


def test_timers_take_delays_numbers_and_times() -> None:
    """Relative to the orchestration's clock; naive times are UTC, others are converted."""
    east = timezone(timedelta(hours=2))

    async def main(ctx, _):
        await ctx.task_all(
            [
                ctx.create_timer(timedelta(seconds=1)),
                ctx.create_timer(1.5),
                ctx.create_timer(datetime(2025, 1, 1, 1)),  # noqa: DTZ001 - naive on purpose
                ctx.create_timer(datetime(2025, 1, 1, 3, tzinfo=east)),
            ]
        )

    times = [a.fire_at for a in Story(main).start()]
    assert times[:2] == [T0 + timedelta(seconds=1), T0 + timedelta(seconds=1.5)]
    assert times[2:] == [T0 + timedelta(hours=1)] * 2
    assert all(t.tzinfo is timezone.utc for t in times)


def test_long_timer_that_is_cancelled_midway_stops_splitting() -> None:
    """No further part follows once the timer is cancelled."""

    async def main(ctx, _):
        timer = ctx.create_timer(timedelta(days=10))
        await ctx.task_any([timer, ctx.wait_for_external_event("x")])
        timer.cancel()
        await ctx.wait_for_external_event("end")

    story = Story(main, maximum_timer_interval=timedelta(days=3))
    story.start()
    (second,) = story.fire(1)
    assert second.fire_at == T0 + timedelta(days=6)
    story.send("x")
    assert story.fire(2) == []


def test_wait_with_timeout_raises_and_takes_no_event() -> None:
    """After the time-out an event is kept for the next wait; an event in time withdraws the timer."""

    async def main(ctx, _):
        try:
            await ctx.wait_for_external_event("go", timeout=5)
        except TimeoutError as error:
            late = str(error)
        first = await ctx.wait_for_external_event("go", timeout=timedelta(seconds=5))
        return [late, first, await ctx.wait_for_external_event("go", timeout=1)]

    story = Story(main)
    assert story.start()[0].fire_at == T0 + timedelta(seconds=5)
    story.fire(1)
    assert story.advance(story.event("GO", 1), story.event("Go", 2))[0].id == 4
    late, first, second = story.output
    assert "'go'" in late
    assert (first, second) == (1, 2)


def test_wait_that_lost_is_passed_over_and_comes_back_when_awaited() -> None:
    """A lost wait swallows nothing; awaited again, it takes its place at the end of the queue."""

    async def main(ctx, _):
        lost = ctx.wait_for_external_event("x")
        await ctx.task_any([ctx.task_all([lost]), ctx.create_timer(1)])
        fresh = ctx.wait_for_external_event("x")
        first = await fresh
        second = await lost
        again = ctx.wait_for_external_event("x")
        await ctx.task_any([again, ctx.create_timer(1)])
        await ctx.wait_for_external_event("gate")
        return [first, second, await again]

    story = Story(main)
    story.start()
    story.fire(1)
    story.send("x", "one")
    story.send("X", "two")
    story.fire(2)
    story.send("x", "three")
    story.send("gate")
    assert story.output == ["one", "two", "three"]


def test_wait_that_lost_comes_back_when_a_group_awaits_it() -> None:
    """A group asks for the event again, as ``await`` does."""

    async def main(ctx, _):
        lost = ctx.wait_for_external_event("x")
        await ctx.task_any([lost, ctx.create_timer(1)])
        first = await ctx.wait_for_external_event("x")
        return [first, *await ctx.task_all([lost])]

    story = Story(main)
    story.start()
    story.fire(1)
    story.send("x", "one")
    story.send("x", "two")
    assert story.output == ["one", "two"]


def test_wait_that_is_only_looked_at_is_served() -> None:
    """Polling is_complete is a way of waiting, too."""

    async def main(ctx, _):
        wait = ctx.wait_for_external_event("x")
        polls = 0
        while not wait.is_complete:
            polls += 1
            await ctx.create_timer(1)
        return [polls, wait.result]

    story = Story(main)
    story.start()
    story.send("x", 5)
    story.fire(1)
    assert story.output == [1, 5]


@dataclass
class Order:
    item: str
    amount: int


def test_events_and_results_are_typed() -> None:
    """data_type, return_type and the annotations of functions convert payloads, when looked at."""

    async def ship(ctx, order: Order) -> Order: ...

    class Pack:
        async def run(self, context, order: Order) -> Order: ...

    async def main(ctx, order: Order):
        assert isinstance(order, Order)
        found = [
            await ctx.wait_for_external_event("order", Order),
            await ctx.call_activity(ship, order),
            await ctx.call_activity(Pack, order),
            await ctx.call_activity("ByName", order, return_type=Order),
            await ctx.call_sub_orchestrator(ship, order),
        ]
        assert all(isinstance(item, Order) for item in found)
        plain = await ctx.call_activity("ByName", order)
        with pytest.raises(SerializationError):
            await ctx.call_activity(ship, order)
        return [item.amount for item in found] + [plain["amount"]]

    story = Story(main, Order("a", 1))
    story.start()
    story.send("order", Order("b", 2))
    assert [a.name for a in story.complete(1, Order("c", 3))] == ["Pack"]
    story.complete(2, Order("d", 4))
    story.complete(3, Order("e", 5))
    story.advance(story.child_completed(4, Order("f", 6)))
    story.complete(5, Order("g", 7))
    story.complete(6, {"wrong": 1})
    assert story.output == [2, 3, 4, 5, 6, 7]


def test_continue_as_new_carries_unread_events_and_releases_locks() -> None:
    """Events keep spelling and order; the section is released first; later code runs to its next wait."""

    async def main(ctx, _):
        await ctx.lock_entities(["@c@k"])
        ctx.continue_as_new({"n": 2}, new_version="2")
        ctx.set_custom_status("still here")
        await ctx.wait_for_external_event("never")
        raise AssertionError

    story = Story(main)
    (lock,) = story.start(story.event("One", 1))
    unlock, done = story.advance(story.granted(lock.critical_section_id), story.event("two", 2))
    assert (unlock.target_instance_id, done.status) == ("@c@k", OrchestrationStatus.CONTINUED_AS_NEW)
    assert (done.result, done.new_version) == ('{"n":2}', "2")
    assert [(e.name, e.input) for e in done.carryover_events] == [("One", "1"), ("two", "2")]
    assert story.result is not None
    assert story.result.custom_status == '"still here"'


@pytest.mark.parametrize("end", ["return", "raise"])
def test_continue_as_new_stands_whatever_follows(end: str, caplog: pytest.LogCaptureFixture) -> None:
    """The request decides, also when the code then raises; that is logged."""

    async def main(ctx, _):
        ctx.continue_as_new(1, save_events=False)
        if end == "raise":
            raise ValueError("lost")

    story = Story(main)
    story.start(story.event("x"))
    assert story.completion.status is OrchestrationStatus.CONTINUED_AS_NEW
    assert story.completion.carryover_events == ()
    assert ("lost" in caplog.text) == (end == "raise")


def test_the_first_continue_as_new_stands(caplog: pytest.LogCaptureFixture) -> None:
    """A second one changes nothing, and is told once with its place (protocol section 8.5)."""

    async def main(ctx, _):
        ctx.continue_as_new(1)
        ctx.continue_as_new(2, new_version="2", save_events=False)

    story = Story(main, twice=False)
    story.start(story.event("x"))
    assert (story.completion.result, story.completion.new_version) == ("1", None)
    assert len(story.completion.carryover_events) == 1
    assert "test_retries_timers_events.py:" in caplog.text


def test_termination_wins_over_continue_as_new_in_one_batch() -> None:
    """Protocol section 7.5."""

    async def main(ctx, _):
        ctx.continue_as_new(1)

    story = Story(main)
    story.start(ExecutionTerminated(-1, T0, '"stop"'))
    assert (story.completion.status, story.completion.result) == (OrchestrationStatus.TERMINATED, '"stop"')


def test_plain_and_failing_plain_orchestrators() -> None:
    """A plain function completes at once, also with continue-as-new or an error."""

    def main(ctx, kind):
        if kind == "restart":
            ctx.continue_as_new("again")
        if kind == "raise":
            raise LookupError("plain")
        return kind

    for kind, status in [
        ("value", OrchestrationStatus.COMPLETED),
        ("restart", OrchestrationStatus.CONTINUED_AS_NEW),
        ("raise", OrchestrationStatus.FAILED),
    ]:
        story = Story(main, kind)
        story.start()
        assert story.completion.status is status


async def _group_takes_one(ctx):
    both = ctx.task_all([ctx.wait_for_external_event("a"), ctx.wait_for_external_event("b")])
    await ctx.task_any([both, ctx.create_timer(5)])


async def _group_keeps_the_rest(ctx):
    waits = [ctx.wait_for_external_event("a") for _ in range(2)]
    await ctx.task_any([ctx.task_all(waits), ctx.create_timer(5)])


async def _nothing_looks_at_the_wait(ctx):
    ctx.wait_for_external_event("a")
    await ctx.create_timer(5)


async def _nothing_looks_at_the_wait_with_a_time_limit(ctx):
    ctx.wait_for_external_event("a", timeout=100)
    await ctx.create_timer(5)


async def _the_branch_that_waits_does_not_run_any_more(ctx):
    async def branch():
        return await ctx.task_all([ctx.wait_for_external_event("a"), ctx.wait_for_external_event("z")])

    await ctx.task_any([branch(), ctx.create_timer(5)])


async def _the_wait_is_cancelled_too_late(ctx):
    wait = ctx.wait_for_external_event("a")
    await ctx.create_timer(5)
    wait.cancel()


@pytest.mark.parametrize(
    "waits",
    [
        _group_takes_one,
        _group_keeps_the_rest,
        _nothing_looks_at_the_wait,
        _nothing_looks_at_the_wait_with_a_time_limit,
        _the_branch_that_waits_does_not_run_any_more,
        _the_wait_is_cancelled_too_late,
    ],
)
def test_continue_as_new_carries_over_events_that_were_taken_and_not_read(waits) -> None:
    """In order of arrival, among those that no wait has taken (row 42 of the decisions)."""

    async def main(ctx, _):
        await waits(ctx)
        ctx.continue_as_new(1)

    story = Story(main)
    timer = next(
        a.id for a in story.start() if isinstance(a, CreateTimer) and a.fire_at == T0 + timedelta(seconds=5)
    )
    story.send("x", 1)
    story.send("A", 2)
    story.send("y", 3)
    story.fire(timer)
    assert [(e.name, e.input) for e in story.completion.carryover_events] == [
        ("x", "1"),
        ("A", "2"),
        ("y", "3"),
    ]


async def _awaits_it(ctx, wait):
    await wait


async def _wins(ctx, wait):
    assert await ctx.task_any([wait, ctx.create_timer(50)]) is wait


async def _wins_in_a_group(ctx, wait):
    group = ctx.task_all([wait])
    assert await ctx.task_any([group, ctx.create_timer(50)]) is group


async def _polls_it(ctx, wait):
    await ctx.create_timer(1)
    assert wait.is_complete


async def _gathers_it(ctx, wait):
    await ctx.task_all([wait, ctx.create_timer(1)])


async def _cannot_decode_it(ctx, wait):
    with pytest.raises(SerializationError):
        await ctx.wait_for_external_event("a", int)


@pytest.mark.parametrize(
    "reads", [_awaits_it, _wins, _wins_in_a_group, _polls_it, _gathers_it, _cannot_decode_it]
)
def test_continue_as_new_does_not_repeat_an_event_that_the_code_knows_of(reads) -> None:
    """Otherwise the next execution would find it again, and the next."""

    async def main(ctx, _):
        await reads(ctx, None if reads is _cannot_decode_it else ctx.wait_for_external_event("a"))
        ctx.continue_as_new(1)

    story = Story(main)
    timers = [a.id for a in story.start() if isinstance(a, CreateTimer)]
    story.send("a", "text")
    if reads in (_polls_it, _gathers_it):
        story.fire(timers[0])
    assert story.completion.status is OrchestrationStatus.CONTINUED_AS_NEW
    assert list(story.completion.carryover_events) == []


def test_the_first_of_two_continue_as_new_stands(caplog: pytest.LogCaptureFixture) -> None:
    """The second is reported with its line; locks are released at the first call (rows 7 and 34)."""

    async def main(ctx, _):
        async with ctx.lock_entities(["@c@k"]):
            ctx.continue_as_new(1)
        ctx.continue_as_new(2)

    story = Story(main)
    (lock,) = story.start()
    actions = story.advance(story.granted(lock.critical_section_id))
    assert story.completion.result == "1"
    assert [type(action).__name__ for action in actions] == ["UnlockEntity", "CompleteOrchestration"]
    assert "test_retries_timers_events.py:" in caplog.text
    assert "the first call stands" in caplog.text


def test_suspension_holds_events_and_the_clock_goes_on() -> None:
    """While suspended nothing runs; resume applies everything in order, at the time of the resume."""

    async def main(ctx, _):
        await ctx.call_activity("A")
        first = ctx.current_utc_datetime
        await ctx.call_activity("B")
        return [first.second, ctx.current_utc_datetime.second]

    story = Story(main, strict=True)
    story.start()
    story.advance(ExecutionSuspended(-1, T0))
    assert story.complete(1) == []
    assert story.advance(ExecutionSuspended(-1, T0)) == []
    assert [a.name for a in story.advance(ExecutionResumed(-1, T0))] == ["B"]
    story.complete(2)
    assert story.output == [4, 5]


def test_a_time_limit_that_is_made_after_a_resume_counts_from_the_resume() -> None:
    """The answer that the code goes on with came while the instance was suspended."""

    async def main(ctx, _):
        await ctx.call_activity("A")
        await ctx.create_timer(5)

    story = Story(main)
    story.start()
    story.advance(ExecutionSuspended(-1, T0))
    story.advance(story.completed(1), seconds=100)
    (timer,) = story.advance(ExecutionResumed(-1, T0), seconds=100)
    assert timer.fire_at == story.now + timedelta(seconds=5)


def test_action_made_before_a_suspension_is_confirmed_while_suspended() -> None:
    """Confirmations are no inbound events: the action is not sent twice."""

    async def main(ctx, _):
        await ctx.call_activity("A")
        await ctx.call_activity("B")

    story = Story(main)
    story.start()
    assert len(story.advance(story.completed(1), ExecutionSuspended(-1, T0))) == 1
    assert story.advance(ExecutionResumed(-1, T0)) == []
    story.complete(2)
    assert story.output is None


def test_versions_of_children_and_activities() -> None:
    """Children get the worker's default version, activities the orchestration's (row 9)."""

    async def main(ctx, _):
        await ctx.task_all(
            [
                ctx.call_activity("A"),
                ctx.call_activity("B", version="9"),
                ctx.call_sub_orchestrator("C"),
                ctx.call_sub_orchestrator("D", version="8", instance_id="given"),
                ctx.call_sub_orchestrator("E", version=""),
            ]
        )

    story = Story(main, started={"version": "1.0"}, versioning=VersioningOptions(default_version="2.0"))
    made = story.start()
    assert [a.version for a in made] == ["1.0", "9", "2.0", "8", "2.0"]
    assert [a.instance_id for a in made[2:4]] == ["abc:0003", "given"]


def test_answers_of_unknown_ids_are_ignored() -> None:
    """Duplicates and strangers change nothing."""

    async def main(ctx, _):
        return await ctx.call_activity("A")

    story = Story(main)
    story.start()
    assert (
        story.advance(
            story.completed(9),
            story.failed(9),
            story.child_completed(1),
            story.child_failed(9),
            TimerFired(-1, T0, T0, -100),
            story.entity_completed("x"),
            story.entity_failed("x"),
            story.granted("x"),
        )
        == []
    )
    story.advance(story.completed(1, "a"), story.completed(1, "b"))
    assert story.output == "a"


def test_action_types_of_a_mixed_start() -> None:
    """Actions come in the order in which the code made them."""

    async def main(ctx, _):
        ctx.send_event("other", "Hello", {"a": 1})
        timer = ctx.create_timer(1)
        await ctx.call_activity("A")
        await timer

    send, timer, call = Story(main).start()
    assert (send.instance_id, send.name, send.data) == ("other", "Hello", '{"a":1}')
    assert isinstance(timer, CreateTimer)
    assert isinstance(call, ScheduleTask)


def test_unions_are_types_of_results_and_events() -> None:
    """``Optional`` and unions, which are values of no type for some checkers."""

    async def main(ctx, _):
        found = await ctx.call_activity("A", return_type=Optional[date])  # noqa: UP045 - as people write it
        none = await ctx.call_activity("B", return_type=date | None)
        event = await ctx.wait_for_external_event("go", Union[date, int])
        return [repr(found), none, repr(event)]

    story = Story(main)
    story.start()
    story.complete(1, "2030-01-02")
    story.complete(2, None)
    story.send("go", 3)
    assert story.output == ["datetime.date(2030, 1, 2)", None, "3"]
