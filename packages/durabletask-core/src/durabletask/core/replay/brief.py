"""Replay of a past that comes in brief: the most frequent events without an object for each.

What happens here for a confirmed or answered activity is what ``transitions`` says for ``TaskScheduled`` and
``TaskCompleted`` while an orchestration is RUNNING, spelled out in one loop. As soon as anything else is the case,
the events of a record are made after all and take the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from durabletask.core.errors import OrchestratorMisuseError, ReplayError
from durabletask.core.tasks import RAW_RESULT

from .calls import ActivityCall
from .fibers import Fiber
from .transitions import RUNNING

if TYPE_CHECKING:
    from durabletask.core.history import BriefHistory, HistoryEvent

    from .ledger import Ledger

__all__ = ["ENGINE_ERRORS", "apply_history"]

ENGINE_ERRORS: Final = (ReplayError, OrchestratorMisuseError, RecursionError)
"""What a handler or the user's code may raise that is not the code's own outcome."""


def apply_history(  # noqa: C901, PLR0912 - one loop: calls would cost more than the branches
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
    records = past.in_brief()
    if records is None:
        apply_each(past)
        return
    ledger.read_moment = past.read_moment
    activities, matched, ready = ledger.activities, ledger.matched, ledger.ready
    for before, ended, moment, done, result, scheduled, name, given in records:
        if before is not None:
            apply_each(before)
        if ledger.table is not RUNNING:
            apply_each(past.expand((None, ended, moment, done, result, scheduled, name, given)))
            continue
        if moment is not None:
            ledger.moment = moment
        call = None if done is None else activities.pop(done, None)
        if call is not None:
            try:
                waiter = call._waiter
                if waiter is None or call._others is not None:
                    call._settle(RAW_RESULT, result)
                else:  # as ``_settle`` does, for one who waits
                    call._state = RAW_RESULT
                    call._value = result
                    call._waiter = None
                    if type(waiter) is Fiber:
                        waiter.step()  # nothing else is ready between two events
                    else:
                        waiter.wake(call)
                if ready or ledger.restart is not None:
                    ledger.drain()
            except ENGINE_ERRORS as error:
                fail(error)
        if scheduled is not None:
            proposal = ledger.pending.get(scheduled)
            if isinstance(proposal, ActivityCall) and proposal._name == name:
                del ledger.pending[scheduled]
                matched.append(proposal)
            else:
                apply_each(past.expand((None, None, None, None, None, scheduled, name, given)))
