"""Names an orchestrator that does not return.

Orchestrators run on the event loop, so one that blocks or loops stops the whole worker, and nothing on the loop can
report it. A thread looks at the running episode periodically and logs the instance and the line that it is at.

The loop's thread writes ``_running`` and the watching thread reads it; both happen in one step. The watching thread
must never touch the session: it belongs to the loop's thread.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, NamedTuple

__all__ = ["Watchdog"]

_OWN: Final = "durabletask.core."


class _Episode(NamedTuple):
    instance_id: str
    started_at: float
    thread: int


class Watchdog:
    """See the module.

    Args:
        logger: where an episode that takes too long is logged.
        limit: seconds after which an episode takes too long. It is logged again after twice that time, and so on.
        clock: monotonic seconds.
    """

    def __init__(
        self, logger: logging.Logger, *, limit: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._limit = limit
        self._clock = clock
        self._running: _Episode | None = None
        self._reported: tuple[_Episode, float] | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, instance_id: str) -> None:
        """An episode starts in this thread."""
        self._running = _Episode(instance_id, self._clock(), threading.get_ident())
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="durabletask-watchdog", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """The episode has ended."""
        self._running = None

    def close(self) -> None:
        """End the watching thread, without waiting for it."""
        self._closed.set()

    def check(self) -> None:
        """Log the running episode if it takes too long."""
        episode = self._running
        if episode is None:
            return
        reported = self._reported
        limit = reported[1] if reported is not None and reported[0] is episode else self._limit
        lasted = self._clock() - episode.started_at
        if lasted < limit:
            return
        self._reported = episode, 2 * limit
        self._logger.warning(
            "The orchestrator of instance %r has run for %.0f s without waiting for a task; it is at %s. The worker "
            "does nothing else meanwhile. An orchestrator must not block or loop: move such work into an activity.",
            episode.instance_id,
            lasted,
            _place_of(sys._current_frames().get(episode.thread)),  # noqa: SLF001 - the only way to see another thread
        )

    def _watch(self) -> None:
        while not self._closed.wait(self._limit / 2):
            self.check()


def _place_of(frame: FrameType | None) -> str:
    """``file:line`` of the innermost frame outside this package."""
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OWN):
        frame = frame.f_back
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
