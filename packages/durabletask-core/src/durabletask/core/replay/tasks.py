"""What every task of the engine is: a state, a value, and the waiters that are woken when it ends.

States::

    PENDING ──> RAW_RESULT ──> RESULT        an answer of the hub; decoded when the result is first read
            ──> RESULT                       a timer, a fiber that returned, the winner of a ``task_any``
            ──> RAW_FAILURE ──> FAILURE      a failure in the history; an exception when it is first read
            ──> FAILURE                      an exception raised by user code, or a cancellation

``settle`` is the only way out of PENDING and is called once. It is called by the handlers of events, by ``cancel``
and by the scheduler, never while the settled task's own waiters run: waking a waiter only queues a fiber or settles
a group. Reading (``read``, ``failure``) moves from a raw state to its final one, and nothing else does.

Users see ``durabletask.core.Task``. ``EngineTask`` implements it; the names below that class are for the engine.
"""

from __future__ import annotations

from _thread import get_ident
from abc import abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar, cast

from durabletask.core.errors import (
    ForeignTaskError,
    SchedulingError,
    SerializationError,
    TaskCancelledError,
    UnawaitedTaskError,
)
from durabletask.core.tasks import Task, running_scopes

from .locations import here, locate, user_line
from .observed import LOOKED_AT, UNSEEN, WAITED_FOR

if TYPE_CHECKING:
    from types import CodeType

    from durabletask.core.actions import OrchestratorAction
    from durabletask.core.history import HistoryEvent
    from durabletask.core.open_tasks import OpenTask

    from .sink import Sink

__all__ = [
    "FAILURE",
    "PENDING",
    "RAW_FAILURE",
    "RAW_RESULT",
    "RESULT",
    "EngineTask",
    "Waiter",
]

T_co = TypeVar("T_co", covariant=True)

# The life of a task. "Raw" states hold what the history recorded, not yet decoded.
PENDING: Final = 0
RAW_RESULT: Final = 1
RESULT: Final = 2
RAW_FAILURE: Final = 3
FAILURE: Final = 4

_STATE_NAMES: Final = ("pending", "completed", "completed", "failed", "failed")


class Waiter:
    """Something that is woken when a task ends."""

    __slots__ = ()

    @abstractmethod
    def wake(self, task: EngineTask[object]) -> None:
        """The task has just ended."""

    @property
    def is_waiting(self) -> bool:
        """Whether the answer still reaches user code through this waiter."""
        return True


class _Waiters(Waiter):
    """More than one waiter, in the order in which they came. Few tasks have them, so this is not a field of each."""

    __slots__ = ("all",)

    def __init__(self, first: Waiter) -> None:
        self.all: dict[Waiter, None] = {first: None}

    def wake(self, task: EngineTask[object]) -> None:
        for waiter in self.all:
            waiter.wake(task)

    @property
    def is_waiting(self) -> bool:
        return any(waiter.is_waiting for waiter in self.all)


