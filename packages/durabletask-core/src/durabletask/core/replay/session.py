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
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import ParamSpec

from durabletask.core.actions import (
    CompleteOrchestration,
    CreateSubOrchestration,
    OrchestratorAction,
    ScheduleTask,
)
from durabletask.core.errors import (
    NonDeterminismError,
    OrchestrationStateError,
    UnawaitedTaskError,
)
from durabletask.core.history import ExecutionRewound, ExecutionStarted, HistoryEvent, OrchestratorStarted
from durabletask.core.tasks import running_scopes
from durabletask.core.work_items import OrchestrationTraceContext, OrchestratorResult

from .compact import CompactHistory
from .execution import CONTINUING, SUSPENDED
from .fast_path import ENGINE_ERRORS, apply_compact
from .groups import Groups
from .matching import CONFIRMATIONS, unconfirmed_action
from .rewind import rewind, rewind_request, seems_finished
from .run import Run
from .transitions import HANDLERS, INERT, unsupported

if TYPE_CHECKING:
    from durabletask.core.history import EventRaised
    from durabletask.core.open_tasks import OpenTask

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
        "_groups",
        "_is_closed",
        "_origin",
        "_past",
        "_run",
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
        self._run = Run(instance_id, options, execution_id)
        self._groups = Groups(self._run.sink)  # of ``task_all`` and ``task_any`` without a context
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
        return self._run.execution.instance_id

    @property
    def event_count(self) -> int:
        """How many events of the history the session has consumed."""
        return self._count

    @property
    def is_complete(self) -> bool:
        """Whether this execution has ended; the session cannot be resumed then."""
        return self._run.execution.status is not None

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
        """Consume new events and return the actions that follow from them.

        Raises:
            OrchestrationStateError: there are no events, or they cannot start or rewind an instance.
            VersionMismatchError: the instance is to be left to another worker.
        """
        run = self._run
        if not new_events:
            raise OrchestrationStateError(
                f"The episode of instance {run.execution.instance_id!r} has no new events."
            )
        request = rewind_request(self._past, new_events)
        if request is not None:
            return self._result([rewind(self._past, new_events, request)])
        self._past = ()
        if self._waiting_past:
            late, self._waiting_past = self._waiting_past, ()
            self._count -= len(late)
            self._apply(late, is_replaying=True)
        self._apply(new_events, is_replaying=False)
        if (
            run.execution.started is None
            and run.execution.status is None
            and run.execution.condition != SUSPENDED
        ):
            raise OrchestrationStateError(
                f"The history of instance {run.execution.instance_id!r} does not start: it has no ExecutionStarted event."
            )
        run.completion.complete_restart()
        return self._result(self._actions())

    def resume(self, past_events: Sequence[HistoryEvent]) -> bool:
        """Whether the session can go on from here, given the past that was delivered.

        True when the past is what was consumed, followed by the confirmations of the session's own actions. They
        are consumed; only they and two known events are looked at. After False the session is of no more use.
        """
        run, count = self._run, self._count
        if self._is_closed or run.execution.status is not None or not 0 < count <= len(past_events):
            return False
        for index, event in self._fingerprint:
            if not _is_same(past_events[index], event):
                return False
        late = past_events[count:]
        handlers = HANDLERS[run.execution.condition]  # running or suspended: see the first line
        for event in late:
            kind = type(event)
            if kind in CONFIRMATIONS:
                try:
                    handlers[kind](run, event)
                except NonDeterminismError:
                    return False
            elif kind not in INERT:
                return False
        if run.work.pending:
            return False
        if late:
            self._count += len(late)
            self._fingerprint.append((self._count - 1, late[-1]))
        return True

    def close(self) -> None:
        """Abandon the session: user code that is suspended is closed, once, and logs nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        run = self._run
        run.execution.is_replaying = True
        if run.execution.condition < CONTINUING:  # else the end of the execution has closed the code
            self._isolate(run.completion.close_code)

    def open_tasks(self) -> list[OpenTask]:
        """Everything that the code still waits for, in the order in which it was asked for."""
        return [] if self.is_complete else self._run.work.open_tasks()

    def unread_events(self) -> list[EventRaised]:
        """The external events that the session has received and no wait has taken."""
        return self._run.work.mailbox.unread()

    # --- inside ------------------------------------------------------------------------------------------

    def _apply(self, events: Sequence[HistoryEvent], *, is_replaying: bool) -> None:
        run = self._run
        if not events or self._is_closed:
            return
        thread = get_ident()
        outer = running_scopes.get(thread)
        running_scopes[thread] = self._groups
        run.execution.is_replaying = is_replaying
        run.sink.thread = thread if run.execution.condition < CONTINUING else 0
        try:
            if run.options.strict:
                self._isolate(self._apply_strictly, events)
            elif isinstance(events, CompactHistory) and run.options.observer is None:
                self._isolate(apply_compact, run, events, self._apply_each, self._fail)
            else:
                self._isolate(self._apply_each, events)
        finally:
            run.sink.thread = 0
            if outer is None:
                del running_scopes[thread]
            else:
                running_scopes[thread] = outer
        self._remember(events)

    def _isolate(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Let user code run on its own: with context variables of its own, and unseen by an event loop.

        A loop would finish abandoned async generators in tasks of its own, where no durable task can be awaited.
        ``ReplayOptions.isolate`` keeps code from everything else of the loop.
        """
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        isolate = self._run.options.isolate
        undo = isolate() if isolate is not None else None
        try:
            self._context.run(work, *args, **kwargs)
        finally:
            if undo is not None:
                undo()
            sys.set_asyncgen_hooks(*hooks)

    def _apply_each(self, events: Iterable[HistoryEvent]) -> None:
        run = self._run
        execution, ready = run.execution, run.scheduler.ready
        for event in events:
            try:
                HANDLERS[execution.condition].get(type(event), unsupported)(run, event)
                if ready:
                    run.resume_code()
            except ENGINE_ERRORS as error:  # noqa: PERF203 - costs nothing in 3.11
                self._fail(error)

    def _apply_strictly(self, events: Sequence[HistoryEvent]) -> None:
        """The same, with the checks of strict mode that concern a whole episode."""
        run = self._run
        if any(type(event) is ExecutionRewound for event in events):  # known before its timers are compared
            run.history_is_rewound = True
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
                    f"Orchestration {run.execution.instance_id!r} created coroutines and never awaited them:\n{listing}\n"
                    "Write 'await' before the call, or pass the coroutine to 'ctx.task_all([...])'."
                )
            )
        unconfirmed = run.first_unconfirmed
        if unconfirmed is not None and not run.history_is_rewound and run.execution.status is None:
            self._fail(unconfirmed_action(run, unconfirmed))

    def _remember(self, events: Sequence[HistoryEvent]) -> None:
        """Note by which events the delivered past is recognized: the start, and the ends of this episode."""
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
        run = self._run
        if run.execution.status is None:
            run.completion.fail(error)
        elif (
            isinstance(error, (NonDeterminismError, UnawaitedTaskError))
            # An error that stopped the code early explains why the rest of the history has no counterpart.
            and not run.completion.is_engines_failure
            and run.sink.misuse is None
        ):
            run.completion.replace(error)

    def _actions(self) -> list[OrchestratorAction]:
        run = self._run
        if run.options.observer is not None:
            self._attach_traces(run.options.observer)
        return [pending.action for pending in run.work.pending.values()]

    def _attach_traces(self, observer: ReplayObserver) -> None:
        """Give trace contexts to work that was scheduled now; work of the past has its own."""
        for pending in self._run.work.pending.values():
            action = pending.action
            if isinstance(action, (ScheduleTask, CreateSubOrchestration)):
                if action.trace_context is None:
                    context = observer.trace_for(action)
                    pending.attach(msgspec.structs.replace(action, trace_context=context))
            elif not pending.is_answered and not isinstance(action, CompleteOrchestration):
                observer.sent(action)

    def _result(self, actions: Sequence[OrchestratorAction]) -> OrchestratorResult:
        return OrchestratorResult(
            instance_id=self._run.execution.instance_id,
            actions=actions,
            custom_status=self._run.work.custom_status,
            completion_token=self.completion_token,
            trace_context=self.trace_context,
        )


def _is_same(delivered: HistoryEvent, consumed: HistoryEvent) -> bool:
    """Whether two events are one. Times of recording may be missing from a past that is delivered again."""
    if delivered is consumed or delivered == consumed:
        return True
    if type(delivered) is not type(consumed) or isinstance(consumed, OrchestratorStarted):
        return False
    return msgspec.structs.replace(delivered, timestamp=consumed.timestamp) == consumed
