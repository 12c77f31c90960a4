"""Groups: ``task_all`` and ``task_any`` as tasks that wait for their members.

The rules are in ``durabletask.core.tasks``. A group is made by user code and ends in one of three ways: at once,
when members that have already ended decide it; by ``wake``, when a member ends; or by ``cancel``.

* A group subscribes to each open member once, however often it is named, and leaves all of them when it ends. It
  then keeps its members only for their results.
* ``AllOf`` with a ``limit`` over an iterable is the one place where user code runs outside the scheduler's queue:
  the iterable is pulled while events are applied. Its actions are numbered like all others, so this is as
  deterministic as the rest; an exception of the iterable ends the group.
* A group may never run a fiber, and never cancel a member whose code is what calls ``cancel``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, cast

from durabletask.core.errors import OrchestratorMisuseError, SchedulingError, TaskFailedError
from durabletask.core.failures import FailureDetails
from durabletask.core.tasks import Awaitables, Task, TaskScope

from .fibers import Fiber, adopt
from .locations import calling_frame, here
from .tasks import FAILURE, PENDING, RAW_FAILURE, RAW_RESULT, RESULT, EngineTask, Waiter

if TYPE_CHECKING:
    from .sink import Sink

__all__ = ["AllOf", "AnyOf", "Groups"]


class _Group(EngineTask[object], Waiter):
    """What both kinds share: members, and leaving them when the group ends."""

    __slots__ = ("_members",)

    def __init__(self, sink: Sink) -> None:
        frame = calling_frame()
        super().__init__(sink, frame.f_code, frame.f_lasti)
        self._members: list[EngineTask[object]] = []

    @property
    def is_waiting(self) -> bool:
        return self.state == PENDING and self.is_live

    def reached_code(self) -> None:
        for member in self._members:
            if member.state != PENDING:
                member.reached_code()

    def _leave_members(self) -> None:
        for member in self._members:
            if member.state == PENDING:
                member.unsubscribe(self)

    @property
    def is_running(self) -> bool:
        """Whether the code of a member is running."""
        return any(m.is_running for m in self._members if isinstance(m, (Fiber, _Group)))

    def withdraw(self) -> None:
        if self.is_running:
            raise SchedulingError(f"{self!r} cannot be cancelled by one of its members.")
        self._leave_members()
        for member in self._members:
            member.cancel()


class AllOf(_Group):
    """Ends when every member has ended, or with the first failure."""

    __slots__ = ("_as_tuple", "_context", "_fail_fast", "_limit", "_open", "_return_exceptions", "_source")

    def __init__(
        self,
        sink: Sink,
        members: Iterable[object],
        *,
        return_exceptions: bool,
        fail_fast: bool,
        limit: int | None,
        as_tuple: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}.")
        super().__init__(sink)
        self._return_exceptions = return_exceptions
        self._fail_fast = fail_fast and not return_exceptions
        self._as_tuple = as_tuple
        self._limit = limit or 0  # for members that are pulled
        self._open = 0  # members that have not ended
        self._source: Iterator[object] | None = None  # members that were not pulled yet
        self._context = copy_context()  # for members that are pulled later
        if limit is not None and isinstance(members, Collection):
            _check_is_bounded(members, limit)
        # A sequence is adopted at once, so that no coroutine of it is lost; any other iterable is pulled.
        if limit is None or isinstance(members, (list, tuple)):
            tasks = [
                member if isinstance(member, EngineTask) and member.sink is sink else adopt(sink, member)
                for member in members
            ]
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
        elif self._source is not None:
            self._context.copy().run(self._pull)
        elif self._open == 0:
            self._end_if_over(None)

    def _take_all(self, members: list[EngineTask[object]]) -> None:
        """Take every member at once."""
        self._members = members
        failed: EngineTask[object] | None = None
        for member in members:
            if member.state == PENDING:
                self._open += member.subscribe(self)
            else:
                failed = self._take_ended(member, failed)
        self._end_if_over(failed)

    def _pull(self) -> None:
        """Take members from the source as far as the limit allows; end when nothing is left."""
        failed: EngineTask[object] | None = None
        while self._source is not None and self._open < self._limit:
            try:
                member = adopt(self.sink, self._next(self._source))
            except StopIteration:
                self._source = None
                break
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - the iterable is user code: its error is the group's
                self._end(FAILURE, error)
                return
            self._members.append(member)
            if member.state == PENDING:
                self._open += member.subscribe(self)
            else:
                failed = self._take_ended(member, failed)
        self._end_if_over(failed)

    def _next(self, source: Iterator[object]) -> object:
        """The next member of a lazy iterable, whose first member shows whether it schedules lazily."""
        last_id = self.sink.work.last_id
        member = next(source)
        if not self._members and _was_scheduled(member, last_id):
            raise _unbounded(self._limit)
        return member

    def _take_ended(
        self, member: EngineTask[object], failed: EngineTask[object] | None
    ) -> EngineTask[object] | None:
        """Look at a member that has ended; the one of the members up to it that ends the group by its failure."""
        member.look_at()
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

    def _end(self, state: int, value: object) -> None:
        self._source = None
        self._leave_members()
        self.settle(state, value)

    def decode(self, raw: object) -> object:
        del raw
        results = [m.failure() if m.state >= RAW_FAILURE else m.read() for m in self._members]
        return tuple(results) if self._as_tuple else results

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

    def __init__(self, sink: Sink, members: Iterable[object]) -> None:
        super().__init__(sink)
        self._members = [adopt(sink, member) for member in members]
        if not self._members:
            raise ValueError("task_any needs at least one task: with none it would wait forever.")
        for member in self._members:
            if isinstance(member, Fiber):
                member.start()
            member.look_at()
        ended = next((member for member in self._members if member.state != PENDING), None)
        if ended is not None:
            self.settle(RESULT, ended)
            return
        for member in self._members:
            member.subscribe(self)

    def read(self) -> object:
        winner = super().read()
        self.reached_code()
        return winner

    def reached_code(self) -> None:
        if isinstance(self.value, EngineTask):
            self.value.reached_code()

    def wake(self, task: EngineTask[object]) -> None:
        """A member has ended: it is the winner."""
        if self.state == PENDING:
            self._leave_members()
            self.settle(RESULT, task)

    def describe(self) -> str:
        return f"task_any of {len(self._members)}"


class Groups(TaskScope):
    """Makes the groups of one orchestration."""

    __slots__ = ("_sink",)

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def fail_for(self, error: OrchestratorMisuseError) -> None:
        self._sink.fail_for(error)

    def make_all(
        self,
        members: Awaitables[object],
        *,
        return_exceptions: bool,
        fail_fast: bool,
        limit: int | None,
        as_tuple: bool = False,
    ) -> Task[list[object]]:
        sink = self._sink
        sink.check_open("task_all")
        made = AllOf(
            sink,
            members,
            return_exceptions=return_exceptions,
            fail_fast=fail_fast,
            limit=limit,
            as_tuple=as_tuple,
        )
        sink.groups.add(made)
        return cast("Task[list[object]]", made)

    def make_any(self, members: Awaitables[object]) -> Task[Task[object]]:
        sink = self._sink
        sink.check_open("task_any")
        made = AnyOf(sink, members)
        sink.groups.add(made)
        return cast("Task[Task[object]]", made)


def _check_is_bounded(members: Collection[object], limit: int) -> None:
    """Refuse a limit that bounds nothing, because the members were scheduled before it could be applied."""
    scheduled = sum(isinstance(member, EngineTask) and not isinstance(member, Fiber) for member in members)
    if scheduled and (scheduled == len(members) or scheduled > limit):
        raise _unbounded(limit)


def _was_scheduled(member: object, last_id: int) -> bool:
    """Whether a member was scheduled before it was pulled: its id is not a new one."""
    task = member.open_task() if isinstance(member, EngineTask) else None
    return task is not None and task.task_id is not None and task.task_id <= last_id


def _unbounded(limit: int) -> ValueError:
    return ValueError(
        f"task_all(..., limit={limit}) at {here()} has members that are scheduled already, so the limit bounds nothing. "
        f"Give it a generator, which schedules as members finish: 'ctx.task_all((ctx.call_activity(f, x) for x in xs), "
        f"limit={limit})', or coroutines."
    )


def _as_task_failure(error: BaseException) -> TaskFailedError:
    if isinstance(error, TaskFailedError):
        return error
    made = TaskFailedError(str(error), FailureDetails.from_exception(error))
    made.__cause__ = error
    return made
