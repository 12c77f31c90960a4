"""Calls user code: ``async def`` on the event loop, plain functions in a bounded pool of daemon threads."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import cast

from durabletask.core.failures import FailureDetails

from .threads import DaemonThreads

__all__ = ["UserCodeRunner", "await_code", "call_plain", "running_item", "set_running_item"]

running_item: ContextVar[str | None] = ContextVar("durabletask_running_item", default=None)
"""Completion token of the activity or entity batch whose code runs in this context.

A hub in the same process reads it to see which of the items in flight wait for the hub itself.
"""


@contextmanager
def set_running_item(token: str) -> Iterator[None]:
    """Run the body as the code of a work item."""
    reset = running_item.set(token)
    try:
        yield
    finally:
        running_item.reset(reset)


class UserCodeRunner:
    """Calls user code for a worker.

    Args:
        max_threads: how many plain functions run at once; more wait for a thread.

    Attributes:
        is_stopping: a cancellation is the worker's, who stops, and not the user code's own.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._threads: DaemonThreads | None = None
        self.is_stopping: bool = False

    async def call(
        self, function: Callable[[object, object], object], is_async: bool, context: object, value: object
    ) -> object:
        """The result of ``function(context, value)``. A thread gets a copy of the context variables."""
        if is_async:
            return await await_code(function(context, value))
        if self._threads is None:
            self._threads = DaemonThreads(self._max_threads)
        variables = contextvars.copy_context()
        result = await asyncio.wrap_future(
            self._threads.submit(partial(variables.run, call_plain, function, context, value))
        )
        # A plain function may hand back a coroutine (functools.partial of one, a decorator, ...).
        return await await_code(result) if inspect.isawaitable(result) else result

    def failure_of(self, error: BaseException) -> FailureDetails:
        """The failure that reports what user code raised.

        Raises:
            BaseException: the error itself, when the worker stops or the process is interrupted.
        """
        is_cancellation = isinstance(error, asyncio.CancelledError)
        if (is_cancellation and self.is_stopping) or isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise error
        return FailureDetails.from_exception(error)

    def close(self) -> None:
        """Release the threads. One that is busy goes on until its function returns or the process ends."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.close()


async def await_code(code: object) -> object:
    """Await user code. A ``GeneratorExit`` of its own becomes an error that can be reported.

    Python raises ``GeneratorExit`` here to close this coroutine, too, and nothing may be awaited after that. Then the
    task that awaits the code is not the one that runs, or none runs at all.
    """
    task = asyncio.current_task()
    try:
        return await cast("Awaitable[object]", code)
    except GeneratorExit as error:
        try:
            is_own = asyncio.current_task() is task
        except RuntimeError:  # no loop runs: the coroutine is being collected
            is_own = False
        if not is_own:
            raise
        raise RuntimeError("User code raised GeneratorExit") from error


def call_plain(function: Callable[[object, object], object], context: object, value: object) -> object:
    """Call a plain function in a thread of its pool."""
    try:
        return function(context, value)
    except (StopIteration, GeneratorExit, KeyboardInterrupt) as error:
        # A future cannot carry the first; the others mean something else where the future is awaited. Ctrl-C
        # itself only ever reaches the main thread.
        raise RuntimeError(f"User code raised {type(error).__name__}") from error
