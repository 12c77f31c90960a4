"""A way from blocking code into an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["Portal"]

_T = TypeVar("_T")


class Portal:
    """An event loop in a thread of its own, shared by all objects of ``durabletask.sync``.

    Shared, because an embedded hub (``memory://``) lives on one loop, whoever uses it. The thread runs while
    somebody needs it; it is a daemon, so it never holds up the end of the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: weakref.WeakSet[object] = weakref.WeakSet()  # forgotten ones do not count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._of_parents: list[object] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        """A forked process has no thread but its own: the next call starts another loop."""
        self._lock = threading.Lock()
        # Never to be freed: closing it would take its files out of the parent's selector.
        self._of_parents.append(self._loop)
        self._loop = self._thread = None

    def call(self, user: object, coroutine: Coroutine[object, object, _T]) -> _T:
        """Run a coroutine on the loop and wait for it. Ctrl-C cancels it."""
        try:
            loop = self._running_loop(user)
        except BaseException:
            coroutine.close()
            raise
        future: Future[_T] = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _running_loop(self, user: object) -> asyncio.AbstractEventLoop:
        if threading.current_thread() is self._thread:
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
        with self._lock:
            self._users.add(user)
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(loop,), name="durabletask-sync", daemon=True
                )
                self._thread.start()
            return self._loop

    def leave(self, user: object) -> None:
        """Somebody needs the loop no longer; with the last one, its thread ends."""
        with self._lock:
            self._users.discard(user)
            if self._users:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


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
