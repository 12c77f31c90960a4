"""SIGINT and SIGTERM as requests to stop a worker."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

__all__ = ["stop_signals"]

_BLOCKED_SECONDS = 1.0
_IS_URGENT = {signal.SIGINT: True, signal.SIGTERM: False}


@contextmanager
def stop_signals(loop: asyncio.AbstractEventLoop, requests: asyncio.Queue[bool]) -> Iterator[None]:
    """Put ``True`` into ``requests`` at SIGINT and ``False`` at SIGTERM, on ``loop``, which may be of another thread.

    When the loop has not taken a request after a second, the next signal raises ``KeyboardInterrupt`` instead: code of
    the user blocks the loop, and no request would be seen. Handlers of ``signal`` are used because those of an event
    loop do not run while it is blocked, and do not exist on Windows. Only the main thread can set them; in another
    thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    open_since: float | None = None  # when the oldest request that the loop has not taken was made

    def take(is_urgent: bool) -> None:
        nonlocal open_since
        open_since = None
        requests.put_nowait(is_urgent)

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal open_since
        if open_since is None:
            open_since = monotonic()
        elif monotonic() - open_since > _BLOCKED_SECONDS:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(take, _IS_URGENT[signal.Signals(number)])

    before = {number: signal.signal(number, handle) for number in _IS_URGENT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
