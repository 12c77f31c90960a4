"""Runs coroutines for blocking code on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

__all__ = ["Call", "LoopThread", "Portal", "running_loop"]

_T = TypeVar("_T")
_Loop = TypeVar("_Loop", bound=asyncio.AbstractEventLoop)


def running_loop(user: str) -> asyncio.AbstractEventLoop:
    """The running event loop of asyncio; ``user`` needs it.

    Raises:
        RuntimeError: there is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"{user} needs asyncio, and no event loop of asyncio is running here. Under trio it cannot work: with "
            "anyio choose the backend 'asyncio' (in tests a fixture 'anyio_backend' that returns 'asyncio'). In code "
            "without an event loop use the blocking twin (durabletask.sync, durabletask.testing.sync)."
        ) from None


class Call(Protocol):
    """Runs an action on an event loop and blocks until it is done."""

    def __call__(self, action: Callable[[], Awaitable[_T]], /) -> _T:
        """The result of what ``action`` returned; ``action`` itself is called on the loop, too."""


class LoopThread(Generic[_Loop]):
    """An event loop in a daemon thread of its own. Objects that use it are its users.

    The thread is started when a user needs the loop and ends when the last user has left, or was garbage-collected. A
    daemon thread does not delay the end of the process.

    Args:
        name: name of the thread.
        new_loop: makes the event loop.
    """

    def __init__(self, name: str, new_loop: Callable[[], _Loop]) -> None:
        self._name = name
        self._new_loop = new_loop
        self._lock = threading.Lock()
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._loop: _Loop | None = None
        self._thread: threading.Thread | None = None
        self._of_parents: list[object] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        """A forked process has only the forking thread: the next user starts a new loop."""
        self._lock = threading.Lock()
        # Kept alive: closing the loop would remove its files from the selector that the parent uses.
        self._of_parents.append(self._loop)
        self._loop = self._thread = None

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.current_thread() is self._thread

    def loop_of(self, user: object) -> _Loop:
        """The loop, started if necessary; it runs until ``user`` leaves."""
        with self._lock:
            self._users.add(user)
            if self._loop is None:
                loop = self._loop = self._new_loop()
                self._thread = threading.Thread(target=_serve, args=(loop,), name=self._name, daemon=True)
                self._thread.start()
            return self._loop

    def leave(self, user: object) -> None:
        """Release the loop. With the last user its thread ends, and this call waits for that."""
        with self._lock:
            self._users.discard(user)
            if self._users:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


class Portal(LoopThread[asyncio.AbstractEventLoop]):
    """The loop of all objects of ``durabletask.sync``, with a blocking call into it."""

    def __init__(self, name: str) -> None:
        super().__init__(name, asyncio.new_event_loop)

    def call(self, user: object, action: Callable[[], Awaitable[_T]]) -> _T:
        """Run an action on the loop and wait for its result. Ctrl-C cancels it."""
        loop = self.running_loop(user)

        async def run() -> _T:
            return await action()

        future: Future[_T] = asyncio.run_coroutine_threadsafe(run(), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def running_loop(self, user: object) -> asyncio.AbstractEventLoop:
        """The loop, as of ``loop_of``.

        Raises:
            RuntimeError: the caller runs in an event loop itself, which a blocking call would stop.
        """
        if self.is_current:
            raise RuntimeError(
                "durabletask.sync was called from its own event loop (from an orchestrator, or from an 'async def' "
                "activity or entity) and would wait for itself. Use durabletask.DurableTaskClient there, or make "
                "the activity a plain function."
            )
        if _is_in_a_running_loop():
            raise RuntimeError(
                "durabletask.sync was called from code that runs in an event loop, and would block it. Use "
                "durabletask.DurableTaskClient or DurableTaskWorker with 'await' there (in a notebook, too), or call "
                "it in a thread: await asyncio.to_thread(...)."
            )
        return self.loop_of(user)


def _is_in_a_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
