"""Times as the hub wants them: aware UTC."""

from __future__ import annotations

from datetime import datetime, timezone

__all__ = ["as_utc", "utc_now"]


def utc_now() -> datetime:
    """The system's clock, aware UTC."""
    return datetime.now(timezone.utc)


def as_utc(time: datetime) -> datetime:
    """A time as aware UTC; a naive one is UTC."""
    if time.tzinfo is None:
        return time.replace(tzinfo=timezone.utc)
    return time if time.tzinfo is timezone.utc else time.astimezone(timezone.utc)
