"""Times as the hub wants them: aware UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

__all__ = ["as_utc", "utc_now"]


def utc_now() -> datetime:
    """The system's clock, aware UTC."""
    return datetime.now(timezone.utc)


def as_utc(time: datetime | timedelta | None, now: datetime | None = None) -> datetime | None:
    """A time as aware UTC: naive ones are UTC, a delay counts from ``now``."""
    if time is None:
        return None
    if isinstance(time, timedelta):
        return (now or utc_now()) + time
    if time.tzinfo is None:
        return time.replace(tzinfo=timezone.utc)
    return time if time.tzinfo is timezone.utc else time.astimezone(timezone.utc)
