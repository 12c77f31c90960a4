"""``Task``: what an orchestrator awaits, and the two ways to wait for many.

A task is a handle on something that the hub, or another part of the orchestrator, will answer. Only the methods of
``OrchestrationContext`` make tasks. Awaiting a task (or yielding it, in a generator orchestrator) gives its result or
raises its failure. A payload is decoded when the result is first read.

The rules of groups:

* ``task_all([a, b])`` gives a list, ``task_all(a, b)`` a tuple in which each result has a type of its own.
* ``task_all`` fails at once with the first failure in history order. ``fail_fast=False`` waits for every
  member and then raises the first failure in member order, with all of them on ``.failures``;
  ``return_exceptions=True`` waits for every member and returns exceptions as values.
* ``task_any`` gives the winning *task*: a failed member can win, its failure shows when it is read.
* Losers and the members left over after a failure are not cancelled; ``Task.cancel`` does that.
* Coroutines among the members become fibers: they start, in member order, at the next wait.

This module holds the interface only. The replay engine implements it (``durabletask.core.replay.tasks``), so that
the names which the engine needs do not appear on the class that users see.
"""

from __future__ import annotations

from _thread import get_ident
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, Generic, Literal, TypeAlias, TypeVar, Union, cast, overload

from .errors import OrchestratorMisuseError, SchedulingError

