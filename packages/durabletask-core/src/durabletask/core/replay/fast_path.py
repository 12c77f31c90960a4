"""The fast path: applies a compact history without making an event object for each entry.

It runs only where the table of handlers would do nothing but what ``complete_activity`` and ``confirm_activity`` do:
the orchestration is in the condition RUNNING, not strict and not observed. Both functions are those that the table
calls, so each rule is written once. As soon as an entry is anything else, because the condition has changed or because an
action does not match, that entry is expanded into its events and goes through the table, which knows every case and
every error message.

``session`` is the only caller. User code runs inside ``drain`` here as it does for the table: between two events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from durabletask.core.errors import OrchestratorMisuseError, ReplayError

from .compact import CompletionSegment, MixedSegment, SchedulingSegment, expand
from .matching import confirm_activity
from .transitions import RUNNING, complete_activity

if TYPE_CHECKING:
    from durabletask.core.history import HistoryEvent

    from .compact import CompactHistory
    from .ledger import Ledger

__all__ = ["ENGINE_ERRORS", "apply_compact"]

ENGINE_ERRORS: Final = (ReplayError, OrchestratorMisuseError, RecursionError)
"""What a handler or the user's code may raise that is not the code's own outcome."""


def apply_compact(
    ledger: Ledger,
    past: CompactHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
    fail: Callable[[Exception], None],
) -> None:
    """Apply a past.

    Args:
        ledger: of an orchestration that is neither strict nor observed.
        past: what to apply.
        apply_each: applies events by the table.
        fail: ends the orchestration with an error of the engine's.
    """
    segments = past.segments()
    if segments is None:
        apply_each(past)
        return
    ledger.read_time = past.read_time
    for segment in segments:
        if isinstance(segment, MixedSegment):
            _apply_mixed(ledger, segment, past, apply_each, fail)
        elif ledger.table is not RUNNING:
            apply_each(expand(segment, past.read_time))
        elif isinstance(segment, CompletionSegment):
            _apply_completions(ledger, segment, past, apply_each, fail)
        else:
            _apply_schedulings(ledger, segment, past, apply_each)


def _apply_mixed(
    ledger: Ledger,
    segment: MixedSegment,
    past: CompactHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
    fail: Callable[[Exception], None],
) -> None:
    ready = ledger.ready
    for events, time, completed, result, scheduled, name, given in segment.records:
        if events is not None:
            apply_each(events)
        if ledger.table is not RUNNING:
            rest = MixedSegment([(None, time, completed, result, scheduled, name, given)])
            apply_each(expand(rest, past.read_time))
            continue
        if time is not None:
            ledger.unread_time = time
        if completed is not None:
            try:
                complete_activity(ledger, completed, result)
                if ready:
                    ledger.drain()
            except ENGINE_ERRORS as error:
                fail(error)
        # The code may have ended just now. Then nothing matches any more, and the table has the last word.
        if scheduled is not None and not confirm_activity(ledger, scheduled, name):
            rest = MixedSegment([(None, None, None, None, scheduled, name, given)])
            apply_each(expand(rest, past.read_time))


def _apply_completions(
    ledger: Ledger,
    segment: CompletionSegment,
    past: CompactHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
    fail: Callable[[Exception], None],
) -> None:
    ready = ledger.ready
    run = zip(segment.ids, segment.results, strict=True)
    for completed, result in run:
        try:
            complete_activity(ledger, completed, result)
            if not ready:
                continue
            ledger.drain()
        except ENGINE_ERRORS as error:
            fail(error)
        if ledger.table is not RUNNING:
            rest = [*run]  # which ends the loop
            late = CompletionSegment([number for number, _ in rest], [result for _, result in rest])
            apply_each(expand(late, past.read_time))


def _apply_schedulings(
    ledger: Ledger,
    segment: SchedulingSegment,
    past: CompactHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
) -> None:
    run = zip(segment.ids, segment.names, segment.inputs, strict=True)
    for scheduled, name, given in run:
        if not confirm_activity(ledger, scheduled, name):
            ids, names, inputs = zip((scheduled, name, given), *run, strict=True)  # which ends the loop
            apply_each(expand(SchedulingSegment(ids, names, inputs), past.read_time))
