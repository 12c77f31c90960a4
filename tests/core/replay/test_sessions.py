"""Sessions: non-determinism, strict mode, the cache check, closing, rewind, tracing."""

from __future__ import annotations

import msgspec
import pytest
from durabletask.core.actions import RewindOrchestration, ScheduleTask
from durabletask.core.errors import OrchestrationStateError, TaskFailedError, VersionMismatchError
from durabletask.core.history import (
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    GenericEvent,
    HistoryState,
    OrchestratorCompleted,
    OrchestratorStarted,
    ParentInstance,
    TaskScheduled,
    TimerCreated,
    TraceContext,
    UnknownEvent,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.versioning import VersioningOptions, VersionMatchStrategy
from durabletask.core.work_items import OrchestrationTraceContext
from replay_story import T0, Story, failure


async def two_steps(ctx, value):
    first = await ctx.call_activity("A", value)
    await ctx.create_timer(60)
    ctx.send_event("other", "Hello", first)
    return await ctx.call_sub_orchestrator("Child", first)


def _told(orchestrator=two_steps, **options) -> Story:
    """The story up to the call of the child."""
    story = Story(orchestrator, "in", **options)
    story.start()
    story.complete(1, "x")
    story.fire(2)
    return story


def _replayed(story: Story, old: object, new: object, **options) -> Story:
    """The same past with one event changed, replayed in a fresh session."""
    other = Story(story._registry.orchestrator("Main").target, "in", **options)
    other.past = [
        new if event is old else event for event in story.past if not (event is old and new is None)
    ]
    session = other.session()
    session.replay(other.past)
    other.result = session.advance([OrchestratorStarted(-1, T0)])
    return other


def _event(story: Story, kind: type, index: int = 0):
    return [event for event in story.past if type(event) is kind][index]


@pytest.mark.parametrize("strict", [False, True])
def test_report_shows_history_and_code_side_by_side(strict: bool) -> None:
    """Event id, expected, found, the last matches, the place in the code and likely causes."""
    story = _told()
    old = _event(story, EventSent)
    other = _replayed(story, old, msgspec.structs.replace(old, name="Goodbye"), strict=strict)
    text = other.error.message
    assert other.error_name == "NonDeterminismError"
    assert other.error.is_non_retriable
    assert "Event id 3: expected (history): event 'Goodbye' sent to 'other'" in text
    assert "found (code): event 'Hello' sent to 'other'" in text
    assert text.count("test_sessions.py:") == 3
    assert "1: activity 'A'" in text
    assert "Likely causes" in text


def test_extra_confirmation_is_non_determinism() -> None:
    """The history confirms an action that the code never made."""
    story = _told()
    last = story.past[-1]
    other = _replayed(story, last, TaskScheduled(99, T0, "Ghost"))
    assert "found (code): nothing" in other.error.message
    assert "Event id 99" in other.error.message


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (TaskScheduled, {"input": '"changed"'}),
        (TimerCreated, {"fire_at": T0}),
        (EventSent, {"input": "1"}),
    ],
)
def test_changed_arguments_are_found_in_strict_mode_only(kind: type, changes: dict) -> None:
    """Input, fire time and data are compared in strict mode; normal mode goes on."""
    story = _told()
    old = _event(story, kind)
    changed = msgspec.structs.replace(old, **changes)
    assert _replayed(story, old, changed).result.actions == []
    assert _replayed(story, old, changed, strict=True).error_name == "NonDeterminismError"


def test_spacing_of_payloads_does_not_matter_in_strict_mode() -> None:
    """The same JSON is the same input."""

    async def main(ctx, _):
        await ctx.call_activity("A", {"a": [1, 2]})

    story = Story(main, "in")
    story.start()
    old = _event(story, TaskScheduled)
    assert (
        _replayed(
            story, old, msgspec.structs.replace(old, input='{ "a": [1, 2] }'), strict=True
        ).result.actions
        == []
    )


def test_action_that_the_history_never_confirmed_is_found_in_strict_mode() -> None:
    """The code newly makes an action in an episode that is long past."""
    story = _told()
    old = _event(story, EventSent)
    assert [a.id for a in _replayed(story, old, None).result.actions] == [3]
    strict = _replayed(story, old, None, strict=True)
    assert "expected (history): nothing; found (code): event 'Hello'" in strict.error.message


