"""Calls from the event loop of one thread into that of another, many per hand-over.

A hand-over between threads costs more than most requests: the other thread has to be woken, and while both are busy it
waits for the interpreter's lock. So the requests of one iteration of a loop cross together, and their results return
together. Both lists belong to one loop each; only ``call_soon_threadsafe`` crosses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

__all__ = ["LoopBridge", "StreamReader"]

T = TypeVar("T")

_LARGEST_BATCH = 64


class _Request(Generic[T]):
    def __init__(self, make: Callable[[], Coroutine[object, object, T]], future: asyncio.Future[T]) -> None:
        self.make = make
        self.future = future  # of the calling loop
        self.task: asyncio.Task[T] | None = None  # of the serving loop

    def start(self, loop: asyncio.AbstractEventLoop, finish: Callable[[_AnyRequest], None]) -> None:
        """Called in the serving loop."""
        self.task = loop.create_task(self.make())
        self.task.add_done_callback(lambda _: finish(self))

    def cancel(self) -> None:
        """Called in the serving loop, after ``start`` of this request."""
        if self.task is not None:
            self.task.cancel()

    def settle(self) -> None:
        """Called in the calling loop, when the task is done."""
        task = self.task
        if task is None or task.cancelled():
            self.future.cancel()
            return
        error = task.exception()
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


class _AnyRequest(Protocol):
    """A request, whatever its result is."""

    def start(self, loop: asyncio.AbstractEventLoop, finish: Callable[[_AnyRequest], None]) -> None: ...
    def settle(self) -> None: ...


class LoopBridge:
    """From the running loop into ``serving``. Belongs to the loop that made it.

    Args:
        serving: the loop that runs the requests, in another thread.
    """

    def __init__(self, serving: asyncio.AbstractEventLoop) -> None:
        self._calling = asyncio.get_running_loop()
        self._serving = serving
        self._requests: list[_AnyRequest] = []  # of the calling loop
        self._answered: list[_AnyRequest] = []  # of the serving loop

    @property
    def is_closed(self) -> bool:
        """Whether the calling loop has ended."""
        return self._calling.is_closed()

    async def call(self, make: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run a coroutine in the serving loop and wait for its result. Cancelling the call cancels it."""
        future: asyncio.Future[T] = self._calling.create_future()
        request = _Request(make, future)
        if not self._requests:
            self._calling.call_soon(self._send)
        self._requests.append(request)
        try:
            return await future
        except asyncio.CancelledError:
            self._serving.call_soon_threadsafe(request.cancel)
            raise

    def _send(self) -> None:
        requests, self._requests = self._requests, []
        self._serving.call_soon_threadsafe(self._start, requests)

    def _start(self, requests: list[_AnyRequest]) -> None:
        for request in requests:
            request.start(self._serving, self._finish)

    def _finish(self, request: _AnyRequest) -> None:
        if not self._answered:
            self._serving.call_soon(self._return)
        self._answered.append(request)

    def _return(self) -> None:
        answered, self._answered = self._answered, []
        with suppress(RuntimeError):  # the calling loop has ended, and with it the calls
            self._calling.call_soon_threadsafe(self._settle, answered)

    def _settle(self, answered: list[_AnyRequest]) -> None:
        for request in answered:
            request.settle()


class StreamReader(Generic[T]):
    """Reads a stream of the serving loop; all methods are called there."""

    def __init__(self, stream: AsyncIterator[T]) -> None:
        self._stream = stream
        self._next: asyncio.Future[T] | None = None

    async def read(self) -> list[T]:
        """Wait for an item, and give it with those that are there already; nothing at the end of the stream."""
        items: list[T] = []
        while len(items) < _LARGEST_BATCH:
            if self._next is None:
                self._next = asyncio.ensure_future(anext(self._stream))
                await asyncio.sleep(0)
            if items and (not self._next.done() or self._next.exception() is not None):
                break  # the exception is for the next call
            following = self._next
            try:
                items.append(await following)
            except StopAsyncIteration:
                break
            finally:
                if following.done():
                    self._next = None
        return items

    async def close(self) -> None:
        """Close the stream; a read that is still going on is cancelled first."""
        following, self._next = self._next, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
            if not following.cancelled():
                following.exception()
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()