class EngineTask(Task[T_co]):
    """The engine's side of ``Task``."""

    __slots__ = ("code", "lasti", "observed", "order", "sink", "state", "value", "waiter")

    def __init__(self, sink: Sink, code: CodeType | None = None, lasti: int = 0) -> None:
        self.sink: Sink = sink
        self.code: CodeType | None = code
        self.lasti: int = lasti
        self.state: int = PENDING
        self.value: object = None
        self.observed: int = UNSEEN
        self.waiter: Waiter | None = None

    # --- what users see ------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Task[object], object, T_co]:
        if self.sink.thread != get_ident() and not self.sink.is_endless:
            raise self.foreign()
        if self.state == PENDING:
            yield self
        self.observed = WAITED_FOR
        return self.read()

    @property
    def is_complete(self) -> bool:
        self.look_at()
        if self.state == PENDING:
            return False
        self.reached_code()
        return True

    @property
    def is_failed(self) -> bool:
        self.look_at()
        return self.state >= RAW_FAILURE

    @property
    def is_cancelled(self) -> bool:
        return self.state == FAILURE and isinstance(self.value, TaskCancelledError)

    @property
    def result(self) -> T_co:
        self.look_at()
        return self.read()

    @property
    def exception(self) -> BaseException | None:
        self.look_at()
        return self.failure() if self.state >= RAW_FAILURE else None

    def cancel(self) -> bool:
        if self.state != PENDING or self.sink.thread != get_ident():
            return False
        self.look_at()
        self.withdraw()
        if self.state == PENDING:
            self.settle(FAILURE, TaskCancelledError(f"{self!r} was cancelled."))
        return True

    def detach(self) -> None:
        self.look_at()

    def __repr__(self) -> str:
        return f"<{self.describe()}: {_STATE_NAMES[self.state]}>"

    # Python accepts every object in these operations, so a forgotten ``await`` would pass in silence. Operations for
    # which it raises a TypeError of its own are not listed: ``misuse.forgotten_await`` explains that error, and a
    # task with ``__iter__`` or ``__len__`` would count as a container in code that flattens lists.

    def __str__(self) -> str:
        raise self._used_as_value("text")

    def __format__(self, spec: str) -> str:
        raise self._used_as_value("text")

    def __bool__(self) -> bool:
        raise self._used_as_value("a condition")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Task):
            return self is other
        raise self._used_as_value("an operand of '==' or '!='")

    def __hash__(self) -> int:
        return object.__hash__(self)

    def _used_as_value(self, role: str) -> UnawaitedTaskError:
        error = UnawaitedTaskError(
            f"{self!r}, made at {self.location}, was used as {role} at {user_line()}. Was an 'await' ('yield', in a "
            "generator) forgotten? Await the task and use its result. 'is None' and 'repr(task)' work without a result."
        )
        self.sink.fail_for(error)
        return error

    # --- what kinds of tasks differ in -----------------------------------------------------------------------

    def describe(self) -> str:
        """What the task is, for messages."""
        return type(self).__name__

    def reached_code(self) -> None:
        """User code has learned that the task has ended, if not of its result."""

    def withdraw(self) -> None:
        """Undo what waiting for the answer needs; part of ``cancel``."""

    def decode(self, raw: object) -> object:
        """Decode the recorded answer into the result."""
        return raw

    def deserialize(self, raw: object, target: object) -> object:
        """Decode a payload that the history recorded."""
        try:
            return self.sink.converter.deserialize(raw if isinstance(raw, str) else None, target)
        except SerializationError as error:
            raise SerializationError(f"{self.payload_name()}: {error}") from None

    def payload_name(self) -> str:
        """What the payload is, for messages."""
        return f"Result of {self.describe()}"

    def explain(self, raw: object) -> BaseException:
        """Make the exception for a recorded failure."""
        raise NotImplementedError(raw)

    # --- in the tables of open work --------------------------------------------------------------------------

    is_answered: ClassVar[bool] = True

    @property
    def is_open(self) -> bool:
        """Whether the task has not ended yet."""
        return self.state == PENDING

    @property
    def whole(self) -> EngineTask[object]:
        """The task that this one is a part of, or itself."""
        return self

    @property
    def is_awaited(self) -> bool:
        """Whether user code has waited for the task, directly or through a group."""
        return self.observed == WAITED_FOR

    def open_task(self) -> OpenTask | None:
        """What the task waits for; ``None`` when the hub does not answer it."""
        return None

    def confirmed(self, event: HistoryEvent) -> None:
        """The history confirms the action of the task."""

    def attach(self, action: OrchestratorAction) -> None:
        """Replace the action by a copy that carries a trace context."""

    # --- the state -------------------------------------------------------------------------------------------

    def settle(self, state: int, value: object) -> None:
        """End the task and wake its waiters, in the order in which they came."""
        self.state = state
        self.value = value
        if state >= RAW_FAILURE:
            self.order: int = self.sink.count_failure()
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.wake(self)
        elif not self.observed:
            self.sink.unseen.add(self)

    def complete(self, raw: object) -> None:
        """End with a result, as the history has it."""
        self.settle(RAW_RESULT, raw)

    def read(self) -> T_co:
        """The result; raises the failure of a failed task."""
        state = self.state
        if state == RAW_RESULT:
            self.value = self.decode(self.value)
            self.state = state = RESULT
        if state == RESULT:
            return cast("T_co", self.value)
        if state == PENDING:
            raise UnawaitedTaskError(
                f"{self!r} has no result yet: 'await' it (or 'yield' it, in a generator) before reading the result."
            )
        raise self.failure()

    def failure(self) -> BaseException:
        """The exception of a failed task."""
        if self.state == RAW_FAILURE:
            self.value = self.explain(self.value)
            self.state = FAILURE
        return cast("BaseException", self.value)

    # --- waiters ---------------------------------------------------------------------------------------------

    def look_at(self) -> None:
        """User code has looked at the task: it is no longer reported as never awaited."""
        self.observed = self.observed or LOOKED_AT

    def subscribe(self, waiter: Waiter) -> bool:
        """Wake ``waiter`` when the task ends; ``False`` if that was so already."""
        self.observed = WAITED_FOR
        found = self.waiter
        if found is None:
            self.waiter = waiter
            return True
        if not isinstance(found, _Waiters):
            if found is waiter:
                return False
            self.waiter = found = _Waiters(found)
        elif waiter in found.all:
            return False
        found.all[waiter] = None
        return True

    def unsubscribe(self, waiter: Waiter) -> None:
        """Undo ``subscribe``."""
        if self.waiter is waiter:
            self.waiter = None
        elif isinstance(self.waiter, _Waiters):
            self.waiter.all.pop(waiter, None)

    @property
    def is_live(self) -> bool:
        """Whether an answer can reach user code: it has not been awaited yet, or it is awaited now."""
        return self.observed < WAITED_FOR or (self.waiter is not None and self.waiter.is_waiting)

    # --- messages --------------------------------------------------------------------------------------------

    @property
    def location(self) -> str:
        """``file:line`` of the user code that made the task."""
        return locate(self.code, self.lasti)

    def foreign(self, where: str | None = None) -> SchedulingError | ForeignTaskError:
        """The error for awaiting the task in a place where it cannot be awaited."""
        where = where or here()
        if get_ident() in running_scopes:  # its own orchestration does not run, so another one does
            return ForeignTaskError(
                f"{self!r}, awaited at {where}, belongs to another orchestration instance. Await only tasks made by the context of this "
                "orchestrator; keep no tasks in globals or objects that instances share."
            )
        return SchedulingError(
            f"{self!r} was awaited at {where}, outside its orchestrator (in asyncio code, another thread, or after completion). "
            "Durable tasks can only be awaited in the code of the orchestrator that made them."
        )
