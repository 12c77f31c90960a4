"""The end of an execution: finished, failed, terminated, or restarted by ``continue_as_new``.

``complete`` is the only way to an end, and the first completion stands; see ``replace`` for the one exception. Each
end closes the code that is still suspended, after the sink was sealed, so that nothing the code does meanwhile
is sent. ``continue_as_new`` ends in two steps: the code is closed at its next wait (``stop_for_restart``), and the
completion is made at the end of the episode (``complete_restart``) unless a termination came first.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from durabletask.core.actions import CompleteOrchestration
from durabletask.core.errors import (
    NonDeterminismError,
    OrchestrationStateError,
    OrchestratorMisuseError,
    OrchestratorNotRegisteredError,
    ReplayError,
    UnawaitedTaskError,
    VersionMismatchError,
)
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.logs import get_logger

from . import misuse
from .execution import CONTINUING, ENDED
from .fibers import is_body
from .locations import UNKNOWN
from .observed import UNSEEN
from .open_work import OneWay
from .tasks import FAILURE, EngineTask, Waiter

if TYPE_CHECKING:
    from .options import ReplayOptions
    from .sink import Sink

__all__ = ["Completion"]

_logger = get_logger("durabletask.orchestration")

_ENGINES_ERRORS: Final = (
    NonDeterminismError,
    OrchestrationStateError,
    OrchestratorNotRegisteredError,
    VersionMismatchError,
)
"""Errors that stop the code before its history ends, or keep it from starting."""


class Completion(Waiter):
    """See the module. As a waiter, it completes the execution when the orchestrator's own fiber ends."""

    __slots__ = ("_action", "_execution", "_options", "_sink", "_work", "is_engines_failure")

    def __init__(self, sink: Sink, options: ReplayOptions) -> None:
        self._sink = sink
        self._work = sink.work  # what is sent; the sink has other tables once it is sealed
        self._execution = sink.execution
        self._options = options
        self._action: CompleteOrchestration | None = None
        self.is_engines_failure: bool = False  # the code did not get as far as the history does

    # --- what the orchestrator returned or raised --------------------------------------------------------

    def wake(self, task: EngineTask[object]) -> None:
        """The orchestrator's own fiber has ended."""
        if task.state == FAILURE:
            self.finish_with_error(task.failure())
        else:
            self.finish_with(task.value)

    def finish_with_error(self, error: BaseException) -> None:
        """Complete with what the orchestrator raised."""
        if self._work.restart is None:
            if self._fail_for_misuse():
                return
            self.fail(misuse.forgotten_await(error, self._never_awaited()) or error)
            return
        _logger.warning(
            "Orchestration %r asked to continue as new and then raised %s; the request stands.",
            self._execution.instance_id,
            FailureDetails.from_exception(error).in_short(),
        )
        self.stop_for_restart()

    def finish_with(self, result: object) -> None:
        """Complete with the value that the orchestrator returned."""
        if self._work.restart is not None:
            self.stop_for_restart()
            return
        if self._fail_for_misuse():
            return
        definition = self._execution.definition
        location = definition.location if definition is not None else UNKNOWN
        try:
            invalid = misuse.invalid_result(result, location)
            if invalid is not None:
                if is_body(result):
                    result.close()  # it is reported now: no second warning when it is collected
                raise invalid
            text = misuse.encode(self._sink.converter, result, "The result of the orchestrator", location)
            self._report_unawaited()
        except Exception as error:  # noqa: BLE001 - a converter may raise anything
            self.fail(error)
            return
        self.complete(OrchestrationStatus.COMPLETED, result=text)

    def _fail_for_misuse(self) -> bool:
        misuse_of_code = self._sink.misuse
        if misuse_of_code is None:
            return False
        self.fail(misuse_of_code)
        return True

    # --- ends ----------------------------------------------------------------------------------------------

    def fail(self, error: BaseException, *, error_type: str | None = None) -> None:
        """Complete with a failure."""
        error = misuse.missing_event_loop(error) or error
        # Only a change of the code can help.
        non_retriable = isinstance(error, (ReplayError, OrchestratorMisuseError)) or None
        failure = FailureDetails.from_exception(error, non_retriable=non_retriable)
        if error_type is not None:
            failure = msgspec.structs.replace(failure, error_type=error_type)
        self.is_engines_failure = isinstance(error, _ENGINES_ERRORS)
        self.complete(OrchestrationStatus.FAILED, failure=failure)

    def complete(
        self, status: OrchestrationStatus, *, result: str | None = None, failure: FailureDetails | None = None
    ) -> None:
        """End the execution."""
        execution, work = self._execution, self._work
        if execution.status is not None:
            return
        self._sink.release_section()
        execution.status = status
        restart = work.restart if status is OrchestrationStatus.CONTINUED_AS_NEW else None
        self._action = action = CompleteOrchestration(
            id=work.next_id(),
            status=status,
            result=result,
            failure=failure,
            new_version=restart.new_version if restart is not None else None,
            carryover_events=work.mailbox.carried_over()
            if restart is not None and restart.save_events
            else (),
        )
        work.add(OneWay(action))
        execution.condition = ENDED
        self.close_code()
        observer = self._options.observer
        if observer is not None and not execution.is_replaying:
            observer.completed(execution.started, action)

    def replace(self, error: Exception) -> None:
        """Fail although the execution has completed: strict mode found a mistake after the end."""
        if self._action is not None:
            self._work.withdraw(self._action.id)
        self._execution.status = None
        self.fail(error)

    def stop_for_restart(self) -> None:
        """The orchestrator waits or has ended after ``continue_as_new``: its code does not run any more."""
        self._sink.release_section()
        self._execution.condition = CONTINUING
        self.close_code()

    def complete_restart(self) -> None:
        """The episode is over: continue as new if that was asked for."""
        restart = self._work.restart
        if self._execution.condition == CONTINUING and restart is not None:
            self.complete(OrchestrationStatus.CONTINUED_AS_NEW, result=restart.input)

    def close_code(self) -> None:
        """Close what is suspended. From here on the code changes nothing that is sent."""
        sink = self._sink
        sink.seal()
        sink.thread = get_ident()
        try:
            sink.is_endless = not sink.scheduler.close()
        finally:
            sink.thread = 0

    # --- tasks that were never awaited -------------------------------------------------------------------

    def _report_unawaited(self) -> None:
        found = self._never_awaited()
        strict = self._options.strict
        if not found or (self._execution.is_replaying and not strict):
            return
        message = (
            f"Orchestration {self._execution.instance_id!r} completed although it never awaited:\n"
            f"{misuse.never_awaited(found)}\n"
            "Was an 'await' forgotten? Work that was scheduled goes on, but its result and failures are lost. If that "
            "is intended, call 'task.detach()'."
        )
        if strict:
            raise UnawaitedTaskError(message)
        _logger.warning("%s", message)

    def _never_awaited(self) -> list[EngineTask[object]]:
        return [task for task in dict.fromkeys(self._unfinished()) if task.observed == UNSEEN]

    def _unfinished(self) -> Iterator[EngineTask[object]]:
        for group in (self._sink.unseen, self._work.unfinished(), self._sink.groups):
            for task in group:
                if isinstance(task, EngineTask):
                    yield task
