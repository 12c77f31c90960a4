"""Fibers: the user's coroutines and generators, advanced one wait at a time.

One trampoline (``Fiber.step``) drives everything: an ``async def`` orchestrator, a generator orchestrator, and
each coroutine given to ``task_all`` or ``task_any``. A fiber is itself a task, and ends with what its body
returns or raises.

States of a fiber::

    new ──start──> queued ──step──> running ──> waiting for a task ──wake──> queued ──> ... ──> ended

* Only the scheduler calls ``step`` and ``close``. Waking, starting and cancelling put the fiber into the queue;
  they never run its body, because they may be called while another body runs.
* A fiber waits for one task at a time, and is in the queue at most once.
* Cancelling a waiting fiber raises inside its body at the next step. A fiber that was never stepped does not start.
* A body may only await tasks of its own orchestration. Anything else ends the orchestration, after the error was
  raised once at the place of the wait, for the traceback and for clean-up.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import CodeType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard, TypeVar, Union, cast

from typing_extensions import ParamSpec

from durabletask.core.errors import ForeignTaskError, OrchestratorMisuseError, TaskCancelledError
from durabletask.core.failures import FailureDetails
from durabletask.core.logs import get_logger

from . import misuse
from .locations import here
from .observed import WAITED_FOR
from .tasks import FAILURE, PENDING, RESULT, EngineTask, Waiter

if TYPE_CHECKING:
    from .sink import Sink

__all__ = ["Body", "Fiber", "adopt", "is_body", "spawn"]

P = ParamSpec("P")
T = TypeVar("T")

_logger = get_logger("durabletask.orchestration")

Body: TypeAlias = Union[Coroutine[object, object, object], Generator[object, object, object]]
"""What a fiber runs."""

# How often a body may wait again when it is closed, in ``finally`` blocks for instance, before it counts as code
# that never ends.
_MOST_CLOSINGS: Final = 100


def is_body(value: object) -> TypeGuard[Body]:
    """Whether a value can be run as a fiber."""
    return isinstance(value, (CoroutineType, GeneratorType, Coroutine))


def spawn(sink: Sink, body: Body, context: Context | None = None) -> Fiber:
    """The fiber of a coroutine or generator; one per body."""
    found = sink.scheduler.suspended.get(body)
    return found if isinstance(found, Fiber) else Fiber(sink, body, context)


def adopt(sink: Sink, member: object) -> EngineTask[object]:
    """A member of a group as a task of this orchestration."""
    if isinstance(member, EngineTask):
        if member.sink is not sink:
            raise ForeignTaskError(
                f"The group at {here()} contains {member!r}, which belongs to another orchestration instance: a group "
                "can only hold tasks of its own."
            )
        return member
    if is_body(member):
        return spawn(sink, member, copy_context())  # as an asyncio task has
    raise misuse.foreign_member(member, here())


class Fiber(EngineTask[object], Waiter):
    """A coroutine or generator of the user in the middle of its run."""

    __slots__ = (
        "_awaiting",
        "_body",
        "_context",
        "_injected",
        "_is_generator",
        "_is_queued",
        "_is_started",
        "_send",
    )

    def __init__(self, sink: Sink, body: Body, context: Context | None = None) -> None:
        super().__init__(sink, _code_of(body))
        self._body = body
        self._context = context  # None: the orchestration's own
        self._send: Callable[[object], object] = (
            body.send if context is None else lambda value: context.run(body.send, value)
        )
        self._is_generator = isinstance(body, GeneratorType)
        self._awaiting: EngineTask[object] | None = None
        self._injected: BaseException | None = None
        self._is_queued = False
        self._is_started = False
        sink.scheduler.suspended[body] = self

    def start(self) -> None:
        """Queue the first step; later calls do nothing."""
        if not self._is_started:
            self._is_started = True
            self.wake(self)

    def subscribe(self, waiter: Waiter) -> bool:
        """See ``EngineTask``. A coroutine starts when something waits for it."""
        self.start()
        return super().subscribe(waiter)

    def wake(self, task: EngineTask[object]) -> None:
        """There is a reason to go on, such as the end of the awaited task: queue the next step."""
        if not self._is_queued:
            self._is_queued = True
            self.sink.scheduler.ready.append(self)

    def step(self) -> None:
        """Run the body up to its next wait or its end."""
        self._is_queued = False
        if self.state != PENDING:
            return
        value: object = None
        error: BaseException | None = None
        awaited, self._awaiting = self._awaiting, None
        if self._injected is not None:
            error, self._injected = self._injected, None
        elif self._is_generator and awaited is not None:
            value, error = _outcome(awaited)
        while True:
            try:
                yielded = self._send(value) if error is None else self._run(self._body.throw, error)
            except StopIteration as stop:
                outcome = RESULT, stop.value
                break
            except KeyboardInterrupt:
                raise
            except BaseException as failure:  # noqa: BLE001 - whatever the user's code raises is its outcome
                outcome = FAILURE, failure
                break
            if isinstance(yielded, EngineTask) and yielded.sink is self.sink:
                task = yielded
            else:
                task = self._accept(yielded)
            if task.state == PENDING:
                task.subscribe(self)
                self._awaiting = task
                return
            value, error = _outcome(task) if self._is_generator else (None, None)
        # Outside of the handlers: an error that follows must not have a StopIteration, with the result in it, as its
        # context.
        self._end(*outcome)

    @property
    def is_running(self) -> bool:
        """Whether the body is executing: it was started, and it neither waits, nor is queued, nor has ended."""
        return self._is_started and not self._is_queued and self._awaiting is None and self.state == PENDING

    def cancel(self) -> bool:
        """Raise ``TaskCancelledError`` inside the fiber where it waits; a fiber not yet started never runs."""
        if self.state != PENDING or self.sink.thread != get_ident():
            return False
        self.observed: int = self.observed or WAITED_FOR
        cancelled = TaskCancelledError(f"{self!r} was cancelled.")
        if self._awaiting is None and self._injected is None:
            self._body.close()
            self._end(FAILURE, cancelled)
        else:
            if self._awaiting is not None:
                self._awaiting.unsubscribe(self)
            self._injected = cancelled
            self.wake(self)
        return True

    def close(self) -> bool:
        """Abandon the body. Its ``finally`` blocks run now; exceptions that they raise are dropped.

        Each attempt raises ``GeneratorExit`` at the present wait. A body that waits again, because a ``finally``
        block awaits something, gets another attempt.
        """
        if self._awaiting is not None:
            self._awaiting.unsubscribe(self)
        for _ in range(_MOST_CLOSINGS):
            try:
                self._run(self._body.close)
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001, S110 - the orchestration has ended: no code could handle it
                pass
            if not _is_suspended(self._body):
                return True
        return False

    def _run(self, code: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a part of the body with its context variables."""
        context = self._context
        return code(*args, **kwargs) if context is None else context.run(code, *args, **kwargs)

    def _end(self, state: int, value: object) -> None:
        self.sink.scheduler.suspended.pop(self._body, None)
        execution = self.sink.execution
        if state == FAILURE and not self.is_live and not execution.is_replaying:
            _logger.warning(
                "Instance %r: %s, which is no longer awaited, raised %s.",
                execution.instance_id,
                self.describe(),
                FailureDetails.from_exception(cast("BaseException", value)).in_short(),
            )
        self.settle(state, value)

    def _accept(self, yielded: object) -> EngineTask[object]:
        """What is no task of this orchestration. A generator may yield a coroutine or generator: it runs as a fiber."""
        if isinstance(yielded, EngineTask):
            return self._fail_for(yielded.foreign(misuse.place_of(self._body)))
        if self._is_generator and is_body(yielded):
            return spawn(self.sink, yielded)
        return self._fail_for(misuse.foreign_awaitable(self._body, yielded))

    def _fail_for(self, error: OrchestratorMisuseError | ForeignTaskError) -> EngineTask[object]:
        """Show the error to the user's code, for its traceback and clean-up, and end the orchestration."""
        try:
            self._run(self._body.throw, error)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - the orchestration fails with `error` whatever the code makes of it
            raise error from None
        raise error

    def describe(self) -> str:
        return f"coroutine {getattr(self._body, '__qualname__', self._body)!r}"


def _outcome(task: EngineTask[object]) -> tuple[object, BaseException | None]:
    task.observed = WAITED_FOR
    try:
        return task.read(), None
    except BaseException as error:  # noqa: BLE001 - raised again inside the generator
        return None, error


def _code_of(body: Body) -> CodeType | None:
    found = getattr(body, "cr_code", None) or getattr(body, "gi_code", None)
    return cast("CodeType | None", found)


def _is_suspended(body: Body) -> bool:
    return getattr(body, "cr_frame", None) is not None or getattr(body, "gi_frame", None) is not None
