"""A bounded pool of daemon threads.

``concurrent.futures`` waits for its threads at the end of the process, however long they take. User code that
hangs must not keep a worker's process from ending: its activity is delivered again anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

__all__ = ["DaemonThreads"]

_Call: TypeAlias = "tuple[Future[object], Callable[[], object]]"


class DaemonThreads:
    """Runs calls in at most ``limit`` threads, which are started when they are needed.

    ``submit`` and ``close`` belong to one thread.

    Args:
        limit: how many calls run at once; more wait in order.
        name: beginning of the names of the threads.
    """

    def __init__(self, limit: int, name: str = "durabletask") -> None:
        self._limit = limit
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def submit(self, call: Callable[[], object]) -> Future[object]:
        """Run a call when a thread is free."""
        future: Future[object] = Future()
        self._calls.put((future, call))
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            threading.Thread(target=self._work, name=f"{self._name}_{self._count}", daemon=True).start()
            self._count += 1
        return future

    def close(self) -> None:
        """Cancel what waits and let the threads end; one that is busy ends when its call does."""
        with suppress(Empty):
            while True:
                waiting = self._calls.get_nowait()
                if waiting is not None:
                    waiting[0].cancel()
        self._calls.put(None)

    def _work(self) -> None:
        while True:
            try:
                item = self._calls.get_nowait()
            except Empty:
                self._idle.release()
                item = self._calls.get()
            if item is None:
                self._calls.put(None)  # for the next thread
                return
            _run(*item)
            del item  # an idle thread holds on to nothing


def _run(future: Future[object], call: Callable[[], object]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - the waiting call raises it
        future.set_exception(error)
    else:
        future.set_result(result)
    finally:
        del future, call  # an error holds this frame, and would hold itself through the future
