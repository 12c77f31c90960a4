"""Fibers: the user's coroutines and generators, advanced one wait at a time.

One trampoline (``Fiber.step``) drives everything: an ``async def`` orchestrator, a generator orchestrator, and
each coroutine given to ``task_all`` or ``task_any``. A fiber is itself a task, and ends with what its body
returns or raises. Fibers run only when the ledger drains its queue, in the order in which they were woken, so
that the order of the events alone decides what happens.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Coroutine, Generator
from types import CodeType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, Union, cast

from durabletask.core.errors import (
    ForeignTaskError,
    OrchestratorMisuseError,
    TaskCancelledError,
)
from durabletask.core.logs import get_logger

from . import misuse
from .calls import ActivityCall
from .tasks import FAILURE, PENDING, RESULT, WAITED_FOR, EngineTask, Waiter

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["Body", "Fiber", "is_body"]

_logger = get_logger("durabletask.orchestration")

Body: TypeAlias = Union[Coroutine[object, object, object], Generator[object, object, object]]
"""What a fiber runs."""


def is_body(value: object) -> TypeGuard[Body]:
    """Whether a value can be run as a fiber."""
    return isinstance(value, (CoroutineType, GeneratorType, Coroutine))


class Fiber(EngineTask[object], Waiter):
    """A coroutine or generator of the user in the middle of its run."""

    __slots__ = (
        "_awaiting",
        "_body",
        "_injected",
        "_is_generator",
        "_is_queued",
        "_is_started",
        "is_running",
    )

    sink: Ledger

    def __init__(self, ledger: Ledger, body: Body) -> None:
        super().__init__(ledger, _code_of(body))
        self._body = body
        self._is_generator = isinstance(body, GeneratorType)
        self._awaiting: EngineTask[object] | None = None
        self._injected: BaseException | None = None
        self._is_queued = False
        self.is_running: bool = False
        self._is_started = False

    def start(self) -> None:
        """Queue the first step; later calls do nothing."""
        if not self._is_started:
            self._is_started = True
            self._enqueue()

    def wake(self, task: EngineTask[object]) -> None:
        """The awaited task has ended: go on at the next drain."""
        self._enqueue()

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
        send = self._body.send
        scope = self.sink
        outcome: tuple[int, object] | None = None
        while True:
            self.is_running = True
            try:
                yielded = send(value) if error is None else self._body.throw(error)
            except StopIteration as stop:
                outcome = RESULT, stop.value
            except KeyboardInterrupt:
                raise
            except BaseException as failure:  # noqa: BLE001 - whatever the user's code raises is its outcome
                outcome = FAILURE, failure
            finally:
                self.is_running = False
            if outcome is not None:
                # Outside of the handlers: an error that follows must not have a StopIteration, with the result in it,
                # as its context.
                self._end(*outcome)
                return
            value = error = None
            if (  # the usual one: as below, without the calls
                type(yielded) is ActivityCall
                and yielded.sink is scope
                and yielded.state == PENDING
                and yielded.waiter is None
                and yielded.others is None
            ):
                yielded.waiter = self
                yielded.observed = WAITED_FOR
                self._awaiting = yielded
                return
            task = self._accept(yielded)
            if task.state == PENDING:
                task.subscribe(self)
                self._awaiting = task
                return
            if self._is_generator:
                value, error = _outcome(task)

    def cancel(self) -> bool:
        """Raise ``TaskCancelledError`` inside the fiber where it waits; a fiber not yet started never runs."""
        if self.state != PENDING or self.sink.thread != get_ident():
            return False
        self.observed = self.observed or WAITED_FOR
        cancelled = TaskCancelledError(f"{self} was cancelled.")
        if self._awaiting is None and self._injected is None:
            self._body.close()
            self._end(FAILURE, cancelled)
        else:
            if self._awaiting is not None:
                self._awaiting.unsubscribe(self)
            self._injected = cancelled
            self._enqueue()
        return True

    def close(self) -> None:
        """Abandon the body. Its ``finally`` blocks run now, once; what they raise is of no interest."""
        if self._awaiting is not None:
            self._awaiting.unsubscribe(self)
        try:
            self._body.close()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - there is nobody left to tell
            return

    def _enqueue(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            self.sink.ready.append(self)

    def _end(self, state: int, value: object) -> None:
        ledger = self.sink
        ledger.fibers.pop(self._body, None)
        if state == FAILURE and not self.is_live and not ledger.is_replaying:
            _logger.warning(
                "Instance %r: %s, which nobody awaits any more, raised %r.",
                ledger.instance_id,
                self.describe(),
                value,
            )
        self.settle(state, value)

    def _accept(self, yielded: object) -> EngineTask[object]:
        """A task of this orchestration. A generator may yield a coroutine or generator: it runs as a fiber."""
        if isinstance(yielded, EngineTask):
            return (
                yielded
                if yielded.sink is self.sink
                else self._fail_for(yielded.foreign(misuse.place_of(self._body)))
            )
        if self._is_generator and is_body(yielded):
            fiber = self.sink.spawn(yielded)
            fiber.start()
            return fiber
        return self._fail_for(misuse.foreign_awaitable(self._body, yielded))

    def _fail_for(self, error: OrchestratorMisuseError | ForeignTaskError) -> EngineTask[object]:
        """Show the error to the user's code, for its traceback and clean-up, and end the orchestration."""
        try:
            self._body.throw(error)
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
