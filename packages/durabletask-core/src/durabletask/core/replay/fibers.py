"""Fibers: the user's coroutines and generators, advanced one wait at a time.

One trampoline (``Fiber.step``) drives everything: an ``async def`` orchestrator, a generator orchestrator, and
each coroutine given to ``task_all`` or ``task_any``. A fiber is itself a task, and ends with what its body
returns or raises. Fibers run only when the ledger drains its queue, in the order in which they were woken, so
that the order of the events alone decides what happens.
"""

from __future__ import annotations

import logging
from _thread import get_ident
from collections.abc import Coroutine, Generator
from types import CodeType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, Union, cast

from durabletask.core.errors import (
    ForeignTaskError,
    OrchestratorMisuseError,
    TaskCancelledError,
)
from durabletask.core.tasks import FAILURE, PENDING, RESULT, WAITED_FOR, Task, Waiter

from . import misuse
from .calls import ActivityCall

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["Body", "Fiber", "is_body"]

_logger = logging.getLogger("durabletask.orchestration")

Body: TypeAlias = Union[Coroutine[object, object, object], Generator[object, object, object]]
"""What a fiber runs."""


def is_body(value: object) -> TypeGuard[Body]:
    """Whether a value can be run as a fiber."""
    return isinstance(value, (CoroutineType, GeneratorType, Coroutine))


class Fiber(Task[object], Waiter):
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

    _scope: Ledger

    def __init__(self, ledger: Ledger, body: Body) -> None:
        super().__init__(ledger, _code_of(body))
        self._body = body
        self._is_generator = isinstance(body, GeneratorType)
        self._awaiting: Task[object] | None = None
        self._injected: BaseException | None = None
        self._is_queued = False
        self.is_running: bool = False
        self._is_started = False

    def start(self) -> None:
        """Queue the first step; later calls do nothing."""
        if not self._is_started:
            self._is_started = True
            self._enqueue()

    def wake(self, task: Task[object]) -> None:
        """The awaited task has ended: go on at the next drain."""
        self._enqueue()

    def step(self) -> None:
        """Run the body up to its next wait or its end."""
        self._is_queued = False
        if self._state != PENDING:
            return
        value: object = None
        error: BaseException | None = None
        awaited, self._awaiting = self._awaiting, None
        if self._injected is not None:
            error, self._injected = self._injected, None
        elif self._is_generator and awaited is not None:
            value, error = _outcome(awaited)
        send = self._body.send
        scope = self._scope
        while True:
            self.is_running = True
            try:
                yielded = send(value) if error is None else self._body.throw(error)
            except StopIteration as stop:
                self._end(RESULT, stop.value)
                return
            except KeyboardInterrupt:
                raise
            except BaseException as failure:  # noqa: BLE001 - whatever the user's code raises is its outcome
                self._end(FAILURE, failure)
                return
            finally:
                self.is_running = False
            value = error = None
            if (  # the usual one: as below, without the calls
                type(yielded) is ActivityCall
                and yielded._scope is scope
                and yielded._state == PENDING
                and yielded._waiter is None
                and yielded._others is None
            ):
                yielded._waiter = self
                yielded._observed = WAITED_FOR
                self._awaiting = yielded
                return
            task = self._accept(yielded)
            if task._state == PENDING:
                task._subscribe(self)
                self._awaiting = task
                return
            if self._is_generator:
                value, error = _outcome(task)

    def cancel(self) -> bool:
        """Raise ``TaskCancelledError`` inside the fiber where it waits; a fiber not yet started never runs."""
        if self._state != PENDING or self._scope.thread != get_ident():
            return False
        self._observed = self._observed or WAITED_FOR
        cancelled = TaskCancelledError(f"{self} was cancelled.")
        if self._awaiting is None and self._injected is None:
            self._body.close()
            self._end(FAILURE, cancelled)
        else:
            if self._awaiting is not None:
                self._awaiting._unsubscribe(self)
            self._injected = cancelled
            self._enqueue()
        return True

    def close(self) -> None:
        """Abandon the body. Its ``finally`` blocks run now, once; what they raise is of no interest."""
        if self._awaiting is not None:
            self._awaiting._unsubscribe(self)
        try:
            self._body.close()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - there is nobody left to tell
            return

    def _enqueue(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            self._scope.ready.append(self)

    def _end(self, state: int, value: object) -> None:
        ledger = self._scope
        ledger.fibers.pop(self._body, None)
        if state == FAILURE and not self._is_live and not ledger.is_replaying:
            _logger.warning(
                "Instance %r: %s, which nobody awaits any more, raised %r.",
                ledger.instance_id,
                self._describe(),
                value,
            )
        self._settle(state, value)

    def _accept(self, yielded: object) -> Task[object]:
        """A task of this orchestration. A generator may yield a coroutine or generator: it runs as a fiber."""
        if isinstance(yielded, Task):
            return (
                yielded
                if yielded._scope is self._scope
                else self._fail_for(yielded._foreign(misuse.place_of(self._body)))
            )
        if self._is_generator and is_body(yielded):
            fiber = self._scope.spawn(yielded)
            fiber.start()
            return fiber
        return self._fail_for(misuse.foreign_awaitable(self._body, yielded))

    def _fail_for(self, error: OrchestratorMisuseError | ForeignTaskError) -> Task[object]:
        """Show the error to the user's code, for its traceback and clean-up, and end the orchestration."""
        try:
            self._body.throw(error)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - the orchestration fails with `error` whatever the code makes of it
            raise error from None
        raise error

    def _describe(self) -> str:
        return f"coroutine {getattr(self._body, '__qualname__', self._body)!r}"


def _outcome(task: Task[object]) -> tuple[object, BaseException | None]:
    task._observed = WAITED_FOR
    try:
        return task._read(), None
    except BaseException as error:  # noqa: BLE001 - raised again inside the generator
        return None, error


def _code_of(body: Body) -> CodeType | None:
    found = getattr(body, "cr_code", None) or getattr(body, "gi_code", None)
    return cast("CodeType | None", found)
