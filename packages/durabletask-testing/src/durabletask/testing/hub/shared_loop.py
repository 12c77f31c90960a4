"""An event loop that several threads share, so that a call from another loop needs no hand-over between threads.

A hand-over costs more than most commands of a hub: the other thread has to be woken, and while both are busy it waits
for the interpreter's lock. A ``SharedLoop`` runs in a thread of its own, but lets go of a lock while that thread waits
for events. Who holds the lock acts as the loop: ``run`` drives a coroutine of the loop step by step in the task that
awaits it, and only a step that has to wait involves another thread.

What must hold:

* Code of the loop runs only with the lock, and never waits for another thread that may want it.
* Futures, tasks and timers of such code belong to the shared loop, in whichever thread it runs; ``asyncio`` finds
  the loop because a step makes it the running one.
* Callbacks that another thread adds run in the loop's own thread, ``_Wakeup`` aside, which only wakes a caller.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
from asyncio import _set_running_loop  # exported for event loops, as this one
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context
from types import coroutine
from typing import TypeVar

from durabletask.core.portal import running_loop

__all__ = ["SharedLoop", "start_generator"]

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Lets go of the lock while it waits."""

    def __init__(self, lock: threading.RLock) -> None:
        super().__init__()
        self._lock = lock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._lock.release()
        try:
            return super().select(timeout)
        finally:
            self._lock.acquire()


class _Caller(threading.local):
    """The loop of this thread, and what it is to be told. One call into another thread wakes it for all of that."""

    mailbox: _Mailbox | None = None


class _Mailbox:
    """Waits of one loop that have ended."""

    __slots__ = ("_ended", "_guard", "loop", "thread")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self._guard = threading.Lock()
        self._ended: list[asyncio.Future[None]] = []

    def add(self, wait: asyncio.Future[None]) -> None:
        """End a wait, in whichever thread this is."""
        try:
            if threading.get_ident() == self.thread:
                if not wait.done():
                    wait.set_result(None)
                return
            with self._guard:
                self._ended.append(wait)
                is_first = len(self._ended) == 1
            if is_first:
                self.loop.call_soon_threadsafe(self._open)
        except RuntimeError:  # the caller's loop was closed, and its calls ended with it
            return

    def _open(self) -> None:
        with self._guard:
            ended, self._ended = self._ended, []
        for wait in ended:
            if not wait.done():
                wait.set_result(None)


_caller = _Caller()


class _Wakeup:
    """Wakes a caller when a future of the shared loop is done."""

    __slots__ = ("_mailbox", "future", "waited")

    def __init__(self, loop: asyncio.AbstractEventLoop, waited: asyncio.Future[object]) -> None:
        mailbox = _caller.mailbox
        if mailbox is None or mailbox.loop is not loop:
            mailbox = _caller.mailbox = _Mailbox(loop)
        self._mailbox = mailbox
        self.waited = waited
        self.future: asyncio.Future[None] = loop.create_future()
        waited.add_done_callback(self)

    def __call__(self, _done: object = None) -> None:
        self._mailbox.add(self.future)


class SharedLoop(asyncio.SelectorEventLoop):
    """An event loop whose coroutines may be driven from other threads; ``LoopThread`` runs it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner: int | None = None
        super().__init__(_Selector(self._lock))
        self.set_debug(False)  # its checks forbid what the lock makes safe

    def run_forever(self) -> None:
        """Run in the present thread, with the lock."""
        self._owner = threading.get_ident()
        with self._lock:
            super().run_forever()

    @coroutine
    def run(self, work: Coroutine[object, object, T]) -> Generator[object, None, T]:
        """Run a coroutine of this loop in the task that awaits this one, of any loop. Cancelling cancels it."""
        try:
            caller = running_loop("A task hub in this process")
        except RuntimeError:
            work.close()  # Python would warn that it was never awaited
            raise
        wakeup: _Wakeup | None = None
        error: BaseException | None = None  # has ended the last wait
        while True:
            try:
                # One step, as this loop, until the coroutine waits again. Without a function of its own: every call
                # of an embedded hub comes through here.
                with self._lock:
                    _set_running_loop(self)
                    try:
                        if error is None:
                            waited = work.send(None)
                        else:
                            if wakeup is not None and isinstance(error, asyncio.CancelledError):
                                wakeup.waited.cancel()
                            waited = work.throw(error)
                        wakeup = _Wakeup(caller, waited) if isinstance(waited, asyncio.Future) else None
                    finally:
                        _set_running_loop(caller)
            except StopIteration as end:
                result: T = end.value
                return result
            error = None
            try:
                if wakeup is None:  # asyncio.sleep(0)
                    yield None
                else:
                    yield from wakeup.future
            except BaseException as raised:  # noqa: BLE001 - the coroutine decides what becomes of it
                error = raised

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        """Call a function in the thread of the loop; a wake-up is called at once."""
        if type(callback) is _Wakeup:
            callback()
            return asyncio.Handle(callback, args, self, context)
        if threading.get_ident() == self._owner:
            return super().call_soon(callback, *args, context=context)
        return self.call_soon_threadsafe(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call a function at a time, in the thread of the loop."""
        timer = super().call_at(when, callback, *args, context=context)
        if threading.get_ident() != self._owner:
            self.call_soon_threadsafe(_look_at_timers)
        return timer


def start_generator(stream: AsyncGenerator[T, None]) -> Coroutine[object, object, T]:
    """Ask a generator of a shared loop for its first item. The loop of the caller will not close the generator."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)  # a generator looks for hooks once, here
    try:
        return stream.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _look_at_timers() -> None:
    """Ends the wait for events, which was to last until the timer that was the first."""
