"""Groups: ``task_all`` and ``task_any`` as tasks that wait for their members (decisions, rows 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from durabletask.core.errors import SchedulingError, SerializationError, TaskFailedError
from durabletask.core.failures import FailureDetails

from .calls import ActivityCall
from .fibers import Fiber
from .locations import calling_frame
from .tasks import (
    FAILURE,
    LOOKED_AT,
    PENDING,
    RAW_FAILURE,
    RAW_RESULT,
    RESULT,
    WAITED_FOR,
    EngineTask,
    Waiter,
)

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["AllOf", "AnyOf"]


class _Group(EngineTask[object], Waiter):
    """What both kinds share: members, and leaving them when the group ends."""

    __slots__ = ("_members",)

    sink: Ledger

    def __init__(self, ledger: Ledger) -> None:
        frame = calling_frame()
        super().__init__(ledger, frame.f_code, frame.f_lasti)
        self._members: list[EngineTask[object]] = []

    @property
    def is_waiting(self) -> bool:
        return self.state == PENDING and self.is_live

    def _leave_members(self) -> None:
        for member in self._members:
            if member.state == PENDING:
                member.unsubscribe(self)

    @property
    def is_running(self) -> bool:
        """Whether a member's code is what runs at this moment."""
        return any(m.is_running for m in self._members if isinstance(m, (Fiber, _Group)))

    def withdraw(self) -> None:
        if self.is_running:
            raise SchedulingError(f"{self} cannot be cancelled by one of its members.")
        self._leave_members()
        for member in self._members:
            member.cancel()


class AllOf(_Group):
    """Ends when every member has ended, or with the first failure."""

    __slots__ = ("_fail_fast", "_limit", "_open", "_return_exceptions", "_source")

    def __init__(
        self,
        ledger: Ledger,
        members: Iterable[object],
        *,
        return_exceptions: bool,
        fail_fast: bool,
        limit: int | None,
    ) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}.")
        super().__init__(ledger)
        self._return_exceptions = return_exceptions
        self._fail_fast = fail_fast and not return_exceptions
        self._limit = limit
        self._open = 0
        self._source: Iterator[object] | None = None
        # A sequence is adopted at once, so that no coroutine of it is lost; any other iterable is pulled.
        if limit is None or isinstance(members, (list, tuple)):
            adopt = ledger.adopt
            tasks = [m if type(m) is ActivityCall and m.sink is ledger else adopt(m) for m in members]
            if limit is None:
                self._take_all(tasks)
                return
            members = tasks
        self._source = iter(members)
        self._pull()

    def wake(self, task: EngineTask[object]) -> None:
        """A member has ended."""
        if self.state != PENDING:
            return
        self._open -= 1
        if self._fail_fast and task.state >= RAW_FAILURE:
            self._end(RAW_FAILURE, task)
        elif self._open == 0 or self._source is not None:
            self._pull()

    def _take_all(self, members: list[EngineTask[object]]) -> None:
        """Take all members at once; end when all of them have ended."""
        self._members = members
        failed: EngineTask[object] | None = None
        for member in members:
            if (  # the usual one: as ``_await`` does, without the calls
                type(member) is ActivityCall
                and member.state == PENDING
                and member.waiter is None
                and member.others is None
            ):
                member.waiter = self
                member.observed = WAITED_FOR
                self._open += 1
            else:
                failed = self._take(member, failed)
        self._end_if_over(failed)

    def _pull(self) -> None:
        """Take members from the source as far as the limit allows; end when nothing is left."""
        failed: EngineTask[object] | None = None
        while self._source is not None and (self._limit is None or self._open < self._limit):
            try:
                member = next(self._source)
                if not isinstance(member, EngineTask) or member.sink is not self.sink:
                    member = self.sink.adopt(member)
            except StopIteration:
                self._source = None
                break
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - the iterable is user code: its error is the group's
                self._end(FAILURE, error)
                return
            self._members.append(member)
            failed = self._take(member, failed)
        self._end_if_over(failed)

    def _take(
        self, member: EngineTask[object], failed: EngineTask[object] | None
    ) -> EngineTask[object] | None:
        """Await a member, if it is open; the one of the members up to it that ends the group by its failure."""
        if member.state == PENDING:
            self._await(member)
            return failed
        member.observed = member.observed or LOOKED_AT
        if not self._fail_fast or member.state < RAW_FAILURE:
            return failed
        return member if failed is None or member.order < failed.order else failed

    def _end_if_over(self, failed: EngineTask[object] | None) -> None:
        if failed is not None:
            self._end(RAW_FAILURE, failed)
        elif self._open == 0 and self._source is None:
            # With ``fail_fast`` a failure would have ended the group before.
            may_fail = not self._fail_fast and not self._return_exceptions
            is_failed = may_fail and any(m.state >= RAW_FAILURE for m in self._members)
            self.settle(RAW_FAILURE if is_failed else RAW_RESULT, None)

    def _await(self, member: EngineTask[object]) -> None:
        if isinstance(member, Fiber):
            member.start()
        if not member.has_waiter(self):
            member.subscribe(self)
            self._open += 1

    def _end(self, state: int, value: object) -> None:
        self._source = None
        self._leave_members()
        self.settle(state, value)

    def decode(self, raw: object) -> object:
        del raw
        deserialize = self.sink.converter.deserialize
        results: list[object] = []
        for member in self._members:
            state = member.state
            if state == RAW_RESULT and type(member) is ActivityCall:  # as its ``_read`` does
                payload: Any = member.value
                try:
                    member.value = value = deserialize(payload, member._result_type)
                except SerializationError:
                    value = member.read()  # raises the same error, with the name
                member.state = RESULT
                results.append(value)
            else:
                results.append(member.failure() if state >= RAW_FAILURE else member.read())
        return results

    def explain(self, raw: object) -> BaseException:
        if isinstance(raw, EngineTask):
            return raw.failure()
        failures = [_as_task_failure(m.failure()) for m in self._members if m.state >= RAW_FAILURE]
        first = failures[0]
        return TaskFailedError(
            str(first), first.details, task_name=first.task_name, task_id=first.task_id, failures=failures
        )

    def describe(self) -> str:
        return f"task_all of {len(self._members)}"


class AnyOf(_Group):
    """Ends with the first member that has ended."""

    __slots__ = ()

    def __init__(self, ledger: Ledger, members: Iterable[object]) -> None:
        super().__init__(ledger)
        self._members = [ledger.adopt(member) for member in members]
        if not self._members:
            raise ValueError("task_any needs at least one task: with none it would wait forever.")
        for member in self._members:
            if isinstance(member, Fiber):
                member.start()
            member.observed = member.observed or 1
        ended = next((member for member in self._members if member.state != PENDING), None)
        if ended is not None:
            self.settle(RESULT, ended)
            return
        for member in self._members:
            member.subscribe(self)

    def wake(self, task: EngineTask[object]) -> None:
        """A member has ended: it is the winner."""
        if self.state == PENDING:
            self._leave_members()
            self.settle(RESULT, task)

    def describe(self) -> str:
        return f"task_any of {len(self._members)}"


def _as_task_failure(error: BaseException) -> TaskFailedError:
    if isinstance(error, TaskFailedError):
        return error
    made = TaskFailedError(str(error), FailureDetails.from_exception(error))
    made.__cause__ = error
    return made