def test_history_that_goes_on_after_the_code_returned_is_found_in_strict_mode() -> None:
    """Normal mode keeps the completion, strict mode reports."""
    story = _told()

    async def shorter(ctx, value):
        return await ctx.call_activity("A", value)

    for strict, status in [(False, OrchestrationStatus.COMPLETED), (True, OrchestrationStatus.FAILED)]:
        other = Story(shorter, "in", strict=strict)
        session = other.session()
        session.replay(story.past)
        other.result = session.advance([OrchestratorStarted(-1, T0)])
        assert other.completion.status is status


def test_internal_timer_of_a_hub_is_ignored() -> None:
    """Confirmations under id -100 belong to no action."""
    story = _told()
    last = story.past[-1]
    assert _replayed(story, last, TimerCreated(-100, T0, T0)).result.actions == []


@pytest.mark.parametrize("event", [HistoryState(-1, T0), UnknownEvent(-1, T0, "future"), object()])
def test_unsupported_events_fail_the_orchestration(event: object) -> None:
    """What cannot be replayed is an error of the state, also while suspended."""
    story = Story(two_steps, "in", twice=False)
    story.start()
    story.advance(ExecutionSuspended(-1, T0))
    story.advance(event)
    assert story.error_name == "OrchestrationStateError"


def test_inert_events_mean_nothing() -> None:
    """Markers of the host change nothing."""
    story = Story(two_steps, "in")
    story.start()
    assert (
        story.advance(GenericEvent(-1, T0, "x"), ExecutionResumed(-1, T0), OrchestratorCompleted(-1, T0))
        == []
    )


def test_impossible_batches_are_errors_of_the_engine() -> None:
    """No new events; a history without a start."""
    session = Story(two_steps).session()
    with pytest.raises(OrchestrationStateError, match="no new events"):
        session.advance([])
    with pytest.raises(OrchestrationStateError, match="does not start"):
        session.advance([OrchestratorStarted(-1, T0)])
    session = Story(two_steps).session()
    assert session.advance([OrchestratorStarted(-1, T0), ExecutionSuspended(-1, T0)]).actions == []


def test_second_start_is_ignored_and_a_naive_clock_is_utc() -> None:
    """A start that is delivered twice runs nothing twice."""

    async def main(ctx, _):
        await ctx.create_timer(1)

    session = Story(main).session()
    start = ExecutionStarted(-1, T0.replace(tzinfo=None), "Main", "abc")
    (timer,) = session.advance([start, start]).actions
    assert timer.fire_at.tzinfo is not None
    session = Story(main).session()
    (timer,) = session.advance([OrchestratorStarted(-1, T0.replace(tzinfo=None)), start]).actions
    assert timer.fire_at.tzinfo is not None


def test_session_recognizes_its_past_and_no_other() -> None:
    """Every difference that matters drops the session."""

    def at(story: Story) -> object:
        """A kept session that has consumed all of the story but the last confirmations."""
        session = story.session()
        session.replay([])
        session.advance(story.past[:2])
        return session

    story = Story(two_steps, "in", started={"execution_id": "one"})
    story.start()
    past = list(story.past)
    assert at(story).resume(past)
    assert at(story).resume([msgspec.structs.replace(e, timestamp=T0) for e in past])
    assert not at(story).resume(past[:1])
    assert not at(story).resume(past[:2]), "its action is not confirmed"
    assert not at(story).resume([*past, story.event("x")]), "not a confirmation"
    assert not at(story).resume([*past[:2], TaskScheduled(1, T0, "Other")])
    assert not at(story).resume([past[0], msgspec.structs.replace(past[1], execution_id="two"), *past[2:]])
    assert not at(story).resume(
        [msgspec.structs.replace(past[0], timestamp=story.now.replace(year=2026)), *past[1:]]
    )
    assert not at(story).resume([OrchestratorCompleted(-1, T0), *past[1:]])
    assert not story.session().resume(past)
    closed = at(story)
    closed.close()
    assert not closed.resume(past)
    kept = at(story)
    assert kept.resume(past)
    assert kept.resume(past), "nothing new is fine too"
    assert kept.event_count == len(past)
    assert kept.instance_id == "abc"


