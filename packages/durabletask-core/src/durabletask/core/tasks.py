"""``Task``: what an orchestrator awaits, and the two ways to wait for many.

A task is a handle on something that the hub, or another part of the orchestrator, will answer. It is made by
the methods of ``OrchestrationContext`` only. Awaiting it (or yielding it, in a generator orchestrator) gives
its result or raises its failure. A payload is decoded when somebody looks at it, not before.

The rules of groups (decisions, rows 1 and 2):

* ``task_all`` fails at once with the first failure in history order. ``fail_fast=False`` waits for every
  member and then raises the first failure in member order, with all of them on ``.failures``;
  ``return_exceptions=True`` waits for every member and returns exceptions as values.
* ``task_any`` gives the winning *task*: a failed member can win, its failure shows when it is read.
* Losers and the members left over after a failure are not cancelled; ``Task.cancel`` does that.
* Coroutines among the members become fibers: they start, in member order, at the next wait.
"""

from __future__ import annotations

from _thread import get_ident
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, Union, cast, overload

from .errors import ForeignTaskError, SchedulingError, TaskCancelledError, UnawaitedTaskError

if TYPE_CHECKING:
    from types import CodeType

__all__ = [
    "Awaitables",
    "Task",
    "TaskScope",
    "Waiter",
    "current_scope",
    "running_scopes",
    "task_all",
    "task_any",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Awaitables: TypeAlias = Iterable[Union["Task[T]", Coroutine[Any, Any, T]]]
"""What groups are made of: tasks and coroutines, from any iterable."""

# The life of a task. "Raw" states hold what the history says, not yet turned into Python objects.
PENDING: Final = 0
RAW_RESULT: Final = 1
RESULT: Final = 2
RAW_FAILURE: Final = 3
FAILURE: Final = 4

# Who has taken notice of a task.
UNSEEN: Final = 0
LOOKED_AT: Final = 1
WAITED_FOR: Final = 2


class Waiter(ABC):
    """Something that is told when a task ends."""

    __slots__ = ()

    @abstractmethod
    def wake(self, task: Task[object]) -> None:
        """The task has just ended."""

    @property
    def is_waiting(self) -> bool:
        """Whether it still wants to know, directly or for somebody else."""
        return True


class TaskScope(ABC):
    """The orchestration that tasks belong to; the engine implements it."""

    __slots__ = ()

    thread: int
    """The thread in which its code runs and may schedule at this moment; 0 while there is none."""

    @abstractmethod
    def make_all(
        self, members: Awaitables[object], *, return_exceptions: bool, fail_fast: bool, limit: int | None
    ) -> Task[list[object]]:
        """See ``task_all``."""

    @abstractmethod
    def make_any(self, members: Awaitables[object]) -> Task[Task[object]]:
        """See ``task_any``."""

    @abstractmethod
    def place(self) -> str:
        """``file:line`` of the user code that runs."""

    @abstractmethod
    def gives_in(self) -> bool:
        """Whether abandoned code that swallows every refusal may go on to its next wait, where it can be stopped."""

    @abstractmethod
    def count_failure(self) -> int:
        """The number of failures up to now; gives failures their order in history."""

    @abstractmethod
    def note_unseen(self, task: Task[object]) -> None:
        """A task has ended that nobody has looked at so far."""


running_scopes: dict[int, TaskScope] = {}
"""Which orchestration runs in which thread, by thread id; only the engine writes here."""


def current_scope(what: str) -> TaskScope:
    """The orchestration that runs in this thread at this moment.

    Raises:
        SchedulingError: there is none.
    """
    scope = running_scopes.get(get_ident())
    if scope is None:
        raise SchedulingError(
            f"{what} was used outside a running orchestrator, or from another thread. Use it only in the code of an "
            "orchestrator; move work that needs threads into an activity."
        )
    return scope


class Task(Generic[T_co]):
    """A handle on something that will be answered: an activity, a timer, an event, a group, ...

    Use ``await task`` (``yield task`` in a generator orchestrator). Tasks are compared by identity.
    """

    __slots__ = ("_code", "_lasti", "_observed", "_order", "_others", "_scope", "_state", "_value", "_waiter")

    def __init__(self, scope: TaskScope, code: CodeType | None = None, lasti: int = 0) -> None:
        self._scope = scope
        self._code = code
        self._lasti = lasti
        self._state: int = PENDING
        self._value: object = None
        self._observed: int = UNSEEN
        self._waiter: Waiter | None = None
        self._others: dict[Waiter, None] | None = None

    # --- what users see ------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Task[Any], Any, T_co]:
        if self._scope.thread != get_ident() and not self._scope.gives_in():
            raise self._foreign()
        if self._state == PENDING:
            yield self
        self._observed = WAITED_FOR
        return self._read()

    @property
    def is_complete(self) -> bool:
        """Whether the task has ended: with a result, a failure, or by cancellation."""
        self._observed = self._observed or LOOKED_AT
        return self._state != PENDING

    @property
    def is_failed(self) -> bool:
        """Whether the task has ended without a result."""
        self._observed = self._observed or LOOKED_AT
        return self._state >= RAW_FAILURE

    @property
    def is_cancelled(self) -> bool:
        """Whether the task was cancelled before it ended."""
        return self._state == FAILURE and isinstance(self._value, TaskCancelledError)

    @property
    def result(self) -> T_co:
        """The result; raises the failure of a failed task.

        Raises:
            UnawaitedTaskError: the task has not ended yet.
        """
        self._observed = self._observed or LOOKED_AT
        return self._read()

    def get_result(self) -> T_co:
        """The same as ``result``."""
        return self.result

    @property
    def exception(self) -> BaseException | None:
        """The failure of a failed task, otherwise ``None``."""
        self._observed = self._observed or LOOKED_AT
        return self._failure() if self._state >= RAW_FAILURE else None

    def get_exception(self) -> BaseException | None:
        """The same as ``exception``."""
        return self.exception

    def cancel(self) -> bool:
        """Stop waiting for the task: whoever awaits it gets ``TaskCancelledError``.

        An action that was not sent yet is withdrawn. One that was sent goes on at the hub (nothing can call it
        back) and its answer is ignored. Cancelling a fiber raises ``TaskCancelledError`` inside it, where it
        waits; cancelling a group cancels its unfinished members.

        Returns:
            Whether there was something to cancel: ``False`` once the task, or its orchestration, has ended.
        """
        if self._state != PENDING or self._scope.thread != get_ident():
            return False
        self._observed = self._observed or LOOKED_AT
        self._withdraw()
        if self._state == PENDING:
            self._settle(FAILURE, TaskCancelledError(f"{self} was cancelled."))
        return True

    @staticmethod
    def all(
        tasks: Awaitables[T],
        *,
        return_exceptions: bool = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[list[T]]:
        """The same as ``task_all``."""
        made = current_scope("Task.all").make_all(
            tasks, return_exceptions=return_exceptions, fail_fast=fail_fast, limit=limit
        )
        return cast("Task[list[T]]", made)

    @staticmethod
    def any(tasks: Awaitables[T]) -> Task[Task[T]]:
        """The same as ``task_any``."""
        return cast("Task[Task[T]]", current_scope("Task.any").make_any(tasks))

    def __repr__(self) -> str:
        return f"<{self._describe()}: {_STATE_NAMES[self._state]}>"

    # --- what the engine sees ------------------------------------------------------------------------------

    def _describe(self) -> str:
        return type(self).__name__

    def _withdraw(self) -> None:
        """Undo what waiting for the answer needs; part of ``cancel``."""

    def _decode(self, raw: object) -> object:
        """Turn what the history says into the result."""
        return raw

    def _explain(self, raw: object) -> BaseException:
        """Turn what the history says into an exception."""
        raise NotImplementedError(raw)

    def _read(self) -> T_co:
        state = self._state
        if state == RAW_RESULT:
            self._value = self._decode(self._value)
            self._state = state = RESULT
        if state == RESULT:
            return cast("T_co", self._value)
        if state == PENDING:
            raise UnawaitedTaskError(
                f"{self} has no result yet: 'await' it (or 'yield' it, in a generator) before reading the result."
            )
        raise self._failure()

    def _failure(self) -> BaseException:
        if self._state == RAW_FAILURE:
            self._value = self._explain(self._value)
            self._state = FAILURE
        return cast("BaseException", self._value)

    def _settle(self, state: int, value: object) -> None:
        """End the task and tell whoever waits, in the order in which they came."""
        self._state = state
        self._value = value
        if state >= RAW_FAILURE:
            self._order: int = self._scope.count_failure()
        waiter, others = self._waiter, self._others
        if waiter is not None:
            self._waiter = None
            waiter.wake(self)
        elif others is None and not self._observed:
            self._scope.note_unseen(self)
        if others is not None:
            self._others = None
            for other in others:
                other.wake(self)

    def _subscribe(self, waiter: Waiter) -> None:
        self._observed = WAITED_FOR
        if self._waiter is None and self._others is None:
            self._waiter = waiter
        elif self._waiter is not waiter:
            if self._others is None:
                self._others = {}
            self._others[waiter] = None

    def _has_waiter(self, waiter: Waiter) -> bool:
        return self._waiter is waiter or (self._others is not None and waiter in self._others)

    def _unsubscribe(self, waiter: Waiter) -> None:
        if self._waiter is waiter:
            self._waiter = None
        elif self._others is not None:
            self._others.pop(waiter, None)
            if not self._others:
                self._others = None

    @property
    def _is_live(self) -> bool:
        """Whether an answer would reach somebody: nobody has asked yet, or somebody is waiting."""
        if self._observed < WAITED_FOR or (self._waiter is not None and self._waiter.is_waiting):
            return True
        return self._others is not None and any(other.is_waiting for other in self._others)

    def _foreign(self, where: str | None = None) -> SchedulingError | ForeignTaskError:
        running = running_scopes.get(get_ident())
        where = where or self._scope.place()
        if running is not None and running is not self._scope:
            return ForeignTaskError(
                f"{self}, awaited at {where}, belongs to another orchestration instance. Await only tasks made by the context of this "
                "orchestrator; keep no tasks in globals or objects that instances share."
            )
        return SchedulingError(
            f"{self} was awaited at {where}, outside its orchestrator (in asyncio code, another thread, or after completion). "
            "Durable tasks can only be awaited in the code of the orchestrator that made them."
        )


_STATE_NAMES: Final = ("pending", "completed", "completed", "failed", "failed")


@overload
def task_all(
    tasks: Awaitables[T],
    *,
    return_exceptions: Literal[False] = False,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[list[T]]: ...
@overload
def task_all(
    tasks: Awaitables[T], *, return_exceptions: bool, fail_fast: bool = True, limit: int | None = None
) -> Task[list[T | BaseException]]: ...
def task_all(
    tasks: Awaitables[T], *, return_exceptions: bool = False, fail_fast: bool = True, limit: int | None = None
) -> Task[Any]:
    """Wait for all of several tasks and coroutines; the result lists their results in member order.

    Args:
        tasks: tasks and coroutines, mixed as needed. With ``limit`` the iterable is pulled only as fast as
            members finish, so that a generator of calls schedules ``limit`` at a time.
        return_exceptions: wait for every member and return failures as values.
        fail_fast: fail at once with the first failure in history order. ``False`` waits for every member, then
            raises the first failure in member order with every failure on ``.failures``.
        limit: how many members are awaited (and coroutines run) at once; ``None`` means all.

    Raises:
        ValueError: ``limit`` is less than one.
    """
    return Task.all(
        cast("Awaitables[object]", tasks),
        return_exceptions=return_exceptions,
        fail_fast=fail_fast,
        limit=limit,
    )


def task_any(tasks: Awaitables[T]) -> Task[Task[T]]:
    """Wait for the first of several tasks and coroutines to end; the result is that task.

    Members that have already ended count. The others are not cancelled.

    Raises:
        ValueError: there are no tasks.
    """
    return Task.any(tasks)
