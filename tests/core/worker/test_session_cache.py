"""The bounds of the session cache."""

from __future__ import annotations

from datetime import timedelta

from durabletask.core.hosting.sessions import SessionCache


class FakeSession:
    def __init__(self, event_count: int = 1) -> None:
        self.event_count = event_count
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_session_leaves_the_cache_while_it_is_used() -> None:
    """Nobody can share it."""
    cache, session = SessionCache(10), FakeSession(5)
    cache.put("a", "e1", session)

    assert cache.take("a", "e1") is session
    assert cache.take("a", "e1") is None
    assert (len(cache), cache.event_count, session.closed) == (0, 0, 0)


def test_a_session_of_another_execution_is_dropped() -> None:
    """Continue-as-new, restart and rewind change the execution id."""
    cache, session = SessionCache(10), FakeSession()
    cache.put("a", "e1", session)

    assert cache.take("a", "e2") is None
    assert session.closed == 1


def test_the_least_recently_used_goes_first() -> None:
    """The number of sessions is bounded."""
    cache, sessions = SessionCache(2), [FakeSession() for _ in range(3)]
    cache.put("a", None, sessions[0])
    cache.put("b", None, sessions[1])
    cache.put("a", None, cache.take("a", None) or FakeSession())
    cache.put("c", None, sessions[2])

    assert [session.closed for session in sessions] == [0, 1, 0]
    assert cache.evictions == 1


def test_the_total_of_events_is_bounded() -> None:
    """Long histories push out others, and one that is too long alone is not kept."""
    cache = SessionCache(10, max_events=100)
    small, large, huge = FakeSession(60), FakeSession(50), FakeSession(101)
    cache.put("a", None, small)
    cache.put("b", None, large)
    assert (small.closed, large.closed, cache.event_count) == (1, 0, 50)

    cache.put("c", None, huge)
    assert (large.closed, huge.closed, len(cache), cache.event_count) == (1, 1, 0, 0)


def test_old_sessions_are_not_used_and_go_when_others_come() -> None:
    """Age counts from the last use."""
    now = 0.0
    cache = SessionCache(10, max_age=timedelta(seconds=60), clock=lambda: now)
    first, second = FakeSession(), FakeSession()
    cache.put("a", None, first)
    cache.put("b", None, second)
    now = 61.0

    assert cache.take("a", None) is None
    cache.put("c", None, FakeSession())
    assert (first.closed, second.closed, cache.evictions) == (1, 1, 2)


def test_a_second_session_of_an_instance_replaces_the_first() -> None:
    """The one before is closed, the count stays right."""
    cache, first, second = SessionCache(10), FakeSession(3), FakeSession(4)
    cache.put("a", None, first)
    cache.put("a", None, second)

    assert (first.closed, second.closed, cache.event_count) == (1, 0, 4)


def test_size_zero_switches_the_cache_off() -> None:
    """Sessions are closed at once."""
    cache, session = SessionCache(0), FakeSession()
    cache.put("a", None, session)

    assert (session.closed, len(cache)) == (1, 0)


def test_clearing_closes_everything() -> None:
    """A worker that stops leaves no session behind."""
    cache, sessions = SessionCache(10), [FakeSession() for _ in range(3)]
    for number, session in enumerate(sessions):
        cache.put(str(number), None, session)
    cache.clear()

    assert [session.closed for session in sessions] == [1, 1, 1]
    assert (len(cache), cache.event_count) == (0, 0)
