"""The bounds of the session cache."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from durabletask import DurableTaskClient, DurableTaskWorker, OrchestrationContext
from durabletask.core.history import EPOCH, HistoryEvent, OrchestratorStarted
from durabletask.core.hosting.sessions import SessionCache
from durabletask.testing.hub import InMemoryBackend


async def waiting(ctx: OrchestrationContext) -> object:
    return await ctx.wait_for_external_event("go")


_EVENT = OrchestratorStarted(-1, EPOCH)


class FakeSession:
    def __init__(self, event_count: int = 1, required: int = 0) -> None:
        self.event_count = event_count
        self.required = required  # events of a past that it can go on from
        self.closed = 0

    def resume(self, past_events: Sequence[HistoryEvent]) -> bool:
        return len(past_events) >= self.required

    def close(self) -> None:
        self.closed += 1


def _cache(max_sessions: int, **bounds: Any) -> SessionCache[FakeSession]:
    return SessionCache(max_sessions, **bounds)


def test_a_session_leaves_the_cache_while_it_is_used() -> None:
    """No second episode can share it."""
    cache, session = _cache(10), FakeSession(5)
    cache.put("a", "e1", session)

    assert cache.take("a", "e1", ()) is session
    assert cache.take("a", "e1", ()) is None
    assert (len(cache), cache.event_count, session.closed) == (0, 0, 0)


def test_a_session_of_another_execution_is_dropped() -> None:
    """Continue-as-new, restart and rewind change the execution id."""
    cache, session = _cache(10), FakeSession()
    cache.put("a", "e1", session)

    assert cache.take("a", "e2", ()) is None
    assert session.closed == 1


def test_a_session_that_does_not_fit_the_past_is_closed_and_counted_as_a_miss() -> None:
    """The cache asks the session, and counts both outcomes itself."""
    cache, session, other = _cache(10), FakeSession(required=2), FakeSession(required=2)
    cache.put("a", "e1", session)
    cache.put("b", "e1", other)

    assert cache.take("a", "e1", [_EVENT]) is None
    assert cache.take("b", "e1", [_EVENT, _EVENT]) is other
    assert cache.take("c", "e1", ()) is None  # nothing to replay
    assert (session.closed, other.closed, cache.hits, cache.misses) == (1, 0, 1, 1)


def test_the_least_recently_used_goes_first() -> None:
    """The number of sessions is bounded."""
    cache, sessions = _cache(2), [FakeSession() for _ in range(3)]
    cache.put("a", None, sessions[0])
    cache.put("b", None, sessions[1])
    cache.put("a", None, cache.take("a", None, ()) or FakeSession())
    cache.put("c", None, sessions[2])

    assert [session.closed for session in sessions] == [0, 1, 0]
    assert cache.evictions == 1


def test_the_total_of_events_is_bounded() -> None:
    """Long histories push out others, and one that is too long alone is not kept."""
    cache = _cache(10, max_events=100)
    small, large, huge = FakeSession(60), FakeSession(50), FakeSession(101)
    cache.put("a", None, small)
    cache.put("b", None, large)
    assert (small.closed, large.closed, cache.event_count) == (1, 0, 50)

    cache.put("c", None, huge)
    assert (large.closed, huge.closed, len(cache), cache.event_count) == (1, 1, 0, 0)


def test_old_sessions_are_not_used_and_go_when_others_come() -> None:
    """Age counts from the last use."""
    now = 0.0
    cache = _cache(10, max_age=timedelta(seconds=60), clock=lambda: now)
    first, second = FakeSession(), FakeSession()
    cache.put("a", None, first)
    cache.put("b", None, second)
    now = 61.0

    assert cache.take("a", None, ()) is None
    cache.put("c", None, FakeSession())
    assert (first.closed, second.closed, cache.evictions) == (1, 1, 2)


async def test_old_sessions_go_also_when_nothing_happens() -> None:
    """The sweep looks several times within the age; a younger session stays."""
    now = 0.0
    cache = _cache(10, max_age=timedelta(seconds=60), clock=lambda: now)
    old, young = FakeSession(5), FakeSession(7)
    pauses: list[float] = []
    cache.put("a", None, old)

    async def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds
        if now == 30:
            cache.put("b", None, young)
        if now > 75:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await cache.keep_swept(sleep)

    assert set(pauses) == {15.0}
    assert (old.closed, young.closed, len(cache), cache.event_count, cache.evictions) == (1, 0, 1, 7, 1)


async def test_a_worker_sweeps_its_cache() -> None:
    """The session of an orchestration that waits is gone when it is old, and replayed when it goes on."""
    hub = InMemoryBackend("test")
    client = DurableTaskClient(hub)
    worker = DurableTaskWorker(
        hub, orchestrators=[waiting], session_cache_age=timedelta(milliseconds=20), drain_timeout=5
    )
    async with worker:
        instance_id = await client.schedule_new_orchestration(waiting)
        while not worker.metrics.session_evictions:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.001)
        await client.raise_orchestration_event(instance_id, "go", 5)
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=10)

    assert state is not None
    assert state.output == 5
    assert (worker.metrics.session_hits, worker.metrics.session_misses) == (0, 1)
    await hub.close()


def test_a_second_session_of_an_instance_replaces_the_first() -> None:
    """The one before is closed, the count stays right."""
    cache, first, second = _cache(10), FakeSession(3), FakeSession(4)
    cache.put("a", None, first)
    cache.put("a", None, second)

    assert (first.closed, second.closed, cache.event_count) == (1, 0, 4)


def test_size_zero_switches_the_cache_off() -> None:
    """Sessions are closed at once."""
    cache, session = _cache(0), FakeSession()
    cache.put("a", None, session)

    assert (session.closed, len(cache)) == (1, 0)


def test_clearing_closes_everything() -> None:
    """A worker that stops leaves no session behind."""
    cache, sessions = _cache(10), [FakeSession() for _ in range(3)]
    for number, session in enumerate(sessions):
        cache.put(str(number), None, session)
    cache.clear()

    assert [session.closed for session in sessions] == [1, 1, 1]
    assert (len(cache), cache.event_count) == (0, 0)
