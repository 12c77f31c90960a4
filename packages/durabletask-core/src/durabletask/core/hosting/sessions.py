"""The cache of live orchestration sessions (design: a chain of N activities costs O(N), not O(N^2)).

A session leaves the cache while it is in use and comes back when its turn is over, so nobody ever shares
one. Correctness does not depend on the cache: whoever takes a session asks it whether the delivered past is
what it has consumed (``OrchestrationSession.resume``), and replays otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

__all__ = ["CacheableSession", "SessionCache"]

_SWEEPS_PER_AGE = 4
_SHORTEST_PAUSE = 0.01


class CacheableSession(Protocol):
    """What the cache needs to know of a session."""

    @property
    def event_count(self) -> int:
        """How many events the session has consumed; the measure of its memory."""

    def close(self) -> None:
        """Free the session without running more of the user's code."""


class _Entry:
    __slots__ = ("events", "execution_id", "session", "stored_at")

    def __init__(
        self, session: CacheableSession, execution_id: str | None, events: int, stored_at: float
    ) -> None:
        self.session = session
        self.execution_id = execution_id
        self.events = events
        self.stored_at = stored_at


class SessionCache:
    """Recently used sessions by instance id.

    Args:
        max_sessions: how many sessions at most; 0 switches the cache off.
        max_age: how long a session may lie unused; ``keep_swept`` sees to it.
        max_events: bound of the total number of history events that the sessions have consumed.
        clock: monotonic seconds.

    Attributes:
        hits: sessions that were found and fitted.
        misses: turns with a past that had to be replayed.
        evictions: sessions dropped to stay within the bounds.
    """

    def __init__(
        self,
        max_sessions: int,
        *,
        max_age: timedelta | None = None,
        max_events: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_sessions = max_sessions
        self._max_age = max_age.total_seconds() if max_age is not None else None
        self._max_events = max_events
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self.event_count: int = 0
        self.hits: int = 0
        self.misses: int = 0
        self.evictions: int = 0

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, instance_id: str, execution_id: str | None) -> CacheableSession | None:
        """Take the session of an instance out of the cache; one of another execution is closed."""
        entry = self._entries.pop(instance_id, None)
        if entry is None:
            return None
        self.event_count -= entry.events
        is_old = self._is_old(entry)
        self.evictions += is_old
        if is_old or entry.execution_id != execution_id:
            entry.session.close()
            return None
        return entry.session

    def put(self, instance_id: str, execution_id: str | None, session: CacheableSession) -> None:
        """Keep a session for the next turn of its instance, or close it when there is no room for it."""
        if self._max_sessions <= 0:
            session.close()
            return
        older = self._entries.pop(instance_id, None)
        if older is not None:
            self.event_count -= older.events
            older.session.close()
        events = session.event_count
        self._entries[instance_id] = _Entry(session, execution_id, events, self._clock())
        self.event_count += events
        self.sweep()

    def clear(self) -> None:
        """Close every session."""
        entries, self._entries = self._entries, OrderedDict()
        self.event_count = 0
        for entry in entries.values():
            entry.session.close()

    def _is_old(self, entry: _Entry) -> bool:
        return self._max_age is not None and self._clock() - entry.stored_at > self._max_age

    async def keep_swept(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Sweep now and then until cancelled, so that sessions grow old also where nothing happens.

        Args:
            sleep: how to wait, given seconds.
        """
        if self._max_age is None or self._max_sessions <= 0:
            return
        while True:
            await sleep(max(self._max_age / _SWEEPS_PER_AGE, _SHORTEST_PAUSE))
            self.sweep()

    def sweep(self) -> None:
        """Close the sessions that are over a bound, the least recently used first."""
        entries = self._entries
        while entries:
            oldest = next(iter(entries.values()))
            if not (
                len(entries) > self._max_sessions
                or (self._max_events is not None and self.event_count > self._max_events)
                or self._is_old(oldest)
            ):
                return
            entries.popitem(last=False)
            self.event_count -= oldest.events
            self.evictions += 1
            oldest.session.close()