def test_complete_session_cannot_be_resumed() -> None:
    """An execution that has ended has no more episodes."""
    story = Story(lambda ctx, _: 1)
    story.start()
    assert story.kept.is_complete
    assert not story.kept.resume(story.past)


def test_closing_runs_finally_blocks_once_and_lets_them_do_no_harm() -> None:
    """Suspended code is closed; what it schedules, awaits or logs meanwhile has no effect."""
    seen: list[str] = []

    async def member(ctx):
        try:
            await ctx.wait_for_external_event("never")
        finally:
            seen.append("member")
            await ctx.call_activity("CleanUp")
            seen.append("unreachable")

    async def main(ctx, _):
        timer = ctx.create_timer(5)
        try:
            await ctx.task_all([member(ctx), ctx.call_activity("A")])
        finally:
            seen.append("main")
            timer.cancel()
            ctx.logger.warning("closing")
            await timer

    story = Story(main, twice=False)
    story.start()
    story.kept.close()
    story.kept.close()
    assert sorted(seen) == ["main", "member"]
    story = Story(main, twice=False)
    story.start()
    seen.clear()
    story.advance(ExecutionTerminated(-1, T0, '"x"'))
    assert sorted(seen) == ["main", "member"]
    assert len(story.result.actions) == 1


def test_closed_session_that_never_started_a_coroutine_warns_of_nothing() -> None:
    """Members that wait for their turn are closed, too."""

    async def one(ctx):
        await ctx.call_activity("A")

    async def main(ctx, _):
        await ctx.task_all([one(ctx) for _ in range(3)], limit=1)

    story = Story(main)
    story.start()
    story.kept.close()


def _failed_story() -> Story:
    async def main(ctx, _):
        await ctx.call_activity("A")
        await ctx.call_activity("B")

    story = Story(main, started={"execution_id": "old", "parent": ParentInstance(7, "p", "p-old")})
    story.start()
    story.complete(1)
    story.fail(2)
    assert story.completion.status is OrchestrationStatus.FAILED
    story.past.insert(-1, ExecutionCompleted(3, T0, 3))
    return story


def test_rewind_runs_no_user_code_and_is_repeatable() -> None:
    """The same batch gives the same history, without failures, as another execution."""
    story = _failed_story()
    new = [OrchestratorStarted(-1, T0), ExecutionRewound(-1, T0, "again", "p-new")]
    results = []
    for _ in range(2):
        session = story.session()
        session.replay(story.past)
        assert session.event_count == len(story.past)
        results.append(session.advance(new))
    assert results[0] == results[1]
    (action,) = results[0].actions
    assert isinstance(action, RewindOrchestration)
    (started,) = [e for e in action.new_history if isinstance(e, ExecutionStarted)]
    assert started.execution_id != "old"
    assert started.parent.execution_id == "p-new"

    session = story.session()
    session.replay(action.new_history)
    assert [a.name for a in session.advance([OrchestratorStarted(-1, T0)]).actions] == ["B"]
    strict = Story(story._registry.orchestrator("Main").target, strict=True).session()
    strict.replay(action.new_history)
    assert [a.name for a in strict.advance([OrchestratorStarted(-1, T0)]).actions] == ["B"]


@pytest.mark.parametrize("strict", [False, True])
def test_rewound_code_takes_its_old_path_with_children_and_random_numbers(strict: bool) -> None:
    """The new execution id of a rewound instance changes neither its random numbers nor the ids of its children."""

    async def main(ctx, _):
        drawn = ctx.random.random()
        await ctx.call_activity("draw", drawn)
        await ctx.call_sub_orchestrator("Child", drawn)
        await ctx.call_activity("fails", ctx.random.random())

    story = Story(main, started={"execution_id": "old"}, strict=strict)
    story.start()
    story.complete(1)
    story.advance(story.child_completed(2))
    (failing, *_) = [e for e in story.past if isinstance(e, TaskScheduled) and e.name == "fails"]
    story.fail(failing.event_id)
    past = [*story.past, ExecutionCompleted(99, T0, OrchestrationStatus.FAILED)]
    session = story.session()
    session.replay(past)
    (rewound,) = session.advance([OrchestratorStarted(-1, T0), ExecutionRewound(-1, T0, "again")]).actions

    session = story.session()
    session.replay(rewound.new_history)
    (again,) = session.advance([OrchestratorStarted(-1, T0)]).actions

    assert isinstance(again, ScheduleTask)
    assert (again.name, again.input) == ("fails", failing.input)


