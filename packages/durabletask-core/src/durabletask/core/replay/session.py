"""``OrchestrationSession``: one instance of an orchestrator, from its history to its actions.

No sockets, no clock, no threads, no event loop. A session is fed history events and answers with actions:

    session = OrchestrationSession("order-17", ReplayOptions(registry=registry, converter=converter))
    session.replay(past_events)
    result = session.advance(new_events)

A session that is kept alive goes on with ``session.resume(past_events)``: if the past that was delivered is what
the session has consumed, followed by the confirmations of its own actions, only what is new costs anything.
"""

from __future__ import annotations

import contextvars
import sys
import warnings
from _thread import get_ident
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from typing_extensions import ParamSpec

from durabletask.core.actions import CreateSubOrchestration, OrchestratorAction, ScheduleTask
from durabletask.core.errors import (
    NonDeterminismError,
    OrchestrationStateError,
    OrchestratorMisuseError,
    OrchestratorNotRegisteredError,
    ReplayError,
    UnawaitedTaskError,
)
from durabletask.core.failures import FailureDetails, qualified_name
from durabletask.core.history import ExecutionStarted, HistoryEvent, OrchestratorStarted
from durabletask.core.tasks import running_scopes
from durabletask.core.work_items import OrchestrationTraceContext, OrchestratorResult

from .compact import CompactHistory
from .fast_path import ENGINE_ERRORS, apply_compact
from .ledger import Ledger, OneWay
from .matching import CONFIRMATIONS, confirm, surplus_action
from .rewind import rewind, rewind_request, seems_finished
from .transitions import INERT, RUNNING, SUSPENDED, unsupported

if TYPE_CHECKING:
    from .options import ReplayObserver, ReplayOptions

__all__ = ["OrchestrationSession"]

P = ParamSpec("P")


