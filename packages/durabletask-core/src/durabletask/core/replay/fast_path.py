"""The fast path: applies a compact history without making an event object for each entry.

It runs only where the table of handlers would do nothing but settle the open call of an activity that completed, and
call ``confirm_activity`` for one that was scheduled: the orchestration is in the condition RUNNING, not strict and not
observed. ``EngineTask.settle`` and ``confirm_activity`` are what the table calls, too, so each rule is written once. As
soon as an entry is anything else, because the condition has changed or because an action does not match, that entry is
expanded into its events and goes through the table, which knows every case and every error message.

A replayed activity costs 14 calls of Python functions in a chain and 9 in a fan-out. Each call is 1 to 2 % of the whole,
so the loops call these functions instead of repeating their bodies.

``session`` is the only caller. User code runs inside ``Run.resume_code`` here as it does for the table: between two events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from durabletask.core.errors import OrchestratorMisuseError, ReplayError

from .compact import CompletionSegment, MixedSegment, SchedulingSegment, expand
from .execution import RUNNING
from .matching import confirm_activity
from .tasks import RAW_RESULT

if TYPE_CHECKING:
    from durabletask.core.history import HistoryEvent

    from .compact import CompactHistory
    from .run import Run

__all__ = ["ENGINE_ERRORS", "apply_compact"]

ENGINE_ERRORS: Final = (ReplayError, OrchestratorMisuseError, RecursionError)
"""What a handler or the user's code may raise that is not the code's own outcome."""


def apply_compact(
    run: Run,
    past: CompactHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
    fail: Callable[[Exception], None],
) -> None:
    """Apply a past.

    Args:
        run: of an orchestration that is neither strict nor observed.
        past: what to apply.
        apply_each: applies events by the table.
        fail: ends the orchestration with an error of the engine's.
    """
    segments = past.segments()
    if segments is None:
        apply_each(past)
        return
    run.execution.read_time = past.read_time
    for segment in segments:
        if isinstance(segment, MixedSegment):
            _apply_mixed(run, segment, past, apply_each, fail)
        elif run.execution.condition != RUNNING:
            apply_each(expand(segment, past.read_time))
        elif isinstance(segment, CompletionSegment):
            _apply_completions(run, segment, past, apply_each, fail)
        else:
            _apply_schedulings(run, segment, past, apply_each)


def _apply_mixed(
    run: Run,
    segment: MixedSegment,
    past: CompactHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
    fail: Callable[[Exception], None],
) -> None:
    execution, activities, ready = run.execution, run.work.activities, run.scheduler.ready
    for events, time, completed, result, scheduled, name, given in segment.records:
        if events is not None:
            apply_each(events)
        if execution.condition != RUNNING:
            rest = MixedSegment([(None, time, completed, result, scheduled, name, given)])
            apply_each(expand(rest, past.read_time))
            continue
        if time is not None:
            execution.unread_time = time
        call = None if completed is None else activities.pop(completed, None)
        if call is not None:
            try:
                call.settle(RAW_RESULT, result)
                if ready:
                    run.resume_code()
            except ENGINE_ERRORS as error:
                fail(error)
        # The code may have ended just now. Then nothing matches any more, and the table has the last word.
        if scheduled is not None and not confirm_activity(run, scheduled, name):
            rest = MixedSegment([(None, None, None, None, scheduled, name, given)])
            apply_each(expand(rest, past.read_time))


def _apply_completions(
    run: Run,
    segment: CompletionSegment,
    past: CompactHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
    fail: Callable[[Exception], None],
) -> None:
    activities, ready = run.work.activities, run.scheduler.ready
    entries = zip(segment.ids, segment.results, strict=True)
    for completed, result in entries:
        call = activities.pop(completed, None)
        if call is None:
            continue
        try:
            call.settle(RAW_RESULT, result)
            if not ready:
                continue
            run.resume_code()
        except ENGINE_ERRORS as error:
            fail(error)
        if run.execution.condition != RUNNING:
            rest = [*entries]  # which ends the loop
            late = CompletionSegment([number for number, _ in rest], [result for _, result in rest])
            apply_each(expand(late, past.read_time))


def _apply_schedulings(
    run: Run,
    segment: SchedulingSegment,
    past: CompactHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
) -> None:
    entries = zip(segment.ids, segment.names, segment.inputs, strict=True)
    for scheduled, name, given in entries:
        if not confirm_activity(run, scheduled, name):
            ids, names, inputs = zip((scheduled, name, given), *entries, strict=True)  # which ends the loop
            apply_each(expand(SchedulingSegment(ids, names, inputs), past.read_time))