def test_finished_history_replays_to_its_completion() -> None:
    """Without a rewind the history is simply replayed."""
    story = _failed_story()
    session = story.session()
    session.replay(story.past)
    (action,) = session.advance([OrchestratorStarted(-1, T0)]).actions
    assert action.status is OrchestrationStatus.FAILED
    other = story.session()
    other.replay(story.past)
    with pytest.raises(OrchestrationStateError, match="alone"):
        other.advance([ExecutionRewound(-1, T0, "again")])


def test_version_mismatch_rejects_or_fails() -> None:
    """REJECT leaves the item to others and names both versions."""
    versioning = VersioningOptions(version="2.0", match_strategy=VersionMatchStrategy.STRICT)
    story = Story(two_steps, "in", versioning=versioning, started={"version": "1.0"})
    with pytest.raises(VersionMismatchError, match=r"'1\.0'.*'2\.0'"):
        story.start()


class _Observer:
    """Notes what telemetry would be told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, ...]] = []
        self._spans = 0

    def trace_for(self, action):
        self._spans += 1
        return TraceContext(f"span-{self._spans}")

    def answered(self, scheduled, answer) -> None:
        self.notes.append(("answered", type(scheduled).__name__, type(answer).__name__))

    def sent(self, action) -> None:
        self.notes.append(("sent", action.name))

    def completed(self, started, action) -> None:
        self.notes.append(("completed", started.name, action.status.name))


def test_trace_contexts_are_chosen_for_new_work_only() -> None:
    """New work gets one; replay tells nothing and takes what the history says."""
    observer = _Observer()
    story = Story(two_steps, "in", observer=observer, twice=False)
    story.kept.trace_context = OrchestrationTraceContext("root")
    (call,) = story.start()
    assert isinstance(call, ScheduleTask)
    assert call.trace_context == TraceContext("span-1")
    assert story.result.trace_context == OrchestrationTraceContext("root")
    story.complete(1, "x")
    story.fire(2)
    story.advance(story.child_completed(4, 1))
    assert observer.notes == [
        ("answered", "TaskScheduled", "TaskCompleted"),
        ("answered", "TimerCreated", "TimerFired"),
        ("sent", "Hello"),
        ("answered", "SubOrchestrationInstanceCreated", "SubOrchestrationInstanceCompleted"),
        ("completed", "Main", "COMPLETED"),
    ]
    observer.notes.clear()
    session = story.session()
    session.replay(story.past[:-2])
    assert observer.notes == []


def test_uncaught_task_failure_carries_the_cause() -> None:
    """Row 3: our type outside, the task's own details inside, the root cause first in the message."""
    story = Story(two_steps, "in")
    story.start()
    inner = failure("root", "app.Root")
    story.fail(1, "outer", inner_failure=inner)
    assert story.error.error_type.endswith(TaskFailedError.__name__)
    assert story.error.message.startswith("root (app.Root")
    assert story.error.inner_failure.inner_failure == inner


def test_not_registered_is_final_and_beats_a_wrong_version() -> None:
    """The nearest names are listed."""
    versioning = VersioningOptions(version="2.0", match_strategy=VersionMatchStrategy.STRICT)
    session = Story(two_steps, versioning=versioning).session()
    (action,) = session.advance([ExecutionStarted(-1, T0, "Mian", "abc")]).actions
    assert action.failure.error_type.endswith("OrchestratorNotRegisteredError")
    assert action.failure.is_non_retriable
    assert "'Main'" in action.failure.message