class OrchestrationSession:
    """See the module. One thread at a time may use a session.

    Args:
        instance_id: id of the instance.
        options: see ``ReplayOptions``.
        execution_id: id of the execution, if the work item has it; else the history's.
    """

    __slots__ = (
        "_context",
        "_count",
        "_fingerprint",
        "_is_closed",
        "_ledger",
        "_origin",
        "_past",
        "_waiting_past",
        "completion_token",
        "trace_context",
    )

    def __init__(
        self,
        instance_id: str,
        options: ReplayOptions,
        *,
        execution_id: str | None = None,
    ) -> None:
        self._ledger = Ledger(instance_id, options, table=RUNNING, execution_id=execution_id)
        self._context = contextvars.copy_context()  # what user code sets stays with the instance
        self._count = 0
        self._fingerprint: list[tuple[int, HistoryEvent]] = []
        self._origin: tuple[int, HistoryEvent] | None = None
        self._past: Sequence[HistoryEvent] = ()
        self._waiting_past: Sequence[HistoryEvent] = ()
        self._is_closed = False
        self.completion_token: str = ""
        """Token of the work item that is being run; the result carries it."""
        self.trace_context: OrchestrationTraceContext | None = None
        """Span of the whole orchestration, passed through to the result (protocol section 10)."""

    @property
    def instance_id(self) -> str:
        """Id of the instance."""
        return self._ledger.instance_id

    @property
    def event_count(self) -> int:
        """How many events of the history the session has consumed."""
        return self._count

    @property
    def is_complete(self) -> bool:
        """Whether this generation has ended; the session cannot be resumed then."""
        return self._ledger.status is not None

    def replay(self, past_events: Sequence[HistoryEvent]) -> None:
        """Consume the past of an instance. A session that has consumed events takes what follows them.

        Raises:
            VersionMismatchError: the instance is to be left to another worker.
        """
        self._past = past_events if self._count == 0 else [*self._past, *past_events]
        if seems_finished(past_events):  # to be rewound: then no user code runs
            self._waiting_past = past_events
            self._count += len(past_events)
            return
        self._apply(past_events, is_replaying=True)

    def advance(self, new_events: Sequence[HistoryEvent]) -> OrchestratorResult:
        """Consume new events and say what is to be done.

        Raises:
            OrchestrationStateError: there are no events, or they cannot start or rewind an instance.
            VersionMismatchError: the instance is to be left to another worker.
        """
        ledger = self._ledger
        if not new_events:
            raise OrchestrationStateError(f"The batch for instance {ledger.instance_id!r} has no new events.")
        request = rewind_request(self._past, new_events)
        if request is not None:
            return self._result([rewind(self._past, new_events, request)])
        self._past = ()
        if self._waiting_past:
            late, self._waiting_past = self._waiting_past, ()
            self._count -= len(late)
            self._apply(late, is_replaying=True)
        self._apply(new_events, is_replaying=False)
        if ledger.started is None and ledger.status is None and ledger.table is not SUSPENDED:
            raise OrchestrationStateError(
                f"The history of instance {ledger.instance_id!r} does not start: it has no ExecutionStarted event."
            )
        ledger.complete_restart()
        return self._result(self._actions())

    def resume(self, past_events: Sequence[HistoryEvent]) -> bool:
        """Whether the session can go on from here, given the past that was delivered.

        True when the past is what was consumed, followed by the confirmations of the session's own actions. They
        are consumed; only they and two known events are looked at. After False the session is of no more use.
        """
        ledger, count = self._ledger, self._count
        if self._is_closed or ledger.status is not None or not 0 < count <= len(past_events):
            return False
        if not all(_is_same(past_events[index], event) for index, event in self._fingerprint):
            return False
        for index in range(count, len(past_events)):
            event = past_events[index]
            kind = type(event)
            if kind in CONFIRMATIONS:
                try:
                    confirm(ledger, event)
                except NonDeterminismError:
                    return False
            elif kind not in INERT:
                return False
        if ledger.pending:
            return False
        if len(past_events) > count:
            self._count = len(past_events)
            self._fingerprint.append((self._count - 1, past_events[self._count - 1]))
        return True

    def close(self) -> None:
        """Abandon the session: user code that is suspended is closed, once, and logs nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._ledger.is_replaying = True
        self._run(self._ledger.close_fibers)

    # --- inside ------------------------------------------------------------------------------------------

    def _apply(self, events: Sequence[HistoryEvent], *, is_replaying: bool) -> None:
        ledger = self._ledger
        if not events or self._is_closed:
            return
        thread = get_ident()
        outer = running_scopes.get(thread)
        running_scopes[thread] = ledger
        ledger.is_replaying = is_replaying
        ledger.thread = thread if ledger.status is None and not ledger.continuing else 0
        try:
            if ledger.strict:
                self._run(self._apply_strictly, events)
            elif isinstance(events, CompactHistory) and ledger.observer is None:
                self._run(apply_compact, ledger, events, self._apply_each, self._fail)
            else:
                self._run(self._apply_each, events)
        finally:
            ledger.thread = 0
            if outer is None:
                del running_scopes[thread]
            else:
                running_scopes[thread] = outer
        self._remember(events)

    def _run(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Let user code run on its own: with context variables of its own, and unseen by an event loop.

        A loop would finish abandoned async generators in tasks of its own, where no durable task can be awaited.
        """
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            self._context.run(work, *args, **kwargs)
        finally:
            sys.set_asyncgen_hooks(*hooks)

    def _apply_each(self, events: Iterable[HistoryEvent]) -> None:
        ledger = self._ledger
        ready = ledger.ready
        for event in events:
            try:
                ledger.table.handlers.get(type(event), unsupported)(ledger, event)
                if ready:
                    ledger.drain()
            except ENGINE_ERRORS as error:  # noqa: PERF203 - costs nothing in 3.11
                self._fail(error)

    def _apply_strictly(self, events: Sequence[HistoryEvent]) -> None:
        """The same, with the checks of strict mode that concern a whole batch."""
        ledger = self._ledger
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._apply_each(events)
        forgotten = []
        for warning in caught:
            if "was never awaited" in str(warning.message):
                forgotten.append(f"  {warning.message} at {warning.filename}:{warning.lineno}")
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        if forgotten:
            listing = "\n".join(forgotten)
            self._fail(
                UnawaitedTaskError(
                    f"Orchestration {ledger.instance_id!r} created coroutines and never awaited them:\n{listing}\n"
                    "Write 'await' before the call, or pass the coroutine to 'ctx.task_all([...])'."
                )
            )
        if ledger.surplus is not None and not ledger.history_is_rewound and ledger.status is None:
            self._fail(surplus_action(ledger, ledger.surplus))

    def _remember(self, events: Sequence[HistoryEvent]) -> None:
        """Note by which events the delivered past is recognized: the start, and the ends of this batch."""
        if self._origin is None:
            for index in range(min(3, len(events))):
                if isinstance(events[index], ExecutionStarted):
                    self._origin = (self._count + index, events[index])
                    break
        last = len(events) - 1
        self._fingerprint = [(self._count, events[0]), (self._count + last, events[last])]
        if self._origin is not None:
            self._fingerprint.append(self._origin)
        self._count += len(events)

    def _fail(self, error: Exception) -> None:
        """End with an error of the engine's; in strict mode also after a completion that replay made."""
        ledger = self._ledger
        if ledger.status is not None and isinstance(error, (NonDeterminismError, UnawaitedTaskError)):
            if any(_is_engines_failure(proposal.action) for proposal in ledger.pending.values()):
                return  # what stopped the code first explains why the rest of the history has no counterpart
            ledger.status = None
            ledger.pending = {
                number: proposal
                for number, proposal in ledger.pending.items()
                if not _completes(proposal.action)
            }
        ledger.fail(error, non_retriable=isinstance(error, (ReplayError, OrchestratorMisuseError)) or None)

    def _actions(self) -> list[OrchestratorAction]:
        ledger = self._ledger
        if ledger.observer is not None:
            self._attach_traces(ledger.observer)
        return [proposal.action for proposal in ledger.pending.values()]

    def _attach_traces(self, observer: ReplayObserver) -> None:
        """Give trace contexts to work that was scheduled now; work of the past has its own."""
        for proposal in self._ledger.pending.values():
            action = proposal.action
            if isinstance(action, (ScheduleTask, CreateSubOrchestration)):
                if action.trace_context is None:
                    context = observer.trace_for(action)
                    proposal.action = msgspec.structs.replace(action, trace_context=context)
            elif isinstance(proposal, OneWay) and not _completes(action):
                observer.sent(action)

    def _result(self, actions: Sequence[OrchestratorAction]) -> OrchestratorResult:
        return OrchestratorResult(
            instance_id=self._ledger.instance_id,
            actions=actions,
            custom_status=self._ledger.custom_status,
            completion_token=self.completion_token,
            trace_context=self.trace_context,
        )


def _completes(action: OrchestratorAction) -> bool:
    return type(action).__name__ == "CompleteOrchestration"


# Failures that stop the code before its history ends, or keep it from starting.
_ENGINES_FAILURES: Final = frozenset(
    {
        *(
            qualified_name(e)
            for e in (NonDeterminismError, OrchestrationStateError, OrchestratorNotRegisteredError)
        ),
        "VersionMismatch",
    }
)


def _is_engines_failure(action: OrchestratorAction) -> bool:
    failure = getattr(action, "failure", None)
    return isinstance(failure, FailureDetails) and failure.error_type in _ENGINES_FAILURES


def _is_same(delivered: HistoryEvent, consumed: HistoryEvent) -> bool:
    """Whether two events are one. Times of recording may be missing from a past that is delivered again."""
    if delivered is consumed or delivered == consumed:
        return True
    if type(delivered) is not type(consumed) or isinstance(consumed, OrchestratorStarted):
        return False
    return all(
        getattr(delivered, name) == getattr(consumed, name)
        for name in consumed.__struct_fields__
        if name != "timestamp"
    )
