"""Rewinding drops what led to the end, and keeps what the code has answered (row 41 of the decisions)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from durabletask.core.actions import CompleteOrchestration, CreateTimer, ScheduleTask
from durabletask.core.errors import TaskFailedError
from durabletask.core.history import (
    ExecutionCompleted,
    ExecutionRewound,
    HistoryEvent,
    OrchestratorStarted,
    TaskFailed,
    TaskScheduled,
    TimerFired,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.replay.rewind import obstacle
from durabletask.core.retry import RetryPolicy
from replay_story import T0, Story

LATER = T0 + timedelta(days=2)
POLICY = RetryPolicy(first_retry_interval=timedelta(seconds=5), max_number_of_attempts=2)

strictly = pytest.mark.parametrize("strict", [False, True])


def failed_past(story: Story) -> list[HistoryEvent]:
    """The history of a story that has failed, as a hub keeps it."""
    assert story.completion.status is OrchestrationStatus.FAILED
    ended = ExecutionCompleted(story.completion.id, story.now, 3, None, story.completion.failure)
    return [*story.past[:-1], ended, story.past[-1]]


def rewound(story: Story) -> tuple[list[HistoryEvent], list[object]]:
    """The rewritten history, and the actions of the first episode that runs with it."""
    session = story.session()
    session.replay(failed_past(story))
    (action,) = session.advance(
        [OrchestratorStarted(-1, LATER), ExecutionRewound(-1, LATER, "again")]
    ).actions
    session = story.session()
    session.replay(action.new_history)
    return list(action.new_history), list(session.advance([OrchestratorStarted(-1, LATER)]).actions)


@strictly
def test_a_retry_policy_that_was_used_up_gets_its_last_attempt_again(strict: bool) -> None:
    """The attempts before it were answered by timers, which stay."""

    async def main(ctx, _):
        return await ctx.call_activity("pay", retry_policy=POLICY)

    story = Story(main, strict=strict)
    story.start()
    story.fail(1)
    story.fire(2)
    story.fail(3)
    assert obstacle(failed_past(story)) is None
    history, (again,) = rewound(story)
    assert isinstance(again, ScheduleTask)
    assert (again.id, again.name) == (3, "pay")
    assert [event.task_scheduled_id for event in history if isinstance(event, TaskFailed)] == [1]


@strictly
def test_a_failure_that_was_handled_stays_and_the_later_one_goes(strict: bool) -> None:
    """The compensation is not made again; what failed after it is."""

    async def main(ctx, _):
        try:
            await ctx.call_activity("pay")
        except TaskFailedError:
            await ctx.call_activity("refund")
        await ctx.call_activity("report")

    story = Story(main, strict=strict)
    story.start()
    story.fail(1)
    story.complete(2)
    story.fail(3)
    history, (again,) = rewound(story)
    assert (again.id, again.name) == (3, "report")
    assert [event.name for event in history if isinstance(event, TaskScheduled)] == ["pay", "refund"]


def test_every_failure_that_waited_for_the_end_is_dropped() -> None:
    """A group that waits for all members has several."""

    async def main(ctx, _):
        await ctx.task_all([ctx.call_activity(name) for name in "abc"], fail_fast=False)

    story = Story(main)
    story.start()
    story.fail(1)
    story.complete(2)
    story.fail(3)
    _, again = rewound(story)
    assert [action.name for action in again] == ["a", "c"]


@strictly
def test_what_was_scheduled_on_the_way_out_is_dropped_with_the_failure(strict: bool) -> None:
    """The code does not take that way any more."""

    async def main(ctx, _):
        try:
            await ctx.call_activity("pay")
        except TaskFailedError:
            ctx.call_activity("alert").detach()
            ctx.send_event("ops", "alert")
            raise

    story = Story(main, strict=strict)
    story.start()
    story.fail(1)
    _, again = rewound(story)
    assert [(action.id, action.name) for action in again] == [(1, "pay")]


@strictly
def test_a_wait_that_timed_out_is_armed_again_for_its_full_time(strict: bool) -> None:
    """Otherwise the instance would fail again at once."""

    async def main(ctx, _):
        await ctx.call_activity("ask")
        return await ctx.wait_for_external_event("approved", timeout=timedelta(hours=1))

    story = Story(main, strict=strict)
    story.start()
    story.complete(1)
    story.fire(2)
    session = story.session()
    session.replay(failed_past(story))
    new = [OrchestratorStarted(-1, LATER), ExecutionRewound(-1, LATER, "again")]
    (action,) = session.advance(new).actions
    (timer,) = [event for event in action.new_history if type(event).__name__ == "TimerCreated"]
    assert timer.fire_at == LATER + timedelta(hours=1)
    assert not any(isinstance(event, TimerFired) for event in action.new_history)

    for event, status in [
        (story.event("approved", 1), OrchestrationStatus.COMPLETED),
        (TimerFired(-1, timer.fire_at, timer.fire_at, 2), OrchestrationStatus.FAILED),
    ]:
        session = story.session()
        session.replay(action.new_history)
        assert session.advance([OrchestratorStarted(-1, LATER)]).actions == []
        actions = session.advance([OrchestratorStarted(-1, LATER), event]).actions
        completion = next(action for action in actions if isinstance(action, CompleteOrchestration))
        assert completion.status is status


def test_code_that_is_repaired_goes_on_where_it_failed() -> None:
    """Nothing is dropped but the end, if no failure led to it."""
    is_repaired = False

    async def main(ctx, _):
        await ctx.call_activity("A", retry_policy=POLICY)
        if not is_repaired:
            raise LookupError("a mistake")
        await ctx.call_activity("B")

    story = Story(main)
    story.start()
    story.fail(1)
    story.fire(2)
    story.complete(3)
    assert obstacle(failed_past(story)) is None
    past = failed_past(story)
    is_repaired = True
    session = story.session()
    session.replay(past)
    (action,) = session.advance([OrchestratorStarted(-1, LATER), ExecutionRewound(-1, LATER)]).actions
    session = story.session()
    session.replay(action.new_history)
    assert [a.name for a in session.advance([OrchestratorStarted(-1, LATER)]).actions] == ["B"]


async def _compensates(ctx, _):
    try:
        await ctx.call_activity("pay")
    except TaskFailedError:
        await ctx.call_activity("refund")
        raise


def test_a_failure_that_was_answered_and_raised_again_is_an_obstacle() -> None:
    """The history cannot be taken back; a hub that asks nevertheless gets the same failure, not another."""
    story = Story(_compensates)
    story.start()
    story.fail(1, "bank is down")
    story.complete(2)
    found = obstacle(failed_past(story))
    assert found is not None
    assert "app.Boom" in found
    assert "Restart" in found

    _, (end,) = rewound(story)
    assert isinstance(end, CompleteOrchestration)
    assert end.failure.message == story.error.message


def test_timers_of_retries_that_still_waited_stay() -> None:
    """A group that fails fast leaves the next attempt of another member behind."""

    async def main(ctx, _):
        await ctx.task_all([ctx.call_activity("a", retry_policy=POLICY), ctx.call_activity("b")])

    story = Story(main)
    story.start()
    (timer,) = story.fail(1)
    assert isinstance(timer, CreateTimer)
    story.fail(2)
    history, again = rewound(story)
    assert [action.name for action in again] == ["b"]
    assert [type(event).__name__ for event in history].count("TimerCreated") == 1
