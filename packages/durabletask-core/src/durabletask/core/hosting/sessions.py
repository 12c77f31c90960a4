"""The cache of live sessions: with it a chain of N activities costs O(N), not O(N^2).

A session leaves the cache while it is in use and comes back after its episode, so it is never shared.
Correctness does not depend on the cache: ``take`` returns a session only if the delivered past is what the session
has consumed, and the caller replays otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from durabletask.core.history import HistoryEvent

__all__ = ["CacheableSession", "SessionCache"]

_SWEEPS_PER_AGE = 4
_SHORTEST_PAUSE = 0.01


class CacheableSession(Protocol):
    """What the cache requires of a session; ``OrchestrationSession`` has it."""

    @property
    def event_count(self) -> int:
        """How many events the session has consumed; the measure of its memory."""

    def resume(self, past_events: Sequence[HistoryEvent]) -> bool:
        """Whether the session can go on from this past. After ``False`` it cannot be used again."""

    def close(self) -> None:
        """Release the session."""


_SessionT = TypeVar("_SessionT", bound=CacheableSession)


class _Entry(Generic[_SessionT]):
    __slots__ = ("events", "execution_id", "session", "stored_at")

    def __init__(self, session: _SessionT, execution_id: str | None, events: int, stored_at: float) -> None:
        self.session = session
        self.execution_id = execution_id
        self.events = events
        self.stored_at = stored_at


class SessionCache(Generic[_SessionT]):
    """Recently used sessions by instance id.

    Args:
        max_sessions: how many sessions at most; 0 switches the cache off.
        max_age: how long a session is kept unused. ``keep_swept`` enforces it where no calls come.
        max_events: bound on the total number of history events that the sessions have consumed.
        clock: monotonic seconds.

    Attributes:
        hits: sessions that were taken out to go on.
        misses: episodes with a past for which there was no session.
        evictions: sessions closed to stay within the bounds.
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
        self._entries: OrderedDict[str, _Entry[_SessionT]] = OrderedDict()  # least recently used first
        self.event_count: int = 0
        self.hits: int = 0
        self.misses: int = 0
        self.evictions: int = 0

    def __len__(self) -> int:
        return len(self._entries)

    def take(
        self, instance_id: str, execution_id: str | None, past_events: Sequence[HistoryEvent]
    ) -> _SessionT | None:
        """Take the session of an instance out of the cache. One that cannot go on from the past is closed."""
        session = self._remove(instance_id, execution_id)
        if session is not None:
            fits = False
            try:
                fits = session.resume(past_events)
            finally:
                if not fits:
                    session.close()
            if fits:
                self.hits += 1
                return session
        if past_events:
            self.misses += 1
        return None

    def _remove(self, instance_id: str, execution_id: str | None) -> _SessionT | None:
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

    def put(self, instance_id: str, execution_id: str | None, session: _SessionT) -> None:
        """Keep a session for the next episode of its instance, or close it if there is no room for it."""
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

    def _is_old(self, entry: _Entry[_SessionT]) -> bool:
        return self._max_age is not None and self._clock() - entry.stored_at > self._max_age

    async def keep_swept(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Sweep periodically until cancelled, so that sessions expire on an idle worker, too.

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