__all__ = [
    "Awaitables",
    "Member",
    "Task",
    "TaskScope",
    "current_scope",
    "running_scopes",
    "task_all",
    "task_any",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")

Member: TypeAlias = Union["Task[T]", Coroutine[Any, Any, T]]
"""A member of a group."""

Awaitables: TypeAlias = Iterable[Member[T]]
"""What groups are made of: tasks and coroutines, from any iterable."""


class TaskScope(ABC):
    """The orchestration that makes groups; the engine implements it."""

    __slots__ = ()

    @abstractmethod
    def make_all(
        self,
        members: Awaitables[object],
        *,
        return_exceptions: bool,
        fail_fast: bool,
        limit: int | None,
        as_tuple: bool = False,
    ) -> Task[list[object]]:
        """See ``task_all``; ``as_tuple`` for members that are arguments of their own."""

    @abstractmethod
    def make_any(self, members: Awaitables[object]) -> Task[Task[object]]:
        """See ``task_any``."""

    @abstractmethod
    def fail_for(self, error: OrchestratorMisuseError) -> None:
        """Fail the orchestration for a mistake of its code, even if the code catches the error."""


running_scopes: dict[int, TaskScope] = {}
"""Which orchestration runs in which thread, by thread id; only the engine writes here."""


def current_scope(what: str) -> TaskScope:
    """The orchestration that is running in this thread.

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

    Use ``await task`` (``yield task`` in a generator orchestrator). Tasks are compared by identity. A task that is
    used as text, as a condition or in a comparison with anything else fails the orchestration: an ``await`` is missing.
    """

    # No ``ABC`` here: its ``isinstance`` is several times slower, and the engine asks for every task that is awaited.
    __slots__ = ()

    @abstractmethod
    def __await__(self) -> Generator[Task[Any], Any, T_co]:
        """Wait for the end of the task; its result, or its failure raised."""

    @property
    @abstractmethod
    def is_complete(self) -> bool:
        """Whether the task has ended: with a result, a failure, or by cancellation."""

    @property
    @abstractmethod
    def is_failed(self) -> bool:
        """Whether the task has ended without a result."""

    @property
    @abstractmethod
    def is_cancelled(self) -> bool:
        """Whether the task was cancelled before it ended."""

    @property
    @abstractmethod
    def result(self) -> T_co:
        """The result; raises the failure of a failed task.

        Raises:
            UnawaitedTaskError: the task has not ended yet.
        """

    def get_result(self) -> T_co:
        """The same as ``result``."""
        return self.result

    @property
    @abstractmethod
    def exception(self) -> BaseException | None:
        """The failure of a failed task, otherwise ``None``."""

    def get_exception(self) -> BaseException | None:
        """The same as ``exception``."""
        return self.exception

    @abstractmethod
    def cancel(self) -> bool:
        """Stop waiting for the task: code that awaits it gets ``TaskCancelledError``.

        An action that was not sent yet is withdrawn. One that was sent goes on at the hub (it cannot be called
        back) and its answer is ignored. Cancelling a fiber raises ``TaskCancelledError`` inside it, where it
        waits; cancelling a group cancels its unfinished members.

        Returns:
            Whether there was something to cancel: ``False`` once the task, or its orchestration, has ended.
        """

    @abstractmethod
    def detach(self) -> None:
        """Do not report the task if it is never awaited: it runs on its own, and its outcome does not matter.

        The task is scheduled as usual, and can still be awaited. Without this call a task that is never awaited is
        logged as a warning when the orchestration completes, and is an error in strict mode.
        """

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
@overload
def task_all(
    first: Member[T1],
    second: Member[T2],
    /,
    *,
    return_exceptions: Literal[False] = False,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[tuple[T1, T2]]: ...
@overload
def task_all(
    first: Member[T1],
    second: Member[T2],
    third: Member[T3],
    /,
    *,
    return_exceptions: Literal[False] = False,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[tuple[T1, T2, T3]]: ...
@overload
def task_all(
    first: Member[T1],
    second: Member[T2],
    third: Member[T3],
    fourth: Member[T4],
    /,
    *,
    return_exceptions: Literal[False] = False,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[tuple[T1, T2, T3, T4]]: ...
@overload
def task_all(
    first: Member[T1],
    second: Member[T2],
    third: Member[T3],
    fourth: Member[T4],
    fifth: Member[T5],
    /,
    *,
    return_exceptions: Literal[False] = False,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[tuple[T1, T2, T3, T4, T5]]: ...
@overload
def task_all(
    first: Member[T1],
    second: Member[T2],
    third: Member[T3],
    fourth: Member[T4],
    fifth: Member[T5],
    sixth: Member[T6],
    /,
    *,
    return_exceptions: Literal[False] = False,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[tuple[T1, T2, T3, T4, T5, T6]]: ...
@overload
def task_all(
    first: Member[T],
    second: Member[T],
    /,
    *more: Member[T],
    return_exceptions: Literal[False] = False,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[tuple[T, ...]]: ...
@overload
def task_all(
    first: Member[T],
    second: Member[T],
    /,
    *more: Member[T],
    return_exceptions: bool,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[tuple[T | BaseException, ...]]: ...
def task_all(
    tasks: object,
    *more: object,
    return_exceptions: bool = False,
    fail_fast: bool = True,
    limit: int | None = None,
) -> Task[Any]:
    """Wait for all of several tasks and coroutines; the result lists their results in member order.

    ``await task_all(a, b)`` gives a tuple, for members of different types; ``await task_all([a, b])`` a list.

    Args:
        tasks: tasks and coroutines, mixed as needed; or the first of them. With ``limit`` the iterable is pulled only as fast as
            members finish, so that a generator of calls schedules ``limit`` at a time.
        *more: the other ones.
        return_exceptions: wait for every member and return failures as values.
        fail_fast: fail at once with the first failure in history order. ``False`` waits for every member, then
            raises the first failure in member order with every failure on ``.failures``.
        limit: how many members are awaited (and coroutines run) at once; ``None`` means all.

    Raises:
        ValueError: ``limit`` is less than one, or the tasks are scheduled already, so that it could bound nothing.
    """
    return current_scope("task_all").make_all(
        cast("Awaitables[object]", (tasks, *more) if more else tasks),
        return_exceptions=return_exceptions,
        fail_fast=fail_fast,
        limit=limit,
        as_tuple=bool(more),
    )


def task_any(tasks: Awaitables[T]) -> Task[Task[T]]:
    """Wait for the first of several tasks and coroutines to end; the result is that task.

    Members that have already ended count. The others are not cancelled.

    Raises:
        ValueError: there are no tasks.
    """
    return Task.any(tasks)
