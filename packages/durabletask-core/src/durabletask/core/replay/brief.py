"""Replay of a past that comes in brief: the most frequent events without an object for each.

What happens here for a confirmed or answered activity is what ``transitions`` says for ``TaskScheduled`` and
``TaskCompleted`` while an orchestration is RUNNING, spelled out in loops. As soon as anything else is the case, the
events are made after all and take the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from durabletask.core.errors import OrchestratorMisuseError, ReplayError
from durabletask.core.history import Answers, Schedulings, Turns, expand

from .calls import ActivityCall
from .fibers import Fiber
from .groups import AllOf
from .tasks import RAW_RESULT
from .transitions import RUNNING

if TYPE_CHECKING:
    from durabletask.core.history import BriefHistory, HistoryEvent, Stretch

    from .ledger import Ledger

__all__ = ["ENGINE_ERRORS", "apply_history"]

ENGINE_ERRORS: Final = (ReplayError, OrchestratorMisuseError, RecursionError)
"""What a handler or the user's code may raise that is not the code's own outcome."""


def apply_history(
    ledger: Ledger,
    past: BriefHistory,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
    fail: Callable[[Exception], None],
) -> None:
    """Apply a past, for an orchestration that is neither strict nor observed.

    Args:
        ledger: of the orchestration.
        past: what to apply.
        apply_each: applies events in the usual way.
        fail: ends the orchestration with an error of the engine's.
    """
    stretches = past.in_brief()
    if stretches is None:
        apply_each(past)
        return
    ledger.read_moment = past.read_moment

    def apply_events(stretch: Stretch) -> None:
        apply_each(expand(stretch, past.read_moment))

    for stretch in stretches:
        if isinstance(stretch, Turns):
            _apply_turns(ledger, stretch, apply_each, apply_events, fail)
        elif ledger.table is not RUNNING:
            apply_events(stretch)
        elif isinstance(stretch, Answers):
            _apply_answers(ledger, stretch, apply_events, fail)
        else:
            _apply_schedulings(ledger, stretch, apply_events)


def _apply_turns(
    ledger: Ledger,
    turns: Turns,
    apply_each: Callable[[Iterable[HistoryEvent]], None],
    apply_events: Callable[[Stretch], None],
    fail: Callable[[Exception], None],
) -> None:
    activities, matched, ready = ledger.activities, ledger.matched, ledger.ready
    for before, moment, done, result, scheduled, name, given in turns.records:
        if before is not None:
            apply_each(before)
        if ledger.table is not RUNNING:
            apply_events(Turns([(None, moment, done, result, scheduled, name, given)]))
            continue
        if moment is not None:
            ledger.moment = moment
        call = None if done is None else activities.pop(done, None)
        if call is not None:
            try:
                waiter = call.waiter
                if type(waiter) is Fiber and call.others is None:  # as ``_settle`` does, for one who waits
                    call.state = RAW_RESULT
                    call.value = result
                    call.waiter = None
                    waiter.step()  # nothing else is ready between two events
                else:
                    call.settle(RAW_RESULT, result)
                if ready or ledger.restart is not None:
                    ledger.drain()
            except ENGINE_ERRORS as error:
                fail(error)
        if scheduled is not None:
            proposal = ledger.pending.get(scheduled)
            if type(proposal) is ActivityCall and proposal._name == name:
                del ledger.pending[scheduled]
                matched.append(proposal)
            else:
                apply_events(Turns([(None, None, None, None, scheduled, name, given)]))


def _apply_answers(
    ledger: Ledger,
    answers: Answers,
    apply_events: Callable[[Stretch], None],
    fail: Callable[[Exception], None],
) -> None:
    pop = ledger.activities.pop
    run = zip(answers.ids, answers.results, strict=True)
    for number, result in run:
        call = pop(number, None)
        if call is None:
            continue
        waiter = call.waiter
        if type(waiter) is AllOf and waiter._open > 1 and waiter._source is None and call.others is None:
            # One of many: nobody else is told, and no code of the user's runs.
            call.state = RAW_RESULT
            call.value = result
            call.waiter = None
            waiter._open -= 1
            continue
        try:
            call.settle(RAW_RESULT, result)
            ledger.drain()
        except ENGINE_ERRORS as error:
            fail(error)
        if ledger.table is not RUNNING:
            rest = [*run]  # which ends the loop
            apply_events(Answers([number for number, _ in rest], [result for _, result in rest]))


def _apply_schedulings(
    ledger: Ledger, schedulings: Schedulings, apply_events: Callable[[Stretch], None]
) -> None:
    pending, matched = ledger.pending, ledger.matched
    run = zip(schedulings.ids, schedulings.names, schedulings.inputs, strict=True)
    for number, name, given in run:
        proposal = pending.get(number)
        if type(proposal) is ActivityCall and proposal._name == name:
            del pending[number]
            matched.append(proposal)
            continue
        rest = [(number, name, given), *run]  # which ends the loop
        ids, names, inputs = zip(*rest, strict=True)
        apply_events(Schedulings(ids, names, inputs))
