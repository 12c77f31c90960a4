"""SIGINT and SIGTERM as requests to stop a worker."""

from __future__ import annotations

import _thread
import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from types import FrameType

__all__ = ["stop_signals"]

_BLOCKED_SECONDS = 1.0
_IS_URGENT = {signal.SIGINT: True, signal.SIGTERM: False}


@contextmanager
def stop_signals(loop: asyncio.AbstractEventLoop, requests: asyncio.Queue[bool]) -> Iterator[None]:
    """Put ``True`` into ``requests`` at SIGINT and ``False`` at SIGTERM, on ``loop``, which may be of another thread.

    When the loop has not taken a request after a second, a second signal raises ``KeyboardInterrupt`` instead, also one
    that came earlier: code of the user blocks the loop, and no request would be seen. Handlers of ``signal`` are used
    because those of an event loop do not run while it is blocked, and do not exist on Windows. Only the main thread can
    set them; in another thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    open_since: float | None = None  # when the oldest request that the loop has not taken was made
    is_watched = False  # a thread looks whether the loop takes it

    def take(is_urgent: bool) -> None:
        nonlocal open_since
        open_since = None
        requests.put_nowait(is_urgent)

    def watch() -> None:
        nonlocal is_watched
        sleep(_BLOCKED_SECONDS * 1.1)
        is_watched = False
        if open_since is not None:
            # Calls ``handle`` in the main thread; does nothing when it is removed.
            _thread.interrupt_main(signal.SIGTERM)

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal open_since, is_watched
        if open_since is None:
            open_since = monotonic()
        elif monotonic() - open_since > _BLOCKED_SECONDS:
            raise KeyboardInterrupt
        elif not is_watched:
            is_watched = True
            # A threading.Thread takes locks that the interrupted code may hold.
            _thread.start_new_thread(watch, ())
        loop.call_soon_threadsafe(take, _IS_URGENT[signal.Signals(number)])

    before = {number: signal.signal(number, handle) for number in _IS_URGENT}
    try:
        yield
    finally:
        open_since = None
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
